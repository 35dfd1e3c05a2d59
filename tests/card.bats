#!/usr/bin/env bats
# The metadata of the model card: what the Hub's documentation of model cards has, and true.
load common
load refusals

COMMIT=0123456789abcdef0123456789abcdef01234567

# in_hub NAME FOLDER CARD: a model of the cache, with a model card
in_hub() {
    mkdir -p "hub/models--acme--$1"/{refs,"snapshots/$COMMIT"}
    cp "$A/$2"/* "hub/models--acme--$1/snapshots/$COMMIT"
    printf '%b' "$3" >"hub/models--acme--$1/snapshots/$COMMIT/README.md"
    echo "$COMMIT" >"hub/models--acme--$1/refs/main"
}

make_hub() {
    export HF_HUB_CACHE=$PWD/hub
    in_hub base base '---\nlicense: apache-2.0\nlanguage: [en, de]\npipeline_tag: text-generation\nlibrary_name: transformers\ntags: [x]\n---\n'
    in_hub math math '---\r\nlicense: apache-2.0\r\nlanguage: en\r\n---\r\n'
    in_hub code code '---\nlicense: mit\nlanguage:\n- en\n- de\n---\n# code\n'
}

# has_metadata FOLDER LINE...: the lines between the first two --- of its card
has_metadata() {
    sed -n '1d; /^---$/q; p' "$1/README.md" | diff - <(printf '%s\n' "${@:2}")
}

@test "models of the Hub are base_model; what their cards agree on is taken over" {
    make_hub
    tv-extract acme/base acme/math | combine | pack --base acme/base out
    has_metadata out base_model: '- "acme/base"' '- "acme/math"' "base_model_relation: merge" \
        'license: "apache-2.0"' 'pipeline_tag: "text-generation"' 'library_name: "transformers"' tags: "- merge" "- tvtools"
    tv-extract acme/base acme/code | combine | pack --base acme/base other
    has_metadata other base_model: '- "acme/base"' '- "acme/code"' "base_model_relation: merge" \
        language: '- "en"' '- "de"' 'pipeline_tag: "text-generation"' 'library_name: "transformers"' tags: "- merge" "- tvtools"
}

@test "a local model is no base_model, and its license is not known" {
    make_hub
    tv-extract acme/base "$A/chat" | combine | pack --base acme/base out
    has_metadata out base_model: '- "acme/base"' "base_model_relation: merge" language: '- "en"' '- "de"' \
        'pipeline_tag: "text-generation"' 'library_name: "transformers"' tags: "- merge" "- tvtools"
    tv-extract "$A/base" "$A/chat" | combine | pack --base "$A/base" local
    has_metadata local "library_name: transformers" tags: "- merge" "- tvtools"
}

@test "the card of an adapter has its base; parts have the same card as the whole" {
    make_hub
    tv extract-lora --max-rank 2 acme/base acme/math lora
    has_metadata lora base_model: '- "acme/base"' "base_model_relation: adapter" \
        'license: "apache-2.0"' 'pipeline_tag: "text-generation"' "library_name: peft" tags: "- merge" "- tvtools"
    for part in 1 2; do
        tv-extract acme/base acme/math | combine | pack --base acme/base --part $part/2 parts
    done
    tv finish parts
    tv-extract acme/base acme/math | combine | pack --base acme/base --shards 2 whole
    diff parts/README.md whole/README.md
}

@test "cards that are broken or hostile give nothing" {
    make_hub
    for card in '---\nlicense: "mit\\n- evil: 1"\nlanguage: {a: b}\n---\n' '---\nlicense: [mit\n---\n' '---\nlicense: mit\n' '' \
        '---\n- license: mit\n---\n' '---\nlicense: &a [*a]\n---\n' \
        "---\nlicense: mit\nx: $(printf '[%.0s' {1..100}; printf ']%.0s' {1..100})\n---\n"; do
        in_hub base base "$card"
        tv-extract acme/base acme/math | combine | pack --base acme/base --force out
        has_metadata out base_model: '- "acme/base"' '- "acme/math"' "base_model_relation: merge" \
            "library_name: transformers" tags: "- merge" "- tvtools"
    done
}

@test "the license is taken over with its name and link, or not at all" {
    make_hub
    local other='license: other\nlicense_name: llama3\nlicense_link: https://example.com/library_name:x\n'
    in_hub base base "---\n$other---\n"
    in_hub math math "---\n$other---\n"
    in_hub code code "---\n${other/llama3/gemma}---\n"
    tv-extract acme/base acme/math | combine | pack --base acme/base out
    has_metadata out base_model: '- "acme/base"' '- "acme/math"' "base_model_relation: merge" 'license: "other"' \
        'license_name: "llama3"' 'license_link: "https://example.com/library_name:x"' "library_name: transformers" \
        tags: "- merge" "- tvtools"
    tv extract-lora --max-rank 2 acme/base acme/math lora
    has_metadata lora base_model: '- "acme/base"' "base_model_relation: adapter" 'license: "other"' \
        'license_name: "llama3"' 'license_link: "https://example.com/library_name:x"' "library_name: peft" \
        tags: "- merge" "- tvtools"
    tv-extract acme/base acme/code | combine | pack --base acme/base other
    has_metadata other base_model: '- "acme/base"' '- "acme/code"' "base_model_relation: merge" \
        "library_name: transformers" tags: "- merge" "- tvtools"
}

@test "a list is taken over only where the Hub has lists; a GGUF model's library is not that of the checkpoint" {
    make_hub
    in_hub base base '---\nlibrary_name: [a, b]\npipeline_tag: [x, y]\nlicense_name: [l, m]\nlanguage: [en, de]\n---\n'
    tv-extract acme/base acme/math | combine | pack --base acme/base out
    has_metadata out base_model: '- "acme/base"' '- "acme/math"' "base_model_relation: merge" \
        "library_name: transformers" tags: "- merge" "- tvtools"
    mkdir gguf
    cp "$GOLDEN"/quantised/gguf/models/llama3-f16/*.gguf gguf
    printf -- '---\nlicense: mit\nlibrary_name: gguf\n---\n' >gguf/README.md
    unpack gguf | pack --quiet --like gguf from-gguf
    has_metadata from-gguf 'license: "mit"' "library_name: transformers" tags: "- merge" "- tvtools"
}

@test "several licenses are all taken over" {
    make_hub
    in_hub base base '---\nlicense: [mit, apache-2.0]\n---\n'
    in_hub math math '---\nlicense: [mit, apache-2.0]\n---\n'
    tv-extract acme/base acme/math | combine | pack --base acme/base out
    has_metadata out base_model: '- "acme/base"' '- "acme/math"' "base_model_relation: merge" \
        license: '- "mit"' '- "apache-2.0"' "library_name: transformers" tags: "- merge" "- tvtools"
}

@test "the card names the methods with their papers, and how to verify" {
    make_hub
    tv-extract acme/base acme/math acme/code | trim --density 0.5 | elect-sign | combine | pack --base acme/base out
    # shellcheck disable=SC2016
    grep -qF -- '- TIES-Merging: `trim`, `elect-sign`; Yadav et al. 2023; [arXiv:2306.01708](https://arxiv.org/abs/2306.01708)' \
        out/README.md
    [ "$(grep -c arxiv.org out/README.md)" = 1 ]
    eval "$(sed -n 's/^    tv verify OUT/tv verify out/p' out/README.md)" | grep -c '^equal: '
    tv-extract acme/base acme/math | trim --density=0.8 --outliers=0.1 | combine | pack --base acme/base --force out
    grep -q '^- Model Breadcrumbs: `trim`;' out/README.md
    [ "$(grep -c TIES out/README.md)" = 0 ]
    tv-extract acme/base acme/math acme/code | wudi --optimizer sgd --steps 1 | pack --base acme/base --force out
    grep -q '^- OptMerge: `wudi`;' out/README.md
    [ "$(grep -c WUDI out/README.md)" = 0 ]
    unpack acme/math acme/code | combine --normalize=all | pack --like acme/base --force out
    grep -q '^- Model soups; ' out/README.md
}

@test "tv merge publishes the configuration, without local paths and comments" {
    make_hub
    mkdir private
    cp -r "$A/chat" private/chat
    cat >c.yml <<END
# a comment
merge_method: task_arithmetic
base_model: acme/base
models: [{model: acme/math}, {model: ./private/chat/}]
parameters: {weight: 0.5, note: "\`\`\`\n# not a title"}
END
    tv merge c.yml out 2>/dev/null
    printf '%s\n' "merge_method: task_arithmetic" "base_model: acme/base" \
        "models: [{model: acme/math}, {model: chat}]" \
        'parameters: {weight: 0.5, note: "```\n# not a title"}' | diff out/mergekit_config.yml -
    grep -c '^````yaml$' out/README.md
    not_found=$(grep -r private out) || [ -z "$not_found" ]
    sed -n '/^````yaml$/,/^````$/{//!p}' out/README.md | diff out/mergekit_config.yml -
    (cd private && HF_HUB_CACHE=../hub tv merge ../out/mergekit_config.yml again 2>/dev/null)
    tv diff out private/again
    tv merge c.yml out.tar 2>/dev/null
    tar -xOf out.tar mergekit_config.yml | cmp - out/mergekit_config.yml
    tv-extract acme/base acme/math | combine >merged.tvs
    refused_with "cannot read none.yml" pack --base acme/base --mergekit-config none.yml more <merged.tvs
    printf '%s\n' 'a: &path ./private/chat' 'b: *path' >alias.yml
    pack --base acme/base --mergekit-config alias.yml aliased <merged.tvs
    printf '%s\n' 'a: &path chat' 'b: *path' | diff aliased/mergekit_config.yml -
    iconv -t UTF-16 alias.yml >utf16.yml
    pack --base acme/base --mergekit-config utf16.yml converted <merged.tvs
    cmp converted/mergekit_config.yml aliased/mergekit_config.yml
    printf '[%.0s' {1..41} >deep.yml
    refused_with "deep.yml, line 1: lists and maps are nested more than 40 levels deep" \
        pack --base acme/base --mergekit-config deep.yml more <merged.tvs
    { cat alias.yml && head -c 17M /dev/zero | tr '\0' '#'; } >large.yml
    refused_with "large.yml is larger than 16 MiB" pack --base acme/base --mergekit-config large.yml more <merged.tvs
    tv merge - merged <c.yml 2>/dev/null
    [ ! -e merged/mergekit_config.yml ]
}
