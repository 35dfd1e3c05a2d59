#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big; }

@test "keeps what one expert changed, averages what both changed" {
    lesson | from-text | ram | tensors >found
    diff -u - found <<ROWS
tensor w 2x3
vector merged no-source
0 1 0.5
2 0.25 0
ROWS
}

@test "a magnitude of at most epsilon is no change" {
    lesson | from-text | ram --epsilon 1 | tensors >found
    diff -u - found <<ROWS
tensor w 2x3
vector merged no-source
0 1 0
2 0 0
ROWS
}

# Each changes four elements with the other and one alone: rho = 4.
@test "--plus amplifies what only one expert changed" {
    make_good
    ram --plus <good.tvs | tensors >found
    diff -u - found <<ROWS
tensor w 2x3
vector merged no-source
0 1 0.5
2.04 0.255 0
ROWS
    ram --plus --r 0.5 --alpha 10 <good.tvs | tensors >found
    diff -u - found <<ROWS
tensor w 2x3
vector merged no-source
0 1 0.5
6 0.75 0
ROWS
}

@test "three experts" {
    lesson | sed '/^model code/a model chat role=expert' >three
    printf 'vector chat\n3 0 0\n0 0 -6\n' >>three
    from-text three | ram | tensors >found
    diff -u - found <<ROWS
tensor w 2x3
vector merged no-source
1 1 0.5
2 0.25 -2
ROWS
    # chat: two shared, none alone; math and code as before
    from-text three | ram --plus --alpha 4 --r 1 | tensors | grep -cx "10 1.25 -2"
}

@test "a single expert is unchanged" {
    pick math <"$BIG" | digests | grep -v ^vector >one
    pick math <"$BIG" | ram --epsilon 0 | digests | grep -v ^vector | diff -q - one
}

@test "the same bytes from a file or a pipe, with threads, in little memory" {
    always_alike ram --epsilon 0.01
    always_alike ram --epsilon 0.01 --plus
}

@test "refuses broken streams and outputs" {
    make_good
    refuses_bad_streams ram
    refuses_bad_streams ram --plus
    refuses_nonfinite ram
    refuses_nonfinite ram --plus
    refuses_bad_output ram
    weights | from-text >weights.tvs
    refused_with "this filter requires task-vectors" ram <weights.tvs
}

@test "usage errors" {
    make_good
    usage_error ram --epsilon -1
    usage_error ram --alpha -1 --plus
    usage_error ram operand
    usage_error_with "--r needs --plus" ram --r 0.2
    usage_error_with "--alpha needs --plus" ram --alpha 0.2
}
