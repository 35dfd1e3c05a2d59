#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big_weights; }

# Orthogonal: a = (3, 0, ...), c = (0, 4, ...).
right_angle() {
    weights | with_numbers "3 0 0/0 0 0" "0 4 0/0 0 0"
}

# sin 30 = 1/2, sin 60 = 0.8660254
@test "orthogonal vectors" {
    right_angle | from-text | slerp --t 0.3333333333333333 | tensors >found
    diff -u - found <<ROWS
tensor w 2x3
vector merged no-source
2.598076 2 0
0 0 0
ROWS
    right_angle | from-text | slerp --t 0.5 | tensors >found
    diff -u - found <<ROWS
tensor w 2x3
vector merged no-source
2.1213202 2.828427 0
0 0 0
ROWS
}

@test "nearly parallel and nearly opposite vectors are interpolated linearly" {
    right_angle | sed 's/^0 4 0$/6 0.1 0/' | from-text | slerp --t 0.5 | tensors >found
    grep -qx "4.5 0.05 0" found
    right_angle | sed 's/^0 4 0$/-6 0 0/' | from-text | slerp --t 0.5 | tensors >found
    grep -qx -- "-1.5 0 0" found
}

@test "a vector of zeros counts as orthogonal" {
    right_angle | sed 's/^0 4 0$/0 0 0/' | from-text | slerp --t 0.3333333333333333 | tensors >found
    grep -qx "2.598076 0 0" found
}

@test "0 is the first model and 1 the second" {
    for t in 0 1; do
        slerp --t $t <"$BIG" | digests | grep -v '^vector' >found
        [ $t = 0 ] && model=base || model=math
        unpack --dtype float32 "$MODELS/$model" | digests | grep -v '^vector' | diff -q - found
    done
}

@test "t is per tensor: the last matching rule, or a layer gradient" {
    printf 'kind weights\nmodel a\nmodel b\n' >layers
    for i in 0 1 2; do
        printf 'tensor l%s 1 layer=%s/3\nvector a\n1\nvector b\n9\n' $i $i >>layers
    done
    printf 'tensor norm 1\nvector a\n8\nvector b\n16\n' >>layers
    from-text layers | slerp --t '[0,1]' --t /l1=0.25 --t '/n*=1' | tensors >found
    grep '^[0-9]' found | diff -u - <(printf '%s\n' 1 3 9 16)
}

@test "the same bytes from a file or a pipe, with threads, in little memory" {
    always_alike slerp --t 0.3
}

@test "refuses broken streams and outputs" {
    weights | from-text >good.tvs
    refuses_bad_streams slerp --t 0.5
    refuses_bad_output slerp --t 0.5
    make_good
    refused_with "contains task-vectors; this filter requires weights" slerp --t 0.5 <good.tvs
}

@test "usage errors" {
    usage_error slerp
    usage_error slerp --t
    usage_error slerp --t half
    usage_error slerp --t 0.5 operand
}
