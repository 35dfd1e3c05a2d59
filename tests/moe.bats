#!/usr/bin/env bats
# Mixtures of experts: tv moe and the pipeline that tv from-yaml prints make what mergekit-moe makes.
load common
load refusals

MOE=$GOLDEN/moe
export PYTHONPATH=$ROOT/share/etl PYTHONDONTWRITEBYTECODE=1

setup() {
    own_folder
    L=$MOE/models
    cat >config.yml <<END
base_model: $L/llama
gate_mode: cheap_embed
experts:
  - source_model: $L/llama-a
    positive_prompts: [[296, 5, 6], [7, 8]]
  - source_model: $L/llama-b
    positive_prompts: [[296, 9]]
    negative_prompts: [[10]]
END
}

# edit SED...: config.yml with a change, as changed.yml
edit() { sed "$@" config.yml >changed.yml; }

# mixture FOLDER COMMAND...: runs it in the folder of a case, with its prompts
mixture() {
    cd "$1" || return 1
    local prompts=prompts.json
    [ -e "$prompts" ] || prompts=../qwen_moe-llama/prompts.json
    "${@:2}" --prompts "$prompts" config.yml "$T/out"
}

@test "the cases of mergekit-moe" {
    while IFS=$'\t' read -r kind folder _ expected rtol _; do
        [ "$kind" = moe ] && [ -e "$MOE/$folder/$expected/model.safetensors" ] || continue
        (mixture "$MOE/$folder" tv moe --force --quiet 2>"$T/err") || { cat err; return 1; }
        /usr/bin/python3 "$TESTS/mixture.py" out "$MOE/$folder/$expected" "$rtol" || { echo "$folder"; return 1; }
    done <"$MOE/checks.tsv"
}

@test "configurations that mergekit-moe refuses" {
    while IFS=$'\t' read -r kind folder _ _ _ word; do
        [ "$kind" = refuse ] || continue
        sed "s|\.\./\.\./models|$L|" "$MOE/$folder/config.yml" >bad.yml
        REFUSED_BY="tv moe" refused_with "$word" tv moe --prompts "$MOE/cases/mixtral-cheap_embed-k4/prompts.json" \
            bad.yml out || { echo "$folder"; return 1; }
        [ ! -e out ]
    done <"$MOE/checks.tsv"
}

@test "the printed pipeline writes the same, in a shell and in tv run" {
    edit 's/gate_mode: .*/gate_mode: hidden/; s/^    negative.*/&\n    residual_scale: 0.5\n    noise_scale: 0.01/'
    tv moe changed.yml once
    tv from-yaml changed.yml typed >line
    grep -q "rescale '/\*.down_proj.\*=0.5'" line
    bash -euo pipefail line
    diff -r once typed
    tv from-yaml changed.yml ran >line
    tv run "$(<line)"
    diff -r once ran
    check once
}

@test "random routers: shape, mean and variance, and a seed that repeats" {
    edit 's/cheap_embed/random/; /prompts/d'
    tv moe --random-seed 3 changed.yml a
    tv moe --random-seed 3 changed.yml b
    tv moe changed.yml c
    cmp a/model.safetensors b/model.safetensors
    run ! cmp -s a/model.safetensors c/model.safetensors
    printf 'architecture: qwen\nshared_experts: [{source_model: %s}]\n' "$L/llama-c" >>changed.yml
    tv moe changed.yml d
    tv-view --values d/model.safetensors | sed -n '/^tensor model.layers.0.mlp.\(gate\|shared_expert_gate\)/,+2p' >rows
    [ "$(grep -c '^[-0-9]' rows)" = 2 ]
    [ -z "$(grep '^[-0-9]' rows | sort | uniq -d)" ]
    moe-router --gate-mode random --layers 1 --experts 8 --hidden-size 4096 | tv-view --values | tail -8 |
        tr ' ' '\n' | awk '{ s += $1; q += $1^2 } END { exit !(NR == 32768 && s^2 / NR < 9 && (q / NR - 1)^2 < 0.001) }'
    moe-router --gate-mode uniform_random --layers 1 --experts 8 --hidden-size 4096 | tv-view --values | tail -8 |
        tr ' ' '\n' | awk '{ if ($1^2 > 1 / 4096) exit 1; q += $1^2 } END { exit (q / NR * 3 * 4096 - 1)^2 > 0.001 }'
}

@test "experts of one model have noise of their own" {
    edit "s/cheap_embed/random/; /prompts/d; s|\(source_model: .*\)-b|\1-a\n    noise_scale: 0.1|"
    sed -i '0,/-a$/s//-a\n    noise_scale: 0.1/' changed.yml
    tv from-yaml changed.yml | grep -o 'add-noise --seed=.*0.1' >noise
    [ "$(<noise)" = $'add-noise --seed=0 0.1\nadd-noise --seed=1 0.1' ]
}

@test "prompts as texts need their token ids" {
    edit 's/\[\[10\]\]/[story]/'
    REFUSED_BY="tv moe" refused_with "line 8: prompts are texts: give their token ids with --prompts" tv moe changed.yml out
    echo '{"stories": [10]}' >prompts.json
    REFUSED_BY="tv moe" refused_with 'prompts.json has no token ids for the prompt "story"' tv moe --prompts prompts.json changed.yml out
    echo '{"story": [10]}' >prompts.json
    tv moe --prompts prompts.json changed.yml out
    tv moe config.yml same
    cmp out/model.safetensors same/model.safetensors
    echo '{"story": [-1]}' >prompts.json
    REFUSED_BY="tv moe" refused_with 'has no token ids' tv moe --prompts prompts.json changed.yml out2
    : >prompts.json
    REFUSED_BY="tv moe" refused_with "prompts.json: the file is not valid JSON: '[' or '{' expected near end of file" \
        tv moe --prompts prompts.json changed.yml out2
    printf '{"story": [10]' >prompts.json
    REFUSED_BY="tv moe" refused_with 'prompts.json' tv moe --prompts prompts.json changed.yml out2
}

@test "what does not fit is an error before anything is computed" {
    refused_edit() { # SENTENCE SED
        edit "$2"
        REFUSED_BY="tv moe" refused_with "$1" tv moe changed.yml out
    }
    refused_edit "base_model is missing" '/^base_model/d'
    refused_edit "source_model is missing" 's/source_model: .*-a/residual_scale: 2/'
    refused_edit "a token id must be a whole number" 's/\[10\]/[1.5]/'
    refused_edit "a prompt is empty" 's/\[10\]/[]/'
    refused_edit "noise_scale must be a finite number, not below 0" 's/^    negative.*/&\n    noise_scale: -1/'
    refused_edit 'dtype: unknown dtype "half float"' 's/^gate/dtype: half float\ngate/'
    refused_edit "nowhere is not a file, a folder or a model" 's/source_model: .*-a/source_model: nowhere/'
    edit 's/\[10\]/[9999]/'
    REFUSED_BY=forward refused_with "9999: token id 9999 at position 0 is outside the vocabulary of 298" tv moe changed.yml out
    [ ! -e out ]
    printf -- '---\n' | cat config.yml - config.yml >changed.yml
    REFUSED_BY="tv moe" refused_with "expected one document" tv moe changed.yml out
    REFUSED_BY="tv moe" usage_error tv moe config.yml
    run ! tv merge config.yml out
    [[ $output = *"merge_method is missing; a mixture of experts is made by tv moe" ]]
}

@test "a bias for which the mixture has no place" {
    mkdir biased
    cp "$L/llama/config.json" biased
    stack --disjoint <(unpack "$L/llama") <(zero-bias "$L/llama" '*.o_proj') | pack biased/model.safetensors
    edit "s|^base_model.*|base_model: biased|; s/cheap_embed/random/; /prompts/d"
    REFUSED_BY="tv moe" refused_with "o_proj.bias, for which a mixtral model has no place" tv moe changed.yml out
    cp "$L/llama-a/config.json" biased
    stack --disjoint <(unpack "$L/llama-a") <(zero-bias "$L/llama-a" '*.up_proj') | pack --force biased/model.safetensors
    edit "s|source_model: .*-a|source_model: biased|"
    REFUSED_BY="tv moe" refused_with "biased has a tensor model.layers.0.mlp.up_proj.bias, which the base lacks" tv moe changed.yml out
}

@test "prompt-tokens" {
    mkdir packages
    cat >packages/yaml.py <<'END'
import json

class YAMLError(Exception):
    pass

def safe_load(f):
    return json.load(f)
END
    cat >packages/transformers.py <<'END'
class AutoTokenizer:
    bos_token = "<"

    @staticmethod
    def from_pretrained(folder):
        assert folder == "base"
        return AutoTokenizer()

    def encode(self, text, add_special_tokens):
        return [] if add_special_tokens else list(text.encode())
END
    export PYTHONPATH=$T/packages PYTHONDONTWRITEBYTECODE=1 REFUSED_BY=prompt-tokens
    echo '{"base_model": "base", "experts": [{"positive_prompts": ["ab", [1, 2]], "negative_prompts": ["c"]}]}' >c.yml
    [ "$(/usr/bin/python3 "$ROOT/share/etl/prompt-tokens" c.yml)" = '{"ab": [60, 97, 98], "c": [60, 99]}' ]
    echo '{"experts": 1}' >c.yml
    refused_with "c.yml has no list experts" /usr/bin/python3 "$ROOT/share/etl/prompt-tokens" c.yml
    refused_with "cannot open nowhere" /usr/bin/python3 "$ROOT/share/etl/prompt-tokens" nowhere
}
