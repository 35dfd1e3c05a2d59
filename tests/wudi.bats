#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big; }

# |math|^2 = 5, |code|^2 = 9; C = diag(4/5 + 1, 1/5) = diag(1.8, 0.2), D = diag(4.6, 0.2)
example() { matrices "2 0" "0 1" "3 0" "0 0" | from-text; }

# The sum is diag(5, 1), its gradient 2 (9 - 4.6, 0.2 - 0.2): Adam's first step is lr.
# bats test_tags=products
@test "WUDI" {
    example | numbers wudi --steps 1 --lr 0.5 >found
    echo "4.5000 0.0000 0.0000 1.0000" | diff -u - found
    example | numbers wudi >found
    echo "4.9970 0.0000 0.0000 1.0000" | diff -u - found # 300 steps of at most 1e-5
    example | numbers wudi --steps 3000 --lr 0.01 >found
    echo "2.5556 0.0000 0.0000 1.0000" | diff -u - found # 4.6 / 1.8, as swudi
}

# k = 1: C = diag(1.8, 0), D = diag(4.6, 0); from the mean diag(2.5, 0.5).
# 2.5 + 0.1 x 0.2 = 2.52; then the buffer is 0.9 x 0.2 + 0.128 = 0.308
# bats test_tags=products
@test "OptMerge" {
    example | numbers wudi --optimizer sgd --lr 0.1 --steps 1 >found
    echo "2.5200 0.0000 0.0000 0.5000" | diff -u - found
    example | numbers wudi --optimizer sgd --lr 0.1 --steps 2 >found
    echo "2.5508 0.0000 0.0000 0.5000" | diff -u - found
    example | numbers wudi --optimizer sgd --lr 0.1 >found
    echo "2.5556 0.0000 0.0000 0.5000" | diff -u - found
    example | numbers wudi --optimizer sgd --steps 0 >found
    echo "2.5000 0.0000 0.0000 0.5000" | diff -u - found
}

# Mean diag(2.5, 0.25), L = (2, 0) and (3, 0), T = diag(2, 0.25) and diag(3, 0.25): C = diag(1.941, 0),
# D = diag(4.882, 0), and the limit is 4.882 / 1.941.
# bats test_tags=products
@test "centered" {
    matrices "2 0" "0 0.5" "3 0" "0 0" | from-text >good.tvs
    numbers wudi --centered --lr 0.5 --steps 1 <good.tvs >found
    echo "4.5000 0.0000 0.0000 0.5000" | diff -u - found
    numbers wudi --centered --lr 0.01 --steps 3000 <good.tvs >found
    echo "2.5152 0.0000 0.0000 0.5000" | diff -u - found
}

@test "the older spelling of options is that of older histories" {
    make_good
    wudi --optimiser sgd --steps 1 <good.tvs >old.tvs
    wudi --optimizer sgd --steps 1 <good.tvs | cmp - old.tvs
    wudi --centred --steps 1 <good.tvs >old.tvs
    wudi --centered --steps 1 <good.tvs | cmp - old.tvs
}

@test "an expert that did not change the matrix has no part; a single expert comes back" {
    matrices "0 0" "0 0" "3 0" "0 1" | from-text >good.tvs
    for options in "" "--centered"; do
        # shellcheck disable=SC2086
        numbers wudi $options --steps 1000 --lr 0.01 <good.tvs | sed 's/ .*//' >found
        echo 3.0000 | diff -u - found
    done
    pick code <good.tvs | numbers wudi --optimizer sgd >found
    echo "3.0000 0.0000 0.0000 1.0000" | diff -u - found
    for options in "" "--centered" "--optimizer sgd"; do
        # shellcheck disable=SC2086
        matrices "0 0" "0 0" "0 0" "0 0" | from-text | numbers wudi $options >found
        echo "0.0000 0.0000 0.0000 0.0000" | diff -u - found
    done
}

@test "embeddings, heads and tensors that are not matrices are averaged; for OptMerge K > r too" {
    {
        printf 'kind task-vectors\nmodel math role=expert\nmodel code role=expert\n'
        printf 'tensor lm_head.weight 1x2\nvector math\n2 0\nvector code\n0 4\n'
        printf 'tensor norm 2\nvector math\n2 0\nvector code\n0 4\n'
        printf 'tensor one 1x2\nvector math\n2 0\nvector code\n0 4\n'
    } | from-text >good.tvs
    numbers wudi <good.tvs >found
    echo "1.0000 2.0000 1.0000 2.0000 2.0000 4.0000" | tr -d '\n' >want
    [ "$(tr '\n' ' ' <found | sed 's/ $//')" = "$(<want)" ]
    for options in "--optimizer sgd" --centered; do
        # shellcheck disable=SC2086
        numbers wudi $options --matrices all <good.tvs >found
        [ "$(tr '\n' ' ' <found)" = "1.0000 2.0000 1.0000 2.0000 1.0000 2.0000 " ]
    done
}

@test "the same bytes from a file or a pipe, with threads, in little memory, in one process" {
    always_alike wudi --steps 3
    always_alike wudi --optimizer sgd
    wudi --steps 3 <"$BIG" >piped.tvs
    tv run --threads=2 'wudi --steps 3' <"$BIG" | cmp piped.tvs -
    tv run --threads=3 "tv-extract $MODELS/base $MODELS/math $MODELS/code | wudi --steps 3" |
        tensors | cmp - <(tensors <piped.tvs)
}

@test "refuses weights, broken streams, a full disk and a closed output" {
    make_good
    weigh 0.5 <good.tvs >weighed.tvs
    refused_with "tensor w of math has a weight, which this method does not support" wudi <weighed.tvs
    usage_error_with "--centered needs --optimizer adam" wudi --optimizer sgd --centered
    refuses_bad_streams wudi
    refuses_bad_output wudi
    refuses_nonfinite wudi
}

@test "usage errors" {
    usage_error wudi operand
    usage_error wudi --lr 0
    usage_error wudi --steps -1
    usage_error wudi --optimizer adamw
}
