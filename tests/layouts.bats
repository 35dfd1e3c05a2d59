#!/usr/bin/env bats
# Models that see, merged: whatever layout base and experts have.
load common
load refusals

SEEING=$GOLDEN/models

# family HUB: a base and two experts, made from a checkpoint by changing numbers
family() {
    unpack base="$1" | pack --like "$1" base
    for e in 1 2; do
        unpack x="$1" | tv-view --values |
            awk -v e=$e '/^vector/ { n = 0 } /^-?[0-9]/ && n++ < 2 { $1 = $1 + e / 8; $2 = e } 1' |
            sed '/^hash/d; /^step/d' | from-text | pack --like "$1" "expert$e"
    done
}

# in_layout LAYOUT: experts in another layout than the base, as other1 and other2
in_layout() {
    for e in 1 2; do
        unpack "expert$e" | tv-rename --to "$1" | pack --like "expert$e" "other$e"
    done
}

ties() { # OUT EXPERT...
    tv-extract base "${@:2}" | trim --density 0.3 | elect-sign | combine --normalize=agreeing |
        pack --base base --force "$1"
}

@test "TIES on Qwen2-VL, experts in any layout: the same bytes, under the base's names" {
    family "$SEEING/qwen2vl/tied/hub"
    ties merged expert1 expert2
    for layout in qwen2vl-memory qwen2vl-bare qwen2vl-vllm; do
        rm -rf other?
        in_layout $layout
        ties again expert1=other1 expert2=other2
        tv-diff --quiet m=merged m=again
    done
    [ "$(unpack merged | tv-view --values | grep -c "^tensor visual\.")" -gt 10 ]
    not tv-diff --quiet m=base m=merged
    cmp base/preprocessor_config.json merged/preprocessor_config.json
}

@test "TIES on InternVL, in both layouts of transformers" {
    family "$SEEING/internvl/qknorm_select/hf"
    ties merged expert1 expert2
    in_layout internvl-memory
    ties again expert1=other1 expert2=other2
    tv-diff --quiet m=merged m=again
}

@test "tv merge does the same" {
    family "$SEEING/qwen2vl/tied/hub"
    in_layout qwen2vl-memory
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

@test "q, k and v in one tensor here and in three there are refused" {
    I=$SEEING/internvl/qknorm_select
    refused_with "in one tensor, the other in three (vision_" tv-extract base="$I/original" x="$I/hf"
    refused_with "in one tensor, the other in three (vision_" tv-extract base="$I/hf" x="$I/original"
}

@test "a name that two layouts share with something else is not taken for it" {
    printf 'kind weights\nmodel a\ntensor model.x 2\nvector a\n1 2\n' | from-text >a.tvs
    printf 'kind weights\nmodel b\ntensor language_model.x 2\nvector b\n3 4\ntensor model.x 2\nvector b\n3 4\n' |
        from-text >b.tvs
    refused_with "b has a tensor language_model.x that a lacks" tv-extract a=a.tvs b=b.tvs
    printf 'kind weights\nmodel b\ntensor language_model.x 2\nvector b\n3 4\n' | from-text >b.tvs
    tv-extract a=a.tvs b=b.tvs | tv-view --values | grep -cx '2 2'
}

# sees SENTENCE SAMPLE: refused with it, naming the line
sees() {
    mkdir -p box
    ln -sf "$CASE/tensors.safetensors" box/
    printf '{"task": "t", "input_ids": [1]}\n%s\n' "$2" >box/samples.jsonl
    refused_with "box/samples.jsonl, line 2: $1" forward "$M" --samples box
}

@test "images that do not fit their model or sample are refused by line" {
    CASE=$SEEING/qwen2vl/tied M=$SEEING/qwen2vl/tied/hub
    ids='"task": "t", "image_token_id": 250, "input_ids": [1, 250, 250, 250, 250, 2]'
    wide='"pixel_values": "wide", "grid_thw": [1, 2, 8]'
    sees "image 0: there is no tensor other" "{$ids, \"images\": [{\"pixel_values\": \"other\"}]}"
    sees "image 0: pixel_values does not name" "{$ids, \"images\": [{}]}"
    sees "image 0: it is no JSON object" "{$ids, \"images\": [1]}"
    sees "images is not a list" "{$ids, \"images\": {}}"
    sees "image 0: grid_thw is not there" "{$ids, \"images\": [{\"pixel_values\": \"wide\"}]}"
    sees "image 0: a grid of 1 x 16 patches cannot be merged by 2 x 2" \
        "{$ids, \"images\": [{\"pixel_values\": \"wide\", \"grid_thw\": [1, 1, 16]}]}"
    sees "image 0: tensor wide is (16, 1176), not (32, 1176) by its grid" \
        "{$ids, \"images\": [{\"pixel_values\": \"wide\", \"grid_thw\": [1, 4, 8]}]}"
    sees "image 0: tokens is not 4" "{$ids, \"images\": [{$wide, \"tokens\": 5}]}"
    sees "image 0: tokens is not 4" "{$ids, \"images\": [{$wide}]}"
    sees "the images have 8 tokens, but there are 4 places" \
        "{$ids, \"images\": [{$wide, \"tokens\": 4}, {$wide, \"tokens\": 4}]}"
    sees "the tokens of image 0 do not stand together" \
        "{\"task\": \"t\", \"image_token_id\": 250, \"input_ids\": [250, 250, 1, 250, 250], \"images\": [{$wide, \"tokens\": 4}]}"
    sees "image_token_id is 251, but by config.json it is 250" \
        "{\"task\": \"t\", \"image_token_id\": 251, \"input_ids\": [1, 251, 251, 251, 251], \"images\": [{$wide, \"tokens\": 4}]}"
    sees "image_token_id is not the id of a token" \
        "{\"task\": \"t\", \"input_ids\": [1, 250, 250, 250, 250], \"images\": [{$wide, \"tokens\": 4}]}"
    rm box/tensors.safetensors
    refused_with "line 2: the sample has images, but there is no tensors.safetensors" forward "$M" --samples box
    CASE=$SEEING/internvl/qknorm_select M=$CASE/original
    sees "image 0: tokens is not 12" "{$ids, \"images\": [{\"pixel_values\": \"portrait\", \"tokens\": 4}]}"
    CASE=$SEEING/qwen2vl/tied
    sees "image 0: tensor wide is (16, 1176), not (tiles, 3, S, S) with S a multiple of 28" \
        "{$ids, \"images\": [{$wide, \"tokens\": 4}]}"
}

@test "a tensor used twice, tasks and prompts: a container is read as a file is" {
    M=$SEEING/qwen2vl/tied
    mkdir box
    ln -s "$M/tensors.safetensors" box/
    sed 's/"id":"s0"/"id":"a"/' "$M/samples.jsonl" | sed -n '1p;1p;3p' >box/samples.jsonl
    forward "$M/hub" --samples box --only logits >twice.tvs
    pick '/sample0.*' <twice.tvs | tv-rename 'sample0.*=s.*' >first.tvs
    pick '/sample1.*' <twice.tvs | tv-rename 'sample1.*=s.*' | tv-diff --tolerance 1e-5 - first.tvs
    [ "$(tv-view --values first.tvs | grep -c '^tensor')" -eq 1 ]
}
