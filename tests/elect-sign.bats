#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big; }

# Sums: 0 (elects +), 2, 1; 2, 0.25, 0 (elects +).
@test "elements that disagree with the sign of the sum become 0" {
    lesson | from-text | elect-sign | tensors >found
    diff -u - found <<END
tensor w 2x3
vector math
1 0 0.5
0 0.25 3
vector code
0 4 0.5
2 0 0
END
}

# Weighted 3 and 1: 2, -2, 2; 2, 0.75, 6.
@test "votes are weighted, and the weights stay in the stream" {
    lesson | from-text | weigh math=3 | elect-sign | tensors >found
    diff -u - found <<END
tensor w 2x3
vector math weight=3
1 -2 0.5
0 0.25 3
vector code
0 0 0.5
2 0 0
END
    lesson | from-text | weigh math=3 | elect-sign --unweighted | tensors | sed 's/ weight=3//' >found
    lesson | from-text | elect-sign | tensors | cmp - found
}

# Weighted 1 and -1: 2, -6, 0 (+); -2, 0.25, 6. What counts is the sign of w tau.
@test "a negative weight flips the vector's vote" {
    lesson | from-text | weigh code=-1 | elect-sign | tensors >found
    diff -u - found <<END
tensor w 2x3
vector math
1 -2 0.5
0 0.25 3
vector code weight=-1
-1 4 0
2 0 -3
END
}

@test "weights per chunk weight the votes of their elements" {
    printf 'w\tmath\t0\t3\nw\tmath\t1\t1\nw\tcode\t0\t1\n' >table # rows 0 and 1
    lesson | from-text | weigh --table table | elect-sign | tensors >found
    diff -u - found <<END
tensor w 2x3
vector math weight=3,1
1 -2 0.5
0 0.25 3
vector code
0 0 0.5
2 0 0
END
}

@test "a single vector and equal vectors are unchanged; a second election changes nothing" {
    pick math <"$BIG" | digests >one
    pick math <"$BIG" | elect-sign | digests | cmp - one
    elect-sign <"$BIG" | digests >once
    elect-sign <"$BIG" | elect-sign | digests | cmp - once
}

@test "removes the attributes of the payload" {
    lesson | from-text | trim --density 0.5 | elect-sign | tensors | grep vector >found
    printf 'vector %s\n' math code | diff -u - found
}

@test "the same bytes from a file or a pipe, with threads, in little memory" {
    always_alike elect-sign
}

@test "refuses broken streams" {
    make_good
    refuses_bad_streams elect-sign
    refuses_nonfinite elect-sign
}

@test "refuses a full disk and a closed output" {
    make_good
    refuses_bad_output elect-sign
}

@test "usage errors" {
    weights | from-text >weights.tvs
    refused_with "this filter requires task-vectors" elect-sign <weights.tvs
    usage_error elect-sign math
    usage_error elect-sign --weighted
}
