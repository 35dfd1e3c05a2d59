#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big; }

# three MATH CODE: two experts with diagonal matrices of 3 x 3
three() {
    printf 'kind task-vectors\nmodel math role=expert\nmodel code role=expert\ntensor w 3x3\n'
    # shellcheck disable=SC2086
    printf 'vector math\n%s 0 0\n0 %s 0\n0 0 %s\nvector code\n%s 0 0\n0 %s 0\n0 0 %s\n' $1 $2
}

# bats test_tags=products
@test "Iso-C: the singular values of the sum become their mean" {
    matrices "4 0" "0 1" "1 0" "0 -3" | from-text | numbers iso-merge >found
    echo "3.5000 0.0000 0.0000 -3.5000" | diff -u - found # of diag(5, -2)
    matrices "0 4" "1 0" "0 1" "1 0" | from-text | numbers iso-merge >found
    echo "0.0000 3.5000 3.5000 0.0000" | diff -u - found
    matrices "4 0" "0 1" "1 0" "0 -3" | from-text | pick math | numbers iso-merge >found
    echo "2.5000 0.0000 0.0000 2.5000" | diff -u - found
}

# diagonal6 A B C D E F: the rows of a diagonal matrix
diagonal6() { printf '%s 0 0 0 0 0\n0 %s 0 0 0 0\n0 0 %s 0 0 0\n0 0 0 %s 0 0\n0 0 0 0 %s 0\n0 0 0 0 0 %s\n' "$@"; }

@test "Iso-CTS: the number of own directions is rounded" {
    # t = round((6 - 3) / 2) = 2. Common: 20 and 10; own: 4 and 3, 6 and 5
    { printf 'kind task-vectors\nmodel math role=expert\nmodel code role=expert\ntensor w 6x6\nvector math\n'
      diagonal6 10 1 4 3 0 0
      echo 'vector code'
      diagonal6 10 9 0 0 6 5; } | from-text | numbers iso-merge --common 0.5 >found
    awk 'BEGIN { for (i = 0; i < 36; i++) printf "%.4f%s", i % 7 ? 0 : 8, i < 35 ? " " : "\n" }' |
        diff -u - found
}

# bats test_tags=products
@test "Iso-CTS: t = 1 direction for each expert, the others are common" {
    # c = 0: s = 4 of math, 3 of code
    matrices "4 0" "0 1" "1 0" "0 3" | from-text | numbers iso-merge --common 0 >found
    echo "3.5000 0.0000 0.0000 3.5000" | diff -u - found
    # t = round((3 - 0) / 2) = 2, at most 3 / 2: 1. Common: 6 of diag(6, 3, 3); own: 2 and 3
    three "5 2 0" "1 1 3" | from-text | numbers iso-merge --common 0.3 >found
    echo "3.6667 0.0000 0.0000 0.0000 3.6667 0.0000 0.0000 0.0000 3.6667" | diff -u - found
    # t = round((3 - 2) / 2) = 0, half to even: Iso-C of diag(6, 3, 3)
    three "5 2 0" "1 1 3" | from-text | numbers iso-merge --common 0.7 >found
    echo "4.0000 0.0000 0.0000 0.0000 4.0000 0.0000 0.0000 0.0000 4.0000" | diff -u - found
}

@test "directions that are not there are dropped, and count in the mean" {
    matrices "4 0" "0 0" "2 0" "0 0" | from-text | numbers iso-merge >found
    echo "3.0000 0.0000 0.0000 0.0000" | diff -u - found
    matrices "4 0" "0 0" "2 0" "0 0" | from-text | numbers iso-merge --common 0 >found
    echo "3.0000 0.0000 0.0000 0.0000" | diff -u - found # (4 + 2) / 2
    matrices "4 0" "0 0.004" "0 0" "0 0" | from-text | numbers iso-merge --tolerance 0.002 >found
    echo "2.0020 0.0000 0.0000 0.0000" | diff -u - found
    for options in "" "--common 0.5" "--common 0"; do
        # shellcheck disable=SC2086
        matrices "0 0" "0 0" "0 0" "0 0" | from-text | numbers iso-merge $options >found
        echo "0.0000 0.0000 0.0000 0.0000" | diff -u - found
        # shellcheck disable=SC2086
        matrices "1 2" "3 4" "-1 -2" "-3 -4" | from-text | numbers iso-merge $options | grep -qv nan
    done
}

@test "embeddings, heads and tensors that are not matrices are averaged" {
    {
        printf 'kind task-vectors\nmodel math role=expert\nmodel code role=expert\n'
        printf 'tensor lm_head.weight 1x2\nvector math\n2 0\nvector code\n0 4\n'
        printf 'tensor norm 2\nvector math\n2 0\nvector code\n0 4\n'
    } | from-text >good.tvs
    numbers iso-merge <good.tvs | uniq >found
    echo "1.0000 2.0000" | diff -u - found
    numbers iso-merge --matrices all <good.tvs | tail -n 1 | diff -u found -
}

@test "the same bytes from a file or a pipe, with threads, in little memory, in one process" {
    always_alike iso-merge --matrices all
    always_alike iso-merge --common 0.5
    iso-merge <"$BIG" >piped.tvs
    tv run --threads=2 'iso-merge' <"$BIG" | cmp piped.tvs -
    tv run --threads=3 "tv-extract $MODELS/base $MODELS/math $MODELS/code | iso-merge" |
        tensors | cmp - <(tensors <piped.tvs)
}

@test "refuses weights, broken streams, a full disk and a closed output" {
    make_good
    weigh 0.5 <good.tvs >weighed.tvs
    refused_with "tensor w of math has a weight, which this method does not support" iso-merge <weighed.tvs
    refuses_bad_streams iso-merge
    refuses_bad_output iso-merge
    refuses_nonfinite iso-merge
}

@test "usage errors" {
    usage_error iso-merge operand
    usage_error iso-merge --tolerance 0
    usage_error iso-merge --common 1.1
    usage_error iso-merge --common -0.1
}
