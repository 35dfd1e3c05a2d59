#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big; }

# The variances of the lesson are 1, 9, 0, 1, 1/64 and 9.

@test "keeps the elements of largest variance in all vectors" {
    lesson | from-text | sce-select --topk 0.5 | tensors >found
    diff -u - found <<END
tensor w 2x3
vector math
0 -2 0
0 0 3
vector code
0 4 0
0 0 -3
END
}

@test "of equal variances the lower index is kept" {
    lesson | from-text | sce-select --topk 0.61 | tensors >found
    diff -u - found <<END
tensor w 2x3
vector math
1 -2 0
0 0 3
vector code
-1 4 0
0 0 -3
END
}

@test "a share below one element, or equal experts, keep nothing" {
    lesson | from-text | sce-select --topk 0.19 | tensors | grep -v vector >found
    printf 'tensor w 2x3\n0 0 0\n0 0 0\n0 0 0\n0 0 0\n' | diff -u - found
    lesson | from-text | pick math | sce-select --topk 0.9 | tensors | grep -v vector >found
    printf 'tensor w 2x3\n0 0 0\n0 0 0\n' | diff -u - found
}

@test "topk 1 changes nothing; rules are per tensor" {
    leaves_alone sce-select --topk 1
    leaves_alone sce-select --topk '/nothing=0.1'
    sce-select --topk 0.1 --topk '/*norm*=1' <"$BIG" | pick '/*norm*' | digests >found
    pick '/*norm*' <"$BIG" | digests | cmp - found
}

@test "keeps exactly floor(F N) elements" {
    sce-select --topk 0.3 <"$BIG" | pick '/model.layers.0.mlp.weight' | tensors |
        sed '/^[tv]/d' | tr ' ' '\n' | awk '$1 != 0 { n++ } END { print n }' >found
    [ "$(<found)" -gt 47900 ] # of 2 vectors; N is 80000, but for a few equal ones
    [ "$(<found)" -le 48000 ]
}

@test "many equal variances are ranked by index" {
    { printf 'kind task-vectors\nmodel a\nmodel b\ntensor w 4x40000\n' &&
        for x in 1 3; do
            printf 'vector %s\n' "$([ $x = 1 ] && echo a || echo b)"
            awk -v x=$x 'BEGIN { for (i = 1; i <= 160000; i++) printf "%d%s", x, i % 40000 ? " " : "\n" }'
        done; } | from-text >flat.tvs
    sce-select --topk 0.375 <flat.tvs | tensors | sed '/^[tv]/d' | tr ' ' '\n' |
        awk '$1 != 0 { n++; last = NR } END { print n, last }' >found
    [ "$(<found)" = "120000 220000" ] # 60000 each: rows 1 and half of 2, then those of b
}

@test "the same bytes from a file or a pipe, with threads, in little memory" {
    always_alike sce-select --topk 0.1
    always_alike sce-select --topk 0.9
}

@test "the same bytes in one process" {
    sce-select --topk 0.2 <"$BIG" | sce-weigh | elect-sign --unweighted |
        combine --normalize=agreeing --floor 1e-6 | digests >piped
    tv run 'sce-select --topk 0.2 | sce-weigh | elect-sign --unweighted |
        combine --normalize=agreeing --floor 1e-6' <"$BIG" | digests | cmp - piped
}

@test "refuses broken streams" {
    make_good
    refuses_bad_streams sce-select --topk 0.5
    refuses_nonfinite sce-select --topk 0.5
}

@test "refuses a full disk and a closed output" {
    make_good
    refuses_bad_output sce-select --topk 0.5
}

@test "refuses weights, and a number per model" {
    make_good
    weights | from-text >weights.tvs
    refused_with "this filter requires task-vectors" sce-select --topk 1 <weights.tvs
    refused_with "--topk math=0.5 names a model" sce-select --topk math=0.5 <good.tvs
}

@test "usage errors" {
    usage_error sce-select
    usage_error sce-select --topk 1.5
    usage_error sce-select --topk -1
    usage_error sce-select --topk 0.5 operand
}
