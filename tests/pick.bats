#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big; }

# three: the lesson with a second tensor that only code has
three() {
    lesson
    printf 'tensor x 2\nvector code\n7 8\n'
}

@test "the vectors of one model; tensors without vectors are removed" {
    three | from-text | pick math | tv-view --values | grep -v ^step >found
    diff -u - found <<END
kind task-vectors
model base role=base
model math role=expert
tensor w 2x3
vector math
1 -2 0.5
0 0.25 3
END
}

@test "globs of tensor names, for one model or all" {
    three | from-text | pick /x | tensors >found
    printf 'tensor x 2\nvector code\n7 8\n' | diff -u - found
    three | from-text | pick 'code/*' | tensors >found
    diff -u - found <<END
tensor w 2x3
vector code
-1 4 0.5
2 0 -3
tensor x 2
vector code
7 8
END
    three | from-text | pick math '/x' >some
    three | from-text | pick --drop code/w | tensors >found
    tensors <some | diff -u - found
}

@test "selecting everything changes nothing" {
    leaves_alone pick '*'
    leaves_alone pick /none '/[!n]*'
}

@test "accepts non-finite numbers and any kind and dtype" {
    printf 'kind weights\nmodel a\nmodel b\ntensor i 3\nvector a I8\n1 -2 3\nvector b F16\n1 2 3\n' |
        from-text | pick a | tensors >found
    printf 'tensor i 3\nvector a I8\n1 -2 3\n' | diff -u - found
}

@test "same bytes from pipes and files, with any threads and memory" {
    always_alike pick code '/*norm*'
}

@test "rejects bad streams" {
    make_good
    refuses_bad_streams pick math
}

@test "rejects bad outputs" {
    make_good
    refuses_bad_output pick math
}

bytes() { # N: a stream of one tensor of N bytes
    printf 'kind weights\nmodel m\ntensor t %d\nvector m U8\n' "$1"
    seq 1 "$1" | sed 's/.*/1/' | tr '\n' ' '
}

@test "a disk that is full when the last record is written" {
    size=$(bytes 600 | from-text | pick m | wc -c)
    bytes $((600 + 1034 - size)) | from-text >good.tvs
    [ "$(pick m <good.tvs | wc -c)" -eq 1034 ]
    REFUSED_BY=pick refused_with "cannot write to standard output: File too large" limited
}

limited() { (
    trap '' XFSZ
    ulimit -f 1
    pick m <good.tvs >.limited
); }

@test "rejects an empty selection and unknown models" {
    make_good
    refused_with "no vector is selected" pick /y <good.tvs
    refused_with "no vector is selected" pick --drop math code <good.tvs
    refused_with "no model of that name" pick chat <good.tvs
    refused_with "no model of that name" pick chat/w math <good.tvs
}

@test "usage" {
    usage_error pick
    usage_error pick --keep math
    usage_error pick math/
    usage_error pick @file
}
