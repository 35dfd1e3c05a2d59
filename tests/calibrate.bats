#!/usr/bin/env bats
# Expert Merging against golden runs, in pipelines, and its errors.
load common
load lesson
load refusals

RUNS=$GOLDEN/expert-merging/golden FAMILY=$GOLDEN/expert-merging/t1
TINY=$GOLDEN/models/grad/mistral
export PYTHONDONTWRITEBYTECODE=1

# The stream of the demo's experts, named after their tasks; a tiny one.
setup_file() {
    cd "$BATS_FILE_TMPDIR" || exit 1
    tv-extract "$DEMO/base" rev="$DEMO/expert-rev" sort="$DEMO/expert-sort" shift="$DEMO/expert-shift" >demo.tvs
    tv-extract "$TINY/base" "$TINY/expert1" "$TINY/expert2" >tiny.tvs
}

setup() {
    own_folder
    DEMO_STREAM=$BATS_FILE_TMPDIR/demo.tvs
    export REFUSED_BY=calibrate # behind demo and tiny
    cp "$BATS_FILE_TMPDIR/tiny.tvs" .
    printf '{"task": "expert%d", "input_ids": [%s], "prompt_len": 2}\n' \
        1 "1, 5, 9, 2, 7" 1 "3, 4, 8, 40" 2 "12, 4, 6" 2 "90, 2, 33, 1, 1, 7" >tiny.jsonl
}

SAMPLES=()
for task in rev sort shift; do SAMPLES+=(--samples "$FAMILY/calib/$task.jsonl"); done

# demo OPTION...: calibrates the demo's experts
demo() {
    calibrate --base "$DEMO/base" "${SAMPLES[@]}" --threads 1 "$@" <"$DEMO_STREAM"
}

# tiny OPTION...: calibrates the tiny ones, from standard input
tiny() {
    calibrate --base "$TINY/base" --samples tiny.jsonl --threads 1 "$@"
}

# golden_run NAME MODELS OPTION...: losses, gradients and coefficients of a golden run
golden_run() {
    local run=$RUNS/$1.json models=$2
    [ -d "$models" ] || skip "only in the full golden data"
    tv-extract "$models/base" rev="$models/expert-rev" sort="$models/expert-sort" \
        shift="$models/expert-shift" >family.tvs
    set -- calibrate --base "$models/base" --preset paper "${SAMPLES[@]}" "${@:3}"
    "$@" --log log --coefficients table <family.tvs >out.tvs
    "$TESTS/calibrate.py" log "$run" log
    "$TESTS/calibrate.py" table "$run" table
    weigh --table table <family.tvs | tv-diff --quiet - out.tvs
    "$@" --dry-run --gradients init <family.tvs >out.tvs
    "$TESTS/calibrate.py" gradients "$run" at_init init
    "$TESTS/calibrate.py" probe "$run" >probe
    "$@" --dry-run --start probe --gradients at_probe <family.tvs >out.tvs
    "$TESTS/calibrate.py" gradients "$run" at_probe at_probe
}

# bats test_tags=slow
@test "golden: defaults, bf16 models" {
    golden_run em-default-bf16 "$FAMILY/models-bf16"
}

@test "golden: defaults" {
    golden_run em-default "$FAMILY/models"
}

# bats test_tags=slow
@test "golden: 16 samples a task, 5 epochs" {
    golden_run em-s16-e5 "$FAMILY/models" --per-task 16 --epochs 5
}

# bats test_tags=slow
@test "golden: temperature 2, hidden loss at every layer's output" {
    golden_run em-t2-all "$FAMILY/models" --temperature 2 --hidden-layers all --epochs 2
}

@test "golden: Expert Merging++" {
    golden_run empp "$FAMILY/models" --plus-plus --budget 2 --epochs 2 --first-epochs 1
}

# exact_match FOLDER: mean over the tasks, in per cent
exact_match() {
    local samples=()
    for task in rev sort shift; do samples+=(--samples "$FAMILY/eval/$task.jsonl"); done
    score "$1" "${samples[@]}" --json |
        /usr/bin/python3 -c 'import json, sys
print(100 * [json.loads(line) for line in sys.stdin][-1]["exact_match"])'
}

# between LOW X HIGH
between() {
    awk -v low="$1" -v x="$2" -v high="$3" 'BEGIN { exit !(low <= x && x <= high) }' || wrong "$2"
}

# bats test_tags=slow
@test "exact match on the trained models: the published settings, and better by default" {
    touch .err
    [ -d "$FAMILY/models" ] || skip "only in the full golden data"
    M=$FAMILY/models
    tv-extract "$M/base" rev="$M/expert-rev" sort="$M/expert-sort" shift="$M/expert-shift" >family.tvs
    while read -r low high options; do
        # shellcheck disable=SC2086
        calibrate --base "$M/base" "${SAMPLES[@]}" $options <family.tvs | combine |
            pack --base "$M/base" --force merged
        between "$low" "$(exact_match merged)" "$high"
    done <<'END'
70.3 73.3 --preset paper
79.0 82.0 --preset paper --init 0.5
81.0 87.0 --preset paper --init 0.5 --gamma 0.05 --epochs 5
61.8 64.8 --preset paper --plus-plus
86.3 100
89.5 100 --plus-plus
END
}

# bats test_tags=slow
@test "by default it learns from the responses, and beats every fixed coefficient" {
    touch .err
    demo --log log | combine | pack --base "$DEMO/base" merged
    [ "$(wc -l <log)" = 30 ]
    between 86 "$(exact_match merged)" 100
    rm -r merged
    tv-extract "$DEMO/base" "$DEMO"/expert-{rev,sort,shift} | combine | rescale 0.5 |
        pack --base "$DEMO/base" merged
    between 60 "$(exact_match merged)" 80
}

@test "the same coefficients from a saved stream, a pipe, a spool, tv run, and mapped experts" {
    demo --preset paper --coefficients expected >out.tvs
    # shellcheck disable=SC2002
    cat "$DEMO_STREAM" | calibrate --base "$DEMO/base" "${SAMPLES[@]}" --threads 1 --preset paper |
        cmp - out.tvs
    demo --preset paper --memory 64K --spool . | cmp - out.tvs
    files=(--expert rev="$DEMO/expert-rev" --expert sort="$DEMO/expert-sort"
        --expert shift="$DEMO/expert-shift")
    demo --preset paper "${files[@]}" --coefficients mapped >mapped.tvs
    cmp mapped expected
    line="tv-extract $DEMO/base rev=$DEMO/expert-rev sort=$DEMO/expert-sort shift=$DEMO/expert-shift"
    line+=" | calibrate --base $DEMO/base ${SAMPLES[*]} --threads 1 --preset paper"
    tv run "$line" | cmp - out.tvs
    tv run "$line ${files[*]}" | cmp - mapped.tvs
}

# initial OPTION...: the initial coefficients of a stream on standard input
initial() {
    tiny --expert "$TINY/expert1" --expert "$TINY/expert2" --dry-run --coefficients initial.tsv "$@" >out.tvs
    awk 'NR > 1 && $4 != 0 { printf "%.4g\n", $4 }' initial.tsv | sort -u | paste -sd ' '
}

# bats test_tags=products
@test "after swudi the coefficients start at 1 and are bounded by 2, unless an option says otherwise" {
    swudi <tiny.tvs >cleaned.tvs
    [ "$(initial <cleaned.tvs)" = 1 ]
    [ "$(join-streams <(pick expert1 <cleaned.tvs) <(pick expert2 <cleaned.tvs) | initial)" = 1 ]
    [ "$(initial --preset fast <cleaned.tvs)" = 1 ]
    [ "$(initial --init 0.3 <cleaned.tvs)" = 0.3 ]
    [ "$(initial --range 1 <cleaned.tvs)" = 0.5 ]
    [ "$(initial --range 3 <cleaned.tvs)" = 1 ]
    [ "$(initial --preset paper <cleaned.tvs)" = 0.3 ]
    [ "$(initial <tiny.tvs)" = 0.5 ]
    [ "$(initial --preset fast <tiny.tvs)" = 0.5 ]
    tiny --expert "$TINY/expert1" --expert "$TINY/expert2" --lr 3 --coefficients table <cleaned.tvs >out.tvs
    awk 'NR > 1 && $4 > most { most = $4 } END { exit !(most > 1.3 && most < 2) }' table
}

# bats test_tags=products
@test "a model that is merged with swudi is no cleaned task vector" {
    swudi <tiny.tvs | combine | pack --base "$TINY/base" expert2
    tv-extract "$TINY/base" "$TINY/expert1" expert2 >other.tvs
    tiny --dry-run --coefficients table <other.tvs >out.tvs
    [ "$(awk 'NR > 1 && $4 != 0 { print $4 }' table | sort -u)" = 0.5 ]
}

# bats test_tags=products
@test "where a filter has changed the vectors, tv run takes the models of tv-extract as teachers" {
    experts=(--expert "$TINY/expert1" --expert "$TINY/expert2")
    swudi <tiny.tvs | tiny "${experts[@]}" >expected.tvs 2>warnings
    [ ! -s warnings ]
    line="tv-extract $TINY/base $TINY/expert1 $TINY/expert2 | swudi"
    line+=" | calibrate --base $TINY/base --samples tiny.jsonl --threads 1"
    tv run --threads 1 "$line" 2>warnings | cmp - expected.tvs
    tv run --threads 1 "$line ${experts[*]}" | cmp - expected.tvs
    [ ! -s warnings ]
    swudi <tiny.tvs | tiny --expert "$TINY/expert1" 2>warnings >own.tvs
    not cmp -s own.tvs expected.tvs
    grep -q "^calibrate: warning: swudi has changed .* teacher of expert2 (use --expert" warnings
    [ "$(wc -l <warnings)" = 1 ]
    weigh 1 <tiny.tvs | pick expert1 expert2 | tiny 2>warnings >out.tvs
    [ ! -s warnings ]
    trim --density 0.5 <tiny.tvs | weigh 1 | tiny 2>warnings >out.tvs
    grep -q "trim has changed .* teacher of expert1, expert2 (use --expert" warnings
}

# bats test_tags=products,slow
@test "a saved stream is read in its file, BF16 vectors are stored in BF16, all with the same result" {
    files=(--expert rev="$DEMO/expert-rev" --expert sort="$DEMO/expert-sort" --expert shift="$DEMO/expert-shift")
    few() { calibrate --base "$DEMO/base" "${SAMPLES[@]}" "${files[@]}" --threads 1 --preset fast --per-task 2 "$@"; }
    for wire in f32 bf16; do
        tv-extract --wire "$wire" "$DEMO/base" rev="$DEMO/expert-rev" sort="$DEMO/expert-sort" \
            shift="$DEMO/expert-shift" | swudi >cleaned.tvs
        few <cleaned.tvs >expected.tvs
        few --memory 4M --spool nowhere <cleaned.tvs | cmp - expected.tvs
        line="calibrate --base $DEMO/base ${SAMPLES[*]} ${files[*]} --preset fast --per-task 2"
        tv run --threads 1 "$line" <cleaned.tvs | cmp - expected.tvs
        # shellcheck disable=SC2002
        cat cleaned.tvs | few | cmp - expected.tvs
        # shellcheck disable=SC2002
        cat cleaned.tvs | few --memory 64K --spool . | cmp - expected.tvs
        zstd -q -f cleaned.tvs -o cleaned.zst
        few <cleaned.zst | cmp - expected.tvs
        not few --memory 4M --spool nowhere < <(cat cleaned.tvs) >out.tvs 2>message
        grep -q nowhere message
    done
    tv-view --values tiny.tvs | grep -v '^step\|^  ' |
        awk '/^tensor .*embed/ { on = 1 } on && /^vector/ { print; getline; $1 = "nan"; on = 0 } 1' |
        from-text --allow-nonfinite >nan.tvs
    for message in file pipe; do
        if [ $message = file ]; then not tiny <nan.tvs 2>$message; else not tiny < <(cat nan.tvs) 2>$message; fi
    done >out.tvs
    grep -q 'embed_tokens.weight of expert1 has a non-finite number at flat index 0' file
    cmp file pipe
    weigh 0.7 <tiny.tvs >weighed.tvs
    tiny --init stream <weighed.tvs >expected.tvs
    # shellcheck disable=SC2002
    cat weighed.tvs | tiny --init stream | cmp - expected.tvs
    { echo; cat tiny.tvs; } >behind
    { read -r; tiny; } <behind >out.tvs
    tiny <tiny.tvs | cmp - out.tvs
}

# bats test_tags=products
@test "--loss entropy needs no teachers and makes the merged model more certain" {
    swudi <tiny.tvs >cleaned.tvs
    tiny --loss entropy --epochs 3 --log log <cleaned.tvs >out.tvs 2>warnings
    [ ! -s warnings ]
    tiny --loss entropy --epochs 3 --expert "$TINY/expert1" --coefficients table <cleaned.tvs >expert.tvs
    digests <out.tvs >own && digests <expert.tvs | cmp - own
    /usr/bin/python3 - <<'END'
import json
losses = [json.loads(line) for line in open("log")]
assert all(l["mean_hidden"] == 0 for l in losses)
assert 0 < losses[-1]["mean_logit"] < losses[0]["mean_logit"], losses
END
    tiny --loss entropy --hidden-weight 1 <cleaned.tvs 2>warnings >out.tvs
    grep -q "teacher of expert1, expert2" warnings
}

@test "the number of threads changes nothing" {
    demo --preset paper >one.tvs
    demo --preset paper --threads 3 | cmp - one.tvs
}

@test "works between trim and elect-sign" {
    trim --density 0.3 <tiny.tvs | tiny --expert "$TINY/expert1" --expert expert2="$TINY/expert2" \
        --coefficients own | elect-sign | combine | pack --base "$TINY/base" merged
    check merged
    trim --density 0.3 <tiny.tvs | tiny --coefficients trimmed >out.tvs # base + trimmed task vector is the teacher
    not cmp -s own trimmed
    tv-view out.tvs | grep '2. trim --density=0.3' >line
    trim --density 0.3 <tiny.tvs | digests | grep -v '^vector' >before
    digests <out.tvs | grep -v '^vector' | cmp - before
}

@test "tensors that keep the base's values have weight 0; --keep-base chooses them" {
    tiny <tiny.tvs | digests | awk '/^tensor/ { t = $2 } /^vector/ { print t, $NF }' >found
    [ "$(grep -cE '(norm|embed|lm_head).* weight=0$' found)" = 18 ]
    grep -vE '(norm|embed|lm_head)' found >learned
    not grep -q 'weight=0$' learned
    tiny --keep-base '*mlp*' <tiny.tvs | digests | awk '/^tensor/ { t = $2 } /^vector/ { print t, $NF }' >found
    [ "$(grep -c 'weight=0$' found)" = 18 ]
    grep -v mlp found >learned
    not grep -q 'weight=0$' learned
    tiny --keep-base '' --dry-run <tiny.tvs | digests >found
    not grep -q 'weight=0$' found
    tiny --keep-base none --dry-run <tiny.tvs 2>said | digests | cmp - found
    grep -q -- "--keep-base none matches no tensor" said
}

@test "one coefficient per layer, or for the whole model" {
    tiny --per layer --coefficients table <tiny.tvs >out.tvs
    [ "$(grep -v 'norm\|embed\|lm_head' table | tail -n +2 | cut -f 2,4 | sort -u | wc -l)" = 6 ]
    tiny --per model --coefficients table <tiny.tvs >out.tvs
    [ "$(grep -v 'norm\|embed\|lm_head' table | tail -n +2 | cut -f 2,4 | sort -u | wc -l)" = 2 ]
}

# bats test_tags=slow
@test "initial coefficients from the stream's weights, a table, or a search" {
    tiny --dry-run <tiny.tvs | digests >half
    weigh 0.5 <tiny.tvs | tiny --init stream --dry-run | digests | cmp - half
    tiny --init 0.4 --init expert2=0.7 --dry-run --coefficients table <tiny.tvs >out.tvs
    [ "$(grep q_proj table | cut -f 2,4 | sort -u)" = "$(printf 'expert1\t0.4\nexpert2\t0.7')" ]
    tiny --start table --dry-run <tiny.tvs | digests >found
    digests <out.tvs | cmp - found
    tiny --init auto --dry-run --coefficients auto --gradients g <tiny.tvs >out.tvs
    best=$(grep q_proj auto | head -1 | cut -f 4)
    for init in 0.1 0.3 0.5 0.7 0.9; do
        tiny --init "$init" --dry-run --gradients other <tiny.tvs >out.tvs
        /usr/bin/python3 - g other <<'END'
import json, sys
a, b = (json.load(open(f)) for f in sys.argv[1:])
assert a["mean_hidden"] + a["mean_logit"] <= b["mean_hidden"] + b["mean_logit"] + 1e-9
END
    done
    between 0 "$best" 1
}

@test "the log is no stream if standard output is closed" {
    status=0
    tiny --dry-run --log log <tiny.tvs >&- 2>.err || status=$?
    [ "$status" -eq 1 ]
    one_sentence calibrate
    [ "$(grep -ac TVS1 log)" -eq 0 ]
}

@test "--dry-run logs the initial losses, without gradients" {
    tiny --dry-run --log log --gradients g <tiny.tvs >out.tvs
    tiny --dry-run --log alone <tiny.tvs | cmp - out.tvs
    cmp log alone
    /usr/bin/python3 - <<'END'
import json
line, g = json.load(open("log")), json.load(open("g"))
assert list(line) == ["update", "epoch", "samples", "mean_hidden", "mean_logit", "mean_reg", "alpha"], line
assert line["update"] == 0 and line["samples"] == 4
assert abs(line["mean_hidden"] - g["mean_hidden"]) < 1e-9 and abs(line["mean_logit"] - g["mean_logit"]) < 1e-9
END
}

@test "coefficients above 1" {
    tiny --range 2 --init 1.9 --epochs 1 --coefficients table <tiny.tvs >out.tvs
    cut -f 4 table | awk '$1 > 1.5 { n++ } END { exit !n }'
    refused_with "--init" tiny --range 0.4 <tiny.tvs
}

# bats test_tags=slow
@test "an interrupted run continues from its state" {
    demo --log whole --coefficients expected >out.tvs
    (
        calibrate --base "$DEMO/base" "${SAMPLES[@]}" --threads 1 --log part --resume state \
            <"$DEMO_STREAM" >/dev/null &
        until [ -e part ] && [ "$(wc -l <part)" -ge 7 ]; do sleep 0.01; done
        kill -KILL $!
        wait $!
    ) 2>/dev/null || true
    [ -e state ] && [ "$(wc -l <part)" -lt 30 ]
    demo --log part --resume state --coefficients found >out.tvs
    cmp found expected
    demo --resume state --coefficients found >out.tvs # the run is complete
    cmp found expected
    refused_with "different inputs or options" demo --resume state --epochs 3
    demo --plus-plus --epochs 2 --coefficients expected >out.tvs
    demo --plus-plus --epochs 2 --resume plus --coefficients found >out.tvs
    cmp found expected
    demo --plus-plus --epochs 2 --resume plus --coefficients found >out.tvs
    cmp found expected
}

@test "a damaged state is rejected" {
    tiny --epochs 1 --resume state <tiny.tvs >out.tvs
    cp state good
    tiny --epochs 1 --resume state <tiny.tvs | cmp - out.tvs
    sed 's/"epoch":1/"epoch":0/' good >state
    refused_with "damaged" tiny --epochs 1 --resume state <tiny.tvs
    head -c -2 good >state
    refused_with "damaged" tiny --epochs 1 --resume state <tiny.tvs
    echo '[]' >state
    refused_with "not a file that" tiny --epochs 1 --resume state <tiny.tvs
    : >state
    refused_with "not a file that" tiny --epochs 1 --resume state <tiny.tvs
}

@test "a damaged table is rejected, an edited one without its checksum is not" {
    tiny --dry-run --coefficients table <tiny.tvs >out.tvs
    weigh --table table <tiny.tvs >out.tvs
    sed '3s/.$/7/' table >changed
    REFUSED_BY=weigh refused_with "truncated or edited" weigh --table changed <tiny.tvs
    head -n -1 table >short
    REFUSED_BY=weigh refused_with "truncated or edited" weigh --table short <tiny.tvs
    refused_with "truncated or edited" tiny --start short <tiny.tvs
    sed '1s/\txxh3:.*//; 3s/.$/7/' table >edited
    weigh --table edited <tiny.tvs >out.tvs
    sed '1s/.*/# mine/' table >edited
    weigh --table edited <tiny.tvs >out.tvs
    sed 's/$/\r/' table >edited # by an editor that keeps the contents
    weigh --table edited <tiny.tvs >out.tvs
}

@test "a log that cannot be written is an error" {
    refused_with "cannot write /dev/full: No space left" tiny --dry-run --log /dev/full <tiny.tvs
    refused_with "cannot write /dev/full: No space left" tiny --epochs 1 --log /dev/full <tiny.tvs
}

@test "--validate selects the coefficients by the samples held out" {
    demo --validate 4 --epochs 3 --log log --coefficients table >out.tvs
    /usr/bin/python3 - <<'END'
import json
lines = [json.loads(line) for line in open("log")]
held = [l["validation_hidden"] + l["validation_logit"] for l in lines if "validation_logit" in l]
assert len(held) == 4 and min(held[1:]) < held[0], held
best = held.index(min(held))
updates = [l for l in lines if l.get("epoch") == best and "alpha" in l]
table = {}
for line in open("table").read().splitlines()[1:]:
    tensor, model, chunk, value = line.split("\t")
    table.setdefault(tensor, []).append([float(value)])
for tensor, alpha in updates[-1]["alpha"].items():
    assert table[tensor] == alpha, (tensor, table[tensor], alpha)
END
}

# The first token's state has an outlier in one channel, of a different size in each model.
@test "an outlier at the first token does not dominate the hidden loss" {
    /usr/bin/python3 - "$DEMO" <<'END'
import json, struct, sys, shutil
for name, size in (("base", 3000), ("expert-rev", 3300)):
    shutil.copytree(f"{sys.argv[1]}/{name}", name)
    path = f"{name}/model.safetensors"
    data = bytearray(open(path, "rb").read())
    n, = struct.unpack("<Q", data[:8])
    at = 8 + n + json.loads(data[8:8 + n])["model.embed_tokens.weight"]["data_offsets"][0]
    at += 2 * (256 * 128 + 7)
    data[at:at + 2] = struct.pack("<f", size)[2:]
    open(path, "wb").write(data)
END
    tv-extract base rev=expert-rev >outlier.tvs
    for how in "skip-first 0" "skip-first 1" "hidden-norm token"; do
        # shellcheck disable=SC2086
        calibrate --base base "${SAMPLES[0]}" "${SAMPLES[1]}" --on all --skip-first 0 --${how/ /=} \
            --keep-base '*norm*' --keep-base '*embed*' --dry-run --gradients g <outlier.tvs >out.tvs
        /usr/bin/python3 -c 'import json; print(json.load(open("g"))["mean_hidden"])'
    done >found
    /usr/bin/python3 - <<'END'
plain, skipped, relative = (float(x) for x in open("found"))
assert plain > 10 * skipped and skipped > 0 and 0 < relative < 1, (plain, skipped, relative)
END
}

# bats test_tags=products
@test "the scripts expert_merging, expert_merging_pp and swudi_expert_merging run the documented pipelines" {
    ln -s "$DEMO"/{base,expert-rev,expert-sort} .
    options=(--samples "$FAMILY/calib/rev.jsonl" --samples "$FAMILY/calib/sort.jsonl"
        --task rev=expert-rev --task sort=expert-sort --epochs 1 --gamma 0.1)
    for script in expert_merging swudi_expert_merging expert_merging_pp; do
        clean=cat plus=() own=()
        case $script in
        swudi_*) clean=swudi plus=(--plus-plus --budget 2) own=("${plus[@]}") ;;
        *_pp) plus=(--plus-plus) ;;
        esac
        "$ROOT/pipelines/$script" "${own[@]}" "${options[@]}" --preset paper --coefficients table --out-dtype float32 \
            base expert-rev expert-sort out
        tv-extract base expert-rev expert-sort | $clean |
            calibrate "${plus[@]}" --base base --preset paper --expert expert-rev --expert expert-sort \
                "${options[@]}" | combine | pack --base base --dtype float32 expected
        cmp out/model.safetensors expected/model.safetensors
        grep -q expert-sort table
        rm -r out expected
    done
}

@test "tasks: named in the samples, mixed in a file, assigned with --task" {
    cut -d, -f 2- tiny.jsonl | sed 's/^/{/' >expert1.jsonl
    sed 's/"expert/"task /' tiny.jsonl >named.jsonl
    tiny --preset paper --coefficients expected <tiny.tvs >out.tvs
    calibrate --base "$TINY/base" --samples named.jsonl --task "task 1=expert1" --task "task 2=expert2" \
        --preset paper --threads 1 --coefficients found <tiny.tvs >out.tvs
    cmp found expected
    head -2 tiny.jsonl >one.jsonl
    refused_with "there are no samples for expert2" \
        calibrate --base "$TINY/base" --samples one.jsonl <tiny.tvs
    refused_with "named.jsonl, line 1: there is no expert task 1" tiny --samples named.jsonl <tiny.tvs
    refused_with "there is no expert expert3" tiny --task rev=expert3 <tiny.tvs
}

@test "reports the line of a bad sample" {
    echo '{"input_ids": [1, 97], "task": "expert1"}' >bad.jsonl
    refused_with "bad.jsonl, line 1: token id 97 at position 1 is outside" tiny --samples bad.jsonl <tiny.tvs
    echo '{"input_ids": [1, 9], "prompt_len": 2, "task": "expert1"}' >bad.jsonl
    refused_with "bad.jsonl, line 1: the sample has no response after its prompt" tiny --samples bad.jsonl \
        --per-task 9 <tiny.tvs
    tiny --samples bad.jsonl --per-task 9 --on all <tiny.tvs >out.tvs
    refused_with "has 2 samples" tiny --validate 2 <tiny.tvs
}

@test "rejects weights that would be lost, other bases, and unsuitable models" {
    refused_with "a weight other than 1, which would be lost" tiny < <(weigh 0.5 <tiny.tvs)
    refused_with "against another base" calibrate --base "$TINY/expert1" --samples tiny.jsonl <tiny.tvs
    calibrate --base "$TINY/expert1" --onto --samples tiny.jsonl --dry-run <tiny.tvs >out.tvs
    refused_with "has 4 layers" tiny --expert expert1="$DEMO/base" <tiny.tvs
    refused_with "no model none" tiny --expert none="$TINY/base" <tiny.tvs
    refused_with "contains weights" tiny < <(unpack "$TINY/base")
    refused_with "there is no tensor to merge" tiny --keep-base '*' <tiny.tvs
    refused_with "not between 0 and 1" tiny --init stream <tiny.tvs
}

@test "a failed run leaves no table behind" {
    refused_with "the stream has no model none" tiny --coefficients table --expert none="$TINY/base" <tiny.tvs
    refused_with "the stream has no model none" tiny --expert none=nowhere <tiny.tvs
    refused_with "there are no samples of the task none" tiny --task none=expert1 <tiny.tvs
    refused tiny --coefficients table < <(head -c 20000 tiny.tvs)
    refused tiny --coefficients nowhere/table <tiny.tvs
    refused_with "No space left" tiny --coefficients /dev/full <tiny.tvs
}

@test "refuses bad streams" {
    GOOD=tiny.tvs refuses_bad_streams tiny --dry-run
}

@test "refuses bad outputs" {
    GOOD=tiny.tvs refuses_bad_output \
        calibrate --base "$TINY/base" --samples tiny.jsonl --dry-run
}

@test "side outputs replace only what the same option wrote, and a log nothing" {
    cp -r "$TINY/base" base
    cp tiny.jsonl samples.jsonl
    cp -r base samples.jsonl "$(mkdir kept && echo kept)"
    unchanged() { diff -r base kept/base && cmp samples.jsonl kept/samples.jsonl; }
    for option in --coefficients --log --resume "--dry-run --gradients"; do
        for file in base/model.safetensors base/config.json samples.jsonl; do
            # shellcheck disable=SC2086
            refused_with "cannot write $file: it exists" tiny --epochs 1 $option $file <tiny.tvs
            unchanged
        done
    done
    tiny --epochs 1 --coefficients table --log log <tiny.tvs >out.tvs
    cp table log kept
    refused_with "cannot write log: it exists and is not empty" tiny --epochs 1 --log log <tiny.tvs
    refused tiny --epochs 1 --coefficients table < <(head -c 20000 tiny.tvs)
    cmp table kept/table && cmp log kept/log
    tiny --epochs 2 --coefficients table <tiny.tvs >out.tvs # its own
    not cmp -s table kept/table
    touch empty
    tiny --epochs 1 --log empty --coefficients empty.table <tiny.tvs >out.tvs
    cmp empty log
    for both in "--log x --coefficients x" "--log x --resume ./x" "--dry-run --log x --gradients $PWD/x"; do
        # shellcheck disable=SC2086
        usage_error calibrate --base base --samples samples.jsonl $both
    done
    tiny --epochs 1 --log /dev/null --coefficients /dev/null <tiny.tvs >out.tvs
}

@test "a table or a report of gradients that was edited or continued is not replaced" {
    tiny --dry-run --coefficients table --gradients gradients <tiny.tvs >out.tvs
    tiny --epochs 1 --resume state <tiny.tvs >out.tvs
    cp table gradients state "$(mkdir -p whole && echo whole)"
    edited() { # OPTION FILE
        cp "$2" kept
        refused_with "cannot write $2: it exists and is not a file that this option wrote" tiny --dry-run "$1" "$2" <tiny.tvs
        cmp "$2" kept
        cp "whole/$2" "$2"
    }
    for file in table gradients; do
        option=--gradients
        [ $file = gradients ] || option=--coefficients
        echo "my thesis" >>$file
        edited $option $file
        head -c -1 whole/$file >$file
        [ $file = gradients ] || edited $option $file
        head -c -20 whole/$file >$file
        edited $option $file
    done
    printf 'tensor\tmodel\tchunk\tvalue\txxh3:0\nmy thesis\n' >table
    edited --coefficients table
    sed -i 's/0\.5/0.6/' table
    edited --coefficients table
    sed -i 's/"mean_logit"/"thesis": 1, &/' gradients
    edited --gradients gradients
    tiny --dry-run --coefficients table --gradients gradients <tiny.tvs >out.tvs
}

@test "a table that the run reads is not replaced" {
    tiny --dry-run --coefficients table <tiny.tvs >out.tvs
    cp table kept
    for run in 'weigh --table table | tiny --init stream --dry-run --coefficients table' \
        'tiny --start table --dry-run --coefficients table'; do
        piped() { eval "$run"; }
        refused_with "cannot write table: it is an input of this run" piped <tiny.tvs
        cmp table kept
    done
    refused_with "cannot write table: it is an input of this run" tv run \
        "weigh --table table | calibrate --base $TINY/base --samples tiny.jsonl --init stream --dry-run --coefficients table" <tiny.tvs
    cmp table kept
    tiny --start table --dry-run --coefficients other <tiny.tvs >out.tvs
}

@test "a side output is not the standard output that carries the stream" {
    local text="is the standard output, which carries the stream"
    ln -s /proc/self/fd/1 out
    ln -s /dev/fd/3 three
    for option in --log --coefficients --gradients; do
        for path in /dev/stdout out three s.tvs ./s.tvs; do
            rm -f s.tvs
            into() { tiny --dry-run "$option" "$1" <tiny.tvs 3>s.tvs >&3; }
            REFUSED_BY=calibrate usage_error_with "$option: $path $text" into $path
            not grep -q expert1 s.tvs
        done
    done
    mkfifo fifo
    exec 7<>fifo
    # shellcheck disable=SC2094 # the same on purpose
    fifo() { tiny --dry-run --log fifo <tiny.tvs >fifo; }
    REFUSED_BY=calibrate usage_error_with "$text" fifo
    exec 7<&-
    calibration="calibrate --base $TINY/base --samples tiny.jsonl --dry-run"
    for run in "$calibration --log /dev/stdout" "$calibration --log out | combine" "$calibration --log out | cat"; do
        piped() { tv run "$run" <tiny.tvs >s.tvs; }
        REFUSED_BY=calibrate usage_error_with "$text" piped
    done
    tv run "$calibration --log /dev/stdout | combine | pack --base $TINY/base packed" <tiny.tvs >log
    grep -q mean_hidden log
    tiny --dry-run --log three <tiny.tvs 3>log >s.tvs
    grep -q mean_hidden log
    tiny --dry-run --log /dev/null <tiny.tvs >/dev/null
}

@test "usage" {
    usage_error calibrate
    usage_error calibrate --base base
    usage_error calibrate --base base --samples s --gamma -1
    for option in per-task accumulation t0 tmult; do
        usage_error_with "--$option must be at least 1, found 0" calibrate --base base --samples s --$option 0
    done
    usage_error_with "--gradients needs --dry-run" calibrate --base base --samples s --gradients g
    usage_error calibrate --base base --samples s --lr 0
    usage_error calibrate --base base --samples s --temperature 0
    usage_error calibrate --base base --samples s --preset worst
    usage_error calibrate --base base --samples s operand
    for wrong in "--init 2" "--init 0" "--init 0.5 --init math=-1" "--init 1 --preset paper" "--init 1 --range 1" \
        "--init auto --init 0.5" "--hidden-layers x" "--hidden-layers 1," "--hidden-layers 0,,4"; do
        # shellcheck disable=SC2086
        usage_error calibrate --base base --samples s $wrong
    done
    for wrong in "--init 1.5" "--init auto --init 0.5" "--hidden-layers 4" "--hidden-layers 1," \
        "--accumulation 0" "--plus-plus --per layer" "--gradients g" "--start tiny.jsonl" "--task x" \
        "--expert x" "--dry-run --resume state"; do
        # shellcheck disable=SC2086
        refused tiny $wrong <tiny.tvs
    done
}
