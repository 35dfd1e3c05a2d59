#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big; }

setup() {
    own_folder
    make_good
    trim --density 0.5 <good.tvs >other.tvs
}

# The trim drops 0.5 and 0.25 of math (largest: 3), -1 and 0.5 of code (largest: 4).
@test "which vectors differ, and by how much" {
    exits 1 tv-diff other.tvs good.tvs
    tr -s ' ' <.out | diff -u - <(cat <<END
tensor model max abs relative cosine unequal beyond
w math 0.5 0.1667 0.989023 2 2
w code 1 0.25 0.979121 2 2
different: 1 tensor, 2 vectors, 12 elements compared; 4 unequal, 4 beyond the tolerance, max abs 1, relative 0.25 (w)
END
    )
    exits 0 tv-diff good.tvs good.tvs
    [ "$(cat .out)" = "equal: 1 tensor, 2 vectors, 12 elements compared" ]
}

@test "tolerance is relative to the largest of B's tensor; a fraction may exceed it" {
    exits 0 tv-diff --tolerance 0.25 other.tvs good.tvs
    exits 1 tv-diff --tolerance 0.24 other.tvs good.tvs
    exits 0 tv-diff --tolerance 0.24 --bad-frac 0.0834 other.tvs good.tvs
    exits 1 tv-diff --tolerance 0.24 --bad-frac 0.0833 other.tvs good.tvs
    exits 0 tv-diff --bad-frac 0.334 other.tvs good.tvs
    exits 1 tv-diff --bad-frac 0.333 other.tvs good.tvs
}

@test "names, shapes, weights and kinds are compared; dtypes with --same-dtype" {
    lesson | sed 's/^tensor w/tensor v/' | from-text >v.tvs
    exits 1 tv-diff --bad-frac 1 good.tvs v.tvs
    grep -q 'tensor w: only in A' .out
    grep -q 'tensor v: only in B' .out
    weigh 2 <good.tvs >weighed.tvs
    exits 1 tv-diff --bad-frac 1 good.tvs weighed.tvs
    pick math <good.tvs >math.tvs
    exits 1 tv-diff --bad-frac 1 good.tvs math.tvs
    exits 1 tv-diff --bad-frac 1 math.tvs good.tvs
    weights | from-text >weights.tvs
    exits 1 tv-diff --bad-frac 1 good.tvs weights.tvs
    printf 'kind task-vectors\nmodel math\ntensor w 3x2\nvector math\n1 -2\n0.5 0\n0.25 3\n' | from-text >t.tvs
    exits 1 tv-diff --bad-frac 1 math.tvs t.tvs
    lesson | sed 's/^vector .*/& BF16/' | from-text >half.tvs
    exits 0 tv-diff good.tvs half.tvs
    exits 1 tv-diff --same-dtype good.tvs half.tvs
}

@test "NaN equals NaN, infinity equals infinity of the same sign" {
    lesson | sed 's/^0 0.25 3$/0 nan inf/' | from-text --allow-nonfinite >nan.tvs
    lesson | sed 's/^0 0.25 3$/0 nan -inf/' | from-text --allow-nonfinite >minus.tvs
    exits 0 tv-diff nan.tvs nan.tvs
    exits 1 tv-diff --tolerance 1e30 nan.tvs good.tvs
    exits 1 tv-diff --tolerance 1e30 good.tvs nan.tvs
    exits 1 tv-diff --tolerance 1e30 nan.tvs minus.tvs
}

@test "compares streams, checkpoints and standard input" {
    unpack "$MODELS"/math >math.tvs
    exits 0 tv-diff math.tvs "$MODELS"/math
    exits 0 tv-diff "$MODELS"/math math.tvs
    tv-diff - "$MODELS"/math <math.tvs
    exits 1 tv-diff "$MODELS"/math "$MODELS"/code
}

@test "--quiet prints nothing, --json prints everything" {
    exits 1 tv-diff --quiet other.tvs good.tvs
    [ ! -s .out ]
    exits 1 tv-diff --json other.tvs good.tvs
    /usr/bin/python3 -c '
import json
lines = [json.loads(line) for line in open(".out")]
assert [l.get("max_difference") for l in lines] == [0.5, 1, 1] and lines[-1]["same"] is False, lines'
}

@test "long names fit into a terminal; elsewhere they are complete" {
    long_names | from-text >a.tvs
    long_names | sed 's/^0 -2/4 -2/' | from-text >b.tvs
    exits 1 tv-diff a.tvs b.tvs
    cp .out all
    grep -c '^model.language_model.layers.0.self_attn.rotary_embedding.q_proj.weight  organization/' all
    columns=100 on_terminal tv-diff a.tvs b.tvs || true
    [ "$(sed '/^different/d' terminal | LC_ALL=C.UTF-8 wc -L)" -le 100 ]
    [ "$(grep -cE '^model…[^ ]*weight  orga[^ ]*…[^ ]*0.[123] +4 ' terminal)" = 3 ]
    columns=300 on_terminal tv-diff a.tvs b.tvs || true
    diff all terminal
}

@test "same output from pipes and files, with any threads and memory" {
    always_alike tv-diff - "$BIG"
}

@test "rejects bad streams with status 2, on either side" {
    refuses_bad_streams tv-diff - good.tvs
    exits 2 tv-diff - good.tvs
    exits 2 tv-diff good.tvs not-there
    head -c 300 good.tvs >cut.tvs
    exits 2 tv-diff good.tvs cut.tvs
    exits 2 tv-diff cut.tvs good.tvs
    for file in .bad/*; do
        refused tv-diff good.tvs "$file" || wrong "of ${file#.bad/}"
    done
}

@test "rejects bad outputs" {
    refuses_bad_output tv-diff - good.tvs
    exits 2 tv-diff good.tvs good.tvs >/dev/full || true
}

@test "usage" {
    usage_error tv-diff a
    usage_error tv-diff a b c
    usage_error tv-diff --tolerance -1 a b
    usage_error tv-diff --bad-frac 2 a b
}

@test "notes begin with tv-diff" {
    tar -cf model.tar -C "$MODELS" base
    gzip model.tar
    exits 0 tv-diff model.tar.gz "$MODELS/base"
    one_sentence tv-diff
}
