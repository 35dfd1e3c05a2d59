#!/usr/bin/python3
"""models.py FOLDER: a base and two experts with tensors of several blocks and dtypes, one without
elements, a scalar, layers, a tied head's worth of names, and small files beside them.

As a module: `save` writes a safetensors file out of names, dtypes, shapes and bytes, and
`save_torch` a file of torch.save out of nested dicts of arrays."""
import json
import os
import struct
import sys
import zipfile

import numpy as np


def save(path, tensors, metadata=None):
    """tensors: {name: (dtype, shape, bytes)}"""
    header, at = {"__metadata__": metadata} if metadata else {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in tensors.values():
            f.write(data)


def pickled(x, records):
    """The pickle of nested dicts, numbers and F32 arrays, whose bytes are appended to `records`."""
    if isinstance(x, dict):
        return b"}(" + b"".join(pickled(k, records) + pickled(v, records) for k, v in x.items()) + b"u"
    if isinstance(x, str):
        return b"X" + struct.pack("<I", len(x.encode())) + x.encode()
    if isinstance(x, int):
        return b"J" + struct.pack("<i", x)
    x = np.asarray(x, "<f4")
    key = str(len(records))
    records.append(x.tobytes())
    strides = [s // 4 for s in np.empty(x.shape, "<f4").strides]
    storage = b"(" + pickled("storage", records) + b"ctorch\nFloatStorage\n" + pickled(key, records) + \
        pickled("cpu", records) + pickled(x.size, records) + b"tQ"
    sizes = [b"(" + b"".join(pickled(int(n), records) for n in part) + b"t" for part in (x.shape, strides)]
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\0" + sizes[0] + sizes[1] + b"\x89}tR"


def save_torch(path, x):
    """A file as torch.save writes it."""
    records = []
    data = b"\x80\x02" + pickled(x, records) + b"."
    with zipfile.ZipFile(path, "w") as z:
        for name, record in [("data.pkl", data), *((f"data/{i}", r) for i, r in enumerate(records))]:
            z.writestr("archive/" + name, record)


def bf16(x):
    """Cut, not rounded: good enough to make weights of."""
    return (np.asarray(x, "<f4").view("<u4") >> 16).astype("<u2").tobytes()


def model(seed, step):
    base = np.random.default_rng(1)
    own = np.random.default_rng(seed)

    def draw(*shape):
        x = base.standard_normal(shape).astype("<f4")
        return (x + step * own.standard_normal(shape).astype("<f4")).astype("<f4")

    return {"model.embed_tokens.weight": ("BF16", [40, 8], bf16(draw(40, 8))),
            "model.layers.0.mlp.weight": ("F32", [200, 400], draw(200, 400).tobytes()),
            "model.layers.0.norm.weight": ("F16", [400], draw(400).astype("<f2").tobytes()),
            "model.layers.1.mlp.weight": ("BF16", [1, 70000], bf16(draw(1, 70000))),
            "model.layers.1.norm.weight": ("F64", [7], draw(7).astype("<f8").tobytes()),
            "none": ("F32", [0, 5], b""),
            "position_ids": ("I64", [4], np.arange(4, dtype="<i8").tobytes()),
            "scale": ("F32", [], draw().tobytes())}


if __name__ == "__main__":
    for name, seed, step in (("base", 2, 0), ("math", 3, 0.01), ("code", 4, 0.02)):
        folder = os.path.join(sys.argv[1], name)
        os.makedirs(folder)
        save(os.path.join(folder, "model.safetensors"), model(seed, step), {"format": "pt"})
        with open(os.path.join(folder, "config.json"), "w") as f:
            json.dump({"model_type": "none", "num_hidden_layers": 2, "torch_dtype": "float32"}, f)
        with open(os.path.join(folder, "tokenizer.json"), "w") as f:
            f.write(f'{{"of": "{name}"}}')
