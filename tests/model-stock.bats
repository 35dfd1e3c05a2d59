#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big; }

# Rows at angles of cosine 1, 0 and 4/9, of the lengths 2, 1 and 3.
stock() {
    printf 'kind task-vectors\nmodel math\nmodel code\ntensor w 3x3\n'
    printf 'vector math\n2 0 0\n1 0 0\n2 2 1\nvector code\n2 0 0\n0 1 0\n2 -1 2\n'
}

@test "one t per row: t = K c / (1 + (K - 1) c), w = t / K" {
    stock | from-text | weigh 7 | model-stock --per row | tensors >found
    sed 's/30769230769230[0-9]*/3077/g' found >short
    diff -u - short <<END
tensor w 3x3
vector math weight=0.5,0,0.3077
2 0 0
1 0 0
2 2 1
vector code weight=0.5,0,0.3077
2 0 0
0 1 0
2 -1 2
END
}

@test "one t per tensor" {
    # <math, code> = 4 + 0 + 4, and 14 each for the squares: c = 4/7, t = 8/11
    stock | from-text | model-stock | tensors | grep ^vector | sed 's/363636363636[0-9]*/3636/' >found
    printf 'vector %s weight=0.3636\n' math code | diff -u - found
}

@test "vectors of 1-D tensors are one row" {
    printf 'kind task-vectors\nmodel a\nmodel b\nmodel c\ntensor w 2\nvector a\n1 0\nvector b\n1 0\nvector c\n1 0\n' |
        from-text | model-stock --per row | tensors | grep ^vector >found
    printf 'vector %s weight=0.3333333333333333\n' a b c | diff -u - found
}

@test "the product of two norms counts as at least 1e-6" {
    printf 'kind task-vectors\nmodel a\nmodel b\ntensor w 2\nvector a\n5e-4 0\nvector b\n1e-3 0\n' |
        from-text | model-stock | tensors | grep ^vector | sed 's/33333[0-9]*/3333/' >found
    printf 'vector %s weight=0.3333\n' a b | diff -u - found # c = 1/2, t = 2/3
}

@test "two opposite vectors give the base" {
    printf 'kind task-vectors\nmodel a\nmodel b\ntensor w scalar\nvector a\n2\nvector b\n-0.5\n' |
        from-text | model-stock | tensors | grep ^vector >found
    printf 'vector %s weight=0\n' a b | diff -u - found
}

@test "the same expert several times is that expert" {
    pick math <"$BIG" >math.tvs
    tv-extract "$MODELS"/base again="$MODELS"/math | join-streams math.tvs - >twice.tvs
    model-stock <twice.tvs | combine | tv-diff --tolerance 1e-5 - <(pick math <math.tvs | combine)
}

@test "the same bytes from a file or a pipe, with threads, in little memory" {
    always_alike model-stock
    always_alike model-stock --per row
}

@test "the same bytes in one process" {
    model-stock --per row <"$BIG" | combine | digests >piped
    tv run 'model-stock --per row | combine' <"$BIG" | digests | cmp - piped
}

@test "refuses broken streams" {
    make_good
    refuses_bad_streams model-stock
    refuses_bad_streams model-stock --per row
    refuses_nonfinite model-stock
}

@test "refuses a full disk and a closed output" {
    make_good
    refuses_bad_output model-stock
}

@test "refuses weights, and one vector" {
    weights | from-text | refused_with "this filter requires task-vectors" model-stock
    lesson | from-text | pick math >one.tvs
    refused_with "tensor w has one vector" model-stock <one.tvs
}

@test "usage errors" {
    usage_error model-stock --per column
    usage_error model-stock 0.5
}
