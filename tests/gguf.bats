#!/usr/bin/env bats
# GGUF files as models and as output. tests/gguf.py compares with the golden data.
load common
load refusals

G=$GOLDEN/quantised/gguf
LLAMA=$G/models/llama-q8_0/model.gguf BASE=$G/models/write-base/model.gguf
MERGED=$G/write/merged.safetensors

rows() { /usr/bin/python3 "$TESTS/gguf.py" "$GOLDEN" "$@"; }

@test "blocks of every type are decoded to the expected bits, under Hugging Face's names" {
    rows source
}

@test "config.json comes from the metadata" {
    rows config
}

@test "hostile files are refused in one sentence, and good ones are not" {
    rows refuse
    rows accept
}

@test "a GGUF file is written like another one, in every type" {
    rows write
    rows quantise
}

@test "a GGUF file, a folder of one, an archive, and any file of a split are the same model" {
    mkdir one split
    cp "$LLAMA" one/anything.gguf
    cp "$G"/models/split-3/*.gguf split
    tar -cf one.tar one
    unpack m="$LLAMA" >expected.tvs
    for model in one one.tar; do
        unpack m="$model" | cmp - expected.tvs
    done
    unpack m=split >expected.tvs
    for n in 1 3; do
        unpack m="split/model-0000$n-of-00003.gguf" | cmp - expected.tvs
        unpack "split/model-0000$n-of-00003.gguf" | tv-view --json | grep -c '"name": *"model"'
    done
    cp "$LLAMA" split/other.gguf
    refused_with "split contains several GGUF files" unpack split
    rm split/*2-of* split/other.gguf
    refused_with "model-00002-of-00003.gguf is missing" unpack split
    mkdir none
    cp "$LLAMA" none/model-00000-of-00000.gguf # no split
    unpack m=none | cmp - <(unpack m="$LLAMA")
}

@test "a GGUF file through a pipe has a config, as from a path" {
    for model in "$LLAMA" "$BASE"; do
        unpack m="$model" >expected.tvs
        unpack m=- <"$model" 2>note | cmp - expected.tvs
        tv-extract m=- e="$model" <"$model" 2>note | pack --base "$model" out
        unpack m="$model" | pack --like "$model" other
        tv-diff out other
        cmp out/config.json other/config.json
        rm -r out other
    done
    cp "$LLAMA" model.GGUF # a name in capitals
    unpack m="$LLAMA" | pack --like model.GGUF out
    [ -e out/config.json ]
}

@test "programs that run a model run a GGUF file as they run what pack makes of it" {
    printf '{"input_ids": [5, 17, 3, 250], "prompt_len": 1}\n' >samples.jsonl
    unpack m="$LLAMA" | pack --like "$LLAMA" m 2>note
    [ "$(cat note)" = "pack: note: model has no tokenizer files; those of another model can be copied with --tokenizer" ]
    for program in "forward --threads 1" "score --threads 1 --json"; do
        $program m="$LLAMA" --samples samples.jsonl >a
        $program m=m --samples samples.jsonl >b
        [ -s a ] && [ -s b ]
    done
    tv-diff <(forward m="$LLAMA" --threads 1 --samples samples.jsonl) \
        <(forward m=m --threads 1 --samples samples.jsonl)
}

@test "tv-diff and stats show the quantization error by tensor" {
    unpack "$BASE" | pack --like "$BASE" folder
    tv-diff "$BASE" folder
    unpack folder | pack --like "$BASE" --dtype f16 f16.gguf
    run -1 tv-diff f16.gguf folder
    [[ ${lines[-1]} == "different: 12 tensors"* ]]
    tv-extract "$BASE" folder | stats | grep -c "lm_head.weight .* 0 "
}

@test "sources with other token lists or rope_freqs are an error before any work" {
    refused_with "have different token lists: 288 and 288 tokens" \
        unpack "$LLAMA" "$G/models/qwen2-q8_0/model.gguf"
    refused_with "rope_freqs.weight differs between" \
        tv-extract "$LLAMA" "$G/models/llama3-f16/model.gguf"
}

@test "the config of a model in parts says what is missing; its tensors can be merged" {
    part=$G/types/Q4_K.gguf
    unpack "$part" >part.tvs
    refused_with "metadata llama.embedding_length is missing" pack --like "$part" out <part.tvs
    tv-extract base="$part" same="$part" | combine | pack --base base="$part" out.safetensors
    unpack "$part" | pack same.safetensors
    tv-diff out.safetensors same.safetensors
}

# matrices FILE COLUMNS NAME...: a GGUF file of an unknown architecture with matrices of two rows
matrices() {
    /usr/bin/python3 -B - "$GOLDEN/quantised/scripts" "$@" <<'END'
import sys
scripts, file, columns, *names = sys.argv[1:]
sys.path.append(scripts)
import ggufraw
tensors = [(name, [int(columns), 2], 0, bytes(8 * int(columns))) for name in names]
open(file, "wb").write(ggufraw.build([("general.architecture", 8, "none")], tensors))
END
}

@test "what cannot be written as GGUF is refused before anything is written" {
    unpack "$MERGED" >weights.tvs
    tv-extract base="$BASE" m="$MERGED" >deltas.tvs
    into() { refused_with "$1" pack "${@:2}" out.gguf; }
    into "use --like=MODEL.gguf" <weights.tvs
    into "the stream lacks tensors of $BASE: lm_head.weight" --like "$BASE" \
        < <(pick "/model.*" <weights.tvs)
    matrices none.gguf 64 x
    matrices narrow.gguf 32 x
    matrices two.gguf 64 x y
    into "none.gguf has no tensors for y of the stream" --like none.gguf < <(unpack two.gguf)
    into "tensor x is (2, 32) in the stream but (2, 64) in none.gguf" --like none.gguf \
        < <(unpack narrow.gguf)
    into "--vocabulary are not supported for a .gguf file" --like "$BASE" \
        --no-tokenizer <weights.tvs
    into "cannot be written as float64" --like "$BASE" --dtype f64 <weights.tvs
    refused_with "--dtype=q8_0 needs a .gguf file" pack --dtype q8_0 out.safetensors <weights.tvs
    for type in q4_k fp8; do
        run -2 pack --like "$BASE" --dtype $type out.gguf <weights.tvs
        [[ $output == *"FP8 and K-quants are not written; for K-quants run llama-quantize"* ]]
    done
    [ -z "$(find . -name '*out.gguf*')" ]
}

@test "a merge of GGUF files is published whole, with its history" {
    cat >config.yml <<END
models: [{model: $LLAMA}]
base_model: $BASE
merge_method: task_arithmetic
parameters: {weight: 0.5}
END
    tv merge --quiet config.yml merged.gguf
    tv-extract base="$BASE" m="$LLAMA" | weigh 0.5 | combine | pack --base base="$BASE" same.gguf
    tv-diff merged.gguf same.gguf
    tv-extract base="$BASE" m="$LLAMA" | weigh 0.5 | combine |
        pack --base base="$BASE" --dtype f32 f32.gguf
    tv verify f32.gguf base="$BASE" m="$LLAMA"
    export REFUSED_BY=pack
    not tv merge --quiet config.yml merged.gguf 2>err # after the note on quantization errors
    grep -c "exists already" err
    refused_with "is an input of this run" pack --force --base merged.gguf merged.gguf \
        < <(tv-extract base=merged.gguf same.gguf | combine)
    unpack merged.gguf | pack --like merged.gguf --dtype q8_0 again.gguf
    tv-diff again.gguf merged.gguf
    unpack "$BASE" | pack --like "$BASE" folder
    sed -i "s|^base_model:.*|base_model: folder|" config.yml
    not tv merge --quiet config.yml out.gguf 2>err
    grep -c "use --like=MODEL.gguf" err
    not tv merge --check config.yml out.gguf 2>err
    grep -c "^tv merge: .*use --like=MODEL.gguf" err
    tv merge --check --like "$BASE" config.yml out.gguf
    tv merge --quiet --like "$BASE" --dtype q8_0 config.yml like.gguf
    tv-diff --tolerance 1e-2 like.gguf merged.gguf
}
