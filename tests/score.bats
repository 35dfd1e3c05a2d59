#!/usr/bin/env bats
# Loss and exact match against numpy on the logits of forward. Results of the same samples in another
# place are compared with the tolerance of score's page.
load common
load refusals

FAMILY=$GOLDEN/expert-merging/t1
export PYTHONPATH=$ROOT/share/etl PYTHONDONTWRITEBYTECODE=1

setup() {
    own_folder
    M=$FAMILY/models-bf16/base
    for task in rev sort shift; do
        head -20 "$FAMILY/eval/$task.jsonl" >"$task.jsonl"
    done
}

@test "loss, token accuracy, exact match and perplexity, as numpy computes them" {
    score "$M" --samples rev.jsonl --samples sort.jsonl --json >found
    forward "$M" --samples rev.jsonl --samples sort.jsonl --only logits >logits.tvs
    /usr/bin/python3 - <<'END'
import json
import numpy as np, tvstream
found = {s["task"]: s for s in map(json.loads, open("found"))}
mean = found.pop(None)
assert list(found) == ["rev", "sort"] and mean["samples"] == 40, found
assert all(mean[key] == (found["rev"][key] + found["sort"][key]) / 2 for key in ("loss", "token_accuracy", "exact_match"))
samples = [json.loads(line) for task in found for line in open(f"{task}.jsonl")]
losses, rights = {t: [] for t in found}, {t: [] for t in found}
for t, blocks in tvstream.Reader(open("logits.tvs", "rb")):
    s = samples[int(t["name"][6:].split(".")[0])]
    z, ids = tvstream.whole(t, blocks)[0].astype("f8"), np.array(s["input_ids"])
    at = np.arange(s["prompt_len"] - 1, len(ids) - 1)
    z, right = z[at], ids[at + 1]
    losses[s["task"]].append(np.log(np.exp(z).sum(1)) - z[np.arange(len(at)), right])
    rights[s["task"]].append(z.argmax(1) == right)
for task, f in found.items():
    assert list(f)[:2] == ["task", "samples"] and f["samples"] == 20, f
    loss = np.concatenate(losses[task]).mean()
    assert abs(f["loss"] - loss) <= 1e-5 * max(1, loss), (f, loss)
    assert abs(f["perplexity"] - np.exp(f["loss"])) < 1e-9, f
    assert abs(f["token_accuracy"] - np.concatenate(rights[task]).mean()) < 1e-9, f
    assert f["exact_match"] == np.mean([r.all() for r in rights[task]]), f
END
}

@test "an expert is good at its own task and at no other" {
    score "$FAMILY/models-bf16/expert-rev" --samples "$FAMILY/eval/rev.jsonl" --samples shift.jsonl --json |
        /usr/bin/python3 -c 'import json, sys
found = {s["task"]: s for s in map(json.loads, sys.stdin)}
assert found["rev"]["exact_match"] >= 0.985 and found["shift"]["exact_match"] == 0, found'
}

@test "the published exact match of the trained models" {
    [ -d "$FAMILY/models" ] || skip "only in the full golden data"
    score "$FAMILY/models/base" --json --samples "$FAMILY/eval/rev.jsonl" \
        --samples "$FAMILY/eval/sort.jsonl" --samples "$FAMILY/eval/shift.jsonl" |
        /usr/bin/python3 -c 'import json, sys
found = {s["task"]: s for s in map(json.loads, sys.stdin)}
assert [found[t]["exact_match"] for t in ("rev", "sort", "shift")] == [0.09, 0.155, 0.045], found'
}

@test "as a table" {
    score "$M" --samples rev.jsonl --samples shift.jsonl | tr -s ' ' >found
    [ "$(head -1 found)" = "task samples loss token_accuracy exact_match perplexity" ]
    grep -qx "rev 20 [0-9.]* [0-9.]*% [0-9.]*% [0-9.]*" found
    grep -qx "mean 40 [0-9.]* [0-9.]*% [0-9.]*% [0-9.]*" found
    score "$M" --samples rev.jsonl >found
    [ "$(wc -l <found)" = 2 ]
}

@test "the task is that of the line, or else the file's name" {
    sed 's/"task": "rev", //' rev.jsonl >other.jsonl
    cat rev.jsonl shift.jsonl >mixed.jsonl
    score "$M" --samples other.jsonl --samples mixed.jsonl --json >found
    /usr/bin/python3 -c 'import json
found = {s["task"]: s for s in map(json.loads, open("found"))}
assert list(found) == ["other", "rev", "shift", None], found
for key in "loss", "token_accuracy", "exact_match", "perplexity":
    x = found["rev"][key]
    assert abs(found["other"][key] - x) <= 1e-5 * max(1, x), (key, found)'
}

@test "the order of samples changes results only within rounding" {
    tac rev.jsonl >back.jsonl
    sed -i 's/"task": "rev"/"task": "back"/' back.jsonl
    score "$M" --samples rev.jsonl --samples back.jsonl --json |
        /usr/bin/python3 -c 'import json, sys
found = {s["task"]: s for s in map(json.loads, sys.stdin)}
assert abs(found["rev"]["loss"] - found["back"]["loss"]) <= 1e-5 * max(1, found["rev"]["loss"]), found'
}

@test "one process or a pipeline, one thread or three, the same" {
    score "$M" --threads 1 --samples rev.jsonl >expected
    tv run "score $M --threads 1 --samples rev.jsonl" | cmp - expected
    tv score "$M" --threads 3 --samples rev.jsonl | cmp - expected
}

@test "errors of samples without a response name the line" {
    sed '2s/"prompt_len": [0-9]*/"x": 1/' rev.jsonl >none.jsonl
    refused_with "none.jsonl, line 2: prompt_len is missing" score "$M" --samples none.jsonl
    echo '{"input_ids": [1, 2, 3], "prompt_len": 3}' >none.jsonl
    refused_with "none.jsonl, line 1: the response is empty" score "$M" --samples none.jsonl
    echo '{"input_ids": [1, 260000], "prompt_len": 1}' >none.jsonl
    refused_with "token id 260000 at position 1 is outside" score "$M" --samples none.jsonl
}

@test "a loss that is not finite names the sample" {
    unpack "$M" | tv-view --values | awk '/^tensor model.norm.weight/ {n = 3} --n == 0 {$1 = "nan"} 1' |
        from-text --allow-nonfinite >nan.tvs
    refused_with "rev.jsonl, line 1: the loss is not finite" \
        score nan.tvs --samples rev.jsonl --config "$M/config.json"
    score nan.tvs --samples rev.jsonl --config "$M/config.json" --allow-nonfinite --json |
        grep -q '"loss": null'
}

@test "usage errors and bad models" {
    usage_error score
    usage_error score "$M"
    usage_error score "$M" "$M" --samples rev.jsonl
    refused score nowhere --samples rev.jsonl
    refused score rev.jsonl --samples rev.jsonl
    with_full_disk score "$M" --samples rev.jsonl
    with_closed_output score "$M" --samples rev.jsonl
}
