#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big; }

# known ROWS...: a tensor whose random numbers are known. For seed 42, model math, tensor
# model.norm.weight u is 0.277 0.328 0.192 0.921, then 0.215 0.165 0.659 0.266 (share/stream.md).
known() {
    local shape=$1
    printf 'kind task-vectors\nmodel math\ntensor model.norm.weight %s\nvector math\n' "$shape"
    printf '%s\n' "${@:2}"
}

@test "larger elements of a row are more likely to be kept" {
    # p is 0.05, 0.183, 0.317, 0.45 by rank; in the first row that is 0.45 0.317 0.183 0.05
    known 2x4 '4 -3 2 1' '5 6 -8 7' | from-text |
        della-drop --density 0.25 --epsilon 0.2 --seed 42 | tensors >found
    diff -u - found <<END
tensor model.norm.weight 2x4
vector math l1_before=36 l1=17
4 0 0 0
0 6 0 7
END
}

@test "--rescale=keep divides each element by its own probability" {
    known 2x4 '4.5 -3 2 1' '5 5.5 -8 7' | from-text |
        della-drop --density 0.25 --epsilon 0.2 --seed 42 --rescale=keep | tensors >found
    diff -u - found <<END
tensor model.norm.weight 2x4
vector math
10 0 0 0
0 30 0 22.10526
END
}

@test "equal magnitudes rank by index, a 1-D tensor is one row, a row of one has the density" {
    known 4 '1 -1 1 1' | from-text | della-drop --density 0.25 --epsilon 0.2 --seed 42 | tensors >found
    diff -u - found <<END
tensor model.norm.weight 4
vector math l1_before=4 l1=1
0 0 1 0
END
    known 4x1 1 2 3 4 | from-text | della-drop --density 0.3 --epsilon 0.2 --seed 42 | tensors >found
    diff -u - found <<END
tensor model.norm.weight 4x1
vector math l1_before=10 l1=4
1
0
3
0
END
}

@test "epsilon 0 drops the elements that dare-drop drops" {
    della-drop --density 0.4 --epsilon 0 --seed 9 <"$BIG" | digests >found
    dare-drop --density 0.4 --seed 9 --l1 <"$BIG" | digests | sed 's/ keep=0.4//' | cmp - found
}

@test "density 1 changes only the recorded norms, density 0 drops everything" {
    della-drop --density 1 --seed 3 <"$BIG" | digests | sed 's/ l1_before=\([^ ]*\) l1=\1$//' >after
    digests <"$BIG" | cmp - after
    lesson | from-text | della-drop --density 0 --seed 3 | tensors | grep -v vector >found
    diff -u - found <<END
tensor w 2x3
0 0 0
0 0 0
0 0 0
0 0 0
END
}

@test "keeps an earlier recorded norm, removes an earlier keep probability" {
    lesson | from-text | trim --density 0.5 | della-drop --density 0.5 --seed 1 | tensors |
        grep ^vector >found
    printf 'vector math l1_before=6.75\nvector code l1_before=10.5\n' | diff -u - found
    lesson | from-text | dare-drop --density 0.5 --seed 1 --l1 |
        della-drop --density math=0.5 --seed 2 --rescale=keep | tensors | grep ^vector >found
    printf 'vector math l1_before=6.75\nvector code l1_before=10.5 keep=0.5\n' | diff -u - found
}

@test "keeps about the given share" {
    pick /model.layers.0.mlp.weight <"$BIG" >one.tvs
    della-drop --density 0.3 --epsilon 0.2 --seed 5 <one.tvs | tensors | tr ' ' '\n' | grep '^[-0-9]' >after
    tensors <one.tvs | tr ' ' '\n' | grep '^[-0-9]' | paste - after | awk '
        $1 != 0 { n++; size += ($1 < 0 ? -$1 : $1) }
        $2 != 0 { kept++; large += ($1 < 0 ? -$1 : $1); if ($1 != $2) wrong++ }
        END { exit !(n > 150000 && kept / n > 0.29 && kept / n < 0.31 && !wrong && large / kept > 1.1 * size / n) }'
}

@test "the same bytes from a file or a pipe, with threads, in little memory" {
    always_alike della-drop --density 0.5 --seed 7
    always_alike della-drop --density 0.5 --epsilon 0.4 --seed 7 --rescale=keep
}

@test "the same bytes in one process, with later stages that observe" {
    della-drop --density 0.5 --seed 7 <"$BIG" | rescale --by l1 | trim --density 0.2 | digests >piped
    tv run 'della-drop --density 0.5 --seed 7 | rescale --by l1 | trim --density 0.2' <"$BIG" |
        digests | cmp - piped
}

@test "refuses broken streams" {
    make_good
    refuses_bad_streams della-drop --density 0.5 --seed 1
    refuses_nonfinite della-drop --density 0.5 --seed 1
    refuses_nonfinite della-drop --density 0.5 --seed 1 --rescale=keep
}

@test "refuses a full disk and a closed output" {
    make_good
    refuses_bad_output della-drop --density 0.5 --seed 1
}

@test "refuses probabilities outside (0, 1), weights, an unknown model" {
    make_good
    refused_with "tensor w of math: density 0.85 with epsilon 0.15" \
        della-drop --density 0.85 --seed 1 <good.tvs
    refused_with "from 0 to 0.2" della-drop --density 0.1 --epsilon 0.1 --seed 1 <good.tvs
    refused_with "tensor w of code" della-drop --density 0.5 --epsilon code=0.5 --seed 1 <good.tvs
    weights | from-text >weights.tvs
    refused_with "this filter requires task-vectors" della-drop --density 1 --seed 1 <weights.tvs
    refused_with "no model of that name" della-drop --density chat=1 --seed 1 <good.tvs
}

@test "usage errors" {
    usage_error della-drop --density 0.5
    usage_error della-drop --seed 1
    usage_error della-drop --seed 1 --density 1.01
    usage_error della-drop --seed 1 --density 0.5 --epsilon 1
    usage_error della-drop --seed 1 --density 0.5 --rescale=l1
}
