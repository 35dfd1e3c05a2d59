#!/usr/bin/env bats
# Models with different vocabularies: the rows of embeddings and heads move before the merge, and the
# result has one tokenizer. Weights are compared with mergekit's; the tests of single rules are in
# tests/unit/test_tokenizer.c, and tests/real compares the encodings of tokenizers and transformers.
load common
load refusals

V=$GOLDEN/tokenizers

# cases of checks.tsv that are among the golden data, with the last column
rows() {
    local kind folder options
    while IFS=$'\t' read -r kind folder _ _ _ options; do
        [ "$kind" != "$1" ] || [ ! -d "$V/$folder" ] || echo "$folder $options"
    done <"$V/checks.tsv"
}

# from FOLDER COMMAND...: the command there; the paths of a configuration begin at its folder
from() {
    local folder=$1
    shift
    (cd "$folder" && "$@")
}

@test "merges equal mergekit's: weights, tokens, config.json, files" {
    local folder options
    while read -r folder options; do
        [ "$options" = - ] && options= || options=--other-bpe
        # shellcheck disable=SC2086
        from "$V/$folder" tv merge --quiet $options config.yml "$T/${folder#*/}" 2>err || (cat err && false)
    done < <(rows merge)
    "$TESTS/vocabulary.py" "$V" "$T"
}

@test "configurations that are refused: the sentence names what is wrong" {
    local folder word n=0
    while read -r folder word; do
        run ! from "$V/$folder" tv merge --quiet config.yml "$T/out"
        [[ $output = *"$word"* ]] || (echo "$folder: $output" && false)
        [ ! -e out ]
        n=$((n + 1))
    done < <(rows refuse)
    [ "$n" = 10 ]
}

@test "the printed pipeline writes the same bytes, and a dry run knows their number" {
    local c
    for c in union-ties slices half-tied tokens-base-pad; do
        from "$V/cases/$c" tv merge --quiet config.yml "$T/merged" 2>err
        from "$V/cases/$c" tv from-yaml config.yml "$T/typed" >script
        from "$V/cases/$c" bash -euo pipefail "$T/script" 2>err
        diff -r merged typed
        from "$V/cases/$c" tv merge --check config.yml "$T/new" >check 2>err
        wc -c <merged/model.safetensors | awk '{ printf "%.1f KB\n", $1 / 1000 }' >size
        # the file has a header of 2 to 4 KB
        awk -F'[, ]+' 'NR == FNR { found = $7; next } { exit !($1 > found && $1 < found + 5) }' check size
        rm -r merged typed
    done
}

@test "a verified merge: the history has the vocabulary without paths" {
    local c
    for c in union-ties half-tied model-source; do
        from "$V/cases/$c" tv merge --quiet config.yml "$T/$c" 2>err
        tv verify "$c" "$V/models" >found 2>err
        grep -q '^equal: ' found
    done
    grep -aq 'bl-chat[^ ]* null' model-source/model.safetensors
    not grep -aq models/bl-chat model-source/model.safetensors
}

@test "the union of two BPEs is refused, with the reason and the way out" {
    run ! from "$V/cases/other-bpe-union" tv merge --quiet config.yml "$T/out"
    [[ $output = "unpack: bl-base and bl-other have different BPE vocabularies: 28 tokens of bl-other, such as "* ]]
    [[ $output = *"--other-bpe"* ]]
    run ! from "$V/cases/other-bpe-union" tv merge --check config.yml "$T/out"
    [[ $output = "tv merge: unpack: bl-base and bl-other"* ]]
}

# ---- files ----------------------------------------------------------------------------------------

# models NAME=FOLDER...: writable copies of golden models
models() {
    local m
    for m; do
        cp -r "$V/models/${m#*=}" "${m%%=*}"
        chmod -R u+w "${m%%=*}"
    done
}

# key JSON FILE: the value
key() { /usr/bin/python3 -c 'import json,sys; print(json.dumps(json.load(open(sys.argv[2]))[sys.argv[1]]))' "$@"; }

config() { printf '%s\n' 'dtype: float32' "$@" >config.yml; }

LINEAR='merge_method: linear
base_model: a
models: [{model: a, parameters: {weight: 1}}, {model: b, parameters: {weight: 1}}]'

@test "special tokens are those of the model whose tokenizer is used" {
    models a=bl-base b=bl-chat
    sed -i 's/"eos_token_id": null/"eos_token_id": 290/' a/config.json
    sed -i 's/"eos_token_id": null/"eos_token_id": [292, 290]/' b/config.json
    echo '{"eos_token_id": 290, "temperature": 0.5}' >a/generation_config.json
    config "$LINEAR" 'tokenizer_source: b'
    tv merge config.yml out 2>err
    [ "$(key eos_token_id out/config.json)" = '[292, 290]' ]
    [ "$(key vocab_size out/config.json)" = 293 ]
    [ "$(key eos_token_id out/generation_config.json)" = '[292, 290]' ]
    [ "$(key temperature out/generation_config.json)" = 0.5 ]
    [ "$(key eos_token out/tokenizer_config.json)" = '"<|im_end|>"' ]
    config "$LINEAR" 'tokenizer_source: union'
    tv merge config.yml union 2>err
    [ "$(key eos_token_id union/config.json)" = 290 ]
    cmp a/generation_config.json union/generation_config.json
}

@test "one warning for all tokens with other flags; many keys in tokens" {
    models a=bl-chat b=bl-chat
    sed -i 's/"normalized": false/"normalized": true/' b/tokenizer.json
    { echo 'tokens:' && seq 300 | sed 's/.*/  "<&>": {source: {kind: zero}}/'; } | sed 's/^/  /' >tokens
    config "$LINEAR" 'tokenizer:' "$(<tokens)"
    tv merge config.yml out 2>err
    grep -q 'warning: 3 added tokens of b, such as "<|endoftext|>", have other flags than in the model before it' err
    [ "$(key vocab_size out/config.json)" = 593 ]
}

@test "tokenizer files that would go stale are left out, added_tokens_decoder gets the new tokens" {
    models a=bl-base b=bl-chat
    touch a/special_tokens_map.json a/added_tokens.json a/vocab.json a/merges.txt a/tokenizer.model
    cat >a/tokenizer_config.json <<'END'
{
  "added_tokens_decoder": {
    "290": {"content": "<|endoftext|>", "special": true}
  },
  "model_max_length": 1000000000000000019884624838656
}
END
    config "$LINEAR" 'tokenizer_source: union' 'chat_template: chatml'
    tv merge config.yml out 2>err
    [ "$(echo out/*)" = "out/README.md out/config.json out/mergekit_config.yml out/model.safetensors out/tokenizer.json out/tokenizer_config.json" ]
    [ "$(key added_tokens_decoder out/tokenizer_config.json | grep -o '"29[0-9]"' | tr -d '\n')" = '"290""291""292"' ]
    grep -q 1000000000000000019884624838656 out/tokenizer_config.json
    grep -q '"chat_template": "{% for' out/tokenizer_config.json
    # all else of tokenizer.json is the base's
    diff a/tokenizer.json out/tokenizer.json >found || true
    not grep -q '^<' found
}

@test "--force does not replace a model of the vocabulary" {
    models a=bl-base b=bl-chat c=bl-tool
    local v='{"source": {"c": "c"}, "models": {"a": "a", "b": "b"}}'
    unpack --vocabulary "$v" a b 2>err | combine >w.tvs
    REFUSED_BY=pack refused_with "c is an input of this run" \
        pack --force --like a --vocabulary "$v" c <w.tvs
}

@test "a folder or an archive with a tokenizer alone" {
    models a=bl-base b=bl-chat c=bl-chat
    rm c/model.safetensors c/config.json
    tar cf d.tar c
    for c in b c d.tar; do
        config "$LINEAR" "tokenizer_source: $c"
        tv merge config.yml "out-${c%.tar}" 2>err
        tv-diff out-b "out-${c%.tar}"
        cmp out-b/tokenizer.json "out-${c%.tar}/tokenizer.json"
    done
    unpack a >a.tvs
    pack --like a --tokenizer c copied <a.tvs
    cmp copied/tokenizer.json c/tokenizer.json
    refused_with '--tokenizer: a.tvs is a model without tokenizer files' pack --like a --tokenizer a.tvs out <a.tvs
    refused_with 'c contains no weights' unpack c
}

# ---- models without tokenizer.json ------------------------------------------------------------------

@test "equal tokenizers in another format move nothing, others are refused" {
    models a=bl-base b=bl-base
    rm a/tokenizer.json b/tokenizer.json
    echo same | tee a/tokenizer.model >b/tokenizer.model
    config "$LINEAR" 'tokenizer_source: base'
    tv merge config.yml out
    cmp out/tokenizer.model a/tokenizer.model
    tv from-yaml config.yml >script
    not grep vocabulary script
    echo other >b/tokenizer.model
    run ! tv merge config.yml two
    [ "$output" = "unpack: a has tokenizer.model, but no tokenizer.json, which is needed to move rows of its vocabulary (transformers writes one)" ]
    rm b/tokenizer.model
    cp "$V/models/bl-base/tokenizer.json" a
    tv merge config.yml three 2>err
    grep -q "unpack: warning: b has no tokenizer.json; its tokens are taken to be those of a" err
    cmp three/model.safetensors out/model.safetensors 2>/dev/null || tv-diff --tolerance 0 three out
}

@test "a vocabulary moves rows of a saved stream, of standard input and of a result" {
    models a=bl-base b=bl-chat
    local v='{"source": "union", "base": "a", "models": {"a": "a", "b": "b"}}'
    unpack --vocabulary "$v" a b 2>err >expected.tvs
    unpack --vocabulary "$v" a b=- <b/model.safetensors 2>err >found.tvs
    grep -q 'copied standard input to a temporary file, because rows of its vocabulary are moved' err
    tv-diff --tolerance 0 expected.tvs found.tvs
    unpack b >b.tvs
    unpack --vocabulary "$v" a b=b.tvs 2>err | tv-diff --tolerance 0 expected.tvs -
    unpack --vocabulary '{"source": "base", "models": {"a": "a"}}' a c=a 2>err >/dev/null
    grep -q 'unpack: warning: the vocabulary does not list c; its tokens are taken to be those of a' err
    # documents: the inner result has its base's tokenizer
    cat >config.yml <<'END'
name: inner
merge_method: linear
dtype: float32
models: [{model: b, parameters: {weight: 1}}]
---
merge_method: task_arithmetic
dtype: float32
base_model: b
models: [{model: inner, parameters: {weight: 0.5}}, {model: a, parameters: {weight: 0.5}}]
tokenizer_source: base
END
    tv merge config.yml out 2>err
    tv from-yaml config.yml typed | bash -euo pipefail 2>err
    diff -r out typed
    sed -i 's/base_model: b/base_model: a/; s/model: a,/model: b,/; s/source: base/source: union/' config.yml
    run ! tv merge config.yml two
    [[ $output = *"a lacks token <|im_start|> and needs the row of inner, whose weights are not in a file" ]]
    sed -i '0,/dtype/s/dtype/tokenizer_source: union\ndtype/' config.yml
    run ! tv merge config.yml two
    [[ $output = *"another document uses the result of this one, whose tokenizer must be base then"* ]]
}

@test "the vocabulary of a stream and that of add-base and pack must be the same" {
    models a=bl-base b=bl-chat c=bl-tool
    local v='{"source": "union", "models": {"a": "a", "b": "b", "c": "c"}}'
    local other='{"source": "union", "models": {"a": "a", "c": "c", "b": "b"}}' # other ids
    tv-extract --vocabulary "$v" a b c 2>err | combine >delta.tvs
    refused_with 'the vocabulary is not that of the stream' pack --base a --vocabulary "$other" out <delta.tvs
    refused_with 'the vocabulary is not that of the stream' add-base --vocabulary "$other" a <delta.tvs
    refused_with 'moved to a vocabulary; give the same --vocabulary' pack --base a out <delta.tvs
    refused_with 'moved to a vocabulary; give the same --vocabulary' add-base a <delta.tvs
    unpack a >a.tvs
    refused_with 'lm_head.weight has 291 rows, but the vocabulary 295' pack --like a --vocabulary "$v" out <a.tvs
    [ ! -e out ]
}

@test "weights with moved rows are not packed with the old tokenizer" {
    models a=bl-base b=bl-chat
    local v='{"source": "union", "models": {"a": "a", "b": "b"}}'
    unpack --vocabulary "$v" a b 2>err | combine --normalize=all >w.tvs
    refused_with 'moved to a vocabulary; give the same --vocabulary' pack --like a out <w.tvs
    REFUSED_BY=pack refused_with 'moved to a vocabulary; give the same --vocabulary' join_and_pack
    pack --like a --vocabulary "$v" merged <w.tvs
    pack --like a --no-tokenizer none <w.tvs
    pack --like a file.safetensors <w.tvs
    pack file2.safetensors <w.tvs
    pick '/*mlp*' <w.tvs | pack --like a mlp
    unpack merged | pack --like merged again # it has the tokenizer
    cmp merged/tokenizer.json again/tokenizer.json
}

join_and_pack() {
    join-streams w.tvs | pack --like a out
}

# ---- --vocabulary -----------------------------------------------------------------------------------

@test "invalid vocabularies" {
    local text wrong
    while IFS='|' read -r text wrong; do
        REFUSED_BY=unpack refused_with "$wrong" unpack --vocabulary "$text" "$V/models/bl-base"
    done <<END
[]|its text is not a JSON object
{"source": "union"}|models is not an object with the paths of models
{"models": {"a": "a"}}|source is not union, base or a model
{"source": "nobody", "models": {"bl-base": "$V/models/bl-base"}}|the source nobody is not union, base or one of the models
{"source": "base", "base": "x", "models": {"bl-base": "$V/models/bl-base"}}|the base x is not among the models
{"source": "base", "pad": 3, "models": {"a": "a"}}|unknown key pad
{"source": "base", "pad_to_multiple_of": -1, "models": {"a": "a"}}|pad_to_multiple_of is not a number of rows
{"source": "base", "models": {"a": "a"}, "tokens": {"t": {"source": {"kind": "model-token"}}}}|kind is not model_token or zero in t
{"source": "base", "models": {"a": "a"}, "tokens": {"": {}}}|a token is empty in tokens
{"source": "base", "models": {"a": "nowhere"}}|a has no tokenizer.json
END
    run ! pack --like x --vocabulary '{}' --tokenizer x out
    [[ $output = *"only one of --vocabulary and --tokenizer can be given"* ]]
    run ! pack --like x --vocabulary '{}' out.gguf
    [[ $output = *"--vocabulary are not supported for a .gguf file"* ]]
}
