#!/usr/bin/env bats
# shellcheck disable=SC2154 # run sets stderr
# Vision-language models, merged: base and experts in any naming scheme.
load common
load refusals

VISION_MODELS=$GOLDEN/models

# make_models CHECKPOINT: a base and two experts, which differ from it in some numbers
make_models() {
    unpack base="$1" | pack --like "$1" base
    for e in 1 2; do
        unpack x="$1" | tv-view --values |
            awk -v e=$e '/^vector/ { n = 0 } /^-?[0-9]/ && n++ < 2 { $1 = $1 + e / 8; $2 = e } 1' |
            sed '/^hash/d; /^step/d; /^ *fingerprints/d' | from-text | pack --like "$1" "expert$e"
    done
}

# rename_experts SCHEME: the experts in another naming scheme, as other1 and other2
rename_experts() {
    for e in 1 2; do
        unpack "expert$e" | tv-rename --to "$1" | pack --like "expert$e" "other$e"
    done
}

ties() { # OUT EXPERT...
    tv-extract base "${@:2}" | trim --density 0.3 | elect-sign | combine --normalize=agreeing |
        pack --base base --force "$1"
}

@test "TIES on Qwen2-VL, experts in any naming scheme: the same bytes, under the base's names" {
    make_models "$VISION_MODELS/qwen2vl/tied/hub"
    ties merged expert1 expert2
    for scheme in qwen2vl-memory qwen2vl-bare qwen2vl-vllm; do
        rm -rf other?
        rename_experts $scheme
        ties again expert1=other1 expert2=other2
        tv-diff --quiet m=merged m=again
    done
    [ "$(unpack merged | tv-view --values | grep -c "^tensor visual\.")" -gt 10 ]
    not tv-diff --quiet m=base m=merged
    cmp base/preprocessor_config.json merged/preprocessor_config.json
}

@test "TIES on InternVL, in both naming schemes of transformers" {
    make_models "$VISION_MODELS/internvl/qknorm_select/hf"
    ties merged expert1 expert2
    rename_experts internvl-memory
    ties again expert1=other1 expert2=other2
    tv-diff --quiet m=merged m=again
}

@test "tv merge does the same" {
    make_models "$VISION_MODELS/qwen2vl/tied/hub"
    rename_experts qwen2vl-memory
    cat >ties.yml <<'END'
merge_method: ties
base_model: base
models:
  - {model: expert1, parameters: {density: 0.3, weight: 1}}
  - {model: other2, parameters: {density: 0.3, weight: 1}}
parameters: {normalize: true}
dtype: float32
END
    tv merge ties.yml by-config
    ties merged expert1 other2
    tv-diff --quiet --tolerance 1e-6 m=merged m=by-config
}

@test "q, k and v in one tensor in one model and in three in the other: an error" {
    I=$VISION_MODELS/internvl/qknorm_select
    refused_with "in one tensor, the other in three (vision_" tv-extract base="$I/original" x="$I/hf"
    refused_with "in one tensor, the other in three (vision_" tv-extract base="$I/hf" x="$I/original"
}

@test "a name that means different tensors in two naming schemes is not matched" {
    printf 'kind weights\nmodel a\ntensor model.x 2\nvector a\n1 2\n' | from-text >a.tvs
    printf 'kind weights\nmodel b\ntensor language_model.x 2\nvector b\n3 4\ntensor model.x 2\nvector b\n3 4\n' |
        from-text >b.tvs
    refused_with "b has a tensor language_model.x that a lacks" tv-extract a=a.tvs b=b.tvs
    printf 'kind weights\nmodel b\ntensor language_model.x 2\nvector b\n3 4\n' | from-text >b.tvs
    tv-extract a=a.tvs b=b.tvs | tv-view --values | grep -cx '2 2'
}

# refused_sample SENTENCE SAMPLE: refused with the sentence, which names the line
refused_sample() {
    mkdir -p box
    ln -sf "$CASE/tensors.safetensors" box/
    printf '{"task": "t", "input_ids": [1]}\n%s\n' "$2" >box/samples.jsonl
    refused_with "box/samples.jsonl, line 2: $1" forward "$M" --samples box
}

@test "images that do not fit their model or sample: an error that names the line" {
    CASE=$VISION_MODELS/qwen2vl/tied M=$VISION_MODELS/qwen2vl/tied/hub
    ids='"task": "t", "image_token_id": 250, "input_ids": [1, 250, 250, 250, 250, 2]'
    wide='"pixel_values": "wide", "grid_thw": [1, 2, 8]'
    refused_sample "image 0: tensors.safetensors has no tensor other" "{$ids, \"images\": [{\"pixel_values\": \"other\"}]}"
    refused_sample "image 0: pixel_values must name a tensor" "{$ids, \"images\": [{}]}"
    refused_sample "image 0: it must be a JSON object" "{$ids, \"images\": [1]}"
    refused_sample "images must be a list" "{$ids, \"images\": {}}"
    refused_sample "image 0: grid_thw must be a list of three numbers" "{$ids, \"images\": [{\"pixel_values\": \"wide\"}]}"
    refused_sample "image 0: its grid of 1 x 16 patches is not a multiple of the merge size 2" \
        "{$ids, \"images\": [{\"pixel_values\": \"wide\", \"grid_thw\": [1, 1, 16]}]}"
    refused_sample "image 0: tensor wide has shape (16, 1176); expected (32, 1176) by its grid_thw" \
        "{$ids, \"images\": [{\"pixel_values\": \"wide\", \"grid_thw\": [1, 4, 8]}]}"
    refused_sample "image 0: tokens must be 4" "{$ids, \"images\": [{$wide, \"tokens\": 5}]}"
    refused_sample "image 0: tokens must be 4" "{$ids, \"images\": [{$wide}]}"
    refused_sample "the images have 8 tokens, but input_ids has image_token_id 4 times" \
        "{$ids, \"images\": [{$wide, \"tokens\": 4}, {$wide, \"tokens\": 4}]}"
    refused_sample "the tokens of image 0 are not contiguous" \
        "{\"task\": \"t\", \"image_token_id\": 250, \"input_ids\": [250, 250, 1, 250, 250], \"images\": [{$wide, \"tokens\": 4}]}"
    refused_sample "image_token_id is 251, but config.json says 250" \
        "{\"task\": \"t\", \"image_token_id\": 251, \"input_ids\": [1, 251, 251, 251, 251], \"images\": [{$wide, \"tokens\": 4}]}"
    refused_sample "image_token_id must be a token id below" \
        "{\"task\": \"t\", \"input_ids\": [1, 250, 250, 250, 250], \"images\": [{$wide, \"tokens\": 4}]}"
    rm box/tensors.safetensors
    refused_with "line 2: the sample has images, but there is no tensors.safetensors" forward "$M" --samples box
    CASE=$VISION_MODELS/internvl/qknorm_select M=$CASE/original
    refused_sample "image 0: tokens must be 12" "{$ids, \"images\": [{\"pixel_values\": \"portrait\", \"tokens\": 4}]}"
    CASE=$VISION_MODELS/qwen2vl/tied
    refused_sample "image 0: tensor wide has shape (16, 1176); expected (tiles, 3, S, S) with S a multiple of 28" \
        "{$ids, \"images\": [{$wide, \"tokens\": 4}]}"
}

# bats test_tags=products
@test "samples with images: a tensor used twice, tasks and prompts" {
    M=$VISION_MODELS/qwen2vl/tied
    mkdir box
    ln -s "$M/tensors.safetensors" box/
    sed 's/"id":"s0"/"id":"a"/' "$M/samples.jsonl" | sed -n '1p;1p;3p' >box/samples.jsonl
    forward "$M/hub" --samples box --only logits >twice.tvs
    pick '/sample0.*' <twice.tvs | tv-rename 'sample0.*=s.*' >first.tvs
    pick '/sample1.*' <twice.tvs | tv-rename 'sample1.*=s.*' | tv-diff --tolerance 1e-5 - first.tvs
    [ "$(tv-view --values first.tvs | grep -c '^tensor')" -eq 1 ]
}

@test "modules of a configuration: text decoder, projector and vision tower, with slices of the tower" {
    make_models "$VISION_MODELS/qwen2vl/tied/hub"
    cat >config.yml <<'END'
merge_method: task_arithmetic
base_model: base
modules:
  text_decoder: {models: [{model: expert1, parameters: {weight: 0.5}}, {model: expert2}]}
  multi_modal_projector: {models: [{model: expert2}]}
  vision_tower:
    slices:
      - sources: [{model: base, layer_range: [0, 2]}, {model: expert1, layer_range: [0, 2]}]
      - sources: [{model: base, layer_range: [1, 3]}, {model: expert2, layer_range: [1, 3]}]
    parameters: {weight: 1}
parameters: {weight: 1}
END
    tv merge --check config.yml out
    tv merge config.yml out
    tv from-yaml config.yml typed | bash -euo pipefail
    diff -r out typed
    stack --disjoint \
        <(tv-extract base expert1 expert2 | pick --drop '/visual.*' | weigh expert1=0.5 | combine | add-base base) \
        <(unpack expert2 | pick '/visual.merger.*') \
        <(stack <(unpack --stack visual.blocks 'expert1[0:2]' | pick /visual.patch_embed.* '/visual.blocks.*') \
            <(unpack --stack visual.blocks --first-layer 2 'expert2[1:3]' | pick '/visual.blocks.*')) |
        pack expected.safetensors
    tv-diff --tolerance 1e-6 m=out m=expected.safetensors
    tr -d ' \n' <out/config.json | grep -c '"num_hidden_layers":3.*"depth":4'
}

@test "modules that the configuration lacks, and unknown ones" {
    make_models "$VISION_MODELS/qwen2vl/tied/hub"
    echo '{merge_method: linear, modules: {vision_tower: {models: [{model: expert1, parameters: {weight: 1}}]}}}' >config.yml
    run --separate-stderr tv merge config.yml out
    [ "$status" -eq 0 ]
    [[ $stderr = *"the result has no text_decoder, which is not among the modules"* ]]
    [ "$(unpack out | tv-view --values | grep '^tensor' | grep -cv '^tensor visual\.\(blocks\|patch_embed\)')" = 0 ]
    sed -i 's/vision_tower/vision/' config.yml
    REFUSED_BY='tv merge' refused_with \
        'unknown module vision; expected text_decoder, multi_modal_projector, vision_tower' tv merge config.yml x
}
