#!/usr/bin/env bats
# shellcheck disable=SC2086
# Breadcrumbs, DELLA, SCE, Model Stock and passthrough as pipelines, compared with mergekit's results.
load common

# ---- Breadcrumbs --------------------------------------------------------------------------------

@test "breadcrumbs-d09-g001: mergekit drops all of the norms, where gamma n is below 1" {
    has cases/breadcrumbs-d09-g001 expected
    tv-extract $A/base $A/math $A/code | trim --density 0.9 --outliers 0.01 |
        rescale '/*norm*=0' | weigh math=0.3 code=0.7 | combine | pack --base $A/base merged
    golden cases/breadcrumbs-d09-g001 expected
}

@test "breadcrumbs-k3-d05" {
    has cases/breadcrumbs-k3-d05 expected
    tv-extract $A/base $A/math $A/code $A/chat |
        trim --density 0.5 --density chat=1 --outliers math=0.05 --outliers 'code=[0.1,0.2]' \
            --outliers chat=0.02 |
        weigh math=0.3 code=0.7 chat=0.4 | combine --normalize=all | rescale 0.8 |
        pack --base $A/base merged
    golden cases/breadcrumbs-k3-d05 expected
}

@test "breadcrumbs-rescale" {
    has cases/breadcrumbs-rescale expected
    tv-extract $A/base $A/math $A/code | trim --density 0.2 --outliers 0.02 | rescale --by l1 |
        weigh math=1 code=-0.5 | combine | pack --base $A/base merged
    golden cases/breadcrumbs-rescale expected
}

@test "breadcrumbs_ties-gamma-cut: the sum of density and gamma is above 1" {
    has cases/breadcrumbs_ties-gamma-cut expected
    tv-extract $A/base $A/math $A/chat |
        trim --density math=0.95 --density chat=0.8 --outliers math=0.3 --outliers chat=0.5 |
        weigh math=1 chat=0.5 | elect-sign | combine | pack --base $A/base merged
    golden cases/breadcrumbs_ties-gamma-cut expected
}

@test "breadcrumbs_ties-k3" {
    has cases/breadcrumbs_ties-k3 expected
    tv-extract $A/base $A/math $A/code $A/chat |
        trim --density math=0.55 --density code=0.2 --density chat=0.65 \
            --outliers math=0.11 --outliers code=0.04 --outliers chat=0.06 |
        weigh math=0.5 code=0.6 chat=0.7 | elect-sign | combine --normalize=agreeing |
        pack --base $A/base merged
    golden cases/breadcrumbs_ties-k3 expected
}

# ---- DELLA --------------------------------------------------------------------------------------

@test "della-k2-d05: the default epsilon is 0.15" {
    has cases/della-k2-d05 expected
    tv-extract $A/base $A/math $A/code | della-drop --density 0.5 --seed 42 | rescale --by l1 |
        weigh math=0.3 code=0.7 | elect-sign | combine --normalize=agreeing |
        pack --base $A/base merged
    golden cases/della-k2-d05 expected
}

@test "della-k3-d02-nonorm: density 1 keeps all of a vector" {
    has cases/della-k3-d02-nonorm expected
    tv-extract $A/base $A/math $A/code $A/chat |
        della-drop --density 0.2 --density chat=1 --epsilon math=0.1 --epsilon code=0.19 \
            --epsilon chat=0.05 --seed 11 |
        rescale --by l1 | weigh math=0.5 code=-0.3 chat=0.4 | elect-sign | combine | rescale 1.1 |
        pack --base $A/base merged
    golden cases/della-k3-d02-nonorm expected
}

@test "della-norescale-f16out: layer gradients" {
    has cases/della-norescale-f16out expected
    tv-extract $A/base $A/math $A/chat |
        della-drop --density math=0.7 --density 'chat=[0.4,0.7]' --epsilon math=0.01 \
            --epsilon 'chat=[0.3,0.1]' --seed 13 |
        weigh 0.6 | elect-sign | combine --normalize=agreeing | rescale 0.5 |
        pack --base $A/base --dtype float16 merged
    golden cases/della-norescale-f16out expected
}

@test "della_linear-density0: all of a vector is dropped" {
    has cases/della_linear-density0 expected
    tv-extract $A/base $A/math $A/chat |
        della-drop --density math=0 --density chat=0.5 --epsilon chat=0.4 --seed 19 |
        rescale --by l1 | weigh math=1 chat=0.8 | combine | pack --base $A/base merged
    golden cases/della_linear-density0 expected
}

@test "della_linear-k2-d07" {
    has cases/della_linear-k2-d07 expected
    tv-extract $A/base $A/math $A/code | della-drop --density 0.7 --epsilon 0.01 --seed 42 |
        rescale --by l1 | weigh math=0.3 code=0.7 | combine | rescale 0.5 |
        pack --base $A/base merged
    golden cases/della_linear-k2-d07 expected
}

@test "della_linear-k3-norm" {
    has cases/della_linear-k3-norm expected
    tv-extract $A/base $A/math $A/code $A/chat |
        della-drop --density math=0.5 --density code=0.8 --density 'code/*norm*=1' \
            --density 'code/*self_attn*=0.2' --density chat=0.35 --epsilon 0.1 --seed 17 |
        rescale --by l1 | weigh math=0.6 code=0.5 chat=0.4 | combine --normalize=all |
        pack --base $A/base merged
    golden cases/della_linear-k3-norm expected
}

# ---- SCE ----------------------------------------------------------------------------------------

@test "sce-k2-all" {
    has cases/sce-k2-all expected
    tv-extract $A/base $A/math $A/code | sce-select --topk 1 | sce-weigh |
        elect-sign --unweighted | combine --normalize=agreeing --floor 1e-6 |
        pack --base $A/base merged
    golden cases/sce-k2-all expected
}

@test "sce-k3-t01-int8" {
    has cases/sce-k3-t01-int8 expected
    tv-extract $A/base $A/math $A/code $A/chat |
        sce-select --topk 0.1 --topk '/*self_attn*=[0.1,0.3]' | sce-weigh |
        elect-sign --unweighted | combine --normalize=agreeing --floor 1e-6 |
        pack --base $A/base --dtype bfloat16 merged
    golden cases/sce-k3-t01-int8 expected
}

@test "sce-k3-t05" {
    has cases/sce-k3-t05 expected
    tv-extract $A/base $A/math $A/code $A/chat | sce-select --topk 0.5 | sce-weigh |
        elect-sign --unweighted | combine --normalize=agreeing --floor 1e-6 |
        pack --base $A/base merged
    golden cases/sce-k3-t05 expected
}

# ---- Model Stock --------------------------------------------------------------------------------

@test "model_stock-k2: a tied model, whose embedding is its head; short vectors" {
    has cases/model_stock-k2 expected
    tv-extract $A/base $A/math $MERGE/models-extra/tied | model-stock | combine |
        pack --base $A/base merged
    golden cases/model_stock-k2 expected
}

@test "model_stock-k3-base-listed" {
    has cases/model_stock-k3-base-listed expected
    tv-extract $A/base $A/math $A/code $A/chat | model-stock | combine | pack --base $A/base merged
    golden cases/model_stock-k3-base-listed expected
}

@test "model_stock-k3-filter-wise" {
    has cases/model_stock-k3-filter-wise expected
    tv-extract $A/base $A/math $A/code $A/chat | model-stock --per row | combine |
        pack --base $A/base merged
    golden cases/model_stock-k3-filter-wise expected
}

# ---- slices -------------------------------------------------------------------------------------

@test "linear-slices: layer gradients span each slice separately" {
    has cases/linear-slices expected
    stack \
        <(unpack "$A/math[0:1]" "$A/code[2:3]" | weigh 0.2 'math=[0.1,0.9]' code=0.5 |
            combine --normalize=all) \
        <(unpack --first-layer 1 "$A/math[1:3]" "$A/chat[0:2]" |
            weigh 0.7 'math=[0.9,0.3]' | combine --normalize=all) |
        pack --like $A/math merged
    golden cases/linear-slices expected
    grep -q '"num_hidden_layers": 3' merged/config.json
}

ties_slices() { # RUN: tv run, or a shell
    "$@" "stack \
        <(tv-extract '$A/base[0:2]' '$A/math[0:2]' '$A/code[0:2]' |
            trim --density 0.35 --density math=0.65 | weigh math=1 code=0.5 | elect-sign |
            combine --normalize=agreeing | rescale 0.5 | add-base '$A/base[0:2]') \
        <(tv-extract --first-layer 2 '$A/base[1:3]' '$A/math[1:3]' '$A/chat[1:3]' |
            trim --density 0.45 | weigh 0.75 'chat/*layers.2.*=0.25' | elect-sign |
            combine --normalize=agreeing | add-base '$A/base[1:3]') |
        pack --like $A/base merged"
}

@test "ties-slices: globs match the layer number in the source" {
    has cases/ties-slices expected
    ties_slices bash -euo pipefail -c
    golden cases/ties-slices expected
    grep -q '"num_hidden_layers": 4' merged/config.json
    mv merged piped
    ties_slices tv run
    golden cases/ties-slices expected
    diff -r piped merged
}

@test "dare_linear-slices: a layer that is used twice gets two masks" {
    has cases/dare_linear-slices expected
    stack \
        <(tv-extract "$A/base[0:1]" "$A/math[0:1]" | dare-drop --density 0.5 --seed 3 --l1 |
            rescale --by l1 | combine | add-base "$A/base[0:1]") \
        <(tv-extract --first-layer 1 "$A/base[0:1]" "$A/math[0:1]" |
            dare-drop --density 0.5 --seed 3 --l1 | rescale --by l1 | combine |
            add-base "$A/base[0:1]") |
        pack --like $A/base merged
    golden cases/dare_linear-slices expected
    grep -q '"num_hidden_layers": 2' merged/config.json
}

@test "passthrough-stack" {
    has cases/passthrough-stack expected
    stack <(unpack --dtype float16 "$A/math[0:2]") \
        <(unpack --dtype float16 --first-layer 2 "$A/chat[1:3]") |
        pack --like $A/math merged
    golden cases/passthrough-stack expected
    grep -q '"num_hidden_layers": 4' merged/config.json
}

@test "passthrough-scale" {
    has cases/passthrough-scale expected
    stack <(unpack "$A/math[0:1]") \
        <(unpack --first-layer 1 "$A/math[0:2]" |
            rescale 1 '/*down_proj*=[0.5,0.25]' '/*o_proj*=0') |
        pack --like $A/math merged
    golden cases/passthrough-scale expected
}

# ---- the configurations of the article, run by the scripts in pipelines/ -------------------

article() { # METHOD DTYPE SCRIPT-OPTION...
    local method=$1 dtype=$2 expected
    shift 2
    has seed-yaml "expected/$method/$dtype"
    "$ROOT/pipelines/$method" --dtype "$dtype" "$@" $A/base $A/chat $A/math merged
    for expected in expected/"$method"/"$dtype"{,-stable}; do
        [ ! -e "$MERGE/seed-yaml/$expected" ] || golden seed-yaml "$expected" "$method.yml" "$dtype"
    done
}

# mergekit drops all of the norms, where gamma n is below 1
crumbs() { # METHOD DTYPE
    article "$1" "$2" --weight chat=0.3 --weight math=0.7 --lambda 0.5 --lambda '/*norm*=0' \
        --density 0.9 --outliers 0.01
}

della() { # METHOD DTYPE
    article "$1" "$2" --weight chat=0.3 --weight math=0.7 --lambda 0.5 --density 0.7 \
        --epsilon 0.01 --seed 2
}

@test "the article's breadcrumbs in float16" { crumbs breadcrumbs float16; }
@test "the article's breadcrumbs in float32" { crumbs breadcrumbs float32; }
@test "the article's breadcrumbs_ties in float16" { crumbs breadcrumbs_ties float16; }
@test "the article's breadcrumbs_ties in float32" { crumbs breadcrumbs_ties float32; }
@test "the article's della in float16" { della della float16; }
@test "the article's della in float32" { della della float32; }
@test "the article's della_linear in float16" { della della_linear float16; }
@test "the article's della_linear in float32" { della della_linear float32; }
@test "the article's sce in float16" { article sce float16 --topk 0.7; }
@test "the article's sce in float32" { article sce float32 --topk 0.7; }
@test "the article's model_stock in float16" { article model_stock float16; }
@test "the article's model_stock in float32" { article model_stock float32; }
