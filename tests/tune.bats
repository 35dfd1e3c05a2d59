#!/usr/bin/env bats
# tv tune: the numbers of a pipeline with the lowest loss on samples.
load common
load refusals

setup() {
    own_folder
    ln -s "$DEMO"/{base,expert-rev,expert-sort,expert-shift} .
    head -n 4 "$DEMO/calib/rev.jsonl" >rev.jsonl
    head -n 4 "$DEMO/calib/sort.jsonl" >sort.jsonl
}

SOURCE='tv-extract base rev=expert-rev sort=expert-sort'
PACK='pack --base base merged'
SUM="$SOURCE | combine | rescale {lambda:0.2..1.2} | $PACK"
TIES="$SOURCE | trim --density {density:0.1..1} | elect-sign | combine --normalize=agreeing |
    rescale {lambda:0.3..1.5} | $PACK"

# tune PIPELINE OPTION...: with the samples, without notes
tune() {
    tv tune "$1" --samples rev.jsonl --samples sort.jsonl --quiet "${@:2}"
}

# lowest_line FILE COLUMN: the line of the table with the lowest number in that column
lowest_line() {
    sed '/^$/,$d; 1d' "$1" | sort -g -t $'\t' -k "$2" | head -n 1
}

@test "a table, and the pipeline with the numbers of the lowest loss" {
    tune "$TIES" --budget 8 >found
    [ "$(head -n 1 found)" = "evaluation"$'\t'"density"$'\t'"lambda"$'\t'"loss"$'\t'"hidden"$'\t'"logits" ]
    sed '/^$/,$d; 1d' found | awk -F '\t' '
        $1 != NR || $2 < 0.1 || $2 > 1 || $3 < 0.3 || $3 > 1.5 || ($4 - $5 - $6) ^ 2 > 1e-12 { exit 1 }
        END { if (NR != 8) exit 1 }'
    IFS=$'\t' read -r _ density lambda _ < <(lowest_line found 4)
    sed -n '/^The lowest loss:$/,$p' found | sed 1,2d >pipeline
    diff - pipeline <<END
    tv-extract base rev=expert-rev sort=expert-sort |
        trim --density $density |
        elect-sign |
        combine --normalize=agreeing |
        rescale $lambda |
        pack --base base merged
END
    [ ! -e merged ]
    tv run "$(<pipeline)"
    check merged
}

@test "the loss is that of calibrate" {
    # without pack's rounding to BF16, which calibrate does not know of
    tune "$SOURCE | weigh {w:0.2..0.9} | combine | $PACK --dtype=float32" --budget 3 --on all --hidden-layers 1,3 \
        --hidden-weight 2 --logit-weight 0.5 >found
    while IFS=$'\t' read -r _ w loss hidden logits; do
        $SOURCE | calibrate --dry-run --base base --samples rev.jsonl --samples sort.jsonl --init "$w" \
            --keep-base nothing --on all --hidden-layers 1,3 --hidden-weight 2 --logit-weight 0.5 \
            --expert rev=expert-rev --expert sort=expert-sort --gradients losses >/dev/null 2>&1
        /usr/bin/python3 - "$loss" "$hidden" "$logits" <<'END'
import json, sys
loss, hidden, logits = map(float, sys.argv[1:])
g = json.load(open("losses"))
assert abs(g["mean_hidden"] - hidden) < 1e-5 * hidden, (g["mean_hidden"], hidden)
assert abs(g["mean_logit"] - logits) < 1e-5 * logits, (g["mean_logit"], logits)
END
    done < <(sed '/^$/,$d; 1d' found)
}

@test "the loss of the answers is that of score" {
    tune "$SUM" --budget 3 --loss answers >found
    [ "$(head -n 1 found)" = "evaluation"$'\t'"lambda"$'\t'"loss"$'\t'"exact_match" ]
    while IFS=$'\t' read -r _ lambda loss exact; do
        $SOURCE | combine | rescale "$lambda" | pack --base base --force merged
        score merged --samples rev.jsonl --samples sort.jsonl --json >scores
        /usr/bin/python3 - "$loss" "$exact" <<'END'
import json, sys
loss, exact = map(float, sys.argv[1:])
mean = [json.loads(line) for line in open("scores")][-1]
assert abs(mean["loss"] - loss) < 1e-5
assert abs(mean["exact_match"] - exact) < 1e-5
END
    done < <(sed '/^$/,$d; 1d' found)
}

# The grid of densities and coefficients reaches 60.7 % (share/demo, 108 points picked on these
# prompts), the base 9.8 %.
@test "TIES, tuned without answers, comes close to the best of a labeled sweep" {
    tv tune "${TIES/sort=expert-sort/sort=expert-sort shift=expert-shift}" --quiet --budget 30 \
        --samples "$DEMO/calib/rev.jsonl" --samples "$DEMO/calib/sort.jsonl" --samples "$DEMO/calib/shift.jsonl" >found
    tv run "$(sed -n 's/^    //p' found)"
    score merged --json --samples "$DEMO/eval/rev.jsonl" --samples "$DEMO/eval/sort.jsonl" \
        --samples "$DEMO/eval/shift.jsonl" |
        /usr/bin/python3 -c 'import json, sys
mean = [json.loads(line) for line in sys.stdin][-1]
assert mean["exact_match"] > 0.54, mean'
}

@test "the same seed gives the same table, another seed another one" {
    tune "$TIES" --budget 9 >a
    tune "$TIES" --budget 9 --seed 0 >b
    cmp a b
    tune "$TIES" --budget 9 --seed 1 >c
    not cmp -s <(sed -n 2p a) <(sed -n 2p c)
}

@test "an interrupted run continues from its log" {
    tune "$TIES" --budget 9 --log whole >all
    sed '1d' whole | cmp - <(sed '/^$/,$d' all)
    tune "$TIES" --budget 4 --log log >/dev/null
    cmp log <(head -n 6 whole)
    tune "$TIES" --budget 9 --log log >continued
    cmp log whole
    cmp continued all
    # a finished one prints the result again
    tune "$TIES" --budget 9 --log log >again
    cmp again all
    cmp log whole
    # a line, or the title, that was cut
    for bytes in 0 20 40 $(($(stat -c %s whole) - 3)); do
        head -c "$bytes" whole >log
        tune "$TIES" --budget 9 --log log >continued
        cmp log whole
        cmp continued all
    done
    # the samples may not change, nor may the seed or the pipeline
    cp whole log
    for option in "--seed 1" "--per-task 3" "--on all" "--hidden-weight 0.5"; do
        # shellcheck disable=SC2086
        REFUSED_BY='tv tune' refused_with "log: this is the log of another run" tune "$TIES" --log log $option
    done
    REFUSED_BY='tv tune' refused_with "another run" tune "$SUM" --log log
    REFUSED_BY='tv tune' refused_with "is not a file that this option wrote" tune "$TIES" --log sort.jsonl
    sed -n 5,6p "$DEMO/calib/rev.jsonl" >>rev.jsonl
    REFUSED_BY='tv tune' refused_with "another run" tune "$TIES" --log log
    cmp log whole
}

@test "a log that is damaged stays as it is" {
    tune "$TIES" --budget 4 --log whole >/dev/null
    for edit in '4s/^/x/' '4s/\t[^\t]*/\t2/' '4s/$/\t1/' '4s/\t[^\t]*$//' '4d' '5s/[^\t]*$/nan/'; do
        sed "$edit" whole >log
        cp log before
        REFUSED_BY='tv tune' refused_with "is not one of tv tune" tune "$TIES" --log log --budget 5
        cmp log before
    done
    ln -s whole link
    REFUSED_BY='tv tune' refused_with link tune "$TIES" --log link
    mkdir folder
    REFUSED_BY='tv tune' refused_with folder tune "$TIES" --log folder
}

@test "a killed run leaves nothing but its log" {
    mkdir spool
    tune "$TIES" --budget 200 --log log --memory 64K --spool spool >/dev/null 2>&1 3>&- &
    pid=$!
    until [ "$(wc -l <log 2>/dev/null || echo 0)" -ge 5 ]; do sleep 0.05; done
    kill -KILL $pid
    wait $pid || true
    sleep 0.3
    [ -z "$(ls -A spool)" ] && [ ! -e merged ]
    written=$(($(wc -l <log) - 2))
    head -n $((written + 2)) log >before
    tune "$TIES" --budget $((written + 1)) --log log >/dev/null
    head -n $((written + 2)) log | cmp - before
}

@test "nothing is written, in memory or in an unlinked file" {
    mkdir spool merged
    touch merged/mine
    before=$(ls -R)
    tune "$TIES" --budget 3 >a
    tune "$TIES" --budget 3 --memory 64K --spool spool >b
    cmp a b
    [ "$(ls -R)" = "$before"$'\n'"a"$'\n'"b" ] || [ -e merged/mine ]
    [ -z "$(ls -A spool)" ] && [ "$(ls merged)" = mine ]
    tv tune "$SUM" --budget 1 --samples rev.jsonl --samples sort.jsonl 2>notes >/dev/null
    grep -q "the merged model, about 1.5 MB, is kept in memory" notes
    tv tune "$SUM --dtype float32" --budget 1 --samples rev.jsonl --samples sort.jsonl 2>notes >/dev/null
    grep -q "the merged model, about 3.0 MB, is kept in memory" notes
    tv tune "$SUM" --budget 1 --samples rev.jsonl --samples sort.jsonl --memory 64K --spool spool 2>notes >/dev/null
    grep -q "is kept in an unlinked file in spool and never written" notes
}

@test "whole numbers, logarithmic ranges, and a number that is used twice" {
    tune "$SOURCE | trim --density {d:0.001..1:log} | weigh 'rev/*mlp*={w:0.2..0.8}' sort={w} | combine |
        rescale {k:-1..2:int} | pack --base base merged" --budget 12 >found
    sed '/^$/,$d; 1d' found | awk -F '\t' '$4 != int($4) || $4 < -1 || $4 > 2 || $2 < 0.001 || $2 > 1 { exit 1 }
        $2 < 0.0316 { low++ } END { if (low < 2 || low > 10) exit 1 }'
    IFS=$'\t' read -r _ d w k _ < <(lowest_line found 5)
    grep -qF -- "trim --density $d |" found
    grep -qF -- "weigh 'rev/*mlp*=$w' sort=$w |" found
    grep -qF -- "rescale $k |" found
    # every point of a small range once
    tune "$SOURCE | combine | rescale {k:1..3:int} | $PACK" --budget 9 | sed '/^$/,$d; 1d' | cut -f 2 | sort >found
    diff found <(printf '%s\n' 1 2 3)
    # other braces are text
    tune "$SOURCE | awk 'BEGIN { system(\"cat\") }' | combine | rescale {l:0.5..1} | $PACK" --budget 1 >found
    grep -qF "BEGIN { system" found
}

# The expert itself has distance 0: its vision tower is merged, too.
@test "samples with images" {
    for case in qwen2vl internvl; do
        model=$GOLDEN/models/grad/$case
        tv tune "tv-extract $model/base $model/expert1 | combine | rescale {l:1..3:int} | pack --base $model/base x" \
            --samples "$model" --task chart=expert1 --task ocr=expert1 --on all --quiet >found
        sed '/^$/,$d; 1d' found | awk -F '\t' '
            $2 == 1 && $4 < 1e-6 { same = $3 } $2 > 1 { other[$2] = $3 }
            END { exit !(NR == 3 && same && other[2] > same && other[3] > other[2]) }'
    done
}

@test "experts are the models of the pipeline, or those of --expert" {
    tune "$SUM" --budget 2 >expected
    tune "unpack base rev=expert-rev sort=expert-sort | tv-extract | combine | rescale {lambda:0.2..1.2} | $PACK" \
        --budget 2 >found
    cmp <(head -n 3 expected) <(head -n 3 found)
    tune "join-streams <(tv-extract base rev=expert-rev) <(tv-extract base sort=expert-sort) | combine |
        rescale {lambda:0.2..1.2} | $PACK" --budget 2 >found
    cmp <(head -n 3 expected) <(head -n 3 found)
    $SOURCE >saved.tvs
    saved="join-streams saved.tvs | combine | rescale {lambda:0.2..1.2} | $PACK"
    tune "$saved" --budget 2 --expert rev=expert-rev --expert sort=expert-sort >found
    cmp <(head -n 3 expected) <(head -n 3 found)
    REFUSED_BY='tv tune' refused_with "name the experts with --expert" tune "$saved"
    tune "${SUM//=expert/=.\/expert}" --budget 2 --task rev=rev --task sort=sort >found
    cmp <(head -n 3 expected) <(head -n 3 found)
    tune "unpack rev=expert-rev sort=expert-sort | slerp --t {t:0..1} | pack --like base --dtype bfloat16 x" \
        --budget 2 >found
    [ "$(grep -c . found)" = 7 ]
}

@test "what an evaluation does again is noted" {
    tv tune "$SOURCE | tee seen | trim --scope model --density {d:0.1..1} | combine | $PACK" \
        --samples rev.jsonl --samples sort.jsonl --budget 2 2>notes >/dev/null
    grep -q "note: tee is not a filter of tvtools; each evaluation starts it again" notes
    grep -q "note: trim needs all of its input .* the output of tee is stored" notes
    tv tune "$SOURCE | trim --scope model --density {d:0.1..1} | combine | $PACK" \
        --samples rev.jsonl --samples sort.jsonl --budget 2 2>notes >/dev/null
    grep -q "note: trim needs all of its input .* twice" notes
    printf '%s\n' '#!/bin/sh' 'echo run >>runs' 'exec cat' >own
    chmod +x own
    tune "$SOURCE | ./own | combine | rescale {l:0.5..1} | $PACK" --budget 3 >/dev/null
    [ "$(wc -l <runs)" = 3 ]
}

@test "a stage that fails says why, in the first and in later evaluations" {
    REFUSED_BY=combine refused_with "standard input is empty" \
        tune "$SOURCE | true | combine | rescale {l:0.5..1} | $PACK"
    # warnings are shown once
    pipeline="$SOURCE | trim --density 0.5 --density 'rev/nothing={d:0.1..1}' | combine | $PACK"
    tune "$pipeline" --budget 3 2>warnings >/dev/null
    [ "$(grep -c 'matches no tensor' warnings)" = 1 ]
    printf '%s\n' '#!/bin/sh' 'echo run >>runs' '[ "$(wc -l <runs)" -lt 3 ] && exec cat' \
        'echo "own: the third time" >&2; exit 1' >own
    chmod +x own
    status=0
    tune "$SOURCE | ./own | combine | rescale {l:0.5..1} | $PACK" --log log >found 2>.err || status=$?
    [ "$status" = 1 ] && [ "$(grep -c '' log)" = 4 ] && [ "$(grep -c '' found)" = 3 ]
    grep -q '^own: the third time$' .err
    not grep -q 'lowest' found
}

@test "wrong placeholders, pipelines, samples and models are refused" {
    wrong_pipeline() {
        local status=0
        REFUSED_BY=${3:-tv tune} refused_with "$1" tune "$2" || return 1
        tune "$2" >.out 2>.err || status=$?
        [ "$status" = "${4:-2}" ] || wrong "exits with $status"
    }
    wrong_pipeline "the pipeline has no number to choose" "$SOURCE | combine | $PACK"
    wrong_pipeline "the pipeline has no number to choose" "$SOURCE | combine | rescale {lambda} | $PACK"
    wrong_pipeline "the low end must be below the high end" "${SUM/0.2..1.2/1.2..0.2}"
    wrong_pipeline "the low end must be below the high end" "${SUM/0.2..1.2/1..1}"
    wrong_pipeline "expected LOW..HIGH" "${SUM/0.2..1.2/0.2..x}"
    wrong_pipeline "expected LOW..HIGH" "${SUM/0.2..1.2/..1}"
    wrong_pipeline "expected LOW..HIGH" "${SUM/0.2..1.2/0.2}"
    wrong_pipeline "expected LOW..HIGH" "${SUM/0.2..1.2/0.2-1.2:log}"
    wrong_pipeline "expected LOW..HIGH" "${SUM/0.2..1.2/0.2..1:exp}"
    wrong_pipeline "a logarithmic range begins above 0" "${SUM/0.2..1.2/0..1:log}"
    wrong_pipeline "must be whole numbers" "${SUM/0.2..1.2/0.2..1:int}"
    wrong_pipeline "{lambda} has two ranges" "${SUM/combine/combine | rescale {lambda:1..2\}}"
    numbers=$(printf 'rescale {n%s:0..1} | ' 1 2 3 4 5 6 7 8 9 10 11)
    wrong_pipeline "more than 10 numbers" "$SOURCE | combine | $numbers $PACK"
    wrong_pipeline "the pipeline must end with pack" "${SUM% | pack*}"
    wrong_pipeline "the pipeline must end with pack" "${SUM/pack*/check}"
    wrong_pipeline "pack needs --base, --onto or --like" "${SUM/ --base base/}"
    wrong_pipeline "a quantized result cannot be measured" "${SUM% merged} --dtype q8_0 merged.gguf"
    wrong_pipeline "unterminated '" "$SUM '"
    wrong_pipeline "expected a number in [0, 1]" "${TIES/0.1..1/0.1..1.5}" trim
    wrong_pipeline "not-there is not a file" "${SUM/expert-rev/not-there}" '' 1
    wrong_pipeline "not-there" "${SUM/--base base/--base not-there}" '' 1
    wrong_pipeline "standard input is empty" "${SUM/tv-extract base/tv-extract -}" tv-extract 1
    for options in "--budget 0" "--per-task 0" "--loss answers --expert rev=expert-rev" "--loss x" \
        "--hidden-weight -1" "--seed x"; do
        # shellcheck disable=SC2086
        REFUSED_BY='tv tune' refused tune "$SUM" $options
    done
    REFUSED_BY='tv tune' usage_error_with "--hidden-layers: expected middle" tune "$SUM" --hidden-layers x
    # samples
    tune_on() { tv tune "$SUM" --quiet --budget 1 "$@"; }
    REFUSED_BY='tv tune' refused_with "there are no samples for sort" tune_on --samples rev.jsonl
    REFUSED_BY='tv tune' refused_with "there is no expert shift" tune_on --samples "$DEMO/calib/shift.jsonl"
    REFUSED_BY='tv tune' refused_with "--samples is required" tune_on
    echo '{"task": "rev", "text": "a word"}' >bad.jsonl
    REFUSED_BY='tv tune' refused_with "bad.jsonl, line 1: input_ids is missing" tune_on --samples bad.jsonl
    echo '{"task": "rev", "input_ids": []}' >bad.jsonl
    REFUSED_BY='tv tune' refused_with "bad.jsonl, line 1: input_ids is empty" tune_on --samples bad.jsonl
    echo '{"task": "rev", "input_ids": [1, 2]}' >bad.jsonl
    REFUSED_BY='tv tune' refused_with "prompt_len is missing" tune_on --samples bad.jsonl --loss answers
    # a model that no backbone can run
    mkdir odd
    cp base/model.safetensors odd
    echo '{"architectures": ["Other"], "model_type": "other"}' >odd/config.json
    REFUSED_BY='tv tune' refused_with "the architecture Other is not supported" tune "${SUM/--base base/--base odd}"
}

@test "a full disk and an output that is closed" {
    for redirect in '>/dev/full' '>&-'; do
        status=0
        bash -c "tv tune '$SUM' --samples rev.jsonl --samples sort.jsonl --quiet --budget 2 $redirect" 2>.err || status=$?
        [ "$status" = 1 ] && one_sentence "tv tune"
    done
    [ ! -e /dev/full ] || REFUSED_BY='tv tune' refused_with /dev/full tune "$SUM" --log /dev/full
    (ulimit -f 500 && REFUSED_BY=pack refused_with "" tune "$SUM" --memory 64K --spool .)
}

@test "help, and a page with the same options" {
    tv help tune >help
    sed -n 's/^  *\(--[a-z-]*\).*/\1/p' help | sort -u >options
    sed -n 's/^\.It Fl -\([a-z-]*\).*/--\1/p' "$ROOT/share/man/tv-tune.1" | sort -u >page
    diff <(grep -vxE -- '--(allow-nonfinite|help|usage|version)' options) <(grep -vx -- --help page)
}
