#!/usr/bin/env bats
# tv merge and tv from-yaml: mergekit configurations give the weights that mergekit computes.
load common
load lesson
load refusals

setup() {
    own_folder
    ln -s "$A"/{base,math,code,chat} .
}

# ---- every row of checks.tsv -----------------------------------------------------------------------

# One row: the result of tv merge is within the tolerance, and the printed pipeline writes the same files.
row() { # FOLDER CONFIG DTYPE SEED EXPECTED RTOL BAD OPTIONS
    local folder=$MERGE/$1 config=$2 options=()
    [ "$3" = - ] || { sed "s/^dtype: .*/dtype: $3/" "$folder/$2" >"$T/config.yml" && config=$T/config.yml; }
    [ "$4" = - ] || options+=(--random-seed "$4")
    [ "$8" = - ] || options+=("$8")
    rm -rf "$T/merged" "$T/typed"
    (cd "$folder" && tv merge "${options[@]}" "$config" "$T/merged") || return 1
    equals "$T/merged" "$folder/$5" "$6" "$7" >"$T/diff" || wrong_row "$@" || return 1
    (cd "$folder" && tv from-yaml "${options[@]}" "$config" "$T/typed" | bash -euo pipefail) || return 1
    diff -r "$T/merged" "$T/typed"
}

wrong_row() {
    echo "$*"
    cat "$T/diff"
    return 1
}

# rows REGEX: checks those whose folder/config matches, if their golden data is installed
rows() {
    local n=0 folder config dtype seed expected rtol bad options
    while IFS=$'\t' read -r folder config dtype seed expected rtol bad options; do
        if ! [[ $folder/$config =~ $1 ]] || [ ! -e "$MERGE/$folder/$expected" ]; then continue; fi
        row "$folder" "$config" "$dtype" "$seed" "$expected" "$rtol" "$bad" "$options" || return 1
        n=$((n + 1))
    done < <(tail -n +2 "$MERGE/checks.tsv")
    [ $n -gt 0 ] || skip "only in the full golden data"
}

@test "linear" { rows 'cases/linear-|yaml/linear.yml'; }
@test "slerp" { rows 'cases/slerp-|yaml/slerp.yml'; }
@test "nearswap" { rows 'cases/nearswap-|yaml/nearswap.yml'; }
@test "task_arithmetic" { rows 'cases/task_arithmetic-|cases/modules|yaml/task_arithmetic.yml'; }
@test "ties" { rows 'cases/ties-|yaml/ties.yml'; }
@test "dare_ties" { rows 'cases/dare_ties-|yaml/dare_ties.yml'; }
@test "dare_linear" { rows 'cases/dare_linear-|yaml/dare_linear.yml'; }
@test "breadcrumbs" { rows 'cases/breadcrumbs-|yaml/breadcrumbs.yml'; }
@test "breadcrumbs_ties" { rows 'cases/breadcrumbs_ties-|yaml/breadcrumbs_ties.yml'; }
@test "model_stock" { rows 'cases/model_stock-|yaml/model_stock.yml'; }
@test "nuslerp" { rows 'cases/nuslerp-|yaml/nuslerp.yml'; }
@test "della" { rows 'cases/della-|yaml/della.yml'; }
@test "della_linear" { rows 'cases/della_linear-|yaml/della_linear.yml'; }
@test "sce" { rows 'cases/sce-|yaml/sce.yml'; }
@test "karcher" { rows 'cases/karcher-'; }
@test "multislerp" { rows 'cases/multislerp-'; }
@test "arcee_fusion" { rows 'cases/arcee_fusion-'; }
@test "ram and ramplus_tl" { rows 'cases/ram'; }
@test "passthrough" { rows 'cases/passthrough-'; }

@test "every row of checks.tsv is covered" {
    local all='linear|slerp|nearswap|task_arithmetic|modules|ties|dare_|breadcrumbs|model_stock|nuslerp'
    all+='|della|sce|karcher|multislerp|arcee_fusion|ram|passthrough'
    [ "$(tail -n +2 "$MERGE/checks.tsv" | cut -f1,2 | grep -Evc "$all")" = 0 ]
}

# ---- from configuration to pipeline --------------------------------------------------------------------

# config LINE...: writes config.yml; TIES is a configuration to extend
config() { printf '%s\n' "$@" >config.yml; }
MODELS='models: [{model: math, parameters: {weight: 0.5}}, {model: code, parameters: {weight: 0.3}}]'
TIES="merge_method: ties
base_model: base
$MODELS"

# prints COMMAND: the pipeline that from-yaml prints has this command
prints() {
    tv from-yaml config.yml >line 2>warnings
    sed 's/^ *//; s/ |$//' line | grep -cxF -- "$1" || {
        cat line warnings
        return 1
    }
}

@test "levels of parameters: model, slice, module, document" {
    config 'merge_method: task_arithmetic' 'base_model: base' \
        'modules:' '  default:' '    parameters: {weight: 3, lambda: 0.25}' '    slices:' \
        '    - sources:' \
        '      - {model: base, layer_range: [0, 2]}' \
        '      - {model: math, layer_range: [0, 2], parameters: {weight: 1}}' \
        '      - {model: code, layer_range: [0, 2]}' \
        '      parameters: {weight: 2}' \
        '    - sources:' \
        '      - {model: base, layer_range: [2, 3]}' \
        '      - {model: math, layer_range: [2, 3]}' \
        'parameters: {weight: 4, lambda: 0.75, normalize: true}'
    prints 'weigh math=1 code=2'
    prints 'weigh 3'
    [ "$(grep -c 'rescale 0.25' line)" = 2 ]
    [ "$(grep -c 'combine --normalize=all' line)" = 2 ]
    tv merge config.yml merged
    stack <(tv-extract 'base[0:2]' 'math[0:2]' 'code[0:2]' | weigh math=1 code=2 |
        combine --normalize=all | rescale 0.25 | add-base 'base[0:2]') \
        <(tv-extract --first-layer 2 'base[2:3]' 'math[2:3]' | weigh 3 | combine --normalize=all |
            rescale 0.25 | add-base 'base[2:3]') | pack --like base expected
    equals merged expected 0 0
}

@test "the first matching filter of a list applies; without a match the next level does" {
    config 'merge_method: linear' 'models:' '- model: math' '  parameters:' '    weight:' \
        '    - {filter: mlp.up, value: 0.1}' '    - {filter: mlp, value: [0.2, 0.6]}' \
        '- {model: code}' \
        'parameters:' '  weight:' '  - {filter: "*", value: 0.5}' '  - {filter: norm, value: 9}'
    prints "weigh math=0.5 'math/*mlp*=[0.2,0.6]' 'math/*mlp.up*=0.1' code=0.5"
    tv merge config.yml merged
    tv-view <(tv run 'unpack math code | weigh math=0.5 "math/*mlp*=[0.2,0.6]" "math/*mlp.up*=0.1" code=0.5') >weights
    grep -A3 'layers.0.mlp.up_proj' weights | grep -c '0\.1'
}

@test "special characters in filters and model names are escaped" {
    ln -s math 'm[1]*'
    config 'merge_method: linear' 'models:' '- {model: "./m[1]*", parameters: {weight: 0.25}}' \
        '- {model: code, parameters: {weight: [{filter: "a?[b]*", value: 2}, {value: 1}]}}'
    prints "weigh 'm\\[1\\]\\*=0.25' code=1 'code/*a\\?\\[b\\]\\**=2'"
    tv merge config.yml merged
}

@test "a layer gradient spans each slice separately" {
    config 'merge_method: linear' 'slices:' \
        '- sources: [{model: math, layer_range: [0, 1]}, {model: code, layer_range: [1, 2]}]' \
        '- sources: [{model: math, layer_range: [1, 3]}, {model: code, layer_range: [1, 3]}]' \
        'parameters: {weight: [0.25, 0.75]}'
    [ "$(tv from-yaml config.yml | grep -c "weigh '\[0.25,0.75\]'")" = 2 ]
}

@test "YAML 1.1: booleans, anchors, merge keys, unindented lists, quoted numbers" {
    config '%YAML 1.1' '---' 'merge_method: ties' 'base_model: base' 'models:' \
        '- model: math' '  parameters: &p {weight: "0.5", density: 1e-1}' \
        '- model: code' '  parameters:' '    <<: *p' '    weight: 3e-1' \
        'parameters: {normalize: no, int8_mask: yes, lambda: 1_0}' 'name: mine' 'extra: {a: [1, 2]}'
    prints 'trim --density 0.1'
    prints 'weigh math=0.5 code=0.3'
    prints 'combine'
    prints 'rescale 10'
    [ "$(cat warnings)" = "tv from-yaml: warning: config.yml, line 14: unknown key extra is ignored" ]
}

@test "names of models: paths with equal ends, two spellings of a path, a model listed twice" {
    mkdir run1 run2
    ln -s ../math run1/last
    ln -s ../code run2/last
    config 'merge_method: linear' 'parameters: {weight: 1}' \
        'models: [{model: run1/last}, {model: ./run2/last/}, {model: run1/last/}, {model: chat}]'
    prints 'unpack run1.last=run1/last run2.last=run2/last run1.last.2=run1/last chat'
    tv merge config.yml merged
    # a parent folder with the same name; a path that looks like NAME=MODEL
    mkdir -p x/run1
    ln -s ../../math x/run1/last
    ln -s math a=b
    config 'merge_method: linear' 'parameters: {weight: 0.5}' \
        'models: [{model: run1/last}, {model: x/run1/last}, {model: a=b}]'
    prints 'unpack run1.last=run1/last x.run1.last=x/run1/last ./a=b'
    tv merge config.yml merged2
}

@test "a base among the models is not merged twice; for linear the base is one of the models" {
    config 'merge_method: task_arithmetic' 'base_model: base' 'parameters: {weight: 0.5}' \
        'models: [{model: base}, {model: math}]'
    prints 'tv-extract base math'
    config 'merge_method: linear' 'base_model: base' 'parameters: {weight: 0.5}' 'models: [{model: math}]'
    prints 'unpack math base'
    config 'merge_method: slerp' 'base_model: base' 'parameters: {t: 0.5}' 'models: [{model: base}]'
    prints 'unpack base'
    tv merge config.yml merged
    equals merged base 0 0
}

@test "--paper" {
    config "$TIES" 'parameters: {density: 0.4}' && config "$(sed 's/ties/dare_ties/' config.yml)"
    tv from-yaml --paper --random-seed 3 config.yml >line
    grep -q 'dare-drop --density 0.4 --seed 3 |' line
    grep -q 'rescale --by keep' line
    grep -q 'elect-sign --unweighted' line
    config "$TIES" 'parameters: {density: 0.4}'
    tv from-yaml --paper config.yml | grep -c 'trim --density 0.4 --scope=model'
    tv merge --paper config.yml merged
}

@test "a document uses the results of others" {
    config 'name: one' 'merge_method: linear' "$MODELS" 'dtype: bfloat16' --- \
        'merge_method: ties' 'base_model: base' \
        'models: [{model: two, parameters: {weight: 0.5, density: 0.3}}, {model: chat, parameters: {weight: 1}}]' \
        'dtype: float32' --- \
        'name: two' 'merge_method: slerp' 'base_model: one' 'models: [{model: chat}]' \
        'parameters: {t: 0.4}' 'dtype: float32'
    tv merge config.yml merged
    [ "$(echo *)" = "base chat code config.yml math merged" ]
    tv from-yaml config.yml typed | bash -euo pipefail
    diff -r merged typed
    # as mergekit-multi does: every result is a checkpoint
    csplit -sz config.yml '/^---$/' '{*}'
    tv merge xx00 one
    tv merge xx02 two
    tv merge xx01 expected
    equals merged expected 0 0
}

@test "a result as base, and in slices" {
    config 'name: one' 'merge_method: linear' "$MODELS" 'dtype: float32' --- \
        'merge_method: task_arithmetic' 'base_model: one' 'parameters: {weight: 0.5}' 'slices:' \
        '- sources: [{model: one, layer_range: [0, 2]}, {model: chat, layer_range: [0, 2]}]' \
        '- sources: [{model: one, layer_range: [1, 3]}, {model: chat, layer_range: [0, 2]}]'
    tv merge config.yml merged
    csplit -sz config.yml '/^---$/' '{*}'
    tv merge xx00 one
    tv merge xx01 expected
    equals merged expected 0 0
}

@test "a result that is used more than once is computed once" {
    config 'name: one' 'merge_method: linear' "$MODELS" 'dtype: bfloat16' --- \
        'name: two' 'merge_method: task_arithmetic' 'base_model: one' 'dtype: float32' \
        'models: [{model: chat, parameters: {weight: 0.5}}]' --- \
        'merge_method: ties' 'base_model: one' 'dtype: float32' 'parameters: {weight: 0.5, density: 0.5}' 'slices:' \
        '- sources: [{model: one, layer_range: [0, 1]}, {model: two, layer_range: [0, 1]}]' \
        '- sources: [{model: one, layer_range: [1, 3]}, {model: code, layer_range: [1, 3]}]'
    mkdir spool
    tv merge --spool spool --allow-nonfinite config.yml merged
    [ -z "$(ls spool)" ]
    tv merge --check config.yml other | grep -c '^ties of 3 models: 30 tensors, 560.9 KB'
    [ -z "$(ls spool)" ]
    tv from-yaml config.yml typed >line
    [ "$(grep -c 'unpack --dtype=bfloat16 math code' line)" = 1 ]
    [ "$(grep -c 'pack --dtype=bfloat16 typed.results/one.safetensors' line)" = 1 ]
    mkdir typed.results # somebody's
    echo mine >typed.results/mine.txt
    not bash line 2>said
    grep -q 'typed.results' said
    [ "$(ls typed.results)" = mine.txt ] && [ ! -e typed ]
    rm -r typed.results
    bash -euo pipefail line
    [ ! -e typed.results ]
    csplit -sz config.yml '/^---$/' '{*}'
    tv merge xx00 one
    tv merge xx01 two
    tv merge xx02 expected
    equals merged expected 0 0
    equals typed expected 0 0
    # if it fails, the merge stops
    sed 's/model: code, parameters/model: nowhere, parameters/' config.yml >wrong.yml
    REFUSED_BY=unpack refused_with nowhere tv merge --spool spool wrong.yml out
    [ -z "$(ls spool)" ]
}

@test "tokenizer and chat template" {
    cp -rL base b && cp -rL math m && chmod -R u+w b m
    echo '{"chat_template": "old", "model_max_length": 1000000000000000019884624838656}' >b/tokenizer_config.json
    echo '{"chat_template": "{% for m in messages %}m{% endfor %}"}' >m/tokenizer_config.json
    echo '{"model": {"vocab": {"a": 0, "b": 1}}}' | tee b/tokenizer.json >m/tokenizer.json
    config 'merge_method: slerp' 'base_model: b' 'models: [{model: m}]' 'parameters: {t: 0.5}'
    tv merge config.yml plain
    cmp plain/tokenizer_config.json b/tokenizer_config.json
    tv merge --no-copy-tokenizer config.yml none
    [ "$(echo none/tok*)" = 'none/tok*' ]
    cp config.yml start.yml
    config "$(cat start.yml)" 'tokenizer_source: m'
    tv merge config.yml other
    cmp other/tokenizer_config.json m/tokenizer_config.json
    config "$(cat start.yml)" 'chat_template: chatml'
    tv merge config.yml chatml
    grep -q '<|im_start|>' chatml/tokenizer_config.json
    grep -q 1000000000000000019884624838656 chatml/tokenizer_config.json
    tv from-yaml config.yml typed | bash -euo pipefail
    diff -r chatml typed
    echo '{"model": {"vocab": {"b": 0, "a": 1}}}' >m/tokenizer.json
    tv merge --check start.yml new 2>err
    grep -q 'warning: token "a" has id 0 in the tokenizer of b and id 1 in that of m; rows of the embedding are merged unpermuted' err
}

@test "--only writes the same bytes as the whole merge" {
    config "$TIES" 'parameters: {density: 0.4}' 'dtype: bfloat16' 'out_dtype: float32'
    tv merge config.yml merged
    tv merge --only '*mlp*' --only model.norm.weight config.yml part.safetensors
    unpack merged | pick '/*mlp*' /model.norm.weight >expected.tvs
    unpack merged=part.safetensors >part.tvs
    tv-diff --tolerance 0 part.tvs expected.tvs
    REFUSED_BY='tv merge' refused_with "--only requires a .safetensors file" tv merge --only '*mlp*' config.yml folder
}

@test "the bytes do not depend on threads and memory" {
    config "$TIES" 'parameters: {density: 0.4}' && config "$(sed 's/ties/della/' config.yml)"
    tv merge --threads 1 config.yml one
    tv merge -j 3 --memory 64K --spool . config.yml three
    cmp one/model.safetensors three/model.safetensors
}

# ---- options and the pre-flight --------------------------------------------------------------------

@test "mergekit's options are accepted; one note names the ignored ones" {
    config "$TIES"
    tv merge --cuda --lazy-unpickle --allow-crimes --copy-tokenizer -vv -j 2 --write-threads 3 \
        --out-shard-size 20K --no-trust-remote-code config.yml merged 2>err
    [ "$(cat err)" = "tv merge: note: --allow-crimes, --cuda, --no-trust-remote-code, --lazy-unpickle, --verbose, --write-threads have no effect here" ]
    [ -e merged/model.safetensors.index.json ]
    tv from-yaml --out-shard-size 20K config.yml | grep -c -- --shard-size=80000
    REFUSED_BY='tv merge' refused_with "not a number of parameters" tv merge --out-shard-size 5X config.yml x
}

@test "the man page documents all options of --help" {
    tv merge --help | sed -n 's/^ *\(-., \)\{0,1\}--\(no-\)\{0,1\}\([a-z-]*\).*/\3/p' | sort -u |
        while read -r option; do
            grep -q -- "-$option" "$ROOT/share/man/tv-merge.1" || { echo "$option" && return 1; }
        done
}

# refused_by_merge TEXT...: merge and --check fail with these words, and leave no files
refused_by_merge() {
    for text in "$@"; do
        REFUSED_BY='tv merge' refused_with "$text" tv merge config.yml out || return 1
        REFUSED_BY='tv merge' refused_with "$text" tv merge --check config.yml out || return 1
    done
}

@test "--check prints how much would be written" {
    config "$TIES"
    tv merge --check config.yml merged >out
    grep -q '^ties of 3 models: 30 tensors, 560.9 KB; .* free$' out
    tv merge --check --dtype bfloat16 config.yml merged | grep -c '^ties of 3 models: 30 tensors, 280.4 KB; '
    [ ! -e merged ]
    mkdir merged
    tv merge --check config.yml merged
    tv merge --check config.yml no/folder/x
    [ ! -e no ]
    touch merged/file
    REFUSED_BY='tv merge' refused_with "merged exists already" tv merge --check config.yml merged
}

@test "--check says what the merge says about its target" {
    cp -rL math own
    config 'merge_method: linear' 'parameters: {weight: 1}' 'models: [{model: own}, {model: code}]'
    cp -r own kept
    mkfifo fifo
    ln -s /proc/self/fd/1 descriptor
    mkdir notes && echo precious >notes/notes.txt
    for target in own own/model.safetensors config.yml out.npz fifo descriptor notes . config.yml/x; do
        for force in "" --force; do
            # shellcheck disable=SC2086 # no word without --force
            for check in "" --check; do
                not tv merge $check $force config.yml $target 2>said$check
                sed -i -E 's/^(pack|tv merge): //' said$check
            done
            [ -s said ]
            cmp said said--check
        done
    done
    diff -r own kept
}

@test "models that do not match: missing tensors, shapes, vocabulary" {
    ln -s "$MERGE/models-extra/wide" .
    config 'merge_method: linear' 'parameters: {weight: 1}' 'models: [{model: math}, {model: wide}]'
    REFUSED_BY=unpack refused_with '(304, 64) in wide' tv merge config.yml out
    REFUSED_BY='tv merge' refused_with '(304, 64) in wide' tv merge --check config.yml out
    tv merge --check --embed=truncate config.yml out
    unpack math | pick --drop '/model.norm.weight' | pack --like math less
    config 'merge_method: linear' 'parameters: {weight: 1}' 'models: [{model: math}, {model: less}]'
    REFUSED_BY='tv merge' refused_with 'less lacks the tensor model.norm.weight' tv merge --check config.yml out
    tv merge --missing=skip config.yml out
    config 'merge_method: linear' 'parameters: {weight: 1}' 'models: [{model: nowhere}]'
    REFUSED_BY='tv merge' refused_with 'nowhere is not a file' tv merge --check config.yml out2
}

@test "unknown methods, parameters and keys" {
    config "${TIES/ties/teis}"
    refused_by_merge 'config.yml, line 1: unknown merge_method teis (did you mean ties?)'
    config "$TIES" 'parameters:' '  desnity: 0.5'
    tv merge --check config.yml out 2>warnings
    grep -q 'warning: config.yml, line 5: unknown parameter desnity is ignored (did you mean density?)' warnings
    config "$TIES" 'parameters: {density: 20}'
    tv merge --check config.yml out 2>warnings
    grep -qx 'tv merge: warning: config.yml, line 4: density is 20, which is the same as 1' warnings
    config "$TIES" 'parameters: {t: 0.5, select_topk: 1}'
    tv merge --check config.yml out 2>warnings
    [ "$(wc -l <warnings)" = 2 ]
    grep -q 'warning: config.yml, line 4: t is not a parameter of ties and is ignored' warnings
    config 'merge_method: ties' 'base_model: base' 'models: [{model: math, parameters: {weight: 1, lambda: 2}}]'
    tv merge --check config.yml out 2>warnings
    grep -q 'lambda is ignored here' warnings
    config "$TIES" 'paramters: {density: 0.5}'
    tv merge --check config.yml out 2>warnings
    grep -q 'unknown key paramters is ignored (did you mean parameters?)' warnings
    config "$TIES" '"dtype\n": float32'
    tv merge --check config.yml out 2>warnings
    grep -qx 'tv merge: warning: config.yml, line [0-9]*: unknown key dtype? is ignored (did you mean dtype?)' warnings
    config "$TIES" 'parameters: {density: 0.5, density: 0.6}'
    tv from-yaml config.yml 2>warnings | grep -c 'density 0.6'
    grep -q 'duplicate key density; the last one is used' warnings
}

@test "a warning is printed once, and at most 100 of them" {
    config 'merge_method: linear' 'x: &x {model: base, extra: 1}' "models: [$(printf '{<<: *x}, %.0s' {1..50})*x]" \
        'parameters: {weight: 1}'
    tv from-yaml config.yml 2>warnings >out
    [ "$(grep -c 'unknown key' warnings)" = 2 ]
    config "$TIES" "$(printf 'x%s: 1\n' {1..300})"
    tv from-yaml config.yml 2>warnings >out
    [ "$(wc -l <warnings)" = 101 ]
    [ "$(tail -n 1 warnings)" = 'tv from-yaml: warning: further warnings are not printed' ]
}

@test "invalid values" {
    local text wrong
    while IFS='|' read -r text wrong; do
        config "$TIES" "$text"
        refused_by_merge "config.yml, line 4: $wrong" || return 1
    done <<'END'
parameters: {density: -0.5}|density is -0.5; expected numbers in [0, 1]
parameters: {density: big}|density: "big" is not a number
parameters: {density: [{filter: mlp, value: []}]}|density is an empty list
parameters: {density: "true"}|density: "true" is not a number
parameters: {density: [0.5, big]}|density: "big" is not a number
parameters: {density: [{filter: mlp}]}|density: value is missing
parameters: {density: }|density has no value
parameters: {normalize: 0.5}|normalize must be true or false
parameters: {normalize: [yes, maybe]}|normalize must be true or false, but it is maybe
dtype: floaty|dtype: unknown dtype "floaty"; expected float32
tokenizer: {sauce: base}|tokenizer: unknown key sauce
tokenizer: {pad_to_multiple_of: 0}|pad_to_multiple_of must be a whole number from 1 to 16777216
tokenizer: {tokens: {"": {source: {kind: zero}}}}|a key of tokens must be a token, but it is empty
tokenizer: {tokens: {x: {force: 2}}}|force must be true or false
tokenizer: {tokens: {x: {source: {model: a, token: b}}}}|token x: source has no kind
tokenizer: {tokens: {x: {source: {kind: zero, token: b}}}}|source of kind zero: unknown key token
chat_template: nobody|chat_template: "nobody" is not
models: *nothing|invalid YAML
END
}

@test "invalid models and slices" {
    local text wrong
    while IFS='|' read -r text wrong; do
        printf '%b\n' "$text" >config.yml
        refused_by_merge "$wrong" || return 1
    done <<'END'
models: [{model: math}]|merge_method is missing
merge_method: slerp\nparameters: {t: 1}\nmodels: [{model: math}]|slerp requires a base_model
merge_method: slerp\nbase_model: base\nmodels: [{model: math}]|slerp requires t
merge_method: slerp\nbase_model: base\nparameters: {t: 1}\nmodels: [{model: math}, {model: code}]|slerp takes at most 1 model besides the base, found 2
merge_method: model_stock\nbase_model: base\nmodels: [{model: math}]|at least 2 models
merge_method: passthrough\nbase_model: base\nmodels: [{model: math}]|passthrough takes exactly 1 model, found 2
merge_method: ties\nbase_model: base\nmodels: [{model: math}]|ties requires weight for math
merge_method: ties\nbase_model: base\nmodels: [{model: math, parameters: {weight: [{filter: mlp, value: 1}]}}]|weight has no value for tensor lm_head.weight of math
merge_method: linear\nbase_model: base\nmodels: [{model: math, parameters: {weight: 1}}]|linear requires weight for base
merge_method: linear\nmodels: [{model: math@main@main}]|math@main@main has more than one @
merge_method: linear\nmodules: {vision: {models: [{model: math}]}}|the module vision is unknown: math has only the module default
merge_method: linear\nmodules: {}|modules is empty
merge_method: linear\nmodules: {text_decoder: }|a module must be a map
merge_method: linear\nmodules: {default: {models: [{model: math}]}, vision: {models: [{model: math}]}}|default is the whole model
merge_method: linear\nslices: [{sources: [{model: math}]}]|layer_range is missing
merge_method: linear\nslices: [{sources: [{model: math, layer_range: [2, 1]}]}]|layer_range [2, 1] is empty
merge_method: linear\nslices: [{sources: [{model: math, layer_range: [0, 1]}, {model: code, layer_range: [0, 2]}]}]|have 1 and 2 layers
merge_method: ties\nbase_model: base\nparameters: {weight: 1}\nslices: [{sources: [{model: math, layer_range: [0, 1]}]}]|the base base must be among the sources
merge_method: linear\nslices: []|slices is empty
merge_method: linear\nslices: []\nmodels: [{model: math}]|expected exactly one of models, slices and modules
name: a\nmerge_method: slerp\nparameters: {t: 1}\nbase_model: b\nmodels: [{model: math}]\n---\nname: b\nmerge_method: slerp\nparameters: {t: 1}\nbase_model: a\nmodels: [{model: math}]|the documents refer to each other in a cycle
END
}

@test "--force does not replace the configuration" {
    mkdir dir
    printf '%s\n' 'merge_method: linear' 'models: [{model: A, parameters: {weight: 1}}]' >config.yml
    ln -s "$A/math" A
    cp config.yml dir
    cp -r "$A/base/." dir
    cp config.yml kept
    REFUSED_BY=pack refused_with "config.yml is an input of this run" tv merge --force config.yml config.yml
    REFUSED_BY=pack refused_with "dir is an input of this run" tv merge --force dir/config.yml dir
    REFUSED_BY="tv merge" refused_with "config.yml is an input of this run" tv merge --check --force config.yml config.yml
    cmp config.yml kept && cmp dir/config.yml kept && cmp dir/model.safetensors "$A/base/model.safetensors"
}

@test "invalid files" {
    REFUSED_BY='tv merge' refused_with "cannot open" tv merge nowhere.yml out
    : >config.yml
    refused_by_merge "contains no configuration"
    config '- 1'
    refused_by_merge "must be a map"
    config 'a: [1,'
    refused_by_merge "config.yml, line 2: invalid YAML"
    { echo 'a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]' && for c in b c d e f g h; do
        echo "$c: &$c [*a, *a, *a, *a, *a, *a, *a, *a, *a]" | sed "s/\*a/*$(tr b-h a-g <<<"$c")/g"
    done; } >config.yml
    refused_by_merge "aliases expand to more than"
    echo 'a: &a [*a]' >config.yml
    refused_by_merge "nested more than 40 levels deep"
    head -c 300 /dev/urandom >config.yml
    REFUSED_BY='tv merge' refused tv merge config.yml out
    head -c 20000000 /dev/zero >config.yml
    refused_by_merge "16 MiB"
}

@test "an existing target; a full disk for the printed pipeline" {
    config "$TIES"
    mkdir out
    touch out/file
    status=0
    tv merge config.yml out 2>err || status=$?
    [ "$status" = 1 ]
    cp -rL math out2 && chmod -R u+w out2
    tv merge --force config.yml out2
    status=0
    tv from-yaml config.yml 2>err >/dev/full || status=$?
    [ "$status" = 1 ]
    grep -q "^tv from-yaml: cannot write" err
}

@test "an embedding in place of a missing head gets the weight of the head" {
    cat >c.yml <<END
models:
  - {model: $MERGE/models-extra/tied, parameters: {weight: [{filter: lm_head, value: 0}, {value: 1}]}}
  - {model: $A/base, parameters: {weight: [{filter: lm_head, value: 1}, {value: 0}]}}
merge_method: linear
dtype: float32
END
    tv merge c.yml out
    unpack out | pick /lm_head.weight >found.tvs
    unpack "$A/base" | pick /lm_head.weight >expected.tvs
    tv-diff --quiet found.tvs expected.tvs
}

# sliced LINE...: merges two equivalent configurations, models.yml and slices.yml
sliced() {
    local lines=("$@") layers
    {
        printf '%s\n' "${lines[@]}" 'base_model: base' 'models:'
        printf -- '- {model: %s, parameters: {weight: 0.5}}\n' "${EXPERTS[@]}"
    } >models.yml
    {
        printf '%s\n' "${lines[@]}" 'base_model: base' 'slices:'
        for layers in '[0, 1]' '[1, 2]' '[2, 3]'; do
            echo '- sources:'
            printf -- "  - {model: %s, layer_range: $layers, parameters: {weight: 0.5}}\n" base "${EXPERTS[@]}"
        done
    } >slices.yml
    rm -rf of-models of-slices
    tv merge models.yml of-models "${OPTIONS[@]}" && tv merge slices.yml of-slices "${OPTIONS[@]}"
}

@test "slices that cover a whole model give the same result as the model, in all dtypes" {
    ln -s "$B/code" half
    OPTIONS=() EXPERTS=(math half)
    local method dtypes
    for method in ties task_arithmetic model_stock; do
        for dtypes in 'name: plain' 'dtype: float32' 'dtype: bfloat16' $'dtype: bfloat16\nout_dtype: float32' \
            $'dtype: float32\nout_dtype: bfloat16'; do
            sliced "merge_method: $method" "$dtypes"
            cmp of-models/config.json of-slices/config.json
            equals of-slices of-models 0 0 || { echo "$method $dtypes" && return 1; }
        done
    done
}

@test "models of a slice must match only in the tensors that the slice contributes" {
    ln -s "$MERGE/models-extra/wide" .
    config 'merge_method: ties' 'base_model: base' 'dtype: float32' 'parameters: {weight: 0.5, density: 0.5}' 'slices:' \
        '- sources: [{model: base, layer_range: [0, 1]}, {model: math, layer_range: [0, 1]}]' \
        '- sources: [{model: base, layer_range: [1, 2]}, {model: wide, layer_range: [1, 2]}]' \
        '- sources: [{model: base, layer_range: [2, 3]}, {model: code, layer_range: [2, 3]}]'
    prints "<(tv-extract --dtype=float32 --first-layer=1 --outside=none 'base[1:2]' 'wide[1:2]'"
    tv merge --check config.yml merged >out
    grep -q '30 tensors, 560.9 KB' out
    tv merge config.yml merged
    sed 's/wide/chat/' config.yml >chat.yml # has the same layers
    tv merge chat.yml expected
    equals merged expected 0 0
    # tensors that a slice does not contribute need no weight
    config 'merge_method: linear' 'slices:' \
        '- sources: [{model: math, layer_range: [0, 2], parameters: {weight: 1}}]' \
        '- sources: [{model: code, layer_range: [2, 3], parameters: {weight: [{filter: layers, value: 1}, {filter: norm, value: 1}, {filter: lm_head, value: 1}]}}]'
    tv merge config.yml merged2
}

@test "a base with more tokens than the experts is truncated" {
    ln -s "$MERGE/models-extra/wide" big
    local method
    for method in model_stock nuslerp task_arithmetic; do
        config "merge_method: $method" 'base_model: big' 'dtype: float32' 'models:' \
            '- {model: math, parameters: {weight: 0.5}}' '- {model: code, parameters: {weight: 0.5}}'
        rm -rf merged
        tv merge --embed=truncate config.yml merged 2>warnings
        unpack merged | tv-view | grep -c 'model.embed_tokens.weight.*300.*64'
        grep -q '"vocab_size": 300' merged/config.json
    done
}

@test "layer gradients are range-checked at the layers only" {
    config "$TIES" 'parameters: {density: [0.5, 1.5]}' 'dtype: float32'
    tv merge config.yml merged
    config "$TIES" 'parameters: {density: [{filter: layers.0., value: 0.5}, {filter: layers, value: 1}, {value: 0.5}]}' \
        'dtype: float32'
    tv merge config.yml expected
    equals merged expected 0 0
    config 'merge_method: breadcrumbs' 'base_model: base' "$MODELS" 'parameters: {density: 0}'
    tv merge config.yml nothing
    equals nothing base 0 0
    config 'merge_method: breadcrumbs' 'base_model: base' "$MODELS" 'parameters: {density: 0.5, gamma: [0.1, 1.5, 0.1]}'
    REFUSED_BY=trim refused_with "--outliers is 1.5 for tensor model.layers.1.input_layernorm.weight" tv merge config.yml out
}

@test "multislerp of one tied model has a head if the base has one" {
    ln -s "$MERGE/models-extra/tied" .
    config 'merge_method: multislerp' 'base_model: base' 'models: [{model: tied, parameters: {weight: 1}}]'
    tv merge config.yml merged
    diff <(unpack merged | pick /lm_head.weight | tv-view --values | grep '^[-0-9]' | head -3) \
        <(unpack tied | pick /model.embed_tokens.weight | tv-view --values | grep '^[-0-9]' | head -3)
    tv from-yaml config.yml typed | bash -euo pipefail
    diff -r merged typed
}

@test "a tensor that all models are dropped from is the base's, also in slices" {
    unpack math | pick --drop '/*layers.1.mlp.up_proj*' >most.tvs
    { tv-view --values most.tvs | grep -vE '^(step|hash| *fingerprints)' &&
        printf '%s\n' 'tensor model.layers.1.mlp.up_proj.weight 2' 'vector math' '1 2'; } | from-text | pack --like math odd
    OPTIONS=(--mismatch=drop) EXPERTS=(odd)
    sliced 'merge_method: ties' 'dtype: float32'
    equals of-slices of-models 0 0
    part() { unpack "$1" | pick '/*layers.1.mlp.up_proj*'; }
    part base >base.tvs
    part of-slices >found.tvs
    tv-diff --quiet --tolerance 0 found.tvs base.tvs
}

# ---- what authors write ------------------------------------------------------------------------------

@test "flags and numbers of filters may differ by tensor and layer" {
    local method parameters command
    while IFS='|' read -r method parameters command; do
        config "merge_method: $method" 'base_model: base' 'dtype: float32' "$MODELS" "parameters: {$parameters}"
        prints "$command" || return 1
        tv merge --check config.yml out || return 1
    done <<'END'
ties|normalize: [{filter: mlp, value: false}, {value: "yes"}]|combine --normalize=agreeing '--normalize=/*mlp*=none'
ties|density: 0.5, rescale: [{filter: mlp, value: true}, {filter: norm, value: [1, 0]}]|rescale --by none --by '/*norm*=[l1,none]' --by '/*mlp*=l1'
della|density: 0.5, rescale: {filter: mlp, value: off}|rescale --by l1 --by '/*mlp*=none'
task_arithmetic|normalize: [true, false]|combine '--normalize=[all,none]'
model_stock|filter_wise: [{filter: mlp, value: true}]|model-stock --per=tensor '--per=/*mlp*=row'
nuslerp|nuslerp_flatten: [{filter: mlp, value: false}], nuslerp_row_wise: true|nuslerp --along=tensor '--along=/*mlp*=columns'
nuslerp|nuslerp_flatten: false, nuslerp_row_wise: [false, true]|nuslerp '--along=[rows,columns]'
multislerp|normalize_weights: [{filter: mlp, value: no}], eps: [1e-7, 1e-6]|multislerp --normalize=all '--normalize=/*mlp*=none' --eps '[1e-07,1e-06]'
ramplus_tl|r: [0, 1], alpha: [{filter: mlp, value: 0.5}]|ram --plus --r '[0,1]' --alpha 0.2 --alpha '/*mlp*=0.5'
END
    config 'merge_method: karcher' 'models: [{model: math}, {model: code}]' \
        'parameters: {max_iter: [{filter: mlp, value: "3"}]}'
    prints "karcher --max-iter 10 --max-iter '/*mlp*=3'"
    config 'merge_method: karcher' 'models: [{model: math}, {model: code}]' 'parameters: {max_iter: [2, 3]}'
    REFUSED_BY='tv merge' refused_with "--max-iter is 2.5 for tensor" tv merge --check config.yml out
    config 'merge_method: nuslerp' "$MODELS" 'parameters: {nuslerp_flatten: [true, false], nuslerp_row_wise: [true, false]}'
    refused_by_merge "only one of them can"
}

@test "a flag by filter: each tensor is that of the merge with its value" {
    local value
    for value in true false '[{filter: mlp, value: true}, {value: false}]'; do
        config "$TIES" 'dtype: float32' "parameters: {density: 0.5, normalize: $value, rescale: $value}"
        rm -rf out && tv merge config.yml out
        unpack out | pick '/*mlp*' >mlp.tvs
        unpack out | pick --drop '/*mlp*' >others.tvs
        case $value in
            true) mv mlp.tvs expected-mlp.tvs ;;
            false) mv others.tvs expected-others.tvs ;;
        esac
    done
    tv-diff --quiet --tolerance 0 mlp.tvs expected-mlp.tvs
    tv-diff --quiet --tolerance 0 others.tvs expected-others.tvs
}

@test "a model that is listed twice counts twice, with other random numbers" {
    config 'merge_method: linear' 'dtype: float32' 'models: [{model: math, parameters: {weight: 0.25}}, {model: ./math, parameters: {weight: 0.75}}]'
    prints "unpack --dtype=float32 math math.2=math"
    tv merge config.yml out
    equals out math 1e-6 0
    config 'merge_method: dare_linear' 'base_model: base' 'parameters: {weight: 1, density: 0.5}' \
        'models: [{model: math}, {model: math}, {model: ./base}]'
    prints 'tv-extract base math math.2=math base.2=base'
}

@test "what mergekit ignores is a warning" {
    config 'merge_method: task_arithmetic' 'base_model: base' 'models:' \
        '- {model: math, weight: 1, layer_range: [0, 2], parameters: {weight: "0.5", int_space: cs}}' \
        '- {model: code, parameters: {weight: 0.25, density: []}}' \
        'parameters: {normalize: "false", random_seed: 145, dtype: bfloat16, embed_slerp: true}'
    tv merge config.yml out 2>warnings
    while read -r line; do
        grep -qxF "tv merge: warning: config.yml, line $line" warnings || { echo "$line" && cat warnings && return 1; }
    done <<'END'
4: weight is ignored here: put it under parameters
4: layer_range is ignored here: it belongs in the sources of slices
4: unknown parameter int_space is ignored
5: density is an empty list and is ignored
6: unknown parameter random_seed is ignored (use the option --random-seed)
6: unknown parameter dtype is ignored (it belongs beside parameters, not under them)
6: unknown parameter embed_slerp is ignored
END
    config 'merge_method: task_arithmetic' 'base_model: base' \
        'models: [{model: math, parameters: {weight: 0.5}}, {model: code, parameters: {weight: 0.25}}]'
    tv merge config.yml expected
    equals out expected 0 0
}

@test "buffers that some models lack are omitted, in all methods" {
    unpack math >math.tvs
    { tv-view --values math.tvs | grep -vE '^(step|hash| *fingerprints)' &&
        printf '%s\n' 'tensor model.position_ids 2' 'vector math I64' '1 2' \
            'tensor model.layers.0.self_attn.rotary_emb.inv_freq 2' 'vector math' '1 0.1'; } | from-text | pack --like math old
    local method
    for method in linear karcher ties; do
        config "merge_method: $method" 'base_model: base' 'parameters: {weight: 0.5}' 'models: [{model: old}, {model: code}]'
        rm -rf out expected && tv merge config.yml out 2>said
        grep -q 'note: 2 buffers that not all models have are omitted' said
        sed -i s/old/math/ config.yml
        tv merge config.yml expected
        equals out expected 0 0
    done
}

@test "--check, the merge and the printed pipeline refuse the same" {
    local text wrong
    while IFS='|' read -r text wrong; do
        printf '%b\n' "$text" >config.yml
        refused_by_merge "$wrong" || return 1
        not bash -euo pipefail -c 'line=$(tv from-yaml config.yml out) && eval "$line"' 2>said || return 1
        [ ! -e out ]
    done <<'END'
merge_method: linear\nmodels: [{model: math, parameters: {weight: 1}}, {model: code, parameters: {weight: [{filter: mlp, value: -1}, {value: 1}]}}]|line 2: tensor model.layers.0.mlp.down_proj.weight: the weights add up to 0
merge_method: multislerp\nparameters: {weight: [{filter: mlp, value: 1}]}\nmodels: [{model: math}, {model: code}]|line 2: weight has no value for tensor lm_head.weight
merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: math}]\ntokenizer_source: model:a|line 4: the tokenizer: cannot open model:a
name: a\nmerge_method: passthrough\nmodels: [{model: math}]\n---\nmerge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a, parameters: {weight: [{filter: mlp, value: -1}, {value: 1}]}}, {model: code}]|line 7: tensor model.layers.0.mlp.down_proj.weight: the weights add up to 0
name: a\nmerge_method: passthrough\nmodels: [{model: math}]\n---\nmerge_method: linear\nparameters: {weight: [{filter: mlp, value: 1}]}\nmodels: [{model: a}, {model: code}]|line 6: weight has no value for tensor lm_head.weight of a
END
}

@test "--check opens filters with the results of other documents" {
    local della=('merge_method: della' 'base_model: base' 'parameters: {weight: 1, density: 0.9, epsilon: 0.2}')
    config "${della[@]}" 'models: [{model: math}]'
    REFUSED_BY='tv merge' refused_with "density 0.9 with epsilon 0.2" tv merge --check config.yml out
    REFUSED_BY=della-drop refused_with "density 0.9 with epsilon 0.2" tv merge config.yml out
    config 'name: short' 'merge_method: passthrough' 'slices: [{sources: [{model: math, layer_range: [0, 2]}]}]' \
        --- "${della[@]/0.2/0.05}" 'models: [{model: math}, {model: short}]'
    REFUSED_BY='tv merge' refused_with "short lacks the tensor model.layers.2" tv merge --spool . --check config.yml out
    REFUSED_BY=tv-extract refused_with "short lacks the tensor model.layers.2" tv merge config.yml out
    # filters of a result need no value for all tensors
    config 'name: a' 'merge_method: passthrough' 'models: [{model: math}]' --- 'merge_method: linear' \
        'parameters: {weight: [{filter: layers, value: 1}, {filter: norm, value: 1}, {filter: e, value: 1}]}' \
        'models: [{model: a}, {model: code}]'
    tv merge --spool . config.yml out
    [ "$(ls)" = "$(printf '%s\n' base chat code config.yml math out)" ]
}

@test "revisions, and models in another cache" {
    mkdir -p hub/models--org--m/{refs,snapshots}
    cp -rL math hub/models--org--m/snapshots/abc
    cp -rL code hub/models--org--m/snapshots/0123456789abcdef0123456789abcdef01234567
    printf abc >hub/models--org--m/refs/main
    printf abc >hub/models--org--m/refs/v1
    local model
    for model in org/m org/m@main org/m@v1 math@main org/m@0123456789abcdef0123456789abcdef01234567 '{path: org/m, revision: v1}'; do
        config 'merge_method: passthrough' "models: [{model: $model}]"
        rm -rf out typed && tv merge --transformers-cache hub config.yml out
        equals out "$([[ $model = *012* ]] && echo code || echo math)" 0 0
        tv from-yaml --transformers-cache hub config.yml typed | bash -euo pipefail
        diff -r out typed
    done
    config 'merge_method: passthrough' 'models: [{model: org/m@v2}]'
    REFUSED_BY='tv merge' refused_with "has no revision v2 of org/m, but " tv merge --transformers-cache hub --check config.yml x
}

@test "a finite number that the dtype cannot hold is called an overflow" {
    unpack math >math.tvs
    tv-view --values math.tvs | grep -vE '^(step|hash| *fingerprints)' | sed '/^tensor model.norm.weight/{n;n;s/^[^ ]*/70000/}' |
        from-text | pack --like math large
    config 'merge_method: linear' 'parameters: {weight: 1}' 'models: [{model: large}]' 'dtype: float16'
    REFUSED_BY=unpack refused_with 'tensor model.norm.weight of large overflows F16: it has the number 70000 at flat index 0' \
        tv merge config.yml out
    sed -i s/dtype/out_dtype/ config.yml
    REFUSED_BY=pack refused_with 'tensor model.norm.weight overflows F16 at flat index 0' tv merge config.yml out
}

@test "lists per layer in config.json follow the slices" {
    cp -rL math m && chmod -R u+w m
    sed -i 's/^{/{"layer_types": ["sliding", "sliding", "full"], "no_rope_layers": [1, 1, 0],/' m/config.json
    config 'merge_method: passthrough' 'slices:' '- sources: [{model: m, layer_range: [0, 3]}]' \
        '- sources: [{model: m, layer_range: [1, 3]}]'
    prints 'pack --like m --layers=0:3,1:3 --mergekit-config=config.yml merged'
    tv merge config.yml out
    tr -d ' \n' <out/config.json | grep -F '"layer_types":["sliding","sliding","full","sliding","full"]' |
        grep -cF '"no_rope_layers":[1,1,0,1,0]'
    stack <(unpack 'm[0:2]') <(unpack --first-layer 2 'm[1:3]') | pack --like m manual 2>said
    grep -c 'layer_types is removed' said
    not grep layer_types manual/config.json
}

@test "OUT may be an empty folder, and its parents are made" {
    config 'merge_method: passthrough' 'models: [{model: math}]'
    mkdir out
    tv merge config.yml out
    tv merge config.yml a/b//c/
    diff -r out a/b/c
    config 'merge_method: passthrough' 'models: [{model: math}]' 'dtype: float16'
    unpack math | rescale 1e9 | pack --like math huge
    sed -i s/math/huge/ config.yml
    REFUSED_BY=unpack refused tv merge config.yml d/e/f
    [ ! -e d ]
}

@test "a head that only repeats the embedding of a tied model is omitted" {
    ln -s "$MERGE/models-extra/tied" .
    unpack tied >tied.tvs
    { tv-view --values tied.tvs | grep -vE '^(step|hash| *fingerprints)' &&
        tv-view --values tied.tvs | sed -n '/^tensor model.embed_tokens/,/^tensor model.layers/p' | grep -v 'tensor model.layers' |
        sed 's/^tensor model.embed_tokens/tensor lm_head/'; } | from-text | pack --like tied head
    sed -i 's/"tie_word_embeddings": false/"tie_word_embeddings": true/' head/config.json
    local models
    for models in 'head tied' 'tied head' 'head head'; do
        config 'merge_method: linear' 'parameters: {weight: 0.5}' 'models:'
        printf -- '- model: %s\n' $models >>config.yml
        rm -rf out && tv merge config.yml out
        equals out tied 1e-6 0
    done
}

@test "tokenizer_source base without base_model is the first model's; mergekit's name of --embed=truncate" {
    ln -s "$MERGE/models-extra/wide" .
    config 'merge_method: linear' 'parameters: {weight: 0.5}' 'models: [{model: math}, {model: wide}]'
    REFUSED_BY='tv merge' refused_with '--embed=truncate' tv merge --check config.yml out
    tv merge --unsafe-truncate-embeddings config.yml out 2>said
    tv merge --embed=truncate config.yml expected 2>said
    diff -r out expected
    config 'merge_method: linear' 'parameters: {weight: 1}' 'models: [{model: math}, {model: code}]' 'tokenizer_source: base'
    tv from-yaml config.yml
}

# ---- RegMean, Fisher, LiNeS --------------------------------------------------------------------------

# bats test_tags=products
@test "regmean, fisher and lines: the same bytes as their pipelines" {
    tv-extract base math code >deltas.tvs
    make_statistics deltas.tvs
    config 'merge_method: regmean' 'base_model: base' 'models:' '- {model: math, parameters: {gram: math.gram}}' \
        '- {model: code, parameters: {gram: code.gram}}' 'parameters: {reduce: 0.5, lambda: 0.8}'
    tv merge config.yml merged
    regmean --gram math=math.gram --gram code=code.gram --reduce 0.5 <deltas.tvs | rescale 0.8 | pack --base base expected
    equals merged expected 0 0
    config "$(sed '/base_model/d; s/, lambda: 0.8//' config.yml)"
    tv from-yaml config.yml | grep -c 'regmean --reduce 0.5 --gram=math=math.gram --gram=code=code.gram'
    tv from-yaml config.yml | grep -c '^unpack math code'
    config 'merge_method: fisher' 'base_model: base' 'models:' '- {model: math, parameters: {diagonal: math.diagonal, weight: 2}}' \
        '- {model: code, parameters: {diagonal: code.diagonal}}'
    rm -r merged expected
    tv merge config.yml merged
    weigh math=2 <deltas.tvs | fisher --diagonal math=math.diagonal --diagonal code=code.diagonal | pack --base base expected
    equals merged expected 0 0
    config 'merge_method: lines' 'base_model: base' 'models: [{model: math}, {model: code}]' 'parameters: {alpha: 0.2, beta: 0.6}'
    tv from-yaml config.yml | grep -cF "rescale '[0.2,0.8]'"
    config 'merge_method: lines' 'base_model: base' 'models: [{model: math}, {model: code}]'
    rm -r merged expected
    tv merge config.yml merged
    combine <deltas.tvs | rescale '[0.5,1]' | pack --base base expected
    equals merged expected 0 0
}

@test "regmean and fisher: files of models" {
    config 'merge_method: regmean' "base_model: $A/base" "models: [{model: $A/math, parameters: {gram: nowhere}}, {model: $A/code}]"
    refused_by_merge "line 3: regmean requires gram for code"
    config 'merge_method: regmean' "base_model: $A/base" "models: [{model: $A/math}]" 'parameters: {gram: math.gram}'
    refused_by_merge "line 4: gram must be one file for each model"
    config 'merge_method: fisher' "base_model: $A/base" "models: [{model: $A/math, parameters: {diagonal: [a, b]}}]"
    refused_by_merge "line 3: diagonal must be one file for each model"
    config 'merge_method: regmean' "base_model: $A/base" "models: [{model: $A/math, parameters: {gram: nowhere}}]"
    REFUSED_BY='tv merge' refused_with "nowhere is not a file" tv merge --check config.yml out
}

# ---- methods that decompose matrices -------------------------------------------------------------

@test "swudi, tsv_m, iso_c, iso_cts, wudi, optmerge: the pipelines, and their parameters" {
    while IFS='|' read -r method parameters command; do
        config "merge_method: $method" 'base_model: base' 'models: [{model: math}, {model: code}]' \
            "parameters: {$parameters}"
        prints "$command" || return 1
    done <<'END'
swudi|lambda: 1|swudi
swudi|cumvar: 0.9, time: 100|swudi --fraction 0.9 --time 100
swudi|ratio: 0.65|swudi --rank ratio --fraction 0.65
swudi|weight: [0.5, 1]|weigh '[0.5,1]'
swudi_a|lambda: 1|swudi --rank participation-sqrt --filter none
tsv_m|tolerance: 1e-3|tsv-merge --tolerance 0.001
iso_c|lambda: 0.4|iso-merge
iso_c|lambda: 0.4|rescale 0.4
iso_cts|lambda: 1|iso-merge --common 0.8
iso_cts|common_space_fraction: 0.5, tolerance: 1e-4|iso-merge --common 0.5 --tolerance 0.0001
wudi|steps: 100, lr: 1e-4|wudi --lr 0.0001 --steps 100
optmerge|lambda: 1|wudi --optimizer sgd
END
}

# bats test_tags=products
@test "swudi and iso_cts: the same bytes as their pipelines, also of slices" {
    config 'merge_method: swudi' 'base_model: base' \
        'models: [{model: math}, {model: code, parameters: {weight: 0.5}}]' 'parameters: {lambda: 0.9}'
    tv merge config.yml merged
    tv-extract base math code | swudi | weigh math=1 code=0.5 | combine | rescale 0.9 |
        pack --base base expected
    equals merged expected 0 0
    config 'merge_method: iso_cts' 'base_model: base' 'slices:' \
        '- sources: [{model: base, layer_range: [0, 2]}, {model: math, layer_range: [0, 2]}, {model: code, layer_range: [0, 2]}]' \
        '- sources: [{model: base, layer_range: [2, 3]}, {model: chat, layer_range: [2, 3]}]'
    tv merge config.yml sliced
    tv from-yaml config.yml typed | bash -euo pipefail
    diff -r sliced typed
}

@test "methods that decompose matrices: invalid parameters" {
    while IFS='|' read -r method parameters wrong; do
        config "merge_method: $method" 'base_model: base' 'models: [{model: math}, {model: code}]' \
            "parameters: {$parameters}"
        refused_by_merge "$wrong" || return 1
    done <<'END'
swudi|cumvar: 0|cumvar
swudi|ratio: 2|ratio
tsv_m|tolerance: 0|tolerance
wudi|steps: 1.5|steps must be a whole number
iso_cts|common_space_fraction: 1.5|common_space_fraction
END
    config 'merge_method: swudi' 'models: [{model: math}, {model: code}]'
    refused_by_merge "base_model"
}

# ---- Expert Merging ----------------------------------------------------------------------------------

# expert_config LINE...: a configuration for the demo models, with two samples per task
expert_config() {
    config 'merge_method: expert_merging' "base_model: $DEMO/base" 'models:' \
        "- {model: $DEMO/expert-rev, parameters: {samples: $DEMO/calib/rev.jsonl, init: 0.4}}" \
        "- {model: $DEMO/expert-sort, parameters: {samples: [two.jsonl], task: sort, task_weight: 2}}" \
        'parameters:' '  per_task: 2' "$@"
    head -n 2 "$DEMO/calib/sort.jsonl" >two.jsonl
}

# bats test_tags=products
@test "Expert Merging: the same bytes as calibrate in a pipeline" {
    expert_config '  epochs: 1' '  hidden_layers: [0, 2]' '  keep_base: ["*norm*", "*embed*"]' '  init: 0.5' '  lr: 1e-1' \
        '  on: all' '  coefficients: table.tsv'
    tv merge config.yml merged
    [ "$(cut -f2 table.tsv | sort -u | grep -c expert)" = 2 ]
    tv from-yaml config.yml typed >line
    bash -euo pipefail line
    diff -r merged typed
    tv-extract "$DEMO"/base "$DEMO"/expert-{rev,sort} |
        calibrate --base "$DEMO/base" --expert "$DEMO/expert-rev" --expert "$DEMO/expert-sort" \
            --samples "$DEMO/calib/rev.jsonl" --samples two.jsonl --task rev=expert-rev --task sort=expert-sort \
            --per-task 2 --epochs 1 --on all --hidden-layers 0,2 --init 0.5 --init expert-rev=0.4 \
            --keep-base '*norm*' --keep-base '*embed*' --lr 0.1 --task-weight expert-sort=2 |
        combine | pack --base "$DEMO/base" expected
    equals merged expected 0 0
    # Expert Merging++; the result in another dtype
    rm table.tsv
    config "$(sed 's/expert_merging/expert_merging_pp/; s/coefficients.*/budget: 2/' config.yml)" 'out_dtype: bfloat16'
    tv from-yaml config.yml | grep -c 'calibrate --plus-plus .* --budget=2'
    tv merge config.yml chunks
    unpack chunks | tv-view | grep -c BF16
}

# bats test_tags=products
@test "Expert Merging of vectors that swudi has cleaned" {
    expert_config '  preset: fast' '  clean: swudi'
    tv merge config.yml merged
    tv from-yaml config.yml typed >line
    grep -q '^ *swudi |$' line
    bash -euo pipefail line
    diff -r merged typed
    tv-extract "$DEMO"/base "$DEMO"/expert-{rev,sort} | swudi |
        calibrate --base "$DEMO/base" --expert "$DEMO/expert-rev" --expert "$DEMO/expert-sort" \
            --samples "$DEMO/calib/rev.jsonl" --samples two.jsonl --task rev=expert-rev --task sort=expert-sort \
            --per-task 2 --preset fast --init expert-rev=0.4 --task-weight expert-sort=2 |
        combine | pack --base "$DEMO/base" expected
    equals merged expected 0 0
    config "$(sed 's/expert_merging/expert_merging_pp/' config.yml)"
    tv from-yaml config.yml | grep -A 1 '^ *swudi |$' | grep -c 'calibrate --plus-plus'
}

@test "Expert Merging: one file of samples for all models; --check" {
    config 'merge_method: expert_merging' "base_model: $DEMO/base" \
        "models: [{model: $DEMO/expert-rev, parameters: {task: rev}}, {model: $DEMO/expert-sort, parameters: {task: sort}}]" \
        'parameters: {samples: both.jsonl, per_task: 2, epochs: 1, coefficients: table.tsv}'
    REFUSED_BY=calibrate refused_with "both.jsonl" tv merge config.yml out
    REFUSED_BY='tv merge' refused_with "both.jsonl" tv merge --check config.yml out
    cat "$DEMO"/calib/{rev,sort}.jsonl >both.jsonl
    tv merge --check config.yml out >text
    grep -q '^expert_merging of 3 models: 39 tensors' text
    [ ! -e table.tsv ]
    tv merge config.yml out
    [ -e table.tsv ]
}

@test "Expert Merging: invalid parameters" {
    local text wrong
    while IFS='|' read -r text wrong; do
        expert_config "  $text"
        refused_by_merge "$wrong" || return 1
    done <<'END'
epochs: many|config.yml, line 8: --epochs: "many" is not a whole number
epochs: 1.5|--epochs
lr: 0|--lr must be above 0, found 0
lr: [0.1, 0.2]|lr takes one value, not a list
on: nothing|--on: "nothing" is not one of response|all
gama: 1|expert_merging has no parameter gama (did you mean gamma?)
weight: 1|expert_merging has no parameter weight
dry_run: true|expert_merging has no parameter dry_run
keep-base: x|expert_merging has no parameter keep-base (did you mean keep_base?)
init: [{filter: mlp, value: 1}]|init must be a value without filters
clean: trim|clean must be swudi
clean: [swudi, swudi]|clean must be swudi
cleen: swudi|expert_merging has no parameter cleen (did you mean clean?)
END
    expert_config
    sed -i 's/task_weight: 2/epochs: 2/' config.yml
    refused_by_merge "epochs applies to the whole merge and cannot be set for one model"
    sed -i 's/epochs: 2/clean: swudi/' config.yml
    refused_by_merge "clean applies to the whole merge and cannot be set for one model"
    sed -i 's/samples: .two.jsonl., task: sort, clean: swudi/task: sort/' config.yml
    refused_by_merge "line 5: expert_merging requires samples for expert-sort"
    config 'merge_method: expert_merging' "base_model: $DEMO/base" 'slices:' \
        "- sources: [{model: $DEMO/base, layer_range: [0, 1]}, {model: $DEMO/expert-rev, layer_range: [0, 1]}]" \
        'parameters: {samples: both.jsonl}'
    refused_by_merge "merges whole models, not slices"
    config 'name: one' 'merge_method: linear' "models: [{model: $DEMO/expert-rev, parameters: {weight: 1}}]" --- \
        'merge_method: expert_merging' "base_model: $DEMO/base" 'models: [{model: one}]' 'parameters: {samples: both.jsonl}'
    refused_by_merge "requires models on disk, but one is the result of another document"
    config "$TIES" 'parameters: {samples: both.jsonl}'
    tv merge --check config.yml out 2>warnings
    grep -q 'samples is not a parameter of ties and is ignored' warnings
}
