#!/usr/bin/env bats
# The spectral methods as pipelines, compared with results that were computed in float64.
load common

SPECTRAL=$GOLDEN/spectral

# value CASE COLUMN: from checks.tsv
value() {
    awk -F'\t' -v name="$1" -v column="$2" '$1 == name { print $column }' "$SPECTRAL/checks.tsv"
}

# extract CASE: the task vectors of its experts; sets $models, $experts and $expected
extract() {
    expected=$SPECTRAL/cases/$1/expected.safetensors models=$SPECTRAL/models/$(value "$1" 3)
    [ -e "$expected" ] || skip "only in the full golden data"
    mapfile -t experts < <(sed -n '/"experts"/,/]/s/^ *"\([a-z]*\)",*$/\1/p' "${expected%/*}/case.json")
    tv-extract "$models/base" "${experts[@]/#/$models/}" >deltas.tvs
}

# row CASE JOIN [OPTION...]: the join makes the case's task vector, within its tolerance
row() {
    extract "$1"
    "${@:2}" <deltas.tvs | pack --onto "$models/zero" merged.safetensors
    equals merged.safetensors "$expected" "$(value "$1" 6)" 0
}

swudi_sum() { swudi "$@" | combine; }

# row_parts CASE OPTION...: the same for the vectors of swudi, one by one
row_parts() {
    extract "$1"
    swudi "${@:2}" <deltas.tvs >parts.tvs
    for expert in "${experts[@]}"; do
        pick "$expert" <parts.tvs | pack --onto "$models/zero" "$expert.safetensors"
        unpack x="$expected" | pick "x/$expert/*" | tv-rename "$expert/*=*" |
            equals "$expert.safetensors" - "$(value "$1" 6)" 0
    done
}

# bats test_tags=products
@test "swudi-k3" { row swudi-k3 swudi_sum --rank ratio; }
# bats test_tags=products
@test "swudi-k4-r085" { row swudi-k4-r085 swudi_sum --rank ratio --fraction 0.85; }
# bats test_tags=products
@test "swudi-k3-zero-none" {
    row swudi-k3-zero-none swudi_sum --rank ratio --fraction 0.5 --init zero --filter none
}
# bats test_tags=products
@test "swudi-lowrank-k4" { row swudi-lowrank-k4 swudi_sum --rank ratio; }
# bats test_tags=products
@test "swudi-a-k4-gavish" {
    row swudi-a-k4-gavish swudi_sum --rank gavish-donoho --filter none
}
# bats test_tags=products
@test "swudi-a-k2-stable" {
    row swudi-a-k2-stable swudi_sum --rank stable-rank --filter none --init mean
}
# bats test_tags=products
@test "swudi-a-k3-cumvar" { row swudi-a-k3-cumvar swudi_sum --fraction 0.9 --filter none; }
# bats test_tags=products
@test "swudi-a-k4-participation" {
    row swudi-a-k4-participation swudi_sum --rank participation --time 30
}
# bats test_tags=products
@test "swudi-parts-k4-r085" { row_parts swudi-parts-k4-r085 --rank ratio --fraction 0.85; }
# bats test_tags=products
@test "swudi-parts-k2-t10" {
    row_parts swudi-parts-k2-t10 --rank ratio --fraction 0.5 --time 10
}
# bats test_tags=products
@test "swudi-parts-lowrank-k3" { row_parts swudi-parts-lowrank-k3 --rank ratio --fraction 0.85; }

# bats test_tags=products
@test "tsv-k3" { row tsv-k3 tsv-merge --matrices all; }
# bats test_tags=products
@test "tsv-k4-linear" { row tsv-k4-linear tsv-merge; }
# bats test_tags=products
@test "tsv-k1" { row tsv-k1 tsv-merge --matrices all; }
# bats test_tags=products
@test "tsv-k2" { row tsv-k2 tsv-merge --matrices all; }
# bats test_tags=products
@test "iso-c-lowrank-k4" { row iso-c-lowrank-k4 iso-merge --matrices all; }
# bats test_tags=products
@test "iso-c-k2-linear" { row iso-c-k2-linear iso-merge; }
# bats test_tags=products
@test "iso-cts-k4-f05" { row iso-cts-k4-f05 iso-merge --matrices all --common 0.5; }
# bats test_tags=products
@test "iso-cts-k2-f0" { row iso-cts-k2-f0 iso-merge --matrices all --common 0; }
# bats test_tags=products
@test "wudi-k3" { row wudi-k3 wudi; }
# bats test_tags=products
@test "wudi-k2-steps20" { row wudi-k2-steps20 wudi --steps 20 --lr 1e-4; }
# bats test_tags=products
@test "optmerge-k4" { row optmerge-k4 wudi --optimizer sgd; }
# bats test_tags=products
@test "optmerge-k2-lr1" { row optmerge-k2-lr1 wudi --optimizer sgd --lr 0.05; }
# bats test_tags=products
@test "wudi2-centred-k3" { row wudi2-centred-k3 wudi --centered; }
# bats test_tags=products
@test "wudi2-centred-k4-lr6" { row wudi2-centred-k4-lr6 wudi --centered --lr 1e-6; }

@test "every row of checks.tsv for these methods has a test" {
    cut -f 1 "$SPECTRAL/checks.tsv" | grep -E '^(swudi|tsv|iso|wudi|optmerge)' | sort >rows
    sed -n 's/^@test "\([a-z0-9-]*\)" .*/\1/p' "$TESTS/golden_spectral.bats" | sort | diff rows -
}
