#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big; }

# 0.5 math + 2 code
@test "the weighted sum" {
    lesson | from-text | weigh math=0.5 code=2 | combine | tensors >found
    diff -u - found <<END
tensor w 2x3
vector merged no-source
-1.5 7 1.25
4 0.125 -4.5
END
}

@test "--normalize=all divides by the sum of the weights" {
    lesson | from-text | weigh math=0.5 code=2 | combine --normalize=all | tensors >found
    diff -u - found <<END
tensor w 2x3
vector merged no-source
-0.6 2.8 0.5
1.6 0.05 -1.8
END
}

# math is 0 at index 3 and code at index 4.
@test "--normalize=agreeing divides by the weights of the elements that are not 0" {
    lesson | from-text | weigh math=0.5 code=2 | combine --normalize=agreeing | tensors >found
    diff -u - found <<END
tensor w 2x3
vector merged no-source
-0.6 2.8 0.5
2 0.25 -1.8
END
}

@test "a divisor of 0 counts as 1 in task vectors and is refused in weights; --floor replaces it" {
    lesson | from-text | weigh math=1 code=-1 | combine --normalize=all | tensors >found
    diff -u - found <<END
tensor w 2x3
vector merged no-source
2 -6 0
-2 0.25 6
END
    weights | from-text | weigh math=1 code=-1 >weights.tvs
    refused_with "add up to 0" combine --normalize=all <weights.tvs
    lesson | from-text | weigh math=1 code=-1 | combine --normalize=all --floor 4 | tensors >found
    diff -u - found <<END
tensor w 2x3
vector merged no-source
0.5 -1.5 0
-0.5 0.0625 1.5
END
}

@test "weights per chunk apply to their elements" {
    printf 'w\tmath\t0\t2\nw\tmath\t1\t0\nw\tcode\t0\t1\n' >table
    lesson | from-text | weigh --table table | combine | tensors >found
    diff -u - found <<END
tensor w 2x3
vector merged no-source
1 0 1.5
2 0 -3
END
}

@test "the result is a new model with the given name" {
    lesson | from-text | combine --name soup | tv-view --values | grep -E '^(model|vector)' >found
    diff -u - found <<END
model base role=base
model math role=expert
model code role=expert
model soup role=merged
vector soup no-source
END
    make_good
    refused_with math combine --name math <good.tvs
}

@test "one vector combined is that vector" {
    pick math <"$BIG" | digests | sed 's/^vector math.*/vector merged no-source/' >one
    pick math <"$BIG" | combine | digests | sed 's/^vector merged.*/vector merged no-source/' | cmp - one
}

@test "the order of the vectors does not matter" {
    combine <"$BIG" | digests >forth
    tv-extract "$MODELS"/base "$MODELS"/code "$MODELS"/math | combine | digests |
        sed 's/ stored=[^ ]*//' >back
    sed 's/ stored=[^ ]*//' forth | cmp - back
}

@test "integer tensors are joined only if all models agree" {
    printf 'kind weights\nmodel a\nmodel b\ntensor i 2\nvector a I64\n1 2\nvector b I64\n1 2\n' >same
    from-text same | combine | tensors >found
    diff -u - found <<END
tensor i 2
vector merged I64 no-source
1 2
END
    sed '$s/1 2/1 3/' same | from-text >other.tvs
    refused_with "tensor i is I64 and differs" combine <other.tvs
    sed 's/vector a I64/& weight=2/' same | from-text >weighed.tvs
    refused_with "tensor i is I64 and cannot be weighted" combine <weighed.tvs
    sed '$s/1 2/1 3/; s/vector b I64/vector b F32/' same | from-text >other.tvs
    refused_with "tensor i is I64 in one model and F32 in another" combine <other.tvs
}

@test "the same bytes from a file or a pipe, with threads, in little memory" {
    always_alike combine
    always_alike combine --normalize=agreeing
}

@test "refuses broken streams" {
    make_good
    refuses_bad_streams combine
    refuses_bad_streams combine --normalize=agreeing
    refuses_nonfinite combine
}

@test "refuses a sum that is too large for F32" {
    lesson | sed 's/^1 -2 0.5$/1 -3e38 0.5/; s/^-1 4 0.5$/-1 -3e38 0.5/' | from-text >large.tvs
    refused_with "flat index 1" combine <large.tvs
}

@test "refuses a full disk and a closed output" {
    make_good
    refuses_bad_output combine
}

@test "usage errors" {
    make_good
    usage_error combine --normalize=some
    usage_error combine --floor 0 --normalize=all
    usage_error combine merged
    usage_error_with "--floor needs --normalize" combine --floor 1
}
