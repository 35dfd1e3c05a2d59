#!/usr/bin/env bats
# Quantized safetensors: what is read from them, bit by bit, what is written of them, and those that
# are refused. GOLDEN=FOLDER reads the full golden data.
load common
load refusals

Q=$GOLDEN/quantised
CHECKS=$Q/checks-fp8.tsv
[ -e "$CHECKS" ] || CHECKS=$Q/checks.tsv

quantized() { PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$TESTS/quantized.py" "$@"; }

# rows WHAT: "INPUT EXPECTED" of the checks of that kind
rows() {
    awk -F'\t' -v what="$1" '$1 == what && $2 ~ /^(fp8|refuse)\// {print $2, $3}' "$CHECKS"
}

@test "FP8 with every kind of scale is read bit by bit" {
    local n=0
    while read -r input expected; do
        unpack "$Q/$input" | pack --force --dtype f32 out.safetensors
        quantized bits "$Q/$expected" out.safetensors
        n=$((n + 1))
    done < <(rows source)
    [ "$n" -ge 7 ]
}

@test "the merged checkpoint is BF16 and says nothing of the quantization" {
    local n=0
    while read -r input expected; do
        unpack "$Q/$input" | pack --force --like "$Q/$input" out
        quantized config "$Q/$expected" out/config.json
        tv-view out | awk '/^model\.|^lm_head/ && !/BF16/ {exit 1}'
        n=$((n + 1))
    done < <(rows config)
    [ "$n" -ge 6 ]
}

@test "experts, groups, INT8 and tensors that only a quantized model has" {
    quantized cases made
    for expected in made/*.expected.safetensors; do
        model=${expected%.expected.safetensors}
        unpack "$model" 2>err | pack --force --dtype f32 out.safetensors
        quantized bits "$expected" out.safetensors
        if [ "$model" = made/undone ]; then
            grep -qx "unpack: note: .*config.json describes a quantization by gptq, but no tensor is \
quantized; it is ignored" err
        else
            [ ! -s err ]
        fi
        unpack "$model" 2>err | pack --force --like "$model" out
        not grep -rq 'quant_method\|quant_algo' out
        if [ "$model" != made/undone ]; then
            grep -q '"torch_dtype": "bfloat16"' out/config.json
        fi
    done
}

@test "formats that are not supported, and scales that do not fit, are refused" {
    quantized cases made
    while IFS=$'\t' read -r name sentence; do
        REFUSED_BY=unpack refused_with "$sentence" unpack "made/$name"
        grep -qF "made/$name" .err || wrong "the sentence lacks the file"
    done <made/refused.tsv
    [ "$(wc -l <made/refused.tsv)" -gt 45 ]
    while read -r input _; do
        REFUSED_BY=unpack refused unpack "$Q/$input"
    done < <(rows refuse)
}

@test "every source reads FP8, whichever way it is asked" {
    M=$Q/fp8/block-shards/model
    unpack "$M" | pack --dtype f32 --like "$M" plain
    unpack "$M" | pack --force --shard-size 20000 --like "$M" sharded
    unpack "$M" | pack --like "$M" archive.tar
    mkdir copy && cp "$M"/* copy && tar -cf quantized.tar copy
    for other in copy quantized.tar; do
        tv-extract "$M" $other 2>err | combine | add-base "$M" | pack --force round-trip.safetensors
        tv-diff sharded round-trip.safetensors
        grep -c "contain the quantization error of model (FP8 E4M3 (32x32 blocks), error 2.6 %), " err
        [ "$(grep -vc unpacked err)" = 1 ]
    done
    # The same numbers, from the base of a merge, as part of one, and added to a task vector.
    tv-extract "$M" plain 2>/dev/null >zero.tvs
    add-base --dtype f32 "$M" <zero.tvs | combine | pack sum.safetensors
    quantized bits plain/model.safetensors sum.safetensors
    combine <zero.tvs | pack --base "$M" --dtype f32 merged
    quantized bits plain/model.safetensors merged/model.safetensors
    not grep -q quantization merged/config.json
    combine <zero.tvs | pack --base "$M" default
    tv-diff sharded default
    tv-diff "$M" plain 2>err
    grep -c "the differences contain the quantization error of model" err
    tv-view zero.tvs | grep -c '^model  *base .* FP8 E4M3 (32x32 blocks), error 2.6 %'
    grep -c 'quantized and was dequantized when it was read: `FP8 E4M3 (32x32 blocks), error 2.6 %`' merged/README.md
    # Rounded when it is read, and from several threads: the same bytes.
    unpack --dtype bf16 --threads 3 "$M" | pack --like "$M" rounded
    tv-diff sharded rounded
    check "$M"
    tv-view --values zero.tvs | from-text | cmp zero.tvs -
    echo '{"input_ids": [1, 5, 9, 12], "prompt_len": 2}' >samples.jsonl
    forward "$M" --samples samples.jsonl >a.tvs
    forward plain --samples samples.jsonl >b.tvs
    tv-diff a.tvs b.tvs 2>err
    [ ! -s err ]
    # In parts, from the archive.
    for part in 1/2 2/2; do
        combine <zero.tvs | pack --part $part --shard-size 20000 --base "$M" parts
    done
    tv finish parts
    tv-diff sharded parts
}

@test "NaN and infinity in codes are an error unless they are accepted" {
    for name in fp8-nan fp8-e5m2-inf; do
        REFUSED_BY=unpack refused_with "q_proj.weight of $name has a non-finite number at flat index" \
            unpack "$Q/refuse/$name"
        unpack --allow-nonfinite "$Q/refuse/$name" | stats --allow-nonfinite >/dev/null
    done
}
