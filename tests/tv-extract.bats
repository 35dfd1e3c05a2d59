#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big; }

setup() {
    own_folder
    printf 'kind weights\nmodel base\ntensor w 2x3\nvector base\n1 2 3\n4 5 6\n' >base.txt
    printf 'kind weights\nmodel math\ntensor w 2x3\nvector math BF16\n2 0 3.5\n4 5.25 9\n' >math.txt
    from-text base.txt | pack base.safetensors
    from-text math.txt | pack math.safetensors
}

@test "expert minus base, in F32, with both names in the header" {
    tv-extract base.safetensors math.safetensors | tv-view --values |
        sed '/^hash/d; /^ *fingerprints/d; s/ fingerprint=.*//' >found
    diff -u - found <<END
kind task-vectors
model base role=base
model math role=expert
step tv-extract 0.1.0 base math
tensor w 2x3
vector math stored=BF16
1 -2 0.5
0 0.25 3
END
}

@test "F64 is rounded after the subtraction" { # 1 + 2^-40 less 1
    printf 'kind weights\nmodel b\ntensor w 1\nvector b F64\n1\n' | from-text | pack b.safetensors
    printf 'kind weights\nmodel x\ntensor w 1\nvector x F64\n1.0000000000009095\n' | from-text |
        pack x.safetensors
    tv-extract b.safetensors x.safetensors | tensors | tail -1 >found
    grep -qE '^9.0949[0-9]*e-13$' found
}

@test "of a base in 16 bits each block is read once, whichever dtypes the experts have" {
    sed 's/model math/model base/; s/vector math/vector base/; s/3.5/1.5/' math.txt | from-text | pack base16.safetensors
    sed 's/BF16/F32/' math.txt | from-text | pack math32.safetensors
    local experts
    for experts in "a=math.safetensors b=math32.safetensors" "b=math32.safetensors a=math.safetensors"; do
        tv run --report=report.json "tv-extract base16.safetensors $experts" | tensors >found
        sort found | uniq -c | grep -q '^ *2 0 0 2$'
        grep -qE '"bytes_read": *48\b' report.json # 6 numbers of 2, 2 and 4 bytes
    done
}

@test "from a stream of weights: the first model is subtracted" {
    unpack base.safetensors math.safetensors | tv-extract | tensors >found
    tv-extract base.safetensors math.safetensors | tensors | diff -u - found
}

@test "--wire bf16 rounds the difference" {
    sed 's/3.5/3.001/' math.txt | sed s/BF16/F32/ | from-text | pack other.safetensors
    tv-extract --wire bf16 base.safetensors other.safetensors | tensors >found
    diff -u - found <<END
tensor w 2x3
vector other BF16 stored=F32
1 -2 0.001
0 0.25 3
END
}

@test "--dtype rounds the inputs and the base, and the stream records it" {
    sed 's/^1 2 3/1.001 2.005 3/' base.txt | from-text | pack other.safetensors
    tv-extract --dtype bfloat16 other.safetensors math.safetensors | tv-view --values |
        grep -E '^(rounding|[-0-9])' >found
    diff -u - found <<END
rounding BF16
1 -2 0.5
0 0.25 3
END
}

@test "base plus task vector is the expert, up to rounding; integer tensors are omitted" {
    tv-extract "$MODELS"/base "$MODELS"/math | pack --base "$MODELS"/base back
    tv-diff --tolerance 1e-6 back "$MODELS"/math
    tv-extract "$MODELS"/base "$MODELS"/math | tensors >found
    not grep -q position_ids found
}

@test "the difference to itself is zero" {
    tv-extract "$MODELS"/base same="$MODELS"/base | stats --summary --json >found
    grep -q '"max_abs": 0,' found
}

@test "same bytes with any number of threads, and for an expert alone or among others" {
    tv-extract "$MODELS"/base "$MODELS"/math "$MODELS"/code | cmp "$BIG" -
    tv-extract --threads 4 --memory 64K "$MODELS"/base "$MODELS"/math "$MODELS"/code | cmp "$BIG" -
    pick code <"$BIG" | digests >company
    tv-extract "$MODELS"/base "$MODELS"/code | digests | cmp - company
}

@test "a tensor that an expert lacks: an error, or the base's, or the expert is skipped" {
    printf 'tensor x 2\nvector base\n1 2\n' | cat base.txt - | from-text | pack more.safetensors
    refused_with "x" tv-extract more.safetensors math.safetensors
    tv-extract --missing base more.safetensors math.safetensors | pick /x | tensors | tail -1 >found
    echo '0 0' | diff -u - found
    printf 'tensor x 2\nvector base\n3 3\n' | cat base.txt - | from-text | pack other.safetensors
    tv-extract --missing skip more.safetensors math.safetensors other.safetensors | pick /x | tensors >found
    printf 'tensor x 2\nvector other\n2 1\n' | diff -u - <(sed 's/ stored=F32//' found)
    # if no expert has the tensor, the base's is used for all
    tv-extract --missing skip more.safetensors math.safetensors | pick /x | tensors >found
    printf 'tensor x 2\nvector math\n0 0\n' | diff -u - <(sed 's/ stored=F32//' found)
}

@test "--embed truncates an embedding of more rows, or takes the base's" {
    printf 'kind weights\nmodel m\ntensor model.embed_tokens.weight 2x2\nvector m\n1 2\n3 4\n' | from-text | pack small.safetensors
    printf 'kind weights\nmodel m\ntensor model.embed_tokens.weight 3x2\nvector m\n2 3\n4 5\n6 7\n' | from-text | pack large.safetensors
    refused_with "embed_tokens.weight" tv-extract small.safetensors large.safetensors
    tv-extract --embed truncate small.safetensors large.safetensors | tensors | tail -2 >found
    printf '1 1\n1 1\n' | diff -u - found
    tv-extract --embed truncate large.safetensors small.safetensors >cut.tvs
    tensors <cut.tvs | tail -2 | diff -u - <(printf '%s\n' '-1 -1' '-1 -1')
    pack --base large.safetensors cut.safetensors <cut.tvs # the base is truncated as well
    unpack cut.safetensors | tensors | tail -2 | diff -u - <(printf '%s\n' '1 2' '3 4')
    tv-extract --embed base small.safetensors large.safetensors | tensors | tail -2 >found
    printf '0 0\n0 0\n' | diff -u - found
}

@test "refuses bad streams" {
    unpack base.safetensors math.safetensors >good.tvs
    refuses_bad_streams tv-extract
}

@test "refuses bad outputs" {
    unpack base.safetensors math.safetensors >good.tvs
    refuses_bad_output tv-extract
    refuses_bad_output tv-extract base.safetensors math.safetensors
}

@test "refuses task vectors, one model, weights other than 1, F64, and NaN" {
    tv-extract base.safetensors math.safetensors >deltas.tvs
    refused_with "this filter requires weights" tv-extract <deltas.tvs
    unpack base.safetensors >one.tvs
    refused_with "a base and experts are needed" tv-extract <one.tvs
    unpack base.safetensors math.safetensors | weigh base=2 >weighed.tvs
    refused_with "which the subtraction would lose" tv-extract <weighed.tvs
    sed 's/^vector base/& F64/' base.txt | from-text | pack f64.safetensors
    unpack f64.safetensors math.safetensors >f64.tvs
    refused_with "F64" tv-extract <f64.tvs
    sed 's/5.25/nan/' math.txt | from-text --allow-nonfinite | pack --allow-nonfinite nan.safetensors
    refused_with "tensor w of nan has a non-finite number at flat index 4" \
        tv-extract base.safetensors nan.safetensors
}

@test "refuses models that do not match, before the first payload" {
    printf 'kind weights\nmodel n\ntensor w 3x2\nvector n\n1 2\n3 4\n5 6\n' | from-text | pack n.safetensors
    refused_with "tensor w is (3, 2) in n but (2, 3) in base" tv-extract base.safetensors n.safetensors
    not grep -qa tensors .out
    printf 'kind weights\nmodel n\ntensor v 2x3\nvector n\n1 2 3\n3 4 5\n' | from-text | pack v.safetensors
    refused tv-extract base.safetensors v.safetensors
    refused_with "base" tv-extract base.safetensors base.safetensors
    refused_with "math" tv-extract base.safetensors math.safetensors math.safetensors
    mkdir a b && cp math.safetensors a/model.safetensors && cp math.safetensors b/model.safetensors
    tv-extract base.safetensors a b | check
    mkdir a/b && mv b/model.safetensors a/b
    refused tv-extract base.safetensors a/b b
}

# headless FOLDER CONFIG: a model with an embedding and no LM head
headless() {
    mkdir -p "$1"
    printf 'kind weights\nmodel m\ntensor model.embed_tokens.weight 2x2\nvector m\n2 3\n4 5\n' | from-text |
        pack --force "$1/model.safetensors"
    echo "$2" >"$1/config.json"
}

@test "a head that a model lacks is its embedding if the model is tied" {
    mkdir base
    printf 'kind weights\nmodel m\ntensor lm_head.weight 2x2\nvector m\n1 1\n1 1\ntensor model.embed_tokens.weight 2x2\nvector m\n1 2\n3 4\n' |
        from-text | pack base/model.safetensors
    echo '{"model_type": "llama", "tie_word_embeddings": false}' >base/config.json
    for config in '{"model_type": "llama", "tie_word_embeddings": true}' '{"model_type": "gemma"}' '{}' \
        '{"model_type": "qwen2_vl", "text_config": {"tie_word_embeddings": true}}'; do
        headless b "$config"
        tv-extract base b | pick /lm_head.weight | tensors | tail -2 | diff -u - <(printf '%s\n' '1 2' '3 4') ||
            wrong "$config" || return 1
    done
    unpack base b | pick /lm_head.weight | tensors | tail -2 | diff -u - <(printf '%s\n' '2 3' '4 5')
    for config in '{"model_type": "gemma", "tie_word_embeddings": false}' '{"model_type": "llama"}' \
        '{"model_type": "llava", "text_config": {"model_type": "mistral"}}'; do
        headless b "$config"
        refused_with "b lacks the tensor lm_head.weight of base" tv-extract base b || wrong "$config" || return 1
        refused_with "base has a tensor lm_head.weight that b lacks" tv-extract b base || wrong "$config" || return 1
        refused_with "b lacks the tensor lm_head.weight of base" unpack base b || return 1
        tv-extract --missing skip base b | pick /lm_head.weight | check || return 1
    done
    rm b/config.json
    tv-extract base b/model.safetensors | pick /lm_head.weight | tensors | tail -2 | diff -u - <(printf '%s\n' '1 2' '3 4')
}

@test "usage" {
    usage_error tv-extract --wire f64 base math
    usage_error_with "missing operand EXPERT after the BASE base" tv-extract base
    usage_error_with "--missing needs the operands BASE EXPERT..." tv-extract --missing skip
    usage_error tv-extract --dtype f8 base math
    refused tv-extract base.safetensors
}
