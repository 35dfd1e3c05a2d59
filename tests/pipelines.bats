#!/usr/bin/env bats
# The scripts in pipelines/ give the bytes of the pipelines that they stand for.
load common
load lesson
load refusals

setup() {
    T=$BATS_TEST_TMPDIR
    cd "$T" || exit 1
    ln -s "$DEMO"/{base,expert-rev,expert-sort,expert-shift} .
}

experts=(expert-rev expert-sort expert-shift)

# script NAME OPTION...: writes out
script() {
    "$ROOT/pipelines/$1" "${@:2}" base "${experts[@]}" out
}

# same: the script's folder and the pipeline's, and it is a model
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

@test "every script helps and refuses what it does not know" {
    for path in "$ROOT"/pipelines/*; do
        name=${path##*/}
        [ -x "$path" ] || continue
        "$path" --help >help
        grep -q "^Usage: $name" help
        usage_error "$path" out
        usage_error "$path" --no-such-option 1 base expert-rev out
        usage_error "$path" --weight
        [ ! -e out ]
    done
}

@test "a failing stage fails the script, in one sentence, and publishes nothing" {
    REFUSED_BY=tv-extract refused_with not-there "$ROOT/pipelines/ties" base not-there out
    REFUSED_BY=weigh refused_with chat "$ROOT/pipelines/ties" --weight chat=1 base expert-rev out
    mkdir out
    touch out/file
    REFUSED_BY=pack refused_with out "$ROOT/pipelines/ties" base expert-rev out
    rm -r out
    "$ROOT/pipelines/ties" base expert-rev out
    touch out/file
    "$ROOT/pipelines/ties" --force base expert-rev out
    [ ! -e out/file ]
}
