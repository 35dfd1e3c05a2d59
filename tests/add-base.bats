#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big; }

setup() {
    own_folder
    printf 'kind weights\nmodel base\ntensor w 2x3\nvector base\n1 2 3\n4 5 6\n' >base.txt
    from-text base.txt | pack base.safetensors
    make_good
}

@test "base plus task vector, for each vector" {
    add-base base.safetensors <good.tvs | tv-view --values | grep -vE '^(step|hash| *fingerprints)' |
        sed 's/ fingerprint=.*//' >found
    diff -u - found <<END
kind weights
model base role=base
model math role=expert
model code role=expert
tensor w 2x3
vector math
2 0 3.5
4 5.25 9
vector code
0 6 3.5
6 5 3
END
}

@test "the sum is rounded to the dtype of the base" {
    sed 's/^vector base/& BF16/' base.txt | from-text | pack half.safetensors
    lesson | sed 's/^1 -2 0.5$/1.001 -2 0.501/' | from-text | pick math |
        add-base --onto half.safetensors | tensors | sed 's/ stored=[^ ]*//' >found
    diff -u - found <<END
tensor w 2x3
vector math BF16
2 0 3.5
4 5.25 9
END
}

@test "undoes tv-extract" {
    tv-extract "$MODELS"/base "$MODELS"/math | add-base "$MODELS"/base | pick math >back.tvs
    unpack "$MODELS"/math | pick --drop /position_ids >math.tvs
    tv-diff --tolerance 1e-6 back.tvs math.tvs
    tv-extract "$MODELS"/base "$MODELS"/math | rescale 0 | add-base "$MODELS"/base >zero.tvs
    unpack math="$MODELS"/base | pick --drop /position_ids >base.tvs
    tv-diff zero.tvs base.tvs
}

@test "a saved stream is a base too" {
    unpack base.safetensors >base.tvs
    add-base base.tvs <good.tvs | tensors >found
    add-base base.safetensors <good.tvs | tensors | cmp - found
}

@test "same bytes however it is run" {
    always_alike add-base "$MODELS"/base
}

@test "refuses bad streams" {
    refuses_bad_streams add-base base.safetensors
    refuses_nonfinite add-base base.safetensors
}

@test "refuses bad outputs" {
    refuses_bad_output add-base base.safetensors
}

@test "refuses weights, and a base that is another or does not match" {
    weigh 0.5 <good.tvs >weighed.tvs
    refused_with "has a weight other than 1" add-base base.safetensors <weighed.tvs
    unpack base.safetensors >weights.tvs
    refused_with "this filter requires task-vectors" add-base base.safetensors <weights.tvs
    sed 's/6/7/' base.txt | from-text | pack changed.safetensors
    tv-extract base.safetensors changed.safetensors >deltas.tvs
    refused_with "changed" add-base changed.safetensors <deltas.tvs
    add-base --onto changed.safetensors <deltas.tvs | check
    printf 'kind weights\nmodel base\ntensor v 1\nvector base\n1\n' | from-text | pack v.safetensors
    refused_with "has no tensor w to add the task vector to" add-base v.safetensors <good.tvs
    printf 'kind weights\nmodel base\ntensor w 3x2\nvector base\n1 2\n3 4\n5 6\n' | from-text | pack s.safetensors
    refused_with "tensor w is (2, 3) in the stream but (3, 2) in s" add-base s.safetensors <good.tvs
    refused_with "not-there" add-base not-there <good.tvs
}

@test "refuses a sum that its dtype cannot hold" {
    sed 's/^vector base/& F16/' base.txt | from-text | pack half.safetensors
    lesson | sed 's/^0 0.25 3$/0 70000 3/' | from-text >large.tvs
    refused_with "flat index 4" add-base half.safetensors <large.tvs
}

@test "usage" {
    usage_error add-base
    usage_error add-base base.safetensors other
    usage_error add-base --dtype bf17 base.safetensors
}

@test "--dtype sets the dtype of the sums, whatever the base was rounded to" {
    sed 's/^1 2 3$/1.001 2 3/' base.txt | from-text | pack fine.safetensors
    tv-extract --dtype bfloat16 fine.safetensors math=fine.safetensors | weigh 1 | add-base fine.safetensors |
        tensors | sed -n '2,3p' >found
    printf 'vector math BF16 stored=BF16\n1 2 3\n' | diff -u - found
    lesson | from-text | add-base --onto --dtype float16 fine.safetensors | tensors | sed -n '2,3p' >found
    printf 'vector math F16\n2.002 0 3.5\n' | diff -u - found
    # and so pack stores them
    add-base --onto --dtype float16 fine.safetensors < <(lesson | from-text | pick math) | pack sum.safetensors
    unpack sum.safetensors | tv-view | grep -c 'F16'
}
