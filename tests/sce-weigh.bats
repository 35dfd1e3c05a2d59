#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big; }

@test "each vector's weight is its share of the energy" {
    # 1 + 4 + 1/4 + 1/16 + 9 = 14.3125, and 1 + 16 + 1/4 + 4 + 9 = 30.25
    lesson | from-text | weigh 7 | sce-weigh | tensors | grep ^vector >found
    awk 'BEGIN { printf "vector math weight=%.15g\nvector code weight=%.15g\n", 14.3125 / 44.5625, 30.25 / 44.5625 }' >expected
    sed 's/\(weight=0\.[0-9]\{14\}\).*/\1/' found >short
    sed 's/\(weight=0\.[0-9]\{14\}\).*/\1/' expected | diff -u - short
}

@test "payload and attributes are unchanged" {
    lesson | from-text | trim --density 0.5 >trimmed.tvs
    sce-weigh <trimmed.tvs | tensors | sed 's/ weight=[^ ]*//' >found
    tensors <trimmed.tvs | diff -u - found
}

@test "vectors near 0 have equal weights" {
    printf 'kind task-vectors\nmodel a\nmodel b\ntensor w 4\n' >small
    printf 'vector a\n1e-4 0 0 0\nvector b\n0 1e-3 1e-3 0\n' >>small
    from-text small | sce-weigh | tensors | grep ^vector >found
    printf 'vector a weight=0.5\nvector b weight=0.5\n' | diff -u - found
    sed 's/1e-4/1e-2/' small | from-text | sce-weigh | tensors | grep ^vector >found
    run ! grep -q weight=0.5 found
}

@test "--exclude skips the weights of a tensor" {
    leaves_alone sce-weigh --exclude '*'
}

@test "the same bytes from a file or a pipe, with threads, in little memory" {
    always_alike sce-weigh
}

@test "refuses broken streams" {
    make_good
    refuses_bad_streams sce-weigh
    refuses_nonfinite sce-weigh
}

@test "refuses a full disk and a closed output" {
    make_good
    refuses_bad_output sce-weigh
}

@test "refuses weights of models" {
    weights | from-text | refused_with "this filter requires task-vectors" sce-weigh
}

@test "usage errors" {
    usage_error sce-weigh 0.5
    usage_error sce-weigh --topk 1
}
