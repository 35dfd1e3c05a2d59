#!/usr/bin/python3
"""models.py FOLDER: a base and two experts with tensors of several blocks and dtypes, one without
elements, a scalar, layers, a tied head's worth of names, and small files beside them.

As a module: `save` writes a safetensors file out of names, dtypes, shapes and bytes."""
import json
import os
import struct
import sys

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
