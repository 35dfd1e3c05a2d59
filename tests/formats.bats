#!/usr/bin/env bats
load common
load lesson

# npz WRITER: a.npz of these arrays
npz() {
    /usr/bin/python3 - "$1" <<'END'
import numpy as np, sys
r = np.random.default_rng(1)
arrays = {"w": r.standard_normal((3, 5)).astype("<f4"),
          "f/order": np.asfortranarray(r.standard_normal((4, 3, 2)).astype("<f2")),
          "d": r.standard_normal(7), "empty": np.zeros((0, 3), "<f4"), "s": np.float32(2.5),
          "u": np.arange(5, dtype="u1"), "i": np.array([[-1, 2]], "i8"), "b": np.array([True, False])}
getattr(np, sys.argv[1])("a.npz", **arrays)
END
}

@test "arrays of numpy.savez are named tensors, compressed or not, from a file or a pipe" {
    npz savez
    unpack a.npz | pack m.safetensors
    unpack a=a.npz | tv-view --values >stored
    unpack a=- <a.npz 2>said | tv-view --values | sed '/^model/d; /^ *fingerprints/d' | diff - <(sed '/^model/d; /^ *fingerprints/d' stored)
    grep -c 'copied standard input' said
    npz savez_compressed
    unpack a=a.npz 2>said | tv-view --values | sed '/^model/d; /^hash/d; /^ *fingerprints/d' |
        diff - <(sed '/^model/d; /^hash/d; /^ *fingerprints/d' stored)
    grep -c 'decompressed a.npz to a temporary file' said
    /usr/bin/python3 - <<'END'
import json, numpy as np, struct
b = open("m.safetensors", "rb").read()
n = struct.unpack("<Q", b[:8])[0]
h = json.loads(b[8:8 + n])
dtypes = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "U8": "u1", "I64": "<i8", "BOOL": "?"}
a = np.load("a.npz")
assert set(h) - {"__metadata__"} == set(a.files)
for name in a.files:
    first, end = h[name]["data_offsets"]
    x = np.frombuffer(b[8 + n + first:8 + n + end], dtypes[h[name]["dtype"]])
    assert tuple(h[name]["shape"]) == a[name].shape and (x == a[name].ravel()).all(), name
END
}

@test "arrays that no tensor can be, and damaged files, are refused by name" {
    /usr/bin/python3 - <<'END'
import numpy as np, zipfile
x = np.zeros(3, "<f4")
np.savez("big.npz", w=x.astype(">f4"))
np.savez("object.npz", w=np.array([1, "a"], dtype=object))
np.savez("fields.npz", w=np.zeros(3, [("a", "<f4")]))
np.savez("text.npz", w=np.array(["a"]))
np.savez("bf16.npz", w=np.zeros(3, "V2"))
np.savez("ok.npz", w=x)
record = zipfile.ZipFile("ok.npz").read("w.npy")
def damaged(name, record):
    with zipfile.ZipFile(name, "w") as z:
        z.writestr("w.npy", record)
damaged("short.npz", record[:-1])
damaged("long.npz", record + b"x")
damaged("magic.npz", b"x" + record[1:])
damaged("version.npz", record[:6] + b"\4" + record[7:])
damaged("length.npz", record[:8] + b"\xff\xff" + record[10:])
damaged("shape.npz", record.replace(b"(3,)", b"(-3)"))
damaged("huge.npz", record.replace(b"(3,), }" + b" " * 20, b"(9999999999,9999999999), }"[:27].ljust(27)))
damaged("key.npz", record.replace(b"descr", b"dexcr"))
damaged("eval.npz", record.replace(b"False", b"exit("))
END
    while read -r file sentence; do
        run -1 --separate-stderr unpack "$file.npz"
        # shellcheck disable=SC2154
        [[ $stderr == "unpack: $file.npz: "*"$sentence"* ]] || { echo "$file: $stderr"; return 1; }
    done <<'END'
big array w.npy has the big-endian dtype >f4
object array w.npy contains Python objects
fields array w.npy has a structured dtype
text array w.npy has dtype <U1, which is not supported
bf16 array w.npy has dtype |V2, as numpy stores bfloat16
short array w.npy needs 12 bytes, but its record has 11
long array w.npy needs 12 bytes, but its record has 13
magic w.npy is not a .npy file of version 1 to 3
version w.npy is not a .npy file of version 1 to 3
length w.npy is not a .npy file of version 1 to 3
shape w.npy has a damaged header
huge w.npy
key w.npy has a damaged header
eval w.npy has a damaged header
END
}

@test "a folder of a diffusers pipeline is a model; the pipeline is refused with the names of its folders" {
    printf 'kind weights\nmodel m\ntensor b 2\nvector m\n1 2\n' | from-text | pack m.safetensors
    mkdir -p pipe/unet pipe/vae pipe/scheduler pipe/text_encoder
    echo '{}' | tee pipe/model_index.json pipe/unet/config.json >pipe/scheduler/config.json
    for f in unet/diffusion_pytorch_model vae/diffusion_pytorch_model.fp16 text_encoder/model; do
        cp m.safetensors pipe/$f.safetensors
    done
    echo 'not read' >pipe/unet/diffusion_pytorch_model.fp16.safetensors
    unpack unet=pipe/unet vae=pipe/vae/ text=pipe/text_encoder | combine --normalize=all |
        pack --like pipe/unet out
    [ -e out/config.json ]
    tv-diff out/model.safetensors m.safetensors
    run -1 --separate-stderr unpack pipe
    [ "$stderr" = "unpack: pipe is a diffusers pipeline of several models; give the folder of one: \
pipe/text_encoder, pipe/unet, pipe/vae" ]
    run -1 --separate-stderr unpack pipe/scheduler
    [[ $stderr == *"contains no weights"* ]]
}
