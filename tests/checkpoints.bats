#!/usr/bin/env bats
# Checkpoints that unpack reads and pack writes: all forms, unusual tensors, hostile files.
load common
load lesson
load refusals

setup_file() {
    make_big
    /usr/bin/python3 "$TESTS/unit/hostile.py" "$BATS_FILE_TMPDIR/hostile"
}

# shards FOLDER OUT: the same model in two files with an index
shards() {
    mkdir "$2"
    cp "$1"/*.json "$2"
    PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$TESTS /usr/bin/python3 - "$1" "$2" <<'END'
import json, struct, sys
from models import save

with open(sys.argv[1] + "/model.safetensors", "rb") as f:
    size, = struct.unpack("<Q", f.read(8))
    header, data = json.loads(f.read(size)), f.read()
header.pop("__metadata__", None)
tensors = {n: (t["dtype"], t["shape"], data[slice(*t["data_offsets"])]) for n, t in header.items()}
where = {}
for i in (1, 2):
    name = f"model-0000{i}-of-00002.safetensors"
    part = [n for k, n in enumerate(tensors) if k % 2 == i - 1]
    save(f"{sys.argv[2]}/{name}", {n: tensors[n] for n in part}, {"format": "pt"})
    where.update({n: name for n in part})
with open(sys.argv[2] + "/model.safetensors.index.json", "w") as f:
    json.dump({"metadata": {}, "weight_map": where}, f)
END
}

# same_weights MODEL...: unpack gives the same bytes, but for the fingerprint of the files
same_weights() {
    unpack m="$MODELS/math" | /usr/bin/python3 "$TESTS/digests.py" >.weights
    for model in "$@"; do
        unpack m="$model" 2>.err | /usr/bin/python3 "$TESTS/digests.py" | diff .weights - ||
            wrong "$model" || return 1
    done
}

@test "folder, file, shards, tar, tar.gz, tar.zst, zip: the same weights" {
    shards "$MODELS/math" sharded
    cp "$MODELS/math/model.safetensors" single.safetensors
    tar -C "$MODELS" -cf m.tar math
    tar -C "$MODELS/math" -czf flat.tar.gz .
    tar -C "$MODELS" --zstd -cf m.tar.zst math
    tar -cf sharded.tar sharded
    (cd "$MODELS" && /usr/bin/python3 -m zipfile -c "$T/m.zip" math)
    same_weights sharded single.safetensors m.tar flat.tar.gz m.tar.zst sharded.tar m.zip
}

@test "folder and archive of one model have one fingerprint and one full hash" {
    tar -C "$MODELS" -cf m.tar math
    unpack m="$MODELS/math" >folder
    unpack m=m.tar 2>.err | cmp folder -
    tar -C "$MODELS" -czf m.tar.gz math
    unpack m=m.tar.gz 2>.err | cmp folder -
}

@test "files of torch.save give the same weights as the safetensors file" {
    tv-diff --same-dtype "$MERGE/models-bin/code" "$A/code"
    tv-diff --same-dtype "$MERGE/models-sharded/math" "$A/math"
    tar -C "$MERGE/models-bin" -cf code.tar code
    unpack code="$MERGE/models-bin/code" >folder
    unpack code=code.tar 2>.err | cmp folder -
}

@test "unpack | pack preserves every byte of unusual tensors" {
    PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$TESTS /usr/bin/python3 - <<'END'
import numpy as np
from models import save

rng = np.random.default_rng(1)
sizes = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E8M0": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4,
         "C64": 8, "F64": 8, "I64": 8, "U64": 8}
tensors = {}
for dtype, size in sizes.items():
    data = rng.bytes(6 * size)
    if dtype == "BOOL":
        data = bytes(b & 1 for b in data)
    if dtype in ("F16", "BF16", "F32", "F64"):  # finite
        data = bytes(b & 0x3F if i % size == size - 1 else b for i, b in enumerate(data))
    tensors["t." + dtype] = (dtype, [2, 3], data)
    tensors["scalar." + dtype] = (dtype, [], data[:size])
    tensors["empty." + dtype] = (dtype, [3, 0], b"")
tensors["f4"] = ("F4", [4, 2], rng.bytes(4))
tensors["f6"] = ("F6_E2M3", [8], rng.bytes(6))
for i, name in enumerate(["", " ", "a b", "é", "\n", '"', "\\", "a/b", "x" * 500, "日本", "\x7f", "=", "*["]):
    tensors[name] = ("U8", [1], bytes([i]))
tensors["deep"] = ("U8", [1] * 16, b"x")
tensors["large"] = ("I16", [70000], rng.bytes(140000))
save("odd.safetensors", tensors)
END
    unpack odd.safetensors >odd.tvs
    pack back.safetensors <odd.tvs
    tv run 'unpack odd.safetensors | pack run.safetensors'
    cmp back.safetensors run.safetensors
    /usr/bin/python3 - <<'END'
import json, struct


def read(path):
    with open(path, "rb") as f:
        size, = struct.unpack("<Q", f.read(8))
        header, data = json.loads(f.read(size)), f.read()
    header.pop("__metadata__", None)
    return {n: (t["dtype"], t["shape"], data[slice(*t["data_offsets"])]) for n, t in header.items()}


odd, back = read("odd.safetensors"), read("back.safetensors")
assert odd == back, [n for n in odd if odd[n] != back.get(n)]
assert len(odd) == 3 * 15 + 17, len(odd)
END
    check odd.tvs
    tv-view --values odd.tvs | from-text | cmp odd.tvs -
}

# test_ckpt reads all files of hostile.py; here every third one passes through a program.
@test "hostile files are refused with one sentence each" {
    cp -r "$BATS_FILE_TMPDIR/hostile/." .
    [ "$(wc -l <expected.tsv)" -gt 80 ]
    while IFS=$'\t' read -r path sentence; do
        status=0
        unpack m="$path" >.out 2>.err || status=$?
        sed -i '/^unpack: note: /d' .err
        [ "$status" -eq 1 ] && one_sentence unpack || wrong "$path: not one sentence" || return 1
        # The file's own name, duplicate.safetensors, is no reason.
        sed "s|${path##*/}||" .err | grep -cF -- "$sentence" ||
            wrong "$path: the sentence lacks: $sentence" || return 1
    done < <(awk 'NR % 3 == 1' expected.tsv)
    [ ! -e /tmp/pwned ] && [ ! -e pwned ]
}

# numbers_of TENSOR: as %g prints them, out of the text in .text
numbers_of() {
    awk -v t="$1" '/^tensor/ { mine = $2 == t } mine && /^[-0-9]/ { for (i = 1; i <= NF; i++) printf "%g ", $i }' .text
}

@test "unusual but valid files are read" {
    cp -r "$BATS_FILE_TMPDIR/hostile/." .
    while IFS=$'\t' read -r path n tensor values; do
        unpack m="$path" 2>.err | tv-view --values >.text || wrong "$path" || return 1
        [ "$(grep -c '^tensor ' .text || true)" -eq "$n" ] || wrong "$path: not $n tensors" || return 1
        # shellcheck disable=SC2086
        [ -z "$values" ] || [ "$(numbers_of "$tensor")" = "$(printf '%g ' $values)" ] ||
            wrong "$path: other values than $values" || return 1
    done < <(awk 'NR % 3 == 1' good.tsv)
}

@test "a command in a pickle is not run" {
    /usr/bin/python3 - <<'END'
import io, os, pickle, zipfile


class Command:
    def __reduce__(self):
        return os.system, ("touch ran",)


with zipfile.ZipFile("evil.bin", "w") as z:
    z.writestr("archive/data.pkl", pickle.dumps({"w": Command()}, protocol=2))
    z.writestr("archive/version", "3\n")
END
    refused_with "system" unpack evil.bin
    mkdir evil
    cp evil.bin evil/pytorch_model.bin
    refused_with "system" unpack evil
    tar -cf evil.tar evil
    refused_last "system" unpack evil.tar
    [ ! -e ran ]
}

# refused_last TEXT COMMAND...: like refused_with, but after the note that an archive was unpacked
refused_last() {
    local status=0
    "${@:2}" >.out 2>.err || status=$?
    [ "$status" -eq 1 ] || wrong "${*:2}: exits with $status" || return 1
    grep -qF -- "$1" <(tail -n 1 .err) || wrong "${*:2}: the last sentence lacks $1"
}

@test "a missing shard, an index with the path ../x, a header of 2^60 bytes" {
    shards "$MODELS/math" sharded
    cp -r sharded missing
    rm missing/model-00002-of-00002.safetensors
    refused_with "model-00002-of-00002.safetensors is missing" unpack missing
    cp sharded/model-00001-of-00002.safetensors x
    sed -i 's|model-00001-of-00002.safetensors|../x|' sharded/model.safetensors.index.json
    refused_with "../x" unpack sharded
    printf '\0\0\0\0\0\0\0\x10{}' >large.safetensors
    refused_with "1152921504606846976 bytes" unpack large.safetensors
}

@test "a checkpoint that is truncated at any place is refused" {
    printf 'kind weights\nmodel m\ntensor w 2x3\nvector m\n1 2 3\n4 5 6\n' | from-text | pack whole.safetensors
    size=$(wc -c <whole.safetensors)
    for at in 0 1 7 8 9 $((size / 4)) $((size / 2)) $((size - 24)) $((size - 1)); do
        head -c "$at" whole.safetensors >cut.safetensors
        refused unpack cut.safetensors || wrong "cut at $at" || return 1
    done
}
