#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big; }

# Two orthogonal vectors, of norms 3 and 4.
right_angle() {
    lesson | with_numbers "3 0 0/0 0 0" "0 4 0/0 0 0"
}

# t = 1/2, with the length 3.5; sin 45 = 0.70710678.
@test "the mean direction with the mean length" {
    right_angle | from-text | multislerp | tensors >found
    diff -u - found <<ROWS
tensor w 2x3
vector merged no-source
2.4748738 2.4748738 0
0 0 0
ROWS
}

# m = (3, 4, 0) / 4, of length 5/4; weights 3/7 and 4/7: length (9 + 16) / 7. Raw: 25.
@test "weights are divided by their sum, or not" {
    right_angle | from-text | weigh math=3 code=4 >good.tvs
    multislerp <good.tvs | tensors >found
    grep -qx "2.142857 2.857143 0" found
    multislerp --normalize=none <good.tvs | tensors >found
    grep -qx "15 20 0" found
}

@test "a single vector is unchanged" {
    pick math <"$BIG" | digests | grep -v ^vector >one
    pick math <"$BIG" | weigh 0.3 | multislerp --normalize=none | digests | grep -v ^vector | diff -q - one
}

@test "without a mean direction two vectors are added and more are refused" {
    right_angle | sed 's/^0 4 0$/-6 0 0/' | from-text >opposite.tvs
    multislerp <opposite.tvs | tensors | grep -cx -- "-1.5 0 0"
    right_angle | sed 's/^0 4 0$/-3 0 0/; /^model code/a model chat role=expert' >three
    printf 'vector chat\n0 0 0\n0 0 0\n' >>three
    from-text three >three.tvs
    refused_with "the vectors of tensor w cancel out" multislerp <three.tvs
    sed 's/^-*3 0 0$/0 0 0/' three | from-text | multislerp | tensors >found
    diff -u - found <<ROWS
tensor w 2x3
vector merged no-source
0 0 0
0 0 0
ROWS
}

@test "weights that cancel are refused for models" {
    weights | from-text | weigh math=1 code=-1 >weights.tvs
    refused_with "add up to 0" multislerp <weights.tvs
    make_good
    weigh math=1 code=-1 <good.tvs | multislerp | tv-view >/dev/null
}

@test "the order of the vectors does not matter, nor their scale" {
    tv-extract "$MODELS"/base "$MODELS"/code "$MODELS"/math | multislerp >back.tvs
    multislerp <"$BIG" >forth.tvs
    tv-diff --tolerance 1e-6 back.tvs forth.tvs
    rescale 4 <"$BIG" | multislerp | rescale 0.25 >scaled.tvs
    tv-diff --tolerance 1e-6 scaled.tvs forth.tvs
}

@test "the same bytes from a file or a pipe, with threads, in little memory" {
    always_alike multislerp
}

@test "refuses broken streams and outputs" {
    make_good
    refuses_bad_streams multislerp
    refuses_nonfinite multislerp
    refuses_bad_output multislerp
}

@test "usage errors" {
    usage_error multislerp --eps 0
    usage_error multislerp --eps -1
    usage_error multislerp --eps tiny
    usage_error multislerp operand
}
