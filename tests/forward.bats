#!/usr/bin/env bats
# Hidden states and logits of decoders against transformers; unsupported models and bad samples.
load common
load refusals

TEXT=$GOLDEN/models/text
export PYTHONPATH=$ROOT/share/etl PYTHONDONTWRITEBYTECODE=1

setup() {
    own_folder
    M=$TEXT/qwen2_tied
    printf '{"input_ids": [5, 17, 3]}\n\n{"task": "b", "input_ids": [9, 0, 189, 4, 4]}\n' >few.jsonl
}

# config KEY=JSON...: config.json of the model with other values, as ./config.json
config() {
    /usr/bin/python3 - "$M/config.json" "$@" <<'END'
import json, sys
config = json.load(open(sys.argv[1]))
for word in sys.argv[2:]:
    key, value = word.split("=", 1)
    config[key] = json.loads(value)
json.dump(config, open("config.json", "w"))
END
}

# refused_config SENTENCE KEY=JSON...
refused_config() {
    config "${@:2}"
    refused_with "$1" forward "$M" --samples few.jsonl --config config.json
}

# refused_samples SENTENCE: an error in line 3 of few.jsonl
refused_samples() {
    refused_with "few.jsonl, line 3: $1" forward "$M" --samples few.jsonl
}

# sample JSON: few.jsonl with two good lines and this one
sample() {
    printf '{"input_ids": [1, 2]}\n{"input_ids": [3]}\n%s\n' "$1" >few.jsonl
}

# threads_of OPTION...: the threads of forward while it writes to a full pipe
threads_of() {
    mkfifo pipe
    forward "$M" --samples many.jsonl "$@" >pipe &
    exec 3<pipe
    head -c 4M <&3 >/dev/null
    find "/proc/$!/task" -mindepth 1 -maxdepth 1 | wc -l
    exec 3<&-
    wait $! || true # the rest was not read
    rm pipe
}

@test "in a pipe, too, it uses all processors unless --threads is given" {
    processors=$(getconf _NPROCESSORS_ONLN)
    [ "$processors" -gt 1 ] || skip "there is only one"
    for _ in {1..200}; do
        echo "{\"input_ids\": [$(seq -s, 0 99)]}"
    done >many.jsonl
    [ "$(forward "$M" --samples many.jsonl | wc -c)" -gt 8000000 ] # more than is read and a pipe holds
    one=$(threads_of --threads 1)
    [ "$(threads_of)" = $((one + processors - 1)) ]
}

@test "every decoder, with config.json of transformers 4 and 5, computes what transformers does" {
    for case in "$TEXT"/*/ "$TESTS"/golden/qwen3/forward/; do
        /usr/bin/python3 "$TESTS/activations.py" "${case%/}" forward || return 1
    done
}

@test "logits and hidden states of the trained family" {
    family=$GOLDEN/expert-merging
    [ -d "$family/t1/models" ] || skip "only in the full golden data"
    /usr/bin/python3 - "$family" <<'END'
import json, os, subprocess, sys
import tvstream
sys.path.insert(0, os.environ["TESTS"])
from activations import read_safetensors
family, = sys.argv[1:]
golden = read_safetensors(f"{family}/golden/logits.safetensors")
with open("prompts.jsonl", "w") as f:
    for prompt in json.load(open(f"{family}/golden/logits.json")):
        print(json.dumps(prompt), file=f)
checked = 0
for model in {name.split(".")[0] for name in golden}:
    with subprocess.Popen(["forward", f"{family}/t1/models/{model}", "--samples", "prompts.jsonl"],
                          stdout=subprocess.PIPE) as p:
        for t, blocks in tvstream.Reader(p.stdout):
            name = t["name"].replace("sample", "prompt").replace("hidden.", "hidden")
            assert abs(tvstream.whole(t, blocks)[0] - golden[f"{model}.{name}"]).max() < 2e-5, name
            checked += 1
assert checked == len(golden) > 0, checked
END
}

@test "names, kind and shapes; --only" {
    forward "$M" --samples few.jsonl | tv-view >found
    grep -q '^kind  *activations$' found
    grep -o '^sample[^ ]*  *[^ ]*' found | tr -s ' ' >names
    diff -u - names <<END
sample0.hidden.0 3x56
sample0.hidden.1 3x56
sample0.hidden.2 3x56
sample0.logits 3x190
sample1.hidden.0 5x56
sample1.hidden.1 5x56
sample1.hidden.2 5x56
sample1.logits 5x190
END
    forward "$M" --samples few.jsonl --only logits >logits.tvs
    forward "$M" --samples few.jsonl | pick '/*.logits' >picked.tvs
    tv-diff logits.tvs picked.tvs
    forward "$M" --samples few.jsonl --only hidden | tv-view >found
    [ "$(grep -c '^sample.*hidden' found)" = 6 ]
    not grep -q 'logits ' found
}

@test "samples do not attend to one another" {
    sed -n 3p few.jsonl >second.jsonl
    forward "$M" --samples second.jsonl >alone.tvs
    forward "$M" --samples second.jsonl --samples few.jsonl | pick '/sample0.*' | tv-diff - alone.tvs
}

@test "several threads, and hidden states in a temporary file" {
    forward "$M" --samples few.jsonl --threads 1 >one.tvs
    forward "$M" --samples few.jsonl --threads 3 | cmp - one.tvs
    forward "$M" --samples few.jsonl --threads 1 --memory 1K | cmp - one.tvs
    tv run "forward $M --samples few.jsonl | pick '/*.logits'" >run.tvs
    pick '/*.logits' <one.tvs | cmp - run.tvs
}

@test "a saved stream of weights, with a config" {
    unpack "$M" >saved.tvs
    forward "$M" --samples few.jsonl >expected.tvs
    forward qwen2_tied=saved.tvs --samples few.jsonl --config "$M/config.json" | tv-diff - expected.tvs
    refused_with "saved.tvs has no config.json" forward saved.tvs --samples few.jsonl
}

@test "the history has the model's name and the samples' hash, without folders" {
    forward "$M" --samples few.jsonl | tv-view >found
    grep -q 'forward --samples=xxh3:[0-9a-f]\{16\} qwen2_tied ' found
    not grep -qF "$T" found
    cp few.jsonl other.jsonl
    cmp <(forward "$M" --samples few.jsonl) <(forward "$M" --samples other.jsonl)
}

@test "--gram: the inputs of all linear maps, as numpy computes them for single tokens" {
    for name in qwen2_tied llama_bias; do
        M=$TEXT/$name
        printf '{"input_ids": [%d]}\n' 5 17 3 9 88 >single.jsonl
        forward "$M" --samples single.jsonl --gram >single.gram
        printf '{"input_ids": [%s]}\n' 5,17,3 9,0,8,4,4 >few.jsonl
        forward "$M" --samples few.jsonl --gram >few.gram
        forward "$M" --samples few.jsonl --only hidden >few.hidden
        /usr/bin/python3 "$TESTS/grams.py" "$M" 5 17 3 9 88 || return 1
    done
    unpack "$TEXT/mistral_bf16_sharded" | pick /lm_head.weight | tv-view | grep -q 'lm_head'
    forward "$TEXT/mistral_bf16_sharded" --samples few.jsonl --gram | tv-view | grep -q '^lm_head.weight'
}

@test "--gram: threads, memory, tv run; the tensors are those of the linear maps, in the order of layers" {
    forward "$M" --samples few.jsonl --gram >gram.tvs
    check --quiet gram.tvs
    forward "$M" --samples few.jsonl --gram --threads 3 | cmp - gram.tvs
    forward "$M" --samples few.jsonl --gram --memory 1K | cmp - gram.tvs
    tv run "forward $M --samples few.jsonl --gram | stats --summary" >summary
    tv-view gram.tvs | sed -n 's/^model.layers.\(1[^ ]*\|0.mlp.d[^ ]*\)  *\([^ ]*\).*/\1 \2/p' >names
    diff -u - names <<END
0.mlp.down_proj.weight 96x96
1.self_attn.q_proj.weight 56x56
1.self_attn.k_proj.weight 56x56
1.self_attn.v_proj.weight 56x56
1.self_attn.o_proj.weight 56x56
1.mlp.gate_proj.weight 56x56
1.mlp.up_proj.weight 56x56
1.mlp.down_proj.weight 96x96
END
    usage_error_with "only one of --only, --gram and --fisher" forward "$M" --samples few.jsonl --gram --only logits
}

# bats test_tags=slow
@test "--fisher: the mean of squared gradients, compared with finite differences" {
    printf '%s\n' '{"input_ids": [5, 17, 3, 9, 3], "prompt_len": 2}' '{"input_ids": [9, 0, 18, 4, 4]}' \
        '{"input_ids": [7]}' >few.jsonl
    for name in qwen2_tied llama_bias; do
        rm -rf shifted
        /usr/bin/python3 "$TESTS/fisher_diagonal.py" "$TEXT/$name" few.jsonl || return 1
    done
}

@test "--fisher: threads, memory, names; samples without predictions" {
    forward "$M" --samples few.jsonl --fisher >fisher.tvs
    check --quiet fisher.tvs
    forward "$M" --samples few.jsonl --fisher --threads 3 | cmp - fisher.tvs
    forward "$M" --samples few.jsonl --fisher --memory 1K | cmp - fisher.tvs
    tv-view fisher.tvs | sed -n 's/^\(model\.[^ ]*\) .*/\1/p' >names
    [ "$(sed -n '1p; 2p; $p' names | tr '\n' ' ')" = \
        "model.norm.weight model.layers.1.self_attn.q_proj.weight model.embed_tokens.weight " ]
    printf '{"input_ids": [%s]}\n' 7 3 >single.jsonl
    refused_with "no sample has a token to predict" forward "$M" --samples single.jsonl --fisher
    usage_error_with "only one of" forward "$M" --samples few.jsonl --fisher --gram
}

@test "unsupported architectures and bad values of config.json are errors that name them" {
    refused_config "the architecture MixtralForCausalLM is not supported" 'architectures=["MixtralForCausalLM"]'
    refused_config "the architecture gemma is not supported" 'architectures=null' 'model_type="gemma"'
    refused_config "neither architectures nor model_type" 'architectures=[]' 'model_type=null'
    refused_config "is Qwen2ForCausalLM, but model_type is llama" 'model_type="llama"'
    refused_config 'hidden_act is "gelu"; expected silu' 'hidden_act="gelu"'
    refused_config "the rope scaling longrope is not supported" 'rope_scaling={"rope_type": "longrope"}'
    refused_config "factor is missing; the rope scaling linear needs it" 'rope_scaling={"type": "linear"}'
    refused_config "differ by layer" 'rope_parameters={"full_attention": {"rope_theta": 1}}'
    refused_config "hidden_size is -3; expected a whole number from 1 to 16777216" 'hidden_size=-3'
    refused_config 'hidden_size is "56"; expected a whole number' 'hidden_size="56"'
    refused_config "hidden_size is 0; expected a whole number" 'hidden_size=0'
    refused_config "rms_norm_eps is 0; expected a positive number" 'rms_norm_eps=0'
    refused_config "num_attention_heads 7 is not a multiple of num_key_value_heads 2" 'num_key_value_heads=2'
    refused_config "layer_types has 1 entries, but there are 2 layers" 'use_sliding_window=true' 'layer_types=["full_attention"]'
    echo '[]' >config.json
    refused_with "config.json is not a JSON object" forward "$M" --samples few.jsonl --config config.json
}

@test "missing and unexpected tensors and wrong shapes are reported before any computation" {
    refused_config "has no tensor model.layers.2.self_attn.q_proj.weight, which a qwen2 model of 3" num_hidden_layers=3
    refused_config "has a tensor model.layers.1." num_hidden_layers=1
    refused_config "has a tensor model.layers.0.self_attn.k_proj.bias, which a llama model" \
        'architectures=["LlamaForCausalLM"]' 'model_type="llama"'
    refused_config "tensor model.embed_tokens.weight of qwen2_tied has shape (190, 56), but config.json says (191, 56)" vocab_size=191
    refused_config "has no tensor lm_head.weight" tie_word_embeddings=false
    unpack "$M" | pick --drop /model.norm.weight >less.tvs
    refused_with "less.tvs has no tensor model.norm.weight" \
        forward less.tvs --samples few.jsonl --config "$M/config.json"
}

@test "duplicate keys of config.json: a warning, and the last one wins" {
    sed 's/^{/{"hidden_size": 1,/' "$M/config.json" >config.json
    forward "$M" --samples few.jsonl --config config.json 2>err | check --quiet
    grep -qx "forward: warning: config.json has duplicate keys; the last one wins" err
}

@test "errors of samples name the line" {
    sample '{"input_ids": [1, 190]}' && refused_samples "token id 190 at position 1 is outside the vocabulary of 190"
    sample '{"input_ids": [-1]}' && refused_samples "token id -1 at position 0"
    sample '{"input_ids": []}' && refused_samples "input_ids is empty"
    sample '{"input_ids": [1.5]}' && refused_samples "input_ids[0] is not a whole number"
    sample '{"input_ids": "1 2"}' && refused_samples "input_ids must be a list of token ids"
    sample '{"task": "rev"}' && refused_samples "input_ids is missing"
    sample '{"input_ids": [1], "task": 7}' && refused_samples "task must be a string"
    sample '{"input_ids": [1], "prompt_len": 2}' && refused_samples "prompt_len must be a whole number from 1 to 1"
    sample '{"input_ids": [1], "images": [{}]}' && refused_samples "the sample has images"
    sample "{\"input_ids\": [$(seq -s, 513 | sed 's/[0-9]\{1,\}/1/g')]}" && refused_samples "the sample has 513 tokens, but the model accepts at most 512"
    sample '{"input_ids": [1]' && refused_with "few.jsonl: line 3 is not valid JSON" forward "$M" --samples few.jsonl
    sample '[1]' && refused_with "few.jsonl: line 3 is not a JSON object" forward "$M" --samples few.jsonl
    printf '\n \n' >few.jsonl
    refused_with "few.jsonl has no samples" forward "$M" --samples few.jsonl
    refused_with "No such file" forward "$M" --samples nowhere.jsonl
}

@test "usage" {
    usage_error forward
    usage_error forward "$M"
    usage_error forward "$M" --samples few.jsonl --only nothing
    usage_error forward "$M" "$M" --samples few.jsonl
}

@test "an output that cannot be written" {
    GOOD=few.jsonl refuses_bad_output forward "$M" --samples few.jsonl
}

@test "numbers that are not finite" {
    unpack "$M" | tv-view --values | awk '/^tensor model.norm.weight/ {n = 3} --n == 0 {$1 = "nan"} 1' |
        from-text --allow-nonfinite >nan.tvs
    refused_with "non-finite number" forward nan.tvs --samples few.jsonl --config "$M/config.json"
    forward nan.tvs --samples few.jsonl --config "$M/config.json" --allow-nonfinite |
        check --allow-nonfinite --quiet
}
