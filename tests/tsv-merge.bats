#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big; }

# bats test_tags=products
@test "orthogonal directions stay as they are" {
    matrices "4 0" "0 1" "1 0" "0 3" | from-text | numbers tsv-merge >found
    echo "4.0000 0.0000 0.0000 3.0000" | diff -u - found
}

# u at 0 and 45 degrees, which polar(U) turns to -22.5 and 67.5; v = (1, 0) twice, which polar(V)
# divides by sqrt(2); s = 2 and 3 sqrt(2). The second direction of math is dropped.
# y = (2 cos 22.5 + 3 sqrt(2) sin 22.5, -2 sin 22.5 + 3 sqrt(2) cos 22.5) / sqrt(2)
# bats test_tags=products
@test "overlapping directions are made orthogonal" {
    matrices "2 0" "0 1" "3 0" "3 0" | from-text | numbers tsv-merge >found
    echo "2.4546 0.0000 2.2304 0.0000" | diff -u - found
    matrices "2 0" "0 1" "3 3" "0 0" | from-text | numbers tsv-merge >found # transposed
    echo "2.4546 2.2304 0.0000 0.0000" | diff -u - found
}

# bats test_tags=products
@test "a single expert comes back; the order of the experts makes no difference" {
    matrices "4 2" "-1 1" "1 0" "0 3" | from-text >good.tvs
    pick math <good.tvs | numbers tsv-merge >found
    echo "4.0000 2.0000 -1.0000 1.0000" | diff -u - found
    numbers tsv-merge <good.tvs >found
    matrices "1 0" "0 3" "4 2" "-1 1" | from-text | numbers tsv-merge | diff -u found -
}

# The second singular value of math is 1e-3 of the first.
@test "directions below the tolerance are dropped; frozen experts have none" {
    matrices "4 0" "0 0.004" "0 0" "0 0" | from-text >good.tvs
    pick math <good.tvs | numbers tsv-merge >found
    echo "4.0000 0.0000 0.0000 0.0040" | diff -u - found
    pick math <good.tvs | numbers tsv-merge --tolerance 0.002 >found
    echo "4.0000 0.0000 0.0000 0.0000" | diff -u - found
    numbers tsv-merge <good.tvs | diff -u found -
    pick code <good.tvs | numbers tsv-merge >found
    echo "0.0000 0.0000 0.0000 0.0000" | diff -u - found
}

@test "embeddings, heads, tensors that are not matrices and more experts than r are averaged" {
    {
        printf 'kind task-vectors\nmodel math role=expert\nmodel code role=expert\n'
        for name in lm_head.weight model.embed_tokens.weight; do
            printf 'tensor %s 2x2\nvector math\n2 0\n0 0\nvector code\n0 0\n0 4\n' $name
        done
        printf 'tensor one 1x2\nvector math\n2 0\nvector code\n0 4\n'
    } | from-text >good.tvs
    numbers tsv-merge <good.tvs >found
    echo "1.0000 0.0000 0.0000 2.0000 1.0000 0.0000 0.0000 2.0000 1.0000 2.0000" >want
    tr '\n' ' ' <found | sed 's/ $/\n/' | diff -u want -
    numbers tsv-merge --matrices all <good.tvs | tr '\n' ' ' | sed 's/ $/\n/' >found
    echo "2.0000 0.0000 0.0000 4.0000 2.0000 0.0000 0.0000 4.0000 1.0000 2.0000" | diff -u - found
}

@test "the same bytes from a file or a pipe, with threads, in little memory, in one process" {
    always_alike tsv-merge --matrices all
    tsv-merge <"$BIG" >piped.tvs
    tv run --threads=2 'tsv-merge' <"$BIG" | cmp piped.tvs -
    tv run --threads=3 "tv-extract $MODELS/base $MODELS/math $MODELS/code | tsv-merge" |
        tensors | cmp - <(tensors <piped.tvs)
}

@test "refuses weights, broken streams, a full disk and a closed output" {
    make_good
    weigh 0.5 <good.tvs >weighed.tvs
    refused_with "tensor w of math has a weight, which this method does not support" tsv-merge <weighed.tvs
    refuses_bad_streams tsv-merge
    refuses_bad_output tsv-merge
    refuses_nonfinite tsv-merge
    refused_with "which this method does not support" tsv-merge --allow-nonfinite <.nan.tvs
}

@test "usage errors" {
    usage_error tsv-merge operand
    refused_with "the stream has a model math already; choose another name with --name" tsv-merge --name math < <(lesson | from-text)
    usage_error tsv-merge --tolerance 0
    usage_error tsv-merge --tolerance 1
    usage_error tsv-merge --matrices some
}
