#!/usr/bin/env bats
# Vision-language models in forward, score and calibrate.
load common
load refusals

MODELS=$GOLDEN/models
export PYTHONPATH=$ROOT/share/etl PYTHONDONTWRITEBYTECODE=1

@test "forward computes what transformers does, for every layout of config.json and name scheme" {
    for case in "$MODELS"/qwen2vl/*/ "$MODELS"/internvl/*/; do
        /usr/bin/python3 "$TESTS/activations.py" "${case%/}" forward || return 1
    done
}

@test "neither threads nor memory change the result" {
    M=$MODELS/qwen2vl/tied
    forward "$M/hub" --samples "$M" --threads 1 >one.tvs
    forward "$M/hub" --samples "$M" --threads 3 | cmp - one.tvs
    forward "$M/hub" --samples "$M" --threads 1 --memory 1K | cmp - one.tvs
}

# learn CASE OPTION...: losses and gradients at the golden coefficients, into the file g
learn() {
    tv-extract "$1/base" "$1/expert1" "$1/expert2" >family.tvs
    "$TESTS/vision.py" start "$1" >table
    calibrate --base "$1/base" --samples "$1" --task chart=expert1 --task ocr=expert2 \
        --temperature 2 --hidden-layers 1,2 --hidden-weight 0.5 --keep-base '' --on all --skip-first 0 \
        --dry-run --start table --gradients g "${@:2}" <family.tvs >out.tvs
}

@test "gradients of coefficients, the projector's included, are those of autograd" {
    for case in "$MODELS"/grad/qwen2vl "$MODELS"/grad/internvl; do
        learn "$case"
        "$TESTS/vision.py" gradients "$case" result g
        learn "$case" --expert "$case/expert1" --expert "$case/expert2" --memory 1K
        "$TESTS/vision.py" gradients "$case" result g
    done
}

@test "experts with the base's vision tower" {
    for case in "$MODELS"/grad/qwen2vl "$MODELS"/grad/internvl; do
        learn "$case" --teacher-vision base
        "$TESTS/vision.py" gradients "$case" result_teacher_base_vision g
        learn "$case" --teacher-vision base --expert "$case/expert1" --expert "$case/expert2"
        "$TESTS/vision.py" gradients "$case" result_teacher_base_vision g
    done
}

# merged CASE OPTION...: the learned tensors outside the decoder's layers
merged() {
    tv-extract "$1/base" "$1/expert1" "$1/expert2" |
        calibrate --base "$1/base" --samples "$1" --task chart=expert1 --task ocr=expert2 --dry-run \
            --coefficients table "${@:2}" >out.tvs
    awk -F '\t' 'NR > 1 && $4 != 0 && $1 !~ /\.layers\.[0-9]/ { print $1 }' table | sort -u | tr '\n' ' '
}

@test "learned tensors: the projector's matrices, or the published lists" {
    Q=$MODELS/grad/qwen2vl I=$MODELS/grad/internvl
    [ "$(merged "$Q")" = "visual.merger.mlp.0.weight visual.merger.mlp.2.weight " ]
    [ "$(merged "$I")" = "mlp1.1.weight mlp1.3.weight " ]
    [ -z "$(merged "$Q" --preset paper)" ]
    [ "$(merged "$I" --preset paper)" = "mlp1.0.weight mlp1.1.weight mlp1.3.weight " ]
    [ -z "$(merged "$I" --keep-base 'mlp1*' --keep-base '*norm*' --keep-base '*head*' \
        --keep-base '*embed*')" ]
}

@test "learning lowers the loss of samples with images" {
    for case in "$MODELS"/grad/qwen2vl "$MODELS"/grad/internvl; do
        rm -f log
        tv-extract "$case/base" "$case/expert1" "$case/expert2" |
            calibrate --base "$case/base" --samples "$case" --task chart=expert1 --task ocr=expert2 \
                --epochs 8 --lr 0.2 --log log >out.tvs
        /usr/bin/python3 - <<'END'
import json
losses = [x["mean_hidden"] + x["mean_logit"] for x in map(json.loads, open("log"))]
assert losses[-1] < losses[0], losses
END
    done
}

@test "forward --gram and --fisher: the decoder's weights, image tokens included" {
    model=$MODELS/qwen2vl/tied
    forward "$model/inmem" --samples "$model" --gram >gram.tvs
    forward "$model/inmem" --samples "$model" --only hidden >hidden.tvs
    forward "$model/inmem" --samples "$model" --fisher | tv-view >fisher
    not grep -E '^model[^ ]*(visual|merger)' fisher
    grep -q '^model.language_model.embed_tokens.weight ' fisher
    unpack x="$model/inmem" | pick '/*.layers.0.input_layernorm.weight' | tv-view --values | sed -n '/^vector/,$p' |
        grep -v '^hash' | sed 1d >norm
    /usr/bin/python3 - <<'END'
import numpy as np
import tvstream
read = lambda path: {t["name"]: tvstream.whole(t, b)[0].astype(float) for t, b in tvstream.Reader(open(path, "rb"))}
hidden, grams = read("hidden.tvs"), read("gram.tvs")
x = np.concatenate([v for name, v in hidden.items() if name.endswith(".hidden.0")])
x = x / np.sqrt((x * x).mean(1, keepdims=True) + 1e-6) * np.array(open("norm").read().split(), float)
expected = x.T @ x / len(x)
assert abs(grams["model.language_model.layers.0.self_attn.k_proj.weight"] - expected).max() < 1e-5 * abs(expected).max()
END
}

@test "score: the loss of the logits of forward" {
    M=$MODELS/grad/internvl
    sed 's/"input_ids"/"prompt_len": 4, "input_ids"/' "$M/samples.jsonl" >samples.jsonl
    ln -s "$M/tensors.safetensors" .
    forward "$M/base" --samples . --only logits >logits.tvs
    score "$M/base" --samples . --json >score.json
    /usr/bin/python3 - <<'END'
import json
import numpy as np
import tvstream
samples = [json.loads(line) for line in open("samples.jsonl")]
with open("logits.tvs", "rb") as f:
    z = {t["name"]: tvstream.whole(t, blocks)[0] for t, blocks in tvstream.Reader(f)}
losses = {}
for i, s in enumerate(samples):
    x = z[f"sample{i}.logits"].astype(np.float64)
    logs = x - np.log(np.exp(x).sum(1, keepdims=True))
    ids, n = s["input_ids"], s["prompt_len"]
    losses.setdefault(s["task"], []).extend(-logs[t - 1, ids[t]] for t in range(n, len(ids)))
found = {s["task"]: s for s in map(json.loads, open("score.json"))}
for task, x in losses.items():
    assert abs(found[task]["loss"] - np.mean(x)) < 1e-5 * np.mean(x), task
END
}

# few CASE: few/chart and few/ocr, a folder of samples for each task, which the samples do not name
few() {
    for task in chart ocr; do
        mkdir -p "few/$task"
        sed -n "s/\"task\":\"$task\",//p" "$1/samples.jsonl" >"few/$task/samples.jsonl"
        ln -s "$1/tensors.safetensors" "few/$task"
    done
}

@test "the default task of samples is the name of their folder" {
    M=$MODELS/grad/internvl
    few "$M"
    sed -i 's/"input_ids"/"prompt_len": 4, "input_ids"/' few/*/samples.jsonl
    score "$M/base" --samples few/chart/ --samples few/ocr --json |
        /usr/bin/python3 -c 'import json, sys; print(*(json.loads(line)["task"] for line in sys.stdin))' >tasks
    [ "$(cat tasks)" = "chart ocr None" ]
    cd few/ocr
    score "$M/base" --samples . --json | grep -c '"ocr"'
}

@test "the pipeline of calibrate's page, from the samples on" {
    M=$MODELS/grad/internvl
    few "$M"
    ln -s "$M/base" .
    ln -s "$M/expert1" chart
    ln -s "$M/expert2" ocr
    sed -n '/^\.Ss Images/,/^\.Ed/{/^\./d; s/\\-/-/g; p}' "$ROOT/share/man/calibrate.1" |
        sed -n '/^tv-extract/,$p' >line
    [ "$(wc -l <line)" = 3 ]
    bash -euo pipefail line
    check merged >/dev/null
    tv-extract base merged | stats --summary | grep -c merged
    not tv-diff --quiet merged base
    # one folder for both tasks, which the samples name
    tv-extract base chart ocr |
        calibrate --base base --expert chart --expert ocr --samples "$M" | combine |
        pack --base base together
    tv-diff --tolerance 1e-5 merged together
}

@test "experts whose vision tower equals the base's compute the same as with the base's" {
    for case in "$MODELS"/grad/qwen2vl "$MODELS"/grad/internvl; do
        rm -rf frozen && mkdir frozen
        cp "$case"/*.json* "$case/tensors.safetensors" frozen
        ln -s "$case/base" frozen
        for expert in expert1 expert2; do
            tv-extract "$case/base" "$case/$expert" |
                pick --drop '/vision_model.*' '/visual.blocks.*' '/visual.patch_embed.*' |
                pack --base "$case/base" "frozen/$expert"
        done
        for files in '' "--expert=frozen/expert1 --expert=frozen/expert2"; do
            # shellcheck disable=SC2086
            learn frozen $files && mv g own
            # shellcheck disable=SC2086
            learn frozen --teacher-vision base $files
            cmp own g
        done
    done
}
