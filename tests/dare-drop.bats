#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big; }

# The mask follows from share/stream.md, appendix, which lists the words for seed 42, model math, tensor
# model.norm.weight, so u starts with 0.277 0.328 0.192, then 0.921 0.215 0.165 0.659 0.266.
@test "drops the elements that the specified random numbers choose" {
    printf 'kind task-vectors\nmodel math\ntensor model.norm.weight 2x4\nvector math\n' >text
    printf '1 2 3 4\n5 6 7 8\n' >>text
    from-text text | dare-drop --density 0.3 --seed 42 | tensors >found
    diff -u - found <<END
tensor model.norm.weight 2x4
vector math keep=0.3
1 0 3 0
5 6 0 8
END
}

@test "--l1 records the norm, and a second drop multiplies the probabilities" {
    lesson | from-text | dare-drop --density 0.5 --seed 1 --l1 |
        dare-drop --density math=0.5 --seed 2 --l1 | tensors | grep ^vector >found
    diff -u - found <<END
vector math l1_before=6.75 keep=0.25
vector code l1_before=10.5 keep=0.5
END
}

@test "density 1 changes nothing, density 0 drops everything" {
    leaves_alone_but_keep dare-drop --density 1 --seed 3
    lesson | from-text | dare-drop --density 0 --seed 3 | tensors | grep -v vector >found
    diff -u - found <<END
tensor w 2x3
0 0 0
0 0 0
0 0 0
0 0 0
END
}

leaves_alone_but_keep() {
    digests <"$BIG" >.before
    "$@" <"$BIG" | digests | sed 's/ keep=1$//' | cmp .before -
}

@test "keeps about the given share, and kept elements are unchanged" {
    dare-drop --density 0.2 --seed 5 <"$BIG" | tensors | tr ' ' '\n' | grep '^[-0-9]' >after
    tensors <"$BIG" | tr ' ' '\n' | grep '^[-0-9]' | paste - after | awk '
        $1 != 0 { n++ } $2 != 0 { kept++; if ($1 != $2) wrong++ }
        END { exit !(n > 200000 && kept / n > 0.19 && kept / n < 0.21 && !wrong) }'
}

@test "the mask depends on seed, model and tensor name, not on the order of the stream" {
    dare-drop --density 0.5 --seed 5 <"$BIG" | pick code | digests >after
    pick code <"$BIG" | dare-drop --density 0.5 --seed 5 | digests | cmp - after
    pick code <"$BIG" | dare-drop --density 0.5 --seed 6 | digests >other
    not cmp -s other after
}

@test "the same elements with a round (--l1) and without" {
    dare-drop --density 0.5 --seed 5 <"$BIG" | digests | grep -v vector >drawn
    dare-drop --density 0.5 --seed 5 --l1 <"$BIG" | digests | grep -v vector | cmp drawn -
}

@test "the same bytes from a file or a pipe, with threads, in little memory" {
    always_alike dare-drop --density 0.2 --seed 7
    always_alike dare-drop --density 0.2 --seed 7 --l1
}

@test "refuses broken streams" {
    make_good
    refuses_bad_streams dare-drop --density 0.5 --seed 1
    refuses_nonfinite dare-drop --density 0.5 --seed 1
    refuses_nonfinite dare-drop --density 0.5 --seed 1 --l1
}

@test "refuses a full disk and a closed output" {
    make_good
    refuses_bad_output dare-drop --density 0.5 --seed 1
}

@test "refuses weights and a model that is not there" {
    make_good
    weights | from-text >weights.tvs
    refused_with "this filter requires task-vectors" dare-drop --density 1 --seed 1 <weights.tvs
    refused_with "no model of that name" dare-drop --density chat=1 --seed 1 <good.tvs
}

@test "usage errors" {
    usage_error dare-drop --density 0.5
    usage_error dare-drop --seed 1
    usage_error dare-drop --seed 1 --density 1.01
    usage_error dare-drop --seed 1 --density -0.5
    usage_error dare-drop --seed -1 --density 0.5
    usage_error dare-drop --seed 18446744073709551616 --density 0.5
    usage_error dare-drop --seed 0.5 --density 0.5
}
