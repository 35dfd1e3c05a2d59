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
          "größe": np.ones(2, "<f4"), "u": np.arange(5, dtype="u1"), "i": np.array([[-1, 2]], "i8"), "b": np.array([True, False])}
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
open("empty.npz", "w").close()
damaged("version.npz", record[:6] + b"\4" + record[7:])
damaged("length.npz", record[:8] + b"\xff\xff" + record[10:])
damaged("shape.npz", record.replace(b"(3,)", b"(-3)"))
damaged("huge.npz", record.replace(b"(3,), }" + b" " * 20, b"(9999999999,9999999999), }"[:27].ljust(27)))
damaged("key.npz", record.replace(b"descr", b"dexcr"))
damaged("eval.npz", record.replace(b"False", b"exit("))
END
    cp "$BATS_TEST_DIRNAME/fuzz/found/npz/name-not-utf8" name.npz
    while read -r file sentence; do
        run -1 --separate-stderr unpack "$file.npz"
        # shellcheck disable=SC2154
        [[ $stderr == "unpack: "*"$file.npz"*"$sentence"* ]] || { echo "$file: $stderr"; return 1; }
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
name the name of an array is not valid UTF-8
empty (0 bytes) is not a safetensors file, a GGUF file, an .npz file or a file of torch.save
END
}

@test "an npz is the weights of a folder or archive where no other file may be" {
    npz savez
    unpack a=a.npz | tv-view --values | grep -v fingerprints >expected
    mkdir model
    mv a.npz model/weights.npz
    echo '{"model_type": "m"}' >model/config.json
    echo array >model/mean.npy
    tar cf model.tar model
    (cd model && /usr/bin/python3 -m zipfile -c ../model.zip ./*)
    for from in model model.tar model.zip; do
        unpack a=$from 2>said | tv-view --values | grep -v fingerprints | diff - expected
    done
    unpack - <model.tar | pack --like model.tar out
    grep -q model_type out/config.json
    touch model/epoch.ckpt
    run -1 --separate-stderr unpack model
    [ "$stderr" = "unpack: model contains no weights under their usual names; give the path of one \
file, such as model/weights.npz" ]
    mv model/epoch.ckpt model/other.npz
    run -1 --separate-stderr unpack model
    [ "$stderr" = "unpack: model contains several .npz files (weights.npz, ...); give the path of one file" ]
}

@test "the data file of a checkpoint that is a folder is refused by its name" {
    printf 'kind weights\nmodel m\ntensor b 2\nvector m\n1 2\n' | from-text >m.tvs
    npz savez
    mkdir dcp
    mv a.npz dcp/__0_0.distcp
    head -c 100 /dev/zero | tr '\0' '\201' | tee x.data-00001-of-00002 y.ckpt.index >z.h5
    while read -r file what; do
        run -1 --separate-stderr unpack "$file"
        [[ $stderr == "unpack: $file is $what; "* ]]
    done <<'END'
dcp/__0_0.distcp part of a torch.distributed checkpoint
x.data-00001-of-00002 a TensorFlow model
y.ckpt.index a TensorFlow model
z.h5 an HDF5 file (Keras, TensorFlow)
END
    mkdir x.mlpackage
    run -1 --separate-stderr unpack x.mlpackage
    [[ $stderr == "unpack: x.mlpackage is a Core ML model; "* ]]
    mkfifo pipe
    pack m.safetensors <m.tvs
    cat m.safetensors >pipe &
    run -1 --separate-stderr unpack pipe
    [ "$stderr" = "unpack: pipe is not a tensor stream (it does not begin with TVS1); a model in \
another format must be a file, or standard input (-) of unpack or tv-extract" ]
    mv m.tvs m.part
    unpack m.part | tv-view >/dev/null
}

@test "a folder of a diffusers pipeline is a model; the pipeline is refused with the names of its folders" {
    printf 'kind weights\nmodel m\ntensor b 2\nvector m\n1 2\n' | from-text | pack m.safetensors
    mkdir -p pipe/unet pipe/vae pipe/scheduler pipe/text_encoder
    echo '{}' | tee pipe/model_index.json >pipe/scheduler/config.json
    echo '{"_class_name": "UNet2DModel", "layers_per_block": 2}' >pipe/unet/config.json
    for f in unet/diffusion_pytorch_model vae/diffusion_pytorch_model.fp16 text_encoder/model; do
        cp m.safetensors pipe/$f.safetensors
    done
    echo 'not read' >pipe/unet/diffusion_pytorch_model.fp16.safetensors
    unpack unet=pipe/unet vae=pipe/vae/ text=pipe/text_encoder | combine --normalize=all |
        pack --like pipe/unet out
    cmp out/config.json pipe/unet/config.json
    tv-diff out/diffusion_pytorch_model.safetensors m.safetensors
    run -1 --separate-stderr unpack pipe
    [ "$stderr" = "unpack: pipe is a diffusers pipeline of several models; give the folder of one: \
pipe/text_encoder, pipe/unet, pipe/vae" ]
    run -1 --separate-stderr unpack pipe/scheduler
    [[ $stderr == *"contains no weights"* ]]
}

@test "a merge of diffusers models has the names that diffusers looks for: whole, in shards, in parts, in an archive" {
    printf 'kind weights\nmodel m\ntensor a 2\nvector m\n1 2\ntensor b 2\nvector m\n3 4\n' | from-text |
        tee m.tvs | pack m.safetensors
    mkdir unet text
    mv m.safetensors unet/diffusion_pytorch_model.safetensors
    echo '{"_class_name": "UNet2DModel"}' >unet/config.json
    pack --like unet --shards 2 sharded <m.tvs
    [ "$(cd sharded && echo ./*.safetensors*)" = "./diffusion_pytorch_model-00001-of-00002.safetensors \
./diffusion_pytorch_model-00002-of-00002.safetensors ./diffusion_pytorch_model.safetensors.index.json" ]
    grep -q '"b": "diffusion_pytorch_model-00002-of-00002.safetensors"' sharded/*.index.json
    tv-diff sharded unet
    pack --like unet/diffusion_pytorch_model.safetensors again <m.tvs
    [ -e again/diffusion_pytorch_model.safetensors ]
    echo '{"architectures": ["CLIPTextModel"]}' >text/config.json
    cp unet/diffusion_pytorch_model.safetensors text/model.safetensors
    pack --like text out <m.tvs
    [ -e out/model.safetensors ]
    tv-extract unet text | pack --base unet - | tar t >list
    grep -qx diffusion_pytorch_model.safetensors list
    for i in 1 2; do tv run "unpack unet | pack --like unet --part $i/2 parts"; done
    [ -e .parts.parts/diffusion_pytorch_model-00001-of-00002.safetensors.json ]
    tv finish parts
    diff <(cd parts && ls) <(cd sharded && ls)
    tv run 'unpack unet | pack --like unet --resume --shards 2 --force parts'
    diff <(cd parts && ls) <(cd sharded && ls)
    tv verify parts unet
    [ ! -e .parts.parts ]
    mkdir other && cp -r unet other
    cat >config.yml <<END
merge_method: linear
models: [{model: unet/diffusion_pytorch_model.safetensors}, {model: other/unet}]
parameters: {weight: 0.5}
END
    tv merge --quiet config.yml merged
    tv-diff merged/diffusion_pytorch_model.safetensors unet
    cmp merged/config.json unet/config.json
}

@test "an ending of a format that cannot be written is no folder; endings may be in capitals" {
    printf 'kind weights\nmodel m\ntensor a 2\nvector m\n1 2\n' | from-text >m.tvs
    mkdir like
    pack like/model.safetensors <m.tvs
    echo '{}' >like/config.json
    for ending in npz NPZ ckpt tvs h5 onnx pt Bin zip 7z; do
        run -2 --separate-stderr pack --like like x.$ending <m.tvs
        [ "$stderr" = "pack: cannot write \"x.$ending\": .${ending,,} is not supported; OUT must be a \
folder, .safetensors, .gguf, .tar or .tar.zst" ]
        [ ! -e x.$ending ]
    done
    pack --like like x.ckpt/ <m.tvs # a slash says that it is a folder
    [ -d x.ckpt ]
    pack x.SAFETENSORS <m.tvs
    [ -f x.SAFETENSORS ]
    tv-diff x.SAFETENSORS like
    pack --like like x.Tar <m.tvs
    tar tf x.Tar >list
    grep -qx model.safetensors list
}

@test "#KEY is refused for every format without dicts" {
    printf 'kind weights\nmodel m\ntensor b 2\nvector m\n1 2\n' | from-text >s.tvs
    pack m.safetensors <s.tvs
    mkdir m
    cp m.safetensors m/model.safetensors
    tar -cf m.tar m
    cp "$(find "$GOLDEN" -name '*.gguf' | head -1)" m.gguf
    /usr/bin/python3 - <<'END'
import numpy as np, zipfile
np.savez("m.npz", b=np.ones(2, "f4"))
np.savez_compressed("c.npz", b=np.ones(2, "f4"))
with zipfile.ZipFile("m.zip", "w") as z:
    z.write("m/model.safetensors")
END
    gzip -k m.safetensors m.tar m.npz
    for model in m.safetensors m.tar m m.gguf m.npz c.npz m.zip m.safetensors.gz m.tar.gz m.npz.gz; do
        unpack $model >/dev/null
        run -1 --separate-stderr unpack "$model#model"
        [[ $stderr = *"which has no dicts in it; leave out #model" ]]
    done
    run -1 --separate-stderr unpack s.tvs#model
    [ "$stderr" = "unpack: cannot open s.tvs#model: No such file or directory" ]
}

@test "safetensors headers in every form of JSON are read as the same" {
    /usr/bin/python3 - <<'END'
import struct
forms = {
    "usual": '{"__metadata__":{"a":"\\u00e9 }"},"a.b":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},'
             '"c":{"dtype":"I8","shape":[],"data_offsets":[8,9]}}',
    "order": '{"c":{"data_offsets":[8,9],"shape":[],"dtype":"I8"},'
             '"a.b":{"shape":[1,2],"data_offsets":[0,8],"dtype":"F32"},"__metadata__":{}}',
    "spaces": ' {\n"a.b" :\t{ "dtype" : "F32" , "shape" : [ 1 , 2 ] , "data_offsets" : [ 0 , 8 ] } ,\r\n'
              '"c" : { "dtype":"I8","shape":[ ],"data_offsets":[8,9]} }  \n',
    "escapes": '{"a\\u002eb":{"dtype":"F\\u00332","shape":[1,2],"data_offsets":[0,8]},'
               '"c":{"dtype":"I8","shape":[],"data_offsets":[8,9]}}',
    "keys": '{"a.b":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8],"more":{"x":[1.5,null]}},'
            '"c":{"dtype":"I8","shape":[],"data_offsets":[8,9]}}',
}
for name, text in forms.items():
    header = text.encode()
    with open(name + ".safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(header)) + header + struct.pack("<2fb", 1, -2, 3))
END
    unpack m=usual.safetensors | tv-view --values | grep -v fingerprint >expected
    grep -c '^1 -2$' expected
    for form in order spaces escapes keys; do
        unpack m=$form.safetensors | tv-view --values | grep -v fingerprint | diff expected -
    done
}
