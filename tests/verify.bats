#!/usr/bin/env bats
# shellcheck disable=SC2154 # run sets stderr_lines
# tv verify: the merge that a model records, computed again: equal, different, or trouble.
load common
load lesson
load refusals

setup() {
    own_folder
    cp -r "$A"/{base,math,code,chat} .
}

TIES='tv-extract base math code | trim --density 0.2 | elect-sign | combine --normalize=agreeing'

# verified MODEL [OPERAND...]: every tensor is equal, and that is all that is printed
verified() {
    local status=0
    tv verify "$@" >.answer 2>.err || status=$?
    [ "$status" = 0 ] && [ ! -s .err ] && [[ $(<.answer) == "equal: "*" tensor"*", recomputed from "* ]] ||
        wrong "tv verify $*: exits with $status: $(<.answer)"
}

# differs TEXT MODEL [OPERAND...]: the answer is that it differs, with that text
differs() {
    local status=0
    tv verify "${@:2}" >.answer 2>.err || status=$?
    { [ "$status" = 1 ] && [ ! -s .err ] && grep -q '^different: ' .answer; } ||
        wrong "tv verify ${*:2}: exits with $status: $(<.answer)" || return 1
    grep -qF -- "$1" .answer || wrong "the answer lacks $1: $(<.answer)"
}

# trouble TEXT MODEL [OPERAND...]: one sentence with that text, exit status 2, and no answer
trouble() {
    local status=0
    REFUSED_BY='tv verify' refused_with "$1" timeout 20 tv verify "${@:2}" || return 1
    tv verify "${@:2}" >.answer 2>.err || status=$?
    { [ "$status" = 2 ] && [ ! -s .answer ]; } || wrong "tv verify ${*:2}: exits with $status"
}

# edited CODE: merged.safetensors with an edited header h, history hist (None: without one) or data
edited() {
    /usr/bin/python3 - "$1" <<'END'
import json, struct, sys
with open("merged.safetensors", "rb") as f:
    h = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
    data = bytearray(f.read())
meta = h["__metadata__"]
hist = json.loads(meta.pop("tvtools_history"))
exec(sys.argv[1])
if hist is not None:
    meta["tvtools_history"] = hist if isinstance(hist, str) else json.dumps(hist)
text = json.dumps(h).encode()
with open("edited.safetensors", "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text + data)
END
}

# tensor_bytes FOLDER: the bytes of all tensors of a checkpoint
tensor_bytes() {
    local file=$1/model.safetensors
    tail -c +$((9 + $(od -A n -t u8 -N 8 "$file"))) "$file"
}

# ---- equal -------------------------------------------------------------------------------------------

@test "the merges of all golden configurations" {
    while IFS=$'\t' read -r folder config _ seed _ _ _ options; do
        [ -e "$MERGE/$folder/$config" ] || continue
        [ "$options" != - ] || options=
        [ "$seed" = - ] || options+=" --random-seed $seed"
        rm -rf merged
        # shellcheck disable=SC2086
        (cd "$MERGE/$folder" && tv merge --quiet $options "$config" "$T/merged") 2>.err ||
            wrong "$folder/$config" || return 1
        verified merged "$MERGE"/models* || wrong "of $folder/$config" || return 1
    done < <(sed 1d "$MERGE/checks.tsv" | sort -u -t $'\t' -k 1,2)
}

@test "the merges of all scripts" {
    tv-extract base math code >deltas.tvs
    make_statistics deltas.tvs
    for script in "$ROOT"/pipelines/*; do
        name=${script##*/}
        case $name in *.* | *[A-Z]* | *expert_merging* | choose-* | plot* | pictures) continue ;; esac
        models=(base math code)
        case $name in slerp | nearswap | arcee_fusion) models=(base math) ;; passthrough) models=(math) ;; esac
        rm -rf merged
        options=()
        case $name in
        regmean) options=(--gram math=math.gram --gram code=code.gram) ;;
        fisher) options=(--diagonal math=math.diagonal --diagonal code=code.diagonal) ;;
        esac
        case $name in d*) options=(--seed 3) ;; nuslerp) options=(--base-model base); models=(math code) ;; esac
        "$script" "${options[@]}" "${models[@]}" merged
        verified merged . || wrong "of $name" || return 1
    done
}

# bats test_tags=products
@test "matrix kernels of another processor: equal within a tolerance" {
    tv-extract base math code | swudi | combine | pack --base base merged.safetensors
    verified merged.safetensors base math code
    local flip='n = int(h["model.layers.0.self_attn.q_proj.weight"]["data_offsets"][0]); data[n] ^= 1'
    local other='hist[1]["blas"] = "OpenBLAS 0.0 Other"'
    # The same kernels, another bit
    edited "assert hist[1]['blas'].startswith('OpenBLAS '); $flip"
    differs "(1 of " edited.safetensors base math code
    [ "$(grep -c OpenBLAS .answer)" = 0 ]
    # Other kernels, the same bits
    edited "$other"
    verified edited.safetensors base math code
    # Other kernels, another bit
    edited "$other; $flip"
    tv verify edited.safetensors base math code >.answer
    grep -qx "equal within the tolerance: 30 tensors, 1 of them with differences of rounding, recomputed from base, math, code" .answer
    grep -q "^step 2 (swudi) was run with OpenBLAS 0.0 Other; this is OpenBLAS " .answer
    # Other kernels, more than rounding
    edited "$other; $flip; data[n + 3] ^= 64"
    differs "(1 of " edited.safetensors base math code
    grep -q "^step 2 (swudi) was run with OpenBLAS 0.0 Other; this is OpenBLAS " .answer
    edited 'hist[1]["blas"] = 1'
    trouble "expected a blas that is a string" edited.safetensors base math code
    for kernels in Nehalem Core2; do
        OPENBLAS_CORETYPE=$kernels tv verify merged.safetensors base math code
    done
    # Elements that are rounded to 16 or 8 bits
    tv-extract base math code | tsv-merge | pack --base base --dtype bfloat16 --force merged.safetensors
    edited 'hist[1]["blas"] = "other"; data[0] ^= 1'
    tv verify edited.safetensors base math code | grep -c "^equal within the tolerance"
}

@test "random, trimmed, renamed, joined, stacked and sliced merges" {
    while read -r line; do
        rm -rf merged.safetensors
        bash -c "set -euo pipefail; $line merged.safetensors"
        verified merged.safetensors . || wrong "of $line" || return 1
    done <<'END'
tv-extract base math code | dare-drop --density 0.4 --seed 3 --l1 | rescale --by l1 | combine | pack --base base
tv-extract base math code | della-drop --density 0.5 --epsilon 0.1 --seed 3 | combine | pack --dtype bfloat16 --base base
tv-extract --wire bf16 base math code | trim --scope model --density 0.3 | weigh 'math=[0.2,0.8]' code=-1 | combine | pack --no-fill --base base
unpack base math code | tv-extract | pick math | pack --base base
tv-extract x=base y=math | pick '/*layers.0*' | pack --base x=base
tv-extract base math | pack --onto code
tv-extract base math | tv-rename 'model.*=m.*' 'm.*=model.*' | rescale -- -1 '/*mlp*=0.5' | pack --base base
join-streams <(tv-extract base math | trim --density 0.2) <(tv-extract base code | weigh 3) | combine | pack --base base
stack <(unpack math'[0:1]') <(unpack --first-layer 1 chat'[1:2]') <(unpack --first-layer 2 math'[0:1]') | pack --like math
stack <(tv-extract base'[0:2]' math'[0:2]' | trim --density 0.4 | combine | add-base base'[0:2]') <(unpack code'[2:3]') | pack --like base
tv-extract base math code | dare-drop --density 0.5 --seed 1 | add-base base | slerp --t 0.3 | pack --like base
unpack one=<(unpack math code | slerp --t 0.3) chat | combine --normalize=all | pack --like chat
END
}

@test "documents that use each other's results, in the configuration and in one file" {
    cat >config.yml <<'END'
name: first
merge_method: slerp
base_model: math
models: [{model: math}, {model: code}]
parameters: {t: 0.3}
dtype: bfloat16
---
name: second
merge_method: linear
models: [{model: first, parameters: {weight: 0.3}}, {model: chat, parameters: {weight: 0.7}}]
dtype: bfloat16
---
merge_method: ties
base_model: first
models: [{model: second}, {model: code}]
parameters: {density: 0.5, weight: 0.5}
dtype: float32
END
    tv merge config.yml merged
    verified merged .
    tv verify --print merged . >line
    [ "$(grep -c 'unpack.*math.*code' line)" = 1 ]
    sed 's/ OUT$/ printed/' line | bash -euo pipefail
    tv-diff printed merged
}

@test "parts, shards, archives, saved streams; any number of threads, little memory" {
    tv run "$TIES | pack --base base --part 1/2 parts"
    tv run "$TIES | pack --base base --part 2/2 parts"
    tv finish parts
    verified parts .
    tv run "$TIES | pack --base base merged.tar.zst"
    mkdir other
    tar -cf other/math.tar math
    mv code other
    verified merged.tar.zst . other
    unpack math >math.tvs
    unpack math.tvs chat | combine --normalize=all | pack merged.safetensors
    verified --threads 3 --memory 64K merged.safetensors chat math.tvs
    unpack math.tvs | rescale 2 | pack --like math.tvs like.safetensors
    verified like.safetensors math.tvs
    verified --spool . merged.safetensors chat math
}

@test "GGUF files of every type, and an edited byte of one" {
    local gguf=$GOLDEN/quantised/gguf/models
    local like=$gguf/write-base/model.gguf inputs=(a.safetensors b.safetensors)
    unpack "$like" | pack a.safetensors
    unpack "$gguf/llama-q8_0/model.gguf" | pack b.safetensors
    unpack "${inputs[@]}" | combine --normalize=all >weights.tvs
    for type in f32 f16 bf16 q8_0; do
        rm -f edited.gguf
        pack --like "$like" --dtype $type $type.gguf <weights.tvs
        verified $type.gguf "${inputs[@]}" || wrong "of $type" || return 1
        /usr/bin/python3 - $type.gguf <<'END'
import sys
data = bytearray(open(sys.argv[1], "rb").read().rstrip(b"\0"))
data[-1] ^= 1
with open(sys.argv[1], "rb") as f:
    data += f.read()[len(data):]
open("edited.gguf", "wb").write(data)
END
        differs 'different elements: ' edited.gguf "${inputs[@]}" || wrong "of $type" || return 1
        grep -q '(1 of [0-9]*, the first at flat index ' .answer || wrong "$type: $(<.answer)" || return 1
    done
    sed 's/--dtype=float16/--dtype=float32/' f16.gguf >edited.gguf
    differs 'different dtype: lm_head.weight (F16, recomputed F32)' edited.gguf "${inputs[@]}"
    echo '{merge_method: linear, models: [{model: a.safetensors}, {model: b.safetensors}], parameters: {weight: 0.3}}' >config.yml
    tv merge --quiet --like "$like" config.yml merged.gguf
    verified merged.gguf .
    tv verify --print merged.gguf . | grep -c ' OUT.gguf$'
    tv-extract base="$like" b.safetensors 2>.err | combine | pack --base base="$like" merged-base.gguf
    tv verify merged-base.gguf "$gguf"/* b.safetensors
}

@test "metadata and rope_freqs of a GGUF file are those of the file that it is like" {
    local gguf=$GOLDEN/quantised/gguf/models
    local like=$gguf/llama3-f16/model.gguf
    unpack a="$like" | pack a.safetensors
    unpack a.safetensors | pack --like like="$like" --dtype q8_0 m.gguf
    tv verify m.gguf a.safetensors >answer
    grep -q '^equal: .*; metadata not compared (give the --like model)$' answer
    for operands in "like=$like" "$gguf/llama3-f16"; do
        tv verify m.gguf a.safetensors "$operands" >answer
        grep -qx 'equal: [0-9]* tensors, recomputed from a' answer
    done
    # with FROM TO: the first of these bytes, which are as many, changed
    with() {
        FROM=$1 TO=$2 /usr/bin/python3 - <<'END'
import os
data = open("m.gguf", "rb").read()
a, b = (os.environ[k].encode().decode("unicode_escape").encode("latin-1") for k in ("FROM", "TO"))
assert len(a) == len(b) and a in data
open("edited.gguf", "wb").write(data.replace(a, b, 1))
END
    }
    with 'tokenizer.ggml.bos_token_id' 'tokenizer.ggml.xxx_token_id'
    differs 'different metadata: tokenizer.ggml.bos_token_id (missing), tokenizer.ggml.xxx_token_id (not in the other file)' \
        edited.gguf a.safetensors "like=$like"
    with 'general.file_type\4\0\0\0\7' 'general.file_type\4\0\0\0\1'
    differs 'different metadata: general.file_type' edited.gguf a.safetensors "like=$like"
    with '\0\0\x80\x3f\0\0\x80\x3f' '\0\0\x80\x3f\0\0\x90\x3f'
    differs 'different elements: rope_freqs.weight' edited.gguf a.safetensors "like=$like"
    differs 'different' m.gguf a.safetensors "like=$gguf/write-base/model.gguf"
}

@test "a model that was read from standard input is found as NAME=PATH only" {
    tv-extract base=base math=- <math/model.safetensors | combine | pack --base base merged.safetensors
    edited 'assert "fingerprints" not in hist[0]'
    trouble "math was read from standard input, so it cannot be found unless it is given as NAME=PATH" \
        merged.safetensors .
    verified merged.safetensors base math=math
    differs "input math: its tensors have the full hash" merged.safetensors base math=code
}

@test "inputs by name, under other names, in folders, in the Hub's cache, and files by hash" {
    tv-extract base math | weigh --table <(printf '%s\tmath\t0\t0.25\n' model.norm.weight) | combine |
        pack --base base merged.safetensors
    printf '%s\tmath\t0\t0.25\n' model.norm.weight >table
    trouble "the file of weigh --table=xxh3:" merged.safetensors base math
    verified merged.safetensors base math table
    mkdir folder
    mv base folder/b
    mv math folder/m
    mv table folder
    verified merged.safetensors folder
    verified merged.safetensors base=folder/b math=folder/m t=folder/table
    mkdir -p hub/models--org--math/{refs,snapshots/abc}
    mv folder/m/* hub/models--org--math/snapshots/abc
    echo abc >hub/models--org--math/refs/main
    HF_HUB_CACHE=hub verified merged.safetensors folder org/math
    HF_HUB_CACHE=hub verified merged.safetensors folder math=org/math
}

@test "a dict in a file of torch.save: NAME=PATH#KEY, PATH#KEY, and the file if the name has the key" {
    PYTHONPATH=$TESTS /usr/bin/python3 - <<'END'
from models import save_torch

import numpy as np

x = np.arange(6, dtype="<f4").reshape(2, 3)
save_torch("one.pt", {"model": {"state_dict": {"w": x + 1}}, "ema": {"w": x + 3}})
END
    tv-extract 'base=one.pt#model.state_dict' 'e=one.pt#ema' | combine |
        pack --base 'one.pt#model.state_dict' merged.safetensors
    verified merged.safetensors 'base=one.pt#model.state_dict' 'e=one.pt#ema'
    verified merged.safetensors 'one.pt#model.state_dict' ./one.pt#ema
    differs "input e" merged.safetensors 'base=one.pt#model.state_dict' 'e=one.pt#model.state_dict'
    trouble "not found among the operands: base (" merged.safetensors one.pt
    trouble "one.pt has no key none" merged.safetensors 'base=one.pt#none'
    trouble "x=one.pt#ema: the merge of merged.safetensors has no such input" \
        merged.safetensors 'base=one.pt#model.state_dict' x=one.pt#ema
    tv-extract 'one.pt#model.state_dict' 'one.pt#ema' | combine | pack --base 'one.pt#model.state_dict' named.safetensors
    verified named.safetensors one.pt
    verified named.safetensors .
    bash -c "$(tv verify --print named.safetensors one.pt | sed 's/OUT$/again.safetensors/')"
    cmp named.safetensors again.safetensors
}

@test "a model from the Hub's cache is found there by its recorded name and commit" {
    snapshot=hub/models--org--math/snapshots/0123456789abcdef0123456789abcdef01234567
    mkdir -p hub/models--org--math/refs $snapshot
    mv math/* $snapshot
    echo "${snapshot##*/}" >hub/models--org--math/refs/main
    export HF_HUB_CACHE=hub
    tv-extract base org/math | pack --base base merged.safetensors
    echo 0000 >hub/models--org--math/refs/main
    verified merged.safetensors base
    for hub in ../hub org/../x /etc/passwd org; do
        edited "meta['tvtools_models'] = json.dumps({'math': {'hub': '$hub', 'commit': '${snapshot##*/}'}})"
        trouble "not found among the operands: math" edited.safetensors base
    done
    edited 'meta["tvtools_models"] = json.dumps({"math": {"hub": "org/math", "commit": "../../../base"}})'
    trouble "not found among the operands: math" edited.safetensors base
}

@test "a calibrated merge is computed with the weights that the model carries" {
    extract() { tv-extract "$DEMO/base" rev="$DEMO/expert-rev" sort="$DEMO/expert-sort"; }
    calibration() {
        calibrate --base "$DEMO/base" --samples "$DEMO/calib/rev.jsonl" --samples "$DEMO/calib/sort.jsonl" \
            --per-task 1 --epochs 1 "$@"
    }
    extract | calibration --plus-plus | combine | rescale 0.9 | pack --base "$DEMO/base" merged.safetensors
    verified merged.safetensors "$DEMO"
    grep -q ', with the weights that it carries$' .answer
    edited 'meta["tvtools_weights"] = meta["tvtools_weights"].replace("0.5", "0.1")'
    differs "different elements: " edited.safetensors "$DEMO"
    edited 'meta["tvtools_weights"] = json.dumps({"tensors": {"x\ty": {"rev": 1}}})'
    trouble "the weights that the model carries are not those of a calibration" edited.safetensors "$DEMO"
    extract | swudi | calibration --expert rev="$DEMO/expert-rev" --expert sort="$DEMO/expert-sort" | combine |
        pack --base "$DEMO/base" --force merged.safetensors
    verified merged.safetensors "$DEMO"
    grep -q ', with the weights that it carries$' .answer
    extract | calibration --per model >learned.tvs
    combine <learned.tvs | pack --base "$DEMO/base" merged
    verified merged "$DEMO"
    tv-view --header merged/model.safetensors >/dev/null
    rm merged/tvtools_weights.json
    trouble "does not carry the weights that calibrate has learned" merged "$DEMO"
    rm -r merged
    weigh 2 <learned.tvs | combine | pack --base "$DEMO/base" merged
    trouble "step 3: weigh follows calibrate" merged "$DEMO"
}

@test "what --print prints makes the same model" {
    cp -r "$MERGE"/models models
    while IFS=$'\t' read -r folder config _ seed _ _ _ options; do
        [ -e "$MERGE/$folder/$config" ] || continue
        [ "$options" != - ] || options=
        [ "$seed" = - ] || options+=" --random-seed $seed"
        rm -rf merged printed
        # shellcheck disable=SC2086
        (cd "$MERGE/$folder" && tv merge --quiet $options "$config" "$T/merged") 2>.err
        tv verify --print merged "$MERGE"/models* >line
        sed 's/ OUT$/ printed/' line | bash -euo pipefail 2>.err || wrong "$folder/$config: $(<line)" || return 1
        tensor_bytes merged >expected
        tensor_bytes printed >found
        { tv-diff --quiet --same-dtype merged printed && cmp expected found; } ||
            wrong "$folder/$config: $(<line)" || return 1
        [ -e printed/config.json ]
    done < <(sed 1d "$MERGE/checks.tsv" | sort -u -t $'\t' -k 1,1)
}

@test "--print names a model of --like that was not found, and verify does not need it" {
    unpack math code | combine --normalize=all | pack --like chat merged
    tv verify --print merged math code >line
    grep -c -- ' --like=chat OUT$' line
    verified merged math code
    tv verify --print merged . >line
    grep -c -- ' --like=chat=./chat OUT$' line
    [ "$(<.answer)" = "equal: 30 tensors, recomputed from math, code" ]
    tv verify --print merged >line
    grep -cx 'unpack math code |' line
    trouble "merged: not found among the operands: code (fingerprint " --print merged math
}

@test "an answer is not silent about shards that contradict each other and hashes that are unknown" {
    tv run "$TIES | pack --base base --shards 2 merged"
    verified merged .
    first=merged/model-00001-of-00002.safetensors second=merged/model-00002-of-00002.safetensors
    for key in tvtools_history tvtools_models tvtools_hashes; do
        cp $second merged.safetensors
        edited "
meta['tvtools_history'] = json.dumps(hist, separators=(',', ':'))
hist = None
del meta['$key']"
        mv edited.safetensors $second
        run -0 --separate-stderr tv verify merged .
        [ "${lines[1]}" = "$second records another merge than $first, which was computed" ]
        [ "${#lines[@]}" = 2 ]
        mv merged.safetensors $second
    done
    tv run "$TIES | pack --base base merged.safetensors"
    edited "meta['tvtools_hashes'] = json.dumps({'base': '0' * 16, 'math': '1' * 16})"
    run -0 --separate-stderr tv verify edited.safetensors .
    [ "${lines[1]}" = "input base: the merged model does not record its full hash" ]
    [[ ${lines[2]} = "input math: its tensors have the full hash "*", the merged model has 1111111111111111" ]]
    [ "${lines[3]}" = "input code: the merged model does not record its full hash" ]
    edited "
for step in hist:
    if 'fingerprints' in step:
        step['fingerprints'][0] = '0' * 16
meta['tvtools_models'] = '{}'"
    trouble "not found among the operands: base (its fingerprint is not recorded); give" edited.safetensors .
    verified edited.safetensors base=base math code
}

# ---- different ---------------------------------------------------------------------------------------

@test "an edited tensor, a missing one, another dtype or shape, another version are named" {
    tv run "$TIES | pack --base base merged.safetensors"
    verified merged.safetensors .
    edited 'data[1000] ^= 1'
    differs 'different elements: lm_head.weight (1 of 19200, the first at flat index 250)' edited.safetensors .
    edited 'hist[1]["arguments"] = ["--density=0.3"]; hist[2]["version"] = "0.0.9"'
    differs ' and 25 more' edited.safetensors .
    grep -q 'step 3 (elect-sign) was run by version 0.0.9' .answer
    edited 'h["x"] = h.pop("model.norm.weight")'
    differs 'missing from the model: model.norm.weight' edited.safetensors .
    grep -qx 'not a result of the merge: x' .answer
    edited 'h["model.norm.weight"]["dtype"] = "I32"; h["lm_head.weight"]["shape"].reverse()'
    differs 'different dtype: model.norm.weight (I32, recomputed F32)' edited.safetensors .
    grep -q '^different shape: lm_head.weight ((64, 300), recomputed (300, 64))' .answer
    edited 'hist[2]["version"] = "0.0.9"'
    verified edited.safetensors .
}

@test "another input is named, by its fingerprint or by its full hash" {
    tv run "$TIES | pack --base base merged"
    differs "input math: code has the fingerprint" merged base math=code code
    mv math .math
    trouble "merged: not found among the operands: math (fingerprint " merged .
    trouble "math (fingerprint " merged base code
    trouble "nosuch is not a file, a folder or a model" merged nosuch
    verified merged . math=.math
    mv .math math
    trouble "x=chat: the merge of merged has no such input" merged . x=chat
    chmod 0 math
    [ -r math ] || trouble "cannot read ./math" merged .
    chmod 755 math
    ln -s /nonexistent link
    verified merged .
    mkdir other
    mv base code other
    trouble "give NAME=PATH or a folder; cannot read ./link" merged .
    trouble "cannot open link: No such file or directory" merged math=link
    run -2 --separate-stderr tv verify merged math link
    [ "${stderr_lines[0]}" = "tv verify: note: skipped link, a link to a missing file" ]
    [[ ${stderr_lines[1]} = *"not found among the operands: base (fingerprint "*"), code "*"; cannot read link" ]]
    tv verify merged math link other
}

# ---- trouble -----------------------------------------------------------------------------------------

@test "no history, an unknown stream, a stage that is not part of tvtools, weights that were learned" {
    trouble "base has no history" base .
    printf 'kind weights\nmodel m\ntensor w 2\nvector m\n1 2\n' | from-text | rescale 2 | pack odd.safetensors
    trouble "its history begins with rescale at step 1" odd.safetensors
    tv-extract base math | /usr/bin/python3 "$ROOT/share/etl/clip-outliers" | combine | pack --base base merged.safetensors
    trouble "merged.safetensors: cannot be verified at step 2: clip-outliers is not part of tvtools" merged.safetensors .
    for operands in '' '--no-such merged' '--quiet=1 merged'; do
        # shellcheck disable=SC2086
        run -2 tv verify $operands
    done
}

@test "a hostile history runs, opens and writes nothing" {
    tv run "$TIES | pack --base base merged.safetensors"
    touch "$T/base/file"
    while IFS=$'\t' read -r text code; do
        edited "$code"
        trouble "$text" edited.safetensors . || wrong "of $code" || return 1
        [ ! -e evil ] || wrong "$code wrote a file" || return 1
    done <<'END'
unexpected --density=@base/file	hist[1]["arguments"] = ["--density=@base/file"]
unexpected operand @base/file	hist.insert(1, {"tool": "weigh", "version": "1", "arguments": ["@base/file"]})
unexpected --table=base/file	hist.insert(1, {"tool": "weigh", "version": "1", "arguments": ["--table=base/file"]})
unexpected --table=xxh3:	hist.insert(1, {"tool": "weigh", "version": "1", "arguments": ["--table=xxh3:../../base/file"]})
unexpected --spool=.	hist[1]["arguments"].append("--spool=.")
unexpected --threads=99	hist[1]["arguments"].append("--threads=99")
unexpected --help	hist[1]["arguments"] = ["--help"]
unexpected --version	hist[1]["arguments"] = ["--version"]
unexpected --density	hist[1]["arguments"] = ["--density", "0.2"]
unexpected --dens=0.2	hist[1]["arguments"] = ["--dens=0.2"]
unexpected -x	hist[1]["arguments"].append("-x")
unexpected operand evil	hist[1]["arguments"].append("evil")
--density is missing	hist[1]["arguments"] = []
--density: "x"	hist[1]["arguments"] = ["--density=x"]
unexpected --force	hist[-1]["arguments"].append("--force")
unexpected operand evil	hist[-1]["arguments"].append("evil")
unexpected --part=1/2	hist[-1]["arguments"].append("--part=1/2")
unexpected --tokenizer=base	hist[-1]["arguments"].append("--tokenizer=base")
sh is not part of tvtools	hist[1] = {"tool": "sh", "version": "1", "arguments": ["-c", "touch evil"]}
step 2: a?b	hist[1]["tool"] = "a\x1bb"
tv verify does not recompute stats	hist[1] = {"tool": "stats", "version": "1", "arguments": []}
tv verify does not recompute from-text	hist[0] = {"tool": "from-text", "version": "1", "arguments": ["base/file"]}
tv verify does not recompute forward	hist[0] = {"tool": "forward", "version": "1", "arguments": ["base"]}
weights that calibrate has learned	hist[1] = {"tool": "calibrate", "version": "1", "arguments": ["--log=evil", "--coefficients=evil"]}
pack is not the last step	hist.insert(1, {"tool": "pack", "version": "1", "arguments": []})
pack is not the last step	hist.append({"tool": "pack", "version": "1", "arguments": ["evil"]})
a source follows another step	hist.insert(1, hist[0])
not end with pack	hist.pop()
begins with trim	hist.pop(0)
base/file (its fingerprint is not recorded)	hist[0]["arguments"][1] = "base/file"; del hist[0]["fingerprints"]
-x=base (its fingerprint is not recorded)	hist[0]["arguments"] = ["--", "-x=base", "base"]; del hist[0]["fingerprints"]
base/file (its fingerprint is not recorded)	hist[-1]["arguments"] = ["--base=base/file"]; del hist[-1]["fingerprints"]
unexpected number of models	hist[0]["fingerprints"].pop()
unexpected parents	hist[1]["parents"] = [hist[:1]]
unexpected parents	hist[1]["parents"] = [[]] * 1000
expected a list of steps	hist[1]["parents"] = [0] * 1000
expected a history for each input	hist[0] = {"tool": "stack", "version": "1", "arguments": []}
step 1 has an input without a history	hist[0] = {"tool": "stack", "version": "1", "arguments": [], "parents": [[]]}
more than 4096 steps	hist[1:1] = [{"tool": "rescale", "version": "1", "arguments": ["1"]}] * 5000
pack has no base for task-vectors	hist[-1]["arguments"] = []; del hist[-1]["fingerprints"]
has no history	hist = None
expected a list of steps	hist = "{}"
not valid JSON	hist = "["
nested more than	hist = "[" * 100000
expected a tool in each step	hist = [[]]
expected arguments that are strings	hist[1]["arguments"] = [1]
fingerprints of 16 hexadecimal digits	hist[0]["fingerprints"][0] = "x"
END
    [ -e base/file ]
    [ "$(find . -name '*evil*' | wc -l)" = 0 ]
}

@test "the name of a result in a hostile history is no path; nested results do not multiply" {
    unpack one=<(unpack math code | slerp --t 0.3) chat | combine --normalize=all | pack merged.safetensors
    inner='inner = hist[0]["parents"][0]; inner.append({"tool": "pack", "version": "1", "arguments": []})'
    edited "$inner; hist[0]['arguments'][0] = '../evil'"
    trouble "unexpected name of a model" edited.safetensors .
    edited "$inner; inner[-1]['arguments'] = ['--base=math']"
    trouble "the result of another document has a base" edited.safetensors .
    edited '
s = [{"tool": "unpack", "version": "1", "arguments": ["math"]}]
for i in range(12):
    f = "%016x" % i
    s = [{"tool": "tv-extract", "version": "1", "arguments": ["m", "n"], "fingerprints": [f, f], "parents": [s, s]},
         {"tool": "add-base", "version": "1", "arguments": ["m"], "fingerprints": [f]}]
hist[0]["parents"][0] = s'
    trouble "more than 4096 steps" edited.safetensors .
}
