#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big; }

# points ROW...: one expert per row, of shape 3
points() {
    local k=0
    echo "kind task-vectors"
    for row; do printf 'model m%s\n' $((++k)); done
    echo "tensor w 3"
    k=0
    for row; do printf 'vector m%s\n%s\n' $((++k)) "$row"; done
}

numbers() {
    tv-view --values | grep '^[-0-9.]* [-0-9.]* '
}

# The middle between orthogonal vectors, with the mean length; 3.5 sin 45, 2 / sqrt 3.
@test "orthogonal points" {
    points "3 0 0" "0 4 0" | from-text | karcher | numbers >found
    diff -u - found <<<"2.4748738 2.4748738 0"
    points "1 0 0" "0 2 0" "0 0 3" | from-text | karcher | numbers >found
    diff -u - found <<<"1.1547005 1.1547005 1.1547005"
}

# Weights 2 and 1: 30 degrees from the first, length (2 * 3 + 6) / 3 = 4; cos 30 = 0.8660254.
@test "weights divide the angle" {
    points "3 0 0" "0 6 0" | from-text | weigh m1=2 m2=1 | karcher --tol 1e-9 --max-iter 100 | numbers >found
    diff -u - found <<<"3.4641016 2 0"
}

@test "--max-iter 0 gives the normalized mean; a single vector is unchanged" {
    points "3 0 0" "0 6 0" | from-text | weigh m1=3 m2=4 | karcher --max-iter 0 | numbers >found
    diff -u - found <<<"2.8285713 3.7714286 0"
    points "3 1 -2" | from-text | weigh 0.25 | karcher | numbers >found
    diff -u - found <<<"3 1 -2"
}

@test "a vector near 0 contributes a length, but no direction" {
    points "0 0 0" "0 4 0" | from-text | karcher | numbers >found
    diff -u - found <<<"0 2 0"
    points "0 0 0" "0 0 0" | from-text | karcher | numbers >found
    diff -u - found <<<"0 0 0"
    points "3 0 0" "0 4 0" | from-text | weigh m1=0 | karcher | numbers >found
    diff -u - found <<<"0 4 0"
}

@test "the mean of two opposite points is the first" {
    points "1 0 0" "-3 0 0" | from-text | karcher | numbers >found
    diff -u - found <<<"2 0 0"
    points "0.5 0.25 1" "-1.5 -0.75 -3" | from-text | karcher | numbers >found
    diff -u - found <<<"1 0.5 2"
}

# At the mean the tangent vectors to all points add up to 0.
@test "the result is the Karcher mean" {
    points "3 1 0" "1 2 -0.5" "0.5 0.5 2" "1 1 1" | from-text | karcher --max-iter 1000 --tol 1e-10 |
        numbers >found
    /usr/bin/python3 - <<'PY'
import numpy as np
x = np.array([[3, 1, 0], [1, 2, -.5], [.5, .5, 2], [1, 1, 1]])
n = np.linalg.norm(x, axis=1)
u = x / n[:, None]
y = np.loadtxt("found")
assert abs(np.linalg.norm(y) - n.mean()) < 1e-6
m = y / np.linalg.norm(y)
th = np.arccos(u @ m)
assert np.abs(((th / np.sin(th))[:, None] * (u - (u @ m)[:, None] * m)).sum(0)).max() < 1e-6
PY
}

@test "negative weights are refused, and for models weights that are all 0" {
    points "3 0 0" "0 4 0" | from-text | weigh m1=-1 >negative.tvs
    refused_with "tensor w of m1 has the weight -1" karcher <negative.tvs
    points "3 0 0" "0 4 0" | sed 's/^kind .*/kind weights/' | from-text | weigh 0 >zero.tvs
    refused_with "add up to 0" karcher <zero.tvs
    points "3 0 0" "0 4 0" | from-text | weigh 0 | karcher | numbers >found
    diff -u - found <<<"0 0 0"
}

@test "the same bytes from a file or a pipe, with threads, in little memory" {
    always_alike karcher
}

@test "refuses broken streams and outputs" {
    make_good
    refuses_bad_streams karcher
    refuses_nonfinite karcher
    refuses_bad_output karcher
}

@test "usage errors" {
    usage_error karcher --tol 0
    usage_error karcher --max-iter -1
    usage_error karcher --max-iter 1.5
    usage_error karcher operand
}

@test "a single vector is unchanged to the last bit, however short" {
    points "1e-9 0 3e-7" | from-text | karcher | tensors | tail -1 >found
    points "1e-9 0 3e-7" | from-text | tensors | tail -1 | diff - found
    points "0.1 0.7 1.3" | from-text | karcher >one.tvs
    points "0.1 0.7 1.3" | from-text | tensors | tail -1 | diff - <(tensors <one.tvs | tail -1)
}
