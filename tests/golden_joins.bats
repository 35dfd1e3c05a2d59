#!/usr/bin/env bats
# Linear, SLERP and related methods, Karcher, Arcee Fusion and RAM as pipelines, compared with
# mergekit's results.
load common

# ---- linear -------------------------------------------------------------------------------------

@test "linear-k2" {
    has cases/linear-k2 expected
    unpack $A/math $A/code | weigh math=0.6 code=0.9 | combine --normalize=all |
        pack --like $A/math merged
    golden cases/linear-k2 expected
}

@test "linear-k3-nonorm-negative" {
    has cases/linear-k3-nonorm-negative expected
    unpack $A/base $A/math $A/chat | weigh base=0.8 math=0.5 chat=-0.3 | combine |
        pack --like $A/base merged
    golden cases/linear-k3-nonorm-negative expected
}

@test "linear-gradient-filter" {
    has cases/linear-gradient-filter expected
    unpack $A/math $A/code $A/chat |
        weigh 0.4 'math=[0.2,0.8]' 'code/*mlp*=0.3' 'code/*self_attn*=[1,0.25,0.5,0.1]' |
        combine --normalize=all | pack --like $A/math merged
    golden cases/linear-gradient-filter expected
}

@test "linear-sharded-bin-f16" {
    has cases/linear-sharded-bin-f16 expected
    unpack --dtype float32 "$MERGE"/models-sharded/math "$MERGE"/models-bin/code $B/chat |
        weigh math=0.5 code=0.15 chat=0.35 | combine --normalize=all |
        pack --like $A/math --dtype float16 merged
    golden cases/linear-sharded-bin-f16 expected
}

@test "linear-bf16" {
    has cases/linear-bf16 expected
    unpack $B/math $B/code | weigh math=0.7 code=0.3 | combine --normalize=all |
        pack --like $B/math merged
    golden cases/linear-bf16 expected
}

@test "linear-wide-tied: a larger embedding, a tied head" {
    has cases/linear-wide-tied expected
    unpack --embed=truncate $A/math "$MERGE"/models-extra/wide "$MERGE"/models-extra/tied |
        weigh math=0.5 wide=0.25 tied=0.25 | combine --normalize=all | pack --like $A/math merged
    golden cases/linear-wide-tied expected
}

# ---- SLERP --------------------------------------------------------------------------------------

@test "slerp-t05" {
    has cases/slerp-t05 expected
    unpack $A/base $A/math | slerp --t 0.5 | pack --like $A/base merged
    golden cases/slerp-t05 expected
}

@test "slerp-t03-two-models" {
    has cases/slerp-t03-two-models expected
    unpack $A/base $A/chat | slerp --t 0.3 | pack --like $A/base merged
    golden cases/slerp-t03-two-models expected
}

@test "slerp-filter-gradient" {
    has cases/slerp-filter-gradient expected
    unpack $A/math $A/code |
        slerp --t 0.5 --t '/*mlp*=[1,0.5,0.7,0.3,0]' --t '/*self_attn*=[0,0.5,0.3,0.7,1]' |
        pack --like $A/math merged
    golden cases/slerp-filter-gradient expected
}

@test "slerp-bf16-out" {
    has cases/slerp-bf16-out expected
    unpack --dtype float32 $B/code $B/chat | slerp --t '[1,0]' |
        pack --like $B/code --dtype bfloat16 merged
    golden cases/slerp-bf16-out expected
}

@test "nearswap-t0001" {
    has cases/nearswap-t0001 expected
    unpack $A/base $A/math | nearswap --t 0.001 | pack --like $A/base merged
    golden cases/nearswap-t0001 expected
}

@test "nearswap-filter" {
    has cases/nearswap-filter expected
    unpack $A/math $A/chat |
        nearswap --t 0.002 --t '/*self_attn*=[0.0005,0.005]' --t '/*norm*=0.5' \
            --t '/*mlp.up_proj*=0' |
        pack --like $A/math merged
    golden cases/nearswap-filter expected
}

@test "nuslerp-base-flatten" {
    has cases/nuslerp-base-flatten expected
    tv-extract $A/base $A/math $A/code | weigh 0.5 | nuslerp | pack --base $A/base merged
    golden cases/nuslerp-base-flatten expected
}

@test "nuslerp-nobase" {
    has cases/nuslerp-nobase expected
    unpack $A/math $A/chat | weigh math=0.3 'chat=[0.2,1.2]' | nuslerp | pack --like $A/math merged
    golden cases/nuslerp-nobase expected
}

@test "nuslerp-base-lastdim" {
    has cases/nuslerp-base-lastdim expected
    tv-extract $A/base $A/math $A/code | weigh math=0.7 code=0.3 | nuslerp --along rows |
        pack --base $A/base merged
    golden cases/nuslerp-base-lastdim expected
}

@test "nuslerp-nobase-lastdim" {
    has cases/nuslerp-nobase-lastdim expected
    unpack $A/base $A/code | weigh base=1 code=3 | nuslerp --along rows | pack --like $A/base merged
    golden cases/nuslerp-nobase-lastdim expected
}

@test "nuslerp-nobase-rowwise: row_wise in mergekit means columns" {
    has cases/nuslerp-nobase-rowwise expected
    unpack $A/math $A/chat | weigh math=0.4 chat=0.6 'chat/*mlp*=-0.4' | nuslerp --along columns |
        pack --like $A/math merged
    golden cases/nuslerp-nobase-rowwise expected
}

@test "multislerp-k2" {
    has cases/multislerp-k2 expected
    unpack $A/math $A/chat | weigh math=0.3 chat=0.9 | multislerp | pack --like $A/math merged
    golden cases/multislerp-k2 expected
}

@test "multislerp-k3-base" {
    has cases/multislerp-k3-base expected
    tv-extract $A/base $A/math $A/code $A/chat | weigh math=0.5 'code=[0.1,0.9]' chat=0.2 |
        multislerp | pack --base $A/base merged
    golden cases/multislerp-k3-base expected
}

@test "multislerp-k3-nonorm" {
    has cases/multislerp-k3-nonorm expected
    tv-extract $A/base $A/math $A/code $A/chat | weigh math=0.5 code=0.4 chat=0.3 |
        multislerp --normalize=none --eps 1e-6 | pack --base $A/base merged
    golden cases/multislerp-k3-nonorm expected
}

# ---- Karcher ------------------------------------------------------------------------------------

@test "karcher-k2" {
    has cases/karcher-k2 expected
    unpack $A/math $A/chat | karcher | pack --like $A/math merged
    golden cases/karcher-k2 expected
    golden cases/karcher-k2 expected-f64
}

@test "karcher-k3-base-tol" {
    has cases/karcher-k3-base-tol expected
    unpack $A/base $A/math $A/code $A/chat | karcher --tol 1e-4 | pack --like $A/base merged
    golden cases/karcher-k3-base-tol expected
}

@test "karcher-iter1" {
    has cases/karcher-iter1 expected
    unpack $A/math $A/code $A/chat | karcher --max-iter 1 | pack --like $A/math merged
    golden cases/karcher-iter1 expected
}

# ---- Arcee Fusion and RAM -----------------------------------------------------------------------

@test "arcee_fusion-math" {
    has cases/arcee_fusion-math expected
    unpack $A/base $A/math | arcee-fusion | pack --like $A/base merged
    golden cases/arcee_fusion-math expected
    golden cases/arcee_fusion-math expected-f64
}

@test "arcee_fusion-chat-code" {
    has cases/arcee_fusion-chat-code expected
    unpack $A/chat $A/code | arcee-fusion | pack --like $A/chat merged
    golden cases/arcee_fusion-chat-code expected
    golden cases/arcee_fusion-chat-code expected-f64
}

@test "ram-k2" {
    has cases/ram-k2 expected
    tv-extract $A/base $A/math $A/code | ram | pack --base $A/base merged
    golden cases/ram-k2 expected
}

@test "ram-k3-eps" {
    has cases/ram-k3-eps expected
    tv-extract $A/base $A/math $A/code $A/chat | ram --epsilon 0.001 | pack --base $A/base merged
    golden cases/ram-k3-eps expected
}

@test "ramplus_tl-k2" {
    has cases/ramplus_tl-k2 expected
    tv-extract $A/base $A/math $A/code | ram --plus | pack --base $A/base merged
    golden cases/ramplus_tl-k2 expected
}

@test "ramplus_tl-k3-eps" {
    has cases/ramplus_tl-k3-eps expected
    tv-extract $A/base $A/math $A/code $A/chat | ram --plus --epsilon 0.002 --r 0.5 --alpha 0.8 |
        pack --base $A/base merged
    golden cases/ramplus_tl-k3-eps expected
}

# ---- the configurations of the article, run by the scripts in pipelines/ ------------------------

article() { # METHOD DTYPE OPTION-OR-MODEL...
    has seed-yaml "expected/$1/$2"
    "$ROOT/pipelines/$1" --dtype "$2" "${@:3}" merged
    golden seed-yaml "expected/$1/$2" "$1.yml" "$2"
}

linear() {
    article linear "$1" --weight base=0.5 --weight chat=0.15 --weight math=0.35 $A/base $A/chat $A/math
}
@test "the article's linear in float16" { linear float16; }
@test "the article's linear in float32" { linear float32; }
@test "the article's slerp in float16" { article slerp float16 --t 0.5 $A/base $A/math; }
@test "the article's slerp in float32" { article slerp float32 --t 0.5 $A/base $A/math; }
@test "the article's nearswap in float16" { article nearswap float16 --t 0.5 $A/base $A/math; }
@test "the article's nearswap in float32" { article nearswap float32 --t 0.5 $A/base $A/math; }
nuslerp_of_article() {
    article nuslerp "$1" --weight 0.5 --base-model $A/base $A/math $A/chat
}
@test "the article's nuslerp in float16" { nuslerp_of_article float16; }
@test "the article's nuslerp in float32" { nuslerp_of_article float32; }
