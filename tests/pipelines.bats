#!/usr/bin/env bats
# Each script in pipelines/ writes the same bytes as the pipeline that it consists of.
load common
load lesson
load refusals

setup() {
    own_folder
    ln -s "$DEMO"/{base,expert-rev,expert-sort,expert-shift} .
}

experts=(expert-rev expert-sort expert-shift)

# script NAME OPTION...: runs the script; its result is out
script() {
    "$ROOT/pipelines/$1" "${@:2}" base "${experts[@]}" out
}

# same: out equals expected, and is a valid model other than the base
same() {
    diff -r out expected
    cmp out/model.safetensors expected/model.safetensors
    check out >/dev/null
    not tv-diff --quiet out base
    rm -r out expected
}

@test "task_arithmetic" {
    script task_arithmetic --lambda 0.4
    tv-extract base "${experts[@]}" | weigh 1 | combine | rescale 0.4 | pack --base base expected
    same
    script task_arithmetic --weight 0.3 --weight expert-rev=0.5 --dtype bfloat16 --out-dtype=float32
    tv-extract --dtype bfloat16 base "${experts[@]}" | weigh 0.3 expert-rev=0.5 | combine | rescale 1 |
        pack --base base --dtype float32 expected
    same
}

@test "ties" {
    script ties
    tv-extract base "${experts[@]}" | trim --density 0.2 | weigh 1 | elect-sign |
        combine --normalize=agreeing | rescale 1 | pack --base base expected
    same
    script ties --density 0.5 --density 'expert-rev/*mlp*=0.1' --weight 0.4 --normalize '' --lambda 0.8
    tv-extract base "${experts[@]}" | trim --density 0.5 --density 'expert-rev/*mlp*=0.1' | weigh 0.4 |
        elect-sign | combine | rescale 0.8 | pack --base base expected
    same
}

@test "dare_ties" {
    script dare_ties --seed 3
    tv-extract base "${experts[@]}" | dare-drop --density 0.5 --seed 3 --l1 | rescale --by l1 | weigh 1 |
        elect-sign | combine | rescale 1 | pack --base base expected
    same
}

@test "dare_linear" {
    script dare_linear --seed 3 --density 0.3 --rescale keep --normalize all
    tv-extract base "${experts[@]}" | dare-drop --density 0.3 --seed 3 --l1 | rescale --by keep | weigh 1 |
        combine --normalize=all | rescale 1 | pack --base base expected
    same
}

# bats test_tags=products
@test "regmean, with Gram matrices that forward computes, and fisher, with its diagonals" {
    for m in "${experts[@]}"; do
        forward "$m" --samples "$DEMO/calib/${m#expert-}.jsonl" --gram >"$m.gram"
        grams+=("--gram=$m=$m.gram")
    done
    script regmean "${grams[@]}" --reduce 0.8 --lambda 0.9
    tv-extract base "${experts[@]}" | regmean "${grams[@]}" --reduce 0.8 | rescale 0.9 | pack --base base expected
    same
    script regmean "${grams[@]}"
    tv run "tv-extract base ${experts[*]} | regmean ${grams[*]} --reduce 0.9 | rescale 1 | pack --base base expected"
    same
    for m in "${experts[@]}"; do
        forward "$m" --samples "$DEMO/calib/${m#expert-}.jsonl" --fisher >"$m.fisher"
        diagonals+=("--diagonal=$m=$m.fisher")
    done
    script fisher "${diagonals[@]}" --weight expert-rev=2
    tv-extract base "${experts[@]}" | weigh expert-rev=2 | fisher "${diagonals[@]}" | rescale 1 | pack --base base expected
    same
}

@test "lines" {
    script lines
    tv-extract base "${experts[@]}" | weigh 1 | combine | rescale '[0.33333333333333331,1]' | pack --base base expected
    same
    script lines --alpha 0.2 --beta 0.5 --weight 0.5
    tv-extract base "${experts[@]}" | weigh 0.5 | combine | rescale '[0.2,0.7]' | pack --base base expected
    same
}

# row CASE ALPHA BETA: the golden case, within its tolerance
row() {
    local models=$GOLDEN/spectral/models/full experts=(math code chat law) n tolerance
    [ -d "$GOLDEN/spectral/cases/$1" ] || skip "only in the full golden data"
    read -r n tolerance < <(awk -F'\t' -v c="$1" '$1 == c { print $4, $6 }' "$GOLDEN/spectral/checks.tsv")
    "$ROOT/pipelines/lines" --alpha "$2" --beta "$3" --force "$models/zero" "${experts[@]:0:n}" merged.safetensors
    equals merged.safetensors "$GOLDEN/spectral/cases/$1/expected.safetensors" "$tolerance" 0
}

@test "lines: golden, two and four models" {
    # Experts whose task vectors from zero are those of the family.
    for m in math code chat law; do
        tv-extract "$GOLDEN/spectral/models/full"/{base,"$m"} | pack --onto "$GOLDEN/spectral/models/full/zero" "$m.safetensors"
        mkdir "$m" && mv "$m.safetensors" "$m/model.safetensors"
    done
    row lines-k2 0.2 0.8
    row lines-k4 0.25 0.75
}

@test "every script has --help and rejects invalid usage" {
    for path in "$ROOT"/pipelines/*; do
        name=${path##*/}
        [ -f "$path" ] && [ -x "$path" ] || continue
        "$path" --help >help
        grep -q "^Usage: $name" help
        usage_error "$path"
        usage_error "$path" --no-such-option 1 base expert-rev out
        usage_error "$path" --weight
        [ ! -e out ]
    done
}

@test "choose-density is tv tune on a pipeline with trim" {
    options=(--samples "$DEMO/calib/rev.jsonl" --samples "$DEMO/calib/sort.jsonl" --task rev=expert-rev
        --task sort=expert-sort --per-task 4 --budget 5)
    "$ROOT/pipelines/choose-density" "${options[@]}" --density 0.2..0.9 --lambda 0.5..1 --dtype float32 --log log \
        base expert-rev expert-sort >found 2>/dev/null
    tv tune 'tv-extract --dtype=float32 -- base expert-rev expert-sort | trim --density {density:0.2..0.9} |
        combine | rescale {lambda:0.5..1} | pack --base base OUT' "${options[@]}" --quiet >expected
    cmp found expected
    [ "$(wc -l <log)" = 7 ]
    eval "$(sed -n '/^    /s/OUT/out/; /^    /p' found)"
    check out
}

@test "choose-density passes on the errors of tv tune" {
    REFUSED_BY='tv tune' refused_with "there are no samples for expert-rev" "$ROOT/pipelines/choose-density" \
        --samples "$DEMO/calib/sort.jsonl" --task sort=expert-sort base expert-sort expert-rev
    REFUSED_BY='tv tune' refused_with "expected LOW..HIGH" "$ROOT/pipelines/choose-density" --density 0.2 \
        --samples "$DEMO/calib/sort.jsonl" --task sort=expert-sort base expert-sort
    usage_error "$ROOT/pipelines/choose-density" --force base expert-rev
    usage_error "$ROOT/pipelines/choose-density" --out-dtype float32 base expert-rev
    usage_error "$ROOT/pipelines/choose-density" base
}

@test "if a stage fails, the script fails with one message and publishes nothing" {
    REFUSED_BY=tv-extract refused_with not-there "$ROOT/pipelines/ties" base not-there out
    REFUSED_BY=weigh refused_with chat "$ROOT/pipelines/ties" --weight chat=1 base expert-rev out
    mkdir out
    touch out/file
    REFUSED_BY=pack refused_with out "$ROOT/pipelines/ties" base expert-rev expert-sort out
    rm -r out
    "$ROOT/pipelines/ties" base expert-rev expert-sort out
    touch out/LICENSE
    "$ROOT/pipelines/ties" --force base expert-rev out
    [ ! -e out/LICENSE ]
}

@test "a model whose name begins with a dash is a name and not an option" {
    mkdir dash && cd dash
    cp -r "$A/base" base
    cp -r "$A/math" ./--spool
    cp -r "$A/code" ./-x
    printf '%s\n' 'name: -doc' 'merge_method: task_arithmetic' 'base_model: base' 'models:' \
        '  - {model: "--spool", parameters: {weight: 0.5}}' \
        '  - {model: "-x", parameters: {weight: 0.25}}' >doc.yml
    { cat doc.yml && printf '%s\n' '---' 'merge_method: linear' \
        'models: [{model: "-doc"}, {model: "-doc"}, {model: base}]' 'parameters: {weight: 1}'; } >two.yml
    tv merge doc.yml out
    tv-extract -- base --spool -x | weigh -- --spool=0.5 -x=0.25 >in.tvs
    combine <in.tvs | pack --base base by-hand
    tv-diff out by-hand
    "$ROOT/pipelines/task_arithmetic" --weight --spool=0.5 --weight -x=0.25 -- base --spool -x --out
    tv-diff out ./--out
    tv merge --allow-nonfinite two.yml both
    tv from-yaml --allow-nonfinite two.yml -- -both >script
    bash -euo pipefail script
    tv-diff both ./-both
    # the recipe can be pasted
    sed -n '/^    tv-extract/,/OUT/p' by-hand/README.md | sed 's/OUT/again/' >script
    bash -euo pipefail script
    tv-diff out again
    tv-view in.tvs | grep -F -- 'weigh -- --spool=0.5 -x=0.25'
    [ "$(tv-view in.tvs | grep -c -- 'tv-extract base -- --spool -x')" = 1 ]
}
