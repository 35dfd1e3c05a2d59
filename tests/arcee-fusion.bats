#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big_weights; }

# row A C: two models with one row each
row() {
    # shellcheck disable=SC2086
    set -- "$1" "$2" $1
    printf 'kind weights\nmodel a\nmodel c\ntensor w %s\nvector a\n%s\nvector c\n%s\n' $(($# - 2)) "$1" "$2"
}

# In one row importance is proportional to |c - a|: 1 2 3 4 5 20. Quantiles are elements 1, 2, 3 of these,
# T = 3 + 1.5 (4 - 2) = 6.
@test "takes elements 1.5 interquartile ranges above the median" {
    row "0 1 0 0 0 0" "4 3 20 1 5 3" | from-text | arcee-fusion | tensors >found
    diff -u - found <<ROWS
tensor w 6
vector merged no-source
0 1 20 0 0 0
ROWS
}

# Row 2 is the same in both models, so three quarters of the importances are 0.
@test "if the quantiles are 0, all elements are taken" {
    weights | with_numbers "0 0 0/1 2 3" "1 0 -1/1 2 3" | from-text | arcee-fusion | tensors >found
    diff -u - found <<ROWS
tensor w 2x3
vector merged no-source
1 0 -1
1 2 3
ROWS
}

@test "few elements: the quantiles are among the smallest" {
    row 1 2 | from-text | arcee-fusion | tensors | grep -cx 2
    row "1 1" "2 5" | from-text | arcee-fusion | tensors | grep -cx "2 5" # T = I_0.5, the smaller
    # 1 2 4: T = I_0.5 + 1.5 (I_0.75 - I_0.25), elements 1, 1 and 0: 2 + 1.5 (2 - 1)
    row "0 0 0" "4 1 2" | from-text | arcee-fusion | tensors | grep -cx "4 0 0"
}

# The same in Python, in float64 with F32 ranks.
@test "a matrix of several blocks" {
    cat >fuse.py <<'PY'
import numpy as np
def read(name):
    return np.array([l.split() for l in open(name) if l[0] in "-0123456789"], np.float32).astype(np.float64)
y = read("fused")
a, c = read("both").reshape(2, *y.shape)
def soft(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True) + 1e-8
p, q = soft(c), soft(a)
I = (np.abs(c - a) * (p * np.log(p / q)).sum(1, keepdims=True)).astype(np.float32)
s = np.sort(I.ravel())
q = [float(s[int(np.float32(f) * np.float32(s.size - 1))]) for f in (.25, .5, .75)]
T = q[1] + 1.5 * (q[2] - q[0])
near = np.abs(I - T) < 1e-5 * T
assert (np.where(I >= T, c, a) == y)[~near].all() and near.sum() < 5, near.sum()
PY
    for t in model.layers.0.mlp.weight model.embed_tokens.weight; do
        unpack --dtype float32 "$MODELS"/base "$MODELS"/math | pick "/$t" >one.tvs
        tv-view --values one.tvs >both
        arcee-fusion <one.tvs | tv-view --values >fused
        /usr/bin/python3 fuse.py
    done
}

@test "equal models are unchanged" {
    unpack a="$MODELS"/math b="$MODELS"/math | arcee-fusion | digests | grep -v ^vector >found
    unpack --dtype float32 "$MODELS"/math | digests | grep -v ^vector | diff -q - found
}

@test "the same bytes from a file or a pipe, with threads, in little memory" {
    always_alike arcee-fusion
}

@test "refuses broken streams and outputs" {
    weights | from-text >good.tvs
    refuses_bad_streams arcee-fusion
    refuses_bad_output arcee-fusion
    make_good
    refused_with "this filter requires weights" arcee-fusion <good.tvs
}

@test "usage errors" {
    usage_error arcee-fusion --t 0.5
    usage_error arcee-fusion operand
}
