#!/usr/bin/env bats
load common
load lesson
load refusals

SEEING=$GOLDEN/models

setup_file() { make_big; }

# two: a stream of two tensors
two() {
    printf 'kind weights\nmodel m\ntensor a.1.x 2\nvector m\n1 2\ntensor b.2.y 2\nvector m\n3 4\n' | from-text
}

# names: of the tensors of a stream
names() {
    tv-view --values | sed -n 's/^tensor \([^ ]*\).*/\1/p' | tr '\n' ' '
}

@test "each star of the replacement becomes what a star of the pattern matched" {
    [ "$(two | tv-rename '*.1.*=new.*.layer.*' | names)" = "new.a.layer.x b.2.y " ]
    [ "$(two | tv-rename '*.?.*=*.*' | names)" = "a.x b.y " ]
    [ "$(two | tv-rename '[ab].*=*' | names)" = "1.x 2.y " ]
    [ "$(two | tv-rename '[[:alpha:]].[[:digit:]].*=*' | names)" = "x y " ]
    [ "$(two | tv-rename '[]a].1.*=*' '[\]b].2.*=*' | names)" = "x y " ]
    [ "$(two | tv-rename 'a\.1.x=plain' | names)" = "plain b.2.y " ]
    [ "$(two | tv-rename '*x=*' '*y=*z' | names)" = "a.1. b.2.z " ]
}

@test "rules apply one after another" {
    [ "$(two | tv-rename 'a.*=c.*' 'c.*=d.*' | names)" = "d.1.x b.2.y " ]
    [ "$(two | tv-rename 'a.1.x=t' 'b.2.y=a.1.x' 't=b.2.y' | names)" = "b.2.y a.1.x " ]
}

@test "values, weights and the name of a vector in its own model are kept" {
    lesson | from-text | weigh math=0.5 >weighed.tvs
    tv-rename 'w=v' <weighed.tvs | tensors >found
    tensors <weighed.tvs | sed 's/^tensor w /tensor v /' >expected
    sed -i 's/^\(vector [a-z]*\)/\1 source=w/' expected
    diff -u expected found
    tv-rename 'w=v' 'v=w' <weighed.tvs | tensors | diff -u <(tensors <weighed.tvs) -
    tv-rename 'w=v' <weighed.tvs | pick math/v | tv-rename 'v=w' | tensors | diff -u <(pick math <weighed.tvs | tensors) -
}

@test "renaming nothing changes nothing" {
    leaves_alone tv-rename '*=*'
}

@test "a rule that matches nothing warns" {
    two | tv-rename 'c.*=d' 2>err | check --quiet
    grep -qx "tv-rename: warning: the rule c.\*=d matches no tensor" err
}

@test "two tensors of the same name are an error" {
    two >good.tvs
    refused_with "a.1.x and b.2.y would both be named z" tv-rename '*=z' <good.tvs
    refused_with "a.1.x and b.2.y would both be named a.1.x" tv-rename 'b*=a.1.x' <good.tvs
}

@test "invalid rules" {
    two >good.tvs
    usage_error_with "invalid rule a; expected PATTERN=REPLACEMENT" tv-rename a <good.tvs
    usage_error_with "invalid rule =a; expected PATTERN=REPLACEMENT" tv-rename '=a' <good.tvs
    usage_error_with "invalid rule a=; expected PATTERN=REPLACEMENT" tv-rename 'a=' <good.tvs
    usage_error_with "the replacement has more stars than the pattern" tv-rename 'a*=*.*' <good.tvs
    usage_error_with "expected a RULE or --to" tv-rename <good.tvs
    usage_error_with "invalid rule aaaaaaa" tv-rename "$(head -c 5000 /dev/zero | tr '\0' a)"
    usage_error tv-rename --to nowhere
}

@test "naming schemes of Qwen2-VL, in both directions" {
    M=$SEEING/qwen2vl/tied
    unpack m="$M/hub" | tv-rename --to qwen2vl-memory | tv-diff --quiet - m="$M/inmem"
    unpack m="$M/inmem" | tv-rename --to qwen2vl-vllm | tv-rename --to qwen2vl-bare |
        tv-rename --to qwen2vl | tv-diff --quiet - m="$M/hub"
    [ "$(unpack m="$M/hub" | tv-rename --to qwen2vl-vllm | names | tr ' ' '\n' | grep -c '^language_model\.model\.')" -gt 10 ]
}

@test "naming schemes of InternVL; q, k and v in one tensor do not become three" {
    M=$SEEING/internvl/qknorm_select
    unpack m="$M/hf" | tv-rename --to internvl-memory | tv-diff --quiet - m="$M/hf_inmem"
    unpack m="$M/hf_inmem" | tv-rename --to internvl-hf | tv-diff --quiet - m="$M/hf"
    unpack m="$M/original" >good.tvs
    refused_with "the naming scheme has separate q, k and v, but tensor vision_model.encoder.layers.0.attn.qkv" \
        tv-rename --to internvl-hf <good.tvs
    unpack m="$M/hf" >good.tvs
    refused_with "the naming scheme has q, k and v in one tensor" tv-rename --to internvl <good.tvs
    pick --drop '/*.q_proj.*' '/*.k_proj.*' '/*.v_proj.*' <good.tvs | tv-rename --to internvl >renamed.tvs
    unpack m="$M/original" | pick --drop '/*qkv*' '/*self_attn.[qkv]_proj*' | tv-diff --quiet - renamed.tvs
    refused_with "the naming scheme has no name for tensor multi_modal_projector." tv-rename --to text <good.tvs
}

@test "a text model's task vector in a vision-language model" {
    make_seeing
    tv-extract qwen2 qwen2-math | tv-rename 'model.*=model.language_model.*' |
        pack --onto qwen2-vl merged
    unpack m=merged | pick '/*language_model.norm*' | tv-view --values | grep -c '^7 '
    tv-diff m=merged m=qwen2-vl >found || true
    grep -q '^model.language_model.norm.weight' found
    [ "$(grep -c "^model\." found)" -eq 1 ]
}

@test "same bytes from pipes and files, with any threads and memory" {
    always_alike tv-rename 'model.*=m.*'
}

@test "rejects bad streams" {
    make_good
    refuses_bad_streams tv-rename w=v
}

@test "rejects bad outputs" {
    make_good
    refuses_bad_output tv-rename w=v
}
