#!/usr/bin/env bats
load common
load lesson
load refusals

# slice NAME FIRST LAYERS: weights of a small model with a vision tower, as text
slice() {
    local i
    printf 'kind weights\nmodel %s\n' "$1"
    printf 'tensor lm_head.weight 1\nvector %s\n10%s\n' "$1" "$2"
    printf 'tensor model.embed_tokens.weight 1\nvector %s\n20%s\n' "$1" "$2"
    for ((i = $2; i < $2 + $3; i++)); do
        printf 'tensor model.layers.%s.w 2 layer=%s/%s\nvector %s\n%s 1\n' $i $((i - $2)) "$3" "$1" $i
    done
    printf 'tensor model.norm.weight 1\nvector %s\n30%s\n' "$1" "$2"
    printf 'tensor visual.blocks.0.w 1 layer=0/1\nvector %s\n40%s\n' "$1" "$2"
}

setup() {
    own_folder
    slice a 0 2 | from-text >a.tvs
    slice b 2 1 | from-text >b.tvs
    slice c 3 1 | from-text >c.tvs
}

@test "layers are concatenated; embedding and tower of the first, norm and head of the last" {
    stack a.tvs b.tvs c.tvs | tv-view --values | sed '/^ *step\|^ *parent\|^ *end/d' >found
    diff -u - found <<END
kind weights
model a
model b
model c
tensor model.embed_tokens.weight 1
vector a
200
tensor model.layers.0.w 2 layer=0/4
vector a
0 1
tensor model.layers.1.w 2 layer=1/4
vector a
1 1
tensor visual.blocks.0.w 1 layer=0/1
vector a
400
tensor model.layers.2.w 2 layer=2/4
vector b
2 1
tensor lm_head.weight 1
vector c
103
tensor model.layers.3.w 2 layer=3/4
vector c
3 1
tensor model.norm.weight 1
vector c
303
END
}

@test "a single stream is not changed" {
    stack a.tvs | tensors >found
    tensors <a.tvs | diff -u - found
}

@test "a model in several slices, and several models in another order" {
    slice a 2 1 | from-text >again.tvs
    stack a.tvs again.tvs | tv-view --values | grep -c '^model' >found
    [ "$(<found)" = 1 ]
    join-streams a.tvs <(slice b 0 2 | from-text) >ab.tvs
    join-streams <(slice b 2 1 | sed 's/^2 1$/5 1/' | from-text) again.tvs | weigh a=2 b=3 >ba.tvs
    stack ab.tvs ba.tvs | pick /model.layers.2.w | tensors >found
    diff -u - found <<END
tensor model.layers.2.w 2 layer=2/3
vector a weight=2
2 1
vector b weight=3
5 1
END
}

@test "same bytes from pipes and files, with any threads and memory" {
    stack a.tvs b.tvs c.tvs >once
    stack a.tvs b.tvs c.tvs | cmp - once
    stack --threads 4 --memory 64K a.tvs b.tvs c.tvs | cmp - once
    stack <(cat a.tvs) - <(cat c.tvs) <b.tvs | cmp - once
    tv run 'stack <(cat a.tvs) b.tvs <(cat c.tvs)' | cmp - once
}

@test "slices of checkpoints, in a shell and in one process" {
    line="stack <(unpack '$A/math[0:2]') <(unpack --first-layer 2 '$A/chat[1:3]' | rescale 2) |
        combine | pack --like $A/math"
    bash -euo pipefail -c "$line piped"
    tv run "$line run"
    diff -r piped run
    grep -q '"num_hidden_layers": 4' run/config.json
    check run
}

@test "its inputs are read again if a later stage needs several rounds" {
    task() { # RANGE FIRST
        tv-extract --first-layer "$2" "$A/base$1" "$A/math$1"
    }
    stack <(task '[0:2]' 0) <(task '[1:2]' 2) | trim --density 0.2 --scope model | tensors >found
    task '[0:2]' 0 >one.tvs
    task '[1:2]' 2 >two.tvs
    stack one.tvs two.tvs | trim --density 0.2 --scope model | tensors | cmp - found
    tv run 'stack <(cat one.tvs) two.tvs | trim --density 0.2 --scope model' | tensors | cmp - found
}

@test "rejects bad streams in any position" {
    GOOD=a.tvs refuses_bad_streams stack -
    GOOD=a.tvs refuses_bad_streams stack - b.tvs
    GOOD=b.tvs refuses_bad_streams stack a.tvs -
    refused_with not-there stack a.tvs not-there
    refused stack /
}

@test "rejects bad outputs" {
    GOOD=a.tvs refuses_bad_output stack -
}

@test "rejects layers that are not consecutive, other kinds, roundings and models, before any payload" {
    head -c 700 a.tvs >cut.tvs # complete header, truncated payload
    refused_with "begins with layer 3 of model.layers.; expected layer 2" stack --stack model.layers cut.tvs c.tvs
    refused_with "begins with layer 0" stack --stack model.layers. cut.tvs a.tvs
    refused_with "has no layers under visual" stack --stack visual cut.tvs b.tvs
    make_good
    refused_with "good.tvs has no layers" stack good.tvs
    refused_with "contains task-vectors, but the first stream contains weights" stack cut.tvs good.tvs
    slice b 2 1 | sed 's/^kind.*/&\nrounding BF16/' | from-text >rounded.tvs
    refused_with "rounded to a different dtype" stack cut.tvs rounded.tvs
    slice a 2 1 | sed 's/^model a/& fingerprint=0123456789abcdef/' | from-text >other.tvs
    refused_with "model a of other.tvs has a different fingerprint" stack cut.tvs other.tvs
}

@test "--stack chooses one of several stacks" {
    slice a 0 2 | sed 's/visual.blocks.0/visual.blocks.2/; s/layer=0\/1/layer=0\/1/' | from-text >x.tvs
    slice b 2 1 | sed 's/visual.blocks.0/visual.blocks.3/' | from-text >y.tvs
    refused_with "several stacks of layers have consecutive numbers" stack x.tvs y.tvs
    stack --stack model.layers x.tvs y.tvs | tensors | grep -c visual >found
    [ "$(<found)" = 1 ]
    stack --stack visual.blocks. x.tvs y.tvs | tensors | grep -o '^tensor v.*' >found
    printf 'tensor visual.blocks.%s.w 1 layer=%s/2\n' 2 0 3 1 | diff -u - found
}

@test "--disjoint puts together streams that have no tensor in common" {
    stack --disjoint <(pick '/*embed*' '/lm_head*' <a.tvs) <(pick '/model.layers.*' <c.tvs) | tensors >found
    diff -u - found <<END
tensor lm_head.weight 1
vector a
100
tensor model.embed_tokens.weight 1
vector a
200
tensor model.layers.3.w 2 layer=0/1
vector c
3 1
END
    refused_with "a.tvs and c.tvs both have tensor lm_head.weight" stack --disjoint a.tvs c.tvs
    usage_error stack --disjoint --stack model.layers a.tvs
}

@test "usage" {
    usage_error stack
    usage_error stack --name x a.tvs
}
