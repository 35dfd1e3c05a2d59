#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big; }

@test "limits the elements of the worked example" {
    lesson | from-text | skeleton --limit 1.5 | tensors >found
    diff -u - found <<END_OF_TENSORS
tensor w 2x3
vector math
1 -1.5 0.5
0 0.25 1.5
vector code
-1 1.5 0.5
1.5 0 -1.5
END_OF_TENSORS
}

@test "a limit above all elements changes nothing" {
    leaves_alone skeleton --limit 1e30
}

@test "--exclude leaves tensors out" {
    leaves_alone skeleton --limit 1e-9 --exclude '*'
}

@test "the same bytes from a file, from a pipe, with threads, in little memory" {
    always_alike skeleton --limit 0.01
}

@test "refuses broken streams and non-finite numbers" {
    make_good
    refuses_bad_streams skeleton --limit 1
    refuses_nonfinite skeleton --limit 1
}

@test "refuses a full disk and a closed output" {
    make_good
    refuses_bad_output skeleton --limit 1
}

@test "usage errors" {
    usage_error skeleton
    usage_error skeleton --limit 0
    usage_error skeleton --limit many
}
