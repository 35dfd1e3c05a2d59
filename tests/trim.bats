#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big; }

@test "keeps the three largest of six and records the L1 norm" {
    lesson | from-text | trim --density 0.5 | tensors >found
    diff -u - found <<END
tensor w 2x3
vector math l1_before=6.75
1 -2 0
0 0 3
vector code l1_before=10.5
0 4 0
2 0 -3
END
}

@test "of equal magnitudes the lower index is kept; at least one element is kept" {
    lesson | sed 's/^1 -2 0.5$/2 -2 2/' | from-text | trim --density math=0.45 --density code=0.01 |
        tensors >found
    diff -u - found <<END
tensor w 2x3
vector math l1_before=9.25
2 0 0
0 0 3
vector code l1_before=10.5
0 4 0
0 0 0
END
}

@test "drops outliers first (Breadcrumbs)" {
    lesson | from-text | trim --density 0.5 --outliers 0.17 | tensors >found
    diff -u - found <<END
tensor w 2x3
vector math l1_before=6.75
1 -2 0.5
0 0 0
vector code l1_before=10.5
-1 0 0
2 0 -3
END
    lesson | from-text | trim --density 0.5 --outliers 0.34 | tensors >found
    diff -u - found <<END
tensor w 2x3
vector math l1_before=6.75
1 0 0.5
0 0.25 0
vector code l1_before=10.5
-1 0 0.5
2 0 0
END
}

@test "--scope model ranks the elements of all tensors together" {
    lesson | sed '/^vector code/,$d' >two.txt
    printf 'tensor x 2\nvector math\n5 0.125\n' >>two.txt
    from-text two.txt | trim --density 0.5 --scope model | tensors >found
    diff -u - found <<END
tensor w 2x3
vector math
1 -2 0
0 0 3
tensor x 2
vector math
5 0
END
}

@test "density 1 changes only the history and the recorded norm" {
    trim --density 1 <"$BIG" | digests | sed 's/ l1_before=[^ ]*//' >after
    digests <"$BIG" | cmp - after
}

@test "keeps exactly floor(density n) elements of every vector" {
    trim --density 0.2 <"$BIG" | stats --json | /usr/bin/python3 -c '
import json, sys
for line in map(json.loads, sys.stdin):
    for v in line["vectors"] if line["tensor"] not in (None, "none") else []:
        n, zeros = v["elements"], round(v["zero"] * v["elements"])
        assert n - zeros <= max(1, int(0.2 * n)), (line["tensor"], v)
        if line["tensor"] == "model.layers.0.mlp.weight":
            assert n - zeros == 16000, (line["tensor"], v)'
}

@test "two trims are one with the smaller density" {
    trim --density 0.5 <"$BIG" | trim --density 0.3 | digests >twice
    trim --density 0.3 <"$BIG" | digests | cmp - twice
}

@test "--exclude and --include skip tensors" {
    trim --density 0.2 --exclude '*' <"$BIG" | digests >after
    digests <"$BIG" | cmp - after
    trim --density 0.2 --include 'model.layers.0.*' --exclude '*norm*' <"$BIG" >some.tvs
    pick '/*norm*' <some.tvs | digests >after
    pick '/*norm*' <"$BIG" | digests | cmp - after
    pick '/model.layers.0.mlp.weight' <some.tvs | digests >after
    trim --density 0.2 <"$BIG" | pick '/model.layers.0.mlp.weight' | digests | cmp - after
}

@test "the same bytes from a file or a pipe, with threads, in little memory" {
    always_alike trim --density 0.2
    always_alike trim --density 0.3 --outliers 0.1
    always_alike trim --density 0.2 --scope model
}

@test "refuses broken streams" {
    make_good
    refuses_bad_streams trim --density 0.5
    refuses_bad_streams trim --density 0.5 --scope model
    refuses_nonfinite trim --density 0.5
}

@test "refuses a full disk and a closed output" {
    make_good
    refuses_bad_output trim --density 0.5
}

@test "refuses weights, an unknown model, and shares that differ with --scope model" {
    make_good
    weights | from-text | refused_with "contains weights; this filter requires task-vectors" trim --density 1
    refused_with "chat=0.5: the stream has no model of that name" trim --density chat=0.5 <good.tvs
    refused_with "must have the same fraction" trim --density '/a=0.5' --density '/b=0.4' --scope model < <(
        printf 'kind task-vectors\nmodel m\ntensor a 2\nvector m\n1 2\ntensor b 2\nvector m\n1 2\n' | from-text)
}

@test "usage errors" {
    usage_error trim
    usage_error trim --density
    usage_error_with "expected a number in [0, 1]" trim --density 1.5
    usage_error_with "unrecognized option --aaa" trim "--$(head -c 5000 /dev/zero | tr '\0' a)=1"
    usage_error_with "unexpected operand 111" trim --density 1 "$(printf %05000d 1 | tr 0 1)"
    usage_error trim --density -0.1
    usage_error trim --density 0,5
    usage_error trim --density 0.5x
    usage_error trim --density nan
    usage_error trim --density 0.5 --outliers 1
    usage_error trim --density 0.5 --scope layer
    usage_error trim --density 0.5 --scop
    usage_error trim --density 0.5 --threads two
    usage_error trim --density 0.5 --memory 64Q
    usage_error trim --density 0.5 operand
}

@test "with --outliers nothing may be kept, as in mergekit; otherwise at least one element" {
    printf '%s\n' "kind task-vectors" "model base role=base" "model math" "tensor w 8" \
        "vector math" "1 2 3 4 5 6 7 8" | from-text >eight.tvs
    trim --density 0.1 --outliers 0.3 <eight.tvs | tv-view --values | grep -cx "0 0 0 0 0 0 0 0"
    trim --density 0.1 <eight.tvs | tv-view --values | grep -cx "0 0 0 0 0 0 0 8"
}

@test "density 0 keeps nothing; a layer gradient is limited to [0, 1]" {
    layers() {
        printf 'kind task-vectors\nmodel m\n'
        for i in 0 1 2; do printf 'tensor h.%s.w 4 layer=%s/3\nvector m\n1 2 3 4\n' $i $i; done
    }
    layers | from-text | trim --density '[-0.5,1.5]' | tensors | grep '^[0-9]' >found
    printf '%s\n' '0 0 0 0' '0 0 3 4' '1 2 3 4' | diff -u - found
    layers | from-text | refused_with "--outliers is 1.5 for tensor h.1.w; expected numbers in [0, 1)" \
        trim --density 0.5 --outliers '[0,1.5,0]'
}
