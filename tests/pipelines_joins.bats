#!/usr/bin/env bats
# Each script for a method on whole models, for RAM, or for a spectral method, writes the same bytes as the pipeline that it
# consists of.
load common
load refusals

setup() {
    own_folder
    ln -s "$DEMO"/base base
    ln -s "$DEMO"/expert-rev rev
    ln -s "$DEMO"/expert-sort sort
}

run_script() {
    "$ROOT/pipelines/$1" "${@:2}" out
}

same() {
    check out >/dev/null
    diff -r out expected
    rm -r out expected
}

@test "linear" {
    run_script linear --weight 0.3 --weight base=2 base rev sort
    unpack base rev sort | weigh 0.3 base=2 | combine --normalize=all | pack --like base expected
    same
    run_script linear --normalize '' rev
    unpack rev | weigh 1 | combine | pack --like rev expected
    same
}

@test "slerp, nearswap, arcee_fusion" {
    run_script slerp --t 0.3 --t '/*mlp*=1' base rev
    unpack base rev | slerp --t 0.3 --t '/*mlp*=1' | pack --like base expected
    same
    run_script nearswap --t 0.01 --out-dtype bfloat16 base rev
    unpack base rev | nearswap --t 0.01 | pack --like base --dtype bfloat16 expected
    same
    run_script arcee_fusion base rev
    unpack base rev | arcee-fusion | pack --like base expected
    same
}

@test "passthrough" {
    run_script passthrough --scale 1 --scale '/*mlp*=0.5' rev
    unpack rev | rescale 1 '/*mlp*=0.5' | pack --like rev expected
    same
    REFUSED_BY=passthrough refused_with "one MODEL" run_script passthrough base rev
}

@test "nuslerp, multislerp, karcher" {
    run_script nuslerp --weight rev=3 --along rows base rev
    unpack base rev | weigh rev=3 | nuslerp --along rows | pack --like base expected
    same
    run_script multislerp --weight 0.2 --normalize '' --eps 1e-6 base rev sort
    unpack base rev sort | weigh 0.2 | multislerp --normalize=none --eps 1e-6 |
        pack --like base expected
    same
    run_script karcher --weight 2 --max-iter 3 --tol 1e-4 base rev sort
    unpack base rev sort | weigh 2 | karcher --max-iter 3 --tol 1e-4 | pack --like base expected
    same
}

@test "nuslerp and multislerp of task vectors" {
    run_script nuslerp --base-model base rev sort
    tv-extract base rev sort | weigh 1 | nuslerp --along tensor | pack --base base expected
    same
    run_script multislerp --base-model base rev sort
    tv-extract base rev sort | weigh 1 | multislerp --eps 1e-8 | pack --base base expected
    same
}

@test "ram, ramplus_tl" {
    run_script ram --epsilon 1e-4 base rev sort
    tv-extract base rev sort | ram --epsilon 1e-4 | pack --base base expected
    same
    run_script ramplus_tl --r 0.3 --alpha 0.5 base rev sort
    tv-extract base rev sort | ram --plus --r 0.3 --alpha 0.5 --epsilon 1e-5 | pack --base base expected
    same
}

@test "tsv_m, iso_c, iso_cts, wudi, optmerge" {
    run_script tsv_m --lambda 0.5 base rev sort
    tv-extract base rev sort | tsv-merge --tolerance 1e-6 | rescale 0.5 | pack --base base expected
    same
    run_script iso_c --tolerance 1e-3 base rev sort
    tv-extract base rev sort | iso-merge --tolerance 1e-3 | rescale 1 | pack --base base expected
    same
    run_script iso_cts --common 0.6 base rev sort
    tv-extract base rev sort | iso-merge --common 0.6 --tolerance 1e-6 | rescale 1 |
        pack --base base expected
    same
    run_script wudi --steps 3 base rev sort
    tv-extract base rev sort | wudi --lr 1e-5 --steps 3 | rescale 1 | pack --base base expected
    same
    run_script optmerge --lr 1e-3 base rev sort
    tv-extract base rev sort | wudi --optimizer sgd --lr 1e-3 --steps 300 | rescale 1 |
        pack --base base expected
    same
}

@test "swudi, swudi_a" {
    run_script swudi --weight rev=0.5 --lambda 0.9 base rev sort
    tv-extract base rev sort | swudi --rank cumvar --fraction 0.85 --time 300 | weigh rev=0.5 | combine |
        rescale 0.9 | pack --base base expected
    same
    run_script swudi --rank ratio --fraction 0.65 --time 100 base rev sort
    tv-extract base rev sort | swudi --rank ratio --fraction 0.65 --time 100 | weigh 1 | combine |
        rescale 1 | pack --base base expected
    same
    run_script swudi_a --rank gavish-donoho base rev sort
    tv-extract base rev sort | swudi --rank gavish-donoho --filter none | weigh 1 | combine |
        rescale 1 | pack --base base expected
    same
}
