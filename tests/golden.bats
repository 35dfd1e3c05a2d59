#!/usr/bin/env bats
# Task Arithmetic, TIES and DARE as pipelines, compared with mergekit's results.
load common

# golden FOLDER EXPECTED [CONFIG [DTYPE]]: compares merged/ with it, within the tolerance in checks.tsv
golden() {
    local rtol bad
    read -r rtol bad < <(awk -F'\t' -v f="$1" -v x="$2" -v c="${3:-config.yml}" -v d="${4:--}" \
        '$1 == f && $5 == x && $2 == c && $3 == d {print $6, $7}' "$MERGE/checks.tsv")
    equals merged "$MERGE/$1/$2" "$rtol" "$bad"
}

@test "task_arithmetic-k2" {
    has cases/task_arithmetic-k2 expected
    tv-extract $A/base $A/math $A/code | weigh math=0.3 code=0.7 | combine | rescale 0.5 |
        pack --base $A/base merged
    golden cases/task_arithmetic-k2 expected
}

@test "task_arithmetic-k3-norm-negative" {
    has cases/task_arithmetic-k3-norm-negative expected
    tv-extract $A/base $A/math $A/code $A/chat | weigh math=1 code=-0.4 'chat=[0.2,0.8]' |
        combine --normalize=all | rescale 0.9 | pack --base $A/base merged
    golden cases/task_arithmetic-k3-norm-negative expected
}

@test "task_arithmetic-zero-sum: a divisor of 0 is replaced by 1" {
    has cases/task_arithmetic-zero-sum expected
    tv-extract $A/base $A/math $A/code | weigh math=0.5 code=-0.5 | combine --normalize=all |
        pack --base $A/base merged
    golden cases/task_arithmetic-zero-sum expected
}

@test "task_arithmetic-bf16" {
    has cases/task_arithmetic-bf16 expected
    tv-extract --dtype bfloat16 $B/base $B/math $B/chat | weigh math=0.6 chat=0.4 | combine |
        pack --base $B/base merged
    golden cases/task_arithmetic-bf16 expected
}

@test "ties-k2-dense" {
    has cases/ties-k2-dense expected
    tv-extract $A/base $A/math $A/code | weigh math=0.5 code=0.8 | trim --density 1 | elect-sign |
        combine --normalize=agreeing | pack --base $A/base merged
    golden cases/ties-k2-dense expected
}

@test "ties-k3-d05" {
    has cases/ties-k3-d05 expected
    tv-extract $A/base $A/math $A/code $A/chat |
        trim --density math=0.5 --density 'code=[0.9,0.3]' --density chat=1 |
        weigh math=0.5 code=0.3 chat=0.2 | elect-sign | combine --normalize=agreeing |
        rescale 0.7 | pack --base $A/base merged
    golden cases/ties-k3-d05 expected
}

@test "ties-k3-d02-nonorm-int8" {
    has cases/ties-k3-d02-nonorm-int8 expected
    tv-extract $A/base $A/math $A/code $A/chat | trim --density 0.2 |
        weigh math=1 code=-0.5 chat=0.7 | elect-sign | combine | pack --base $A/base merged
    golden cases/ties-k3-d02-nonorm-int8 expected
}

@test "ties-rescale-f16out" {
    has cases/ties-rescale-f16out expected
    tv-extract $A/base $A/math $A/chat | trim --density 0.2 | rescale --by l1 | weigh 0.4 |
        elect-sign | combine --normalize=agreeing | pack --base $A/base --dtype float16 merged
    golden cases/ties-rescale-f16out expected
}

@test "ties-bf16-models: equal magnitudes are ranked by flat index" {
    has cases/ties-bf16-models expected
    tv-extract --dtype float32 $B/base $B/math $B/chat |
        trim --density math=0.5 --density chat=0.3 | weigh math=0.6 chat=0.5 | elect-sign |
        combine --normalize=agreeing | pack --base $B/base --dtype bfloat16 merged
    golden cases/ties-bf16-models expected
    golden cases/ties-bf16-models expected-stable
}

@test "ties-bf16" {
    has cases/ties-bf16 expected
    tv-extract --dtype bfloat16 $B/base $B/math $B/chat |
        trim --density math=0.5 --density chat=0.3 | weigh math=0.6 chat=0.5 | elect-sign |
        combine --normalize=agreeing | pack --base $B/base merged
    golden cases/ties-bf16 expected
    golden cases/ties-bf16 expected-stable
}

@test "dare_ties-k2-d05" {
    has cases/dare_ties-k2-d05 expected
    tv-extract $A/base $A/math $A/code | dare-drop --density 0.5 --seed 42 --l1 |
        rescale --by l1 | weigh math=0.3 code=0.7 | elect-sign | combine |
        pack --base $A/base merged
    golden cases/dare_ties-k2-d05 expected
}

@test "dare_ties-k3-norescale-norm" {
    has cases/dare_ties-k3-norescale-norm expected
    tv-extract $A/base $A/math $A/code $A/chat |
        dare-drop --density math=0.2 --density code=0.5 --seed 7 |
        weigh math=0.5 code=0.3 chat=0.4 | elect-sign | combine --normalize=agreeing |
        rescale 1.2 | pack --base $A/base merged
    golden cases/dare_ties-k3-norescale-norm expected
}

@test "dare_ties-k3-gradient-negative: a seed larger than 32 bits" {
    has cases/dare_ties-k3-gradient-negative expected
    tv-extract $A/base $A/math $A/code $A/chat |
        dare-drop --density 'math=[0.3,0.8]' --density code=0.25 --density 'code/*mlp*=0.5' \
            --density chat=0.7 --seed 1311768467463790320 --l1 |
        rescale --by l1 | weigh math=1 code=-0.6 chat=0.5 | elect-sign | combine | rescale 0.6 |
        pack --base $A/base merged
    golden cases/dare_ties-k3-gradient-negative expected
}

@test "dare_linear-k2-d05" {
    has cases/dare_linear-k2-d05 expected
    tv-extract $A/base $A/math $A/code | dare-drop --density 0.5 --seed 42 --l1 |
        rescale --by l1 | weigh math=0.6 code=0.4 | combine | pack --base $A/base merged
    golden cases/dare_linear-k2-d05 expected
}

@test "dare_linear-k3-norescale-norm" {
    has cases/dare_linear-k3-norescale-norm expected
    tv-extract $A/base $A/math $A/code $A/chat |
        dare-drop --density math=0.2 --density code=0.9 --seed 5 |
        weigh math=0.6 code=0.4 chat=-0.5 | combine --normalize=all | rescale 0.5 |
        pack --base $A/base merged
    golden cases/dare_linear-k3-norescale-norm expected
}

# The configurations of the article, run by the scripts in pipelines/.
article() { # METHOD DTYPE SCRIPT-OPTION...
    local method=$1 dtype=$2 expected
    shift 2
    has seed-yaml "expected/$method/$dtype"
    "$ROOT/pipelines/$method" --dtype "$dtype" --weight chat=0.3 --weight math=0.7 --lambda 0.5 \
        "$@" $A/base $A/chat $A/math merged
    for expected in expected/"$method"/"$dtype"{,-stable}; do
        [ ! -e "$MERGE/seed-yaml/$expected" ] || golden seed-yaml "$expected" "$method.yml" "$dtype"
    done
}

@test "the article's task_arithmetic in float16" { article task_arithmetic float16; }
@test "the article's task_arithmetic in float32" { article task_arithmetic float32; }
@test "the article's ties in float16" { article ties float16 --density 0.7; }
@test "the article's ties in float32" { article ties float32 --density 0.7; }
@test "the article's dare_ties in float16" { article dare_ties float16 --density 0.7 --seed 2; }
@test "the article's dare_ties in float32" { article dare_ties float32 --density 0.7 --seed 2; }
@test "the article's dare_linear in float16" { article dare_linear float16 --density 1; }
@test "the article's dare_linear in float32" { article dare_linear float32 --density 1; }
