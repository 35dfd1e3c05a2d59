#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big_weights; }

# b = 1; the distances of x are 0.5, 0.125, 1, 0, -1 and 0.25.
lesson_of_swaps() {
    weights | with_numbers "1 1 1/1 1 1" "1.5 0.875 0/1 2 1.25"
}

@test "elements within t become x, the others move by t" {
    lesson_of_swaps | from-text | nearswap --t 0.25 | tensors >found
    diff -u - found <<ROWS
tensor w 2x3
vector merged no-source
1.25 0.875 0.75
1 1.25 1.25
ROWS
}

@test "0 keeps the first model, a large t takes the second" {
    nearswap --t 0 <"$BIG" | digests | grep -v '^vector' >found
    unpack --dtype float32 "$MODELS"/base | digests | grep -v '^vector' | diff -q - found
    nearswap --t 1e6 <"$BIG" | digests | grep -v '^vector' >found
    unpack --dtype float32 "$MODELS"/math | digests | grep -v '^vector' | diff -q - found
}

@test "the same bytes from a file or a pipe, with threads, in little memory" {
    always_alike nearswap --t 0.005
}

@test "refuses broken streams and outputs" {
    weights | from-text >good.tvs
    refuses_bad_streams nearswap --t 0.5
    refuses_bad_output nearswap --t 0.5
}

@test "usage errors" {
    usage_error nearswap
    usage_error nearswap --t -0.5
    usage_error nearswap --t 0.5x
    usage_error nearswap --t 0.5 operand
}
