#!/usr/bin/env bats
# LoRA adapters as models. What each setting of peft means is in tests/unit/test_adapters.c, with the
# golden data; here is how adapters combine with filters, runners and other models.
load common
load refusals

setup() {
    own_folder
    G=$GOLDEN/adapters
    cp -r "$G"/models/{llama,llama-full,qwen2} "$G"/adapters/{plain,dora,rslora,modules-to-save} .
}

# The same bytes through pipes, in one process, and with any number of threads.
@test "one result for every runner and number of threads" {
    local steps='trim --density 0.4 | elect-sign | combine --normalize=agreeing'
    tv-extract llama plain dora rslora | trim --density 0.4 | elect-sign | combine --normalize=agreeing |
        pack --base llama piped
    for threads in 1 3; do
        tv run --threads "$threads" "tv-extract llama plain dora rslora | $steps | pack --base llama run"
        diff -r piped run
        rm -r run
    done
    tv-extract --threads 3 llama plain dora rslora >threads.tvs
    tv-extract llama plain dora rslora | cmp - threads.tvs
}

@test "a tensor that no adapter changes is not in the stream, and nothing of the base is read" {
    tv-extract llama plain | tv-view >seen
    [ "$(grep -c '^model\.layers\..*_proj\.weight' seen)" = 4 ]
    grep -c '^4 tensors, 4 vectors' seen
    grep -c 'full hash of plain' seen
    [ "$(grep -c 'full hash of llama' seen)" = 0 ]
    tv-extract llama plain | pack --base llama out
    tv-diff --tolerance 1e-6 out llama+plain
}

# The vector of zeros counts in a divisor, as that of a full model does.
@test "where another model changes a tensor, the adapter has a vector of zeros" {
    unpack llama+plain | pack --like llama full
    tv-extract llama plain llama-full | combine --normalize=all | pack --base llama one
    tv-extract llama full llama-full | combine --normalize=all | pack --base llama two
    tv-diff --tolerance 1e-6 one two
    tv-extract llama plain dora | stats >both
    grep -c '^model.layers.0.self_attn.k_proj.weight *plain *512 *1 ' both
    tv-extract --unchanged llama plain | tv-view | grep -c '^21 tensors, 21 vectors'
}

@test "BASE+ADAPTER is a model for every filter" {
    unpack llama+plain | pack --like llama full
    tv-diff llama+plain full
    tv-extract llama llama+plain | tv-view --values | sed '/^model/d; /^hash/d; /^ *fingerprints/d; s/llama+plain/plain/' >one
    tv-extract llama plain | tv-view --values | sed '/^model/d; /^hash/d; /^ *fingerprints/d' | diff - one
    tv-extract llama+dora llama+plain | add-base llama+dora | pack --like llama again
    tv-diff --tolerance 1e-6 again full
    tv-extract llama+dora plain | pack --base llama+dora both # one adapter on another
    tv-extract llama+plain dora | tv-view | grep -c '^6 tensors'
    tar cf archive.tar plain
    tv-extract llama plain=archive.tar 2>note | cmp - <(tv-extract llama plain)
    tv-extract llama plain=- <archive.tar 2>note | cmp - <(tv-extract llama plain)
    tv-extract llama=- plain <llama/model.safetensors 2>note | cmp - <(tv-extract llama plain)
    grep -c 'copied standard input to a temporary file, because an adapter changes it' note
    unpack llama >saved.tvs
    tv-extract llama=saved.tvs plain | tv-view | grep -c '^4 tensors'
    mkdir -p hub/models--org--lora/{refs,snapshots/abc}
    cp plain/* hub/models--org--lora/snapshots/abc
    printf abc >hub/models--org--lora/refs/main
    HF_HUB_CACHE=$T/hub unpack x=llama+org/lora | cmp - <(unpack x=llama+plain)
    cp -r llama a+plain
    unpack x=a+plain | cmp - <(unpack x=llama) # a path that exists
}

# bats test_tags=products
@test "a model with an adapter computes what the merged model computes" {
    unpack --dtype float32 llama+plain | pack --like llama full
    for task in plain llama-full; do
        echo '{"task": "'$task'", "input_ids": [1, 5, 9, 4, 7, 3], "prompt_len": 3}' >$task.jsonl
    done
    [ "$(score full --samples plain.jsonl --json)" = "$(score llama+plain --samples plain.jsonl --json)" ]
    tv-extract llama plain llama-full | trim --density 0.5 |
        calibrate --base llama --samples={plain,llama-full}.jsonl --epochs 1 \
            --expert plain=llama+plain --expert llama-full | tv-view | grep -c '^21 tensors'
}

@test "layers of models with adapters" {
    tv-extract 'llama[1:2]' 'plain[1:2]' | tv-view | grep -c '^2 tensors'
    tv-extract 'llama[1:2]' 'llama+plain[1:2]' 'llama-full[1:2]' | combine | add-base 'llama[1:2]' >slice.tvs
    tv-extract --first-layer 0 'llama[1:2]' 'plain[1:2]' | tv-view | grep -c '^model.layers.0.self_attn.q_proj'
    cat >config.yml <<'END'
merge_method: task_arithmetic
base_model: llama
dtype: float32
slices:
- sources: [{model: llama, layer_range: [0, 1]}, {model: llama+plain, layer_range: [0, 1]}]
- sources: [{model: llama, layer_range: [1, 2]}, {model: {model: llama, lora: plain}, layer_range: [1, 2]}]
parameters: {weight: 1}
END
    tv merge config.yml out
    tv-diff --tolerance 1e-6 out llama+plain
}

@test "mergekit configs with adapters" {
    local folder
    for folder in "$G"/merges/*/; do
        [ -e "$folder/expected" ] || continue
        (cd "$folder" && tv merge --lora-merge-cache x config.yml "$T/out" 2>"$T/note")
        grep -c 'no effect' note
        tv-diff --tolerance 1e-6 out "$folder/expected"
        rm -r out
    done
    cd "$G/merges/ties-k3"
    tv from-yaml config.yml | grep -cF ' llama+odd-scale=../../models/llama+../../adapters/odd-scale '
}

@test "adapters in another cache, and models with adapters as tokenizer_source" {
    local m
    echo '{"model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1}}}' >llama/tokenizer.json
    for m in llama plain; do
        mkdir -p "hub/models--org--$m"/{refs,snapshots}
        cp -r $m "hub/models--org--$m/snapshots/abc"
        printf abc >"hub/models--org--$m/refs/main"
    done
    for m in base org/llama+org/plain; do
        printf '%s\n' 'merge_method: linear' 'models: [{model: org/llama+org/plain, parameters: {weight: 1}}]' \
            "tokenizer_source: $m" >config.yml
        rm -rf out typed && tv merge --transformers-cache hub config.yml out 2>note
        tv from-yaml --transformers-cache hub config.yml typed | bash -euo pipefail 2>note
        diff -r out typed
        cmp out/tokenizer.json llama/tokenizer.json
    done
}

@test "an adapter has the vocabulary of its base" {
    echo '{"model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1}}}' | tee llama/tokenizer.json >llama-full/tokenizer.json
    local v='{"source": "base", "base": "llama", "models": {"llama": "llama", "plain": "plain", "llama-full": "llama-full"}}'
    tv-extract --vocabulary "$v" llama plain llama-full 2>note | combine | pack --base llama --vocabulary "$v" out
    [ "$(<note)" = "tv-extract: note: a vocabulary of 2 tokens: llama has 2 of its 2, plain has 2 of its 2, llama-full has 2 of its 2" ]
    tv verify out llama plain llama-full 2>note | grep -c '^equal: 21 tensors'
}

@test "what peft stores of a tied embedding for the head again" {
    part() { # SCALE MODULE
        unpack "$2=qwen2" | pick '/*embed*' | rescale "$1" | tv-rename "model.embed_tokens.weight=base_model.model.$2.weight"
    }
    mkdir tied
    echo '{"peft_type": "LORA", "ensure_weight_tying": true}' >tied/adapter_config.json
    stack --disjoint <(part 2 model.embed_tokens) <(part 2 lm_head) | pack tied/adapter_model.safetensors
    unpack qwen2 | rescale 1 '/*embed*=2' >twice.tvs
    unpack qwen2=qwen2+tied 2>note | tv-diff twice.tvs -
    [ ! -s note ]
    stack --disjoint <(part 2 model.embed_tokens) <(part 3 lm_head) | pack --force tied/adapter_model.safetensors
    refused_with 'lm_head is tied to the token embedding' unpack qwen2+tied
}

@test "merges of adapters are verified" {
    tv-extract llama plain dora | combine | pack --base llama out
    tv verify out llama plain dora | grep -c '^equal: 21 tensors'
    unpack llama+plain llama-full | combine --normalize=all | pack --like llama mean
    tv verify mean llama llama-full plain dora | grep -c '^equal: 21 tensors'
    sed -i 's/"lora_alpha": 8/"lora_alpha": 9/' plain/adapter_config.json # part of the fingerprint
    not tv verify out llama plain dora 2>err
    grep -c 'not found among the operands: plain' err
}

@test "an adapter without its base, and other folders, are refused" {
    refused_with 'plain is a LoRA adapter, which needs its base model: BASE+plain' unpack plain
    refused_with 'needs its base model' tv-extract plain llama
    refused_with 'llama-full is not a LoRA adapter' unpack llama+llama-full
    refused_with 'cannot open llama+nothing: llama exists, but nothing does not' tv-extract llama llama+nothing
    refused_with 'but llama+plain does not; a model can have one adapter' unpack llama+plain+dora
    tar cf plain.tar plain
    not unpack - <plain.tar >out.tvs 2>err
    grep -c 'standard input is a LoRA adapter, which needs its base model before it' err
    refused_with 'modules-to-save: lm_head is tied' tv-extract llama qwen2+modules-to-save
}

# ---- writing adapters ------------------------------------------------------------------------------

# tails ADAPTER: that BASE+ADAPTER misses each matrix of `llama-full` by the tail of its singular values
tails() {
    tv-extract llama llama-full >full.tvs
    tv-extract llama "$1" >lora.tvs
    PYTHONPATH=$ROOT/share/etl PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 - "$@" <<'END'
import json, sys
import numpy as np, tvstream

def read(path):
    found = {}
    for t, blocks in tvstream.Reader(open(path, "rb")):
        found[t["name"]] = np.concatenate([b[0] for b in blocks]).astype("f8").reshape(t["shape"])
    return found

full, lora = read("full.tvs"), read("lora.tvs")
config = json.load(open(sys.argv[1] + "/adapter_config.json"))
ranks = {k + ".weight": r for k, r in config["rank_pattern"].items()}
matrices = 0
for name, d in full.items():
    if d.ndim == 2 and "embed" not in name and "lm_head" not in name:
        got = lora.get(name, 0 * d)
        k = ranks.get(name, config["r"]) if name in lora else 0
        s = np.linalg.svd(d, compute_uv=False)
        tail, norm = np.sqrt((s[k:] ** 2).sum()), np.sqrt((s ** 2).sum())
        is_whole = abs(d - got).max() < 1e-6
        assert is_whole or abs(np.linalg.norm(d - got) - tail) <= 1e-5 * norm, (name, k)
        matrices += name in lora
    elif name in lora:
        assert abs(d - lora[name]).max() < 1e-6, name
print(matrices, "matrices")
END
}

# bats test_tags=products
@test "pack --lora writes the best approximations: by rank, by tensor, by energy" {
    tv-extract llama llama-full | pack --lora 4 --base llama one
    tails one | grep -cx '14 matrices'
    grep -c '"r": 4' one/adapter_config.json
    grep -c '^| 4 | 9' one/README.md
    tv-extract llama llama-full | pack --lora 4 --lora '/*mlp*=2' --lora '/*k_proj*=0' --base llama two
    tails two | grep -cx '12 matrices'
    grep -c '"model.layers.0.mlp.down_proj": 2' two/adapter_config.json
    tv-extract llama llama-full | pack --energy 0.95 --base llama three
    tails three | grep -cx '14 matrices'
    tv-extract llama llama-full | pack --lora 64 --base llama all
    tv-diff --tolerance 1e-6 llama+all llama-full
    tv-extract llama llama-full | tv run 'pack --lora 4 --base llama again'
    diff one/adapter_model.safetensors again/adapter_model.safetensors
}

# bats test_tags=products
@test "an adapter of a merge of adapters, also from a config, and of GPT-2" {
    tv-extract llama plain rslora | combine | pack --lora 12 --base llama sum
    tv-extract llama plain rslora | combine | pack --base llama full
    tv-diff --tolerance 1e-6 llama+sum full # the rank of the sum is 12
    cat >config.yml <<'END'
merge_method: task_arithmetic
base_model: llama
models: [{model: llama+plain, parameters: {weight: 1}}, {model: llama+rslora, parameters: {weight: 1}}]
END
    tv merge --check --lora 12 config.yml merged | grep -c '^task_arithmetic of 3 models: at most 16 tensors, 24.6 KB; '
    tv merge --lora 12 config.yml merged
    tv-diff --tolerance 1e-6 llama+merged full
    tv verify --print sum | grep -c 'pack --lora=12'
    cp -r "$G"/models/gpt2{,-full} .
    tv extract-lora --max-rank 64 gpt2 gpt2-full conv
    tv-diff --tolerance 1e-6 gpt2+conv gpt2-full
    cp -r "$G"/models/qwen2-full .
    tv extract-lora --max-rank 64 --embed-lora qwen2 qwen2-full tied 2>note
    tv-diff --tolerance 1e-6 qwen2+tied qwen2-full
    grep -c '^pack: note: tied changes model.embed_tokens, which is also the head of qwen2' note
}

# edit_adapter FOLDER CODE: edits the header h, the history hist or the data of its tensors
edit_adapter() {
    /usr/bin/python3 - "$1/adapter_model.safetensors" "$2" <<'END'
import json, struct, sys
with open(sys.argv[1], "rb") as f:
    h = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
    data = bytearray(f.read())
hist = json.loads(h["__metadata__"]["tvtools_history"])
def negate(name): # in F32
    for i in range(*h["base_model.model.model.layers.0.self_attn.q_proj." + name]["data_offsets"], 4):
        data[i + 3] ^= 128
exec(sys.argv[2])
h["__metadata__"]["tvtools_history"] = json.dumps(hist)
text = json.dumps(h).encode()
with open(sys.argv[1], "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text + data)
END
}

# bats test_tags=products
@test "tv verify computes an adapter again" {
    local other='hist[-1]["blas"] = "OpenBLAS 0.0 Other"' status=0
    tv-extract llama llama-full | pack --lora 4 --energy 0.9 --base llama a
    [ "$(tv verify a llama llama-full)" = "equal: 35 tensors, recomputed from llama, llama-full" ]
    tv-extract llama llama-full | pack --lora 4 --lora '/*mlp*=0' --base llama few
    tv verify few llama llama-full | grep -c '^equal: 23 tensors'
    OPENBLAS_CORETYPE=Nehalem tv verify a llama llama-full | grep -c '^equal'
    cp -r a b
    edit_adapter b 'negate("lora_A.weight")'
    tv verify b llama llama-full >answer || status=$?
    [ $status = 1 ]
    grep -qx 'different elements: base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight' answer
    # Other kernels: the product counts
    edit_adapter b "$other"
    not tv verify b llama llama-full
    edit_adapter b 'negate("lora_B.weight")'
    tv verify b llama llama-full | grep -c '^equal within the tolerance: 35 tensors, 2 of them with differences of rounding'
    sed -i 's/"lora_alpha": /&1/' a/adapter_config.json
    status=0
    tv verify a llama llama-full >answer || status=$?
    [ $status = 1 ] && grep -qx 'different metadata: lora_alpha' answer
}

# bats test_tags=products
@test "the options of mergekit-extract-lora" {
    tv extract-lora --model llama-full --base-model llama --out-path out --max-rank 4 --cuda
    tails out | grep -cx '14 matrices'
    tv extract-lora --max-rank 4 --exclude-regex mlp --exclude-regex 'layers\.1\.' --save-module o_proj llama llama-full few
    [ "$(tails few)" = '5 matrices' ] # two of them whole
    tv extract-lora --max-rank 4 --include-regex self_attn --skip-undecomposable llama llama-full attention
    [ "$(tails attention)" = '8 matrices' ]
    [ "$(unpack attention/adapter_model.safetensors | tv-view | grep -c norm)" = 0 ]
    tv extract-lora --max-rank 16 --sv-epsilon 0.25 --no-distribute-scale llama llama-full some
    tails some
    tv extract-lora --max-rank 4 --dtype bfloat16 llama llama-full narrow
    unpack narrow/adapter_model.safetensors | tv-view | grep -c BF16
}

@test "what cannot be an adapter is refused" {
    tv-extract llama llama-full >full.tvs
    refused_with '--lora needs --base' pack --lora 4 out <full.tvs
    refused_with '--embed-lora needs --lora or --energy' pack --embed-lora --base llama out <full.tvs
    refused_with '--vocabulary is not for adapters' pack --lora 4 --base llama --vocabulary x out <full.tvs
    refused_with 'not a single file' pack --lora 4 --base llama out.safetensors <full.tvs
    pack --lora 4 --whole '/*typo*' --base llama typo <full.tvs 2>err
    grep -c 'pack: warning: --whole /\*typo\* matches no tensor' err
    REFUSED_BY='tv extract-lora' refused_with '--save-module=typo: llama has no such module' \
        tv extract-lora --save-module typo llama llama-full out
    REFUSED_BY='tv extract-lora' refused_with 'the regular expression a( is not supported' \
        tv extract-lora --exclude-regex 'a(' llama llama-full out
    stack --disjoint <(unpack "$G/models/qwen2-full") \
        <(unpack qwen2 | pick '/*embed*' | tv-rename model.embed_tokens.weight=lm_head.weight) | pack untied.safetensors
    tv-extract qwen2 untied.safetensors >untied.tvs
    refused_with 'the head of qwen2 is its token embedding' pack --lora 4 --base qwen2 out <untied.tvs
    refused_with 'no matrix that changes' pack --lora 0 --base llama out <full.tvs
    refused_with 'exists' pack --lora 4 --base llama plain <full.tvs
    pick '/*q_proj*' <full.tvs | rescale 1e6 >far.tvs
    refused_with 'lora_A.weight has a number beyond the range of F16' \
        pack --lora 4 --no-distribute-scale --dtype float16 --base llama out <far.tvs
    refused_with 'q_proj.weight has a number beyond the range of F16' \
        pack --lora 4 --whole '/*q_proj*' --dtype float16 --base llama out <far.tvs
    [ ! -e out ]
    pack --lora 4 --base llama out <full.tvs
    pack --lora 2 --base llama --force out <full.tvs
    grep -c '"r": 2' out/adapter_config.json
    cat >config.yml <<'END'
merge_method: linear
models: [{model: llama, parameters: {weight: 1}}, {model: llama-full, parameters: {weight: 1}}]
END
    REFUSED_BY='tv merge' refused_with '--lora needs a method with task vectors' tv merge --lora 4 config.yml out2
    REFUSED_BY='tv merge' refused_with '--lora needs a method with task vectors' tv merge --check --lora 4 config.yml out2
    printf '%s\n' 'merge_method: task_arithmetic' 'base_model: llama' 'models: [{model: llama-full, parameters: {weight: 1}}]' >config.yml
    REFUSED_BY=pack refused_with 'not a single file' tv merge --check --lora 4 config.yml x.safetensors
}
