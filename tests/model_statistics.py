#!/usr/bin/python3
"""model_statistics.py: for each model of the stream on standard input a file MODEL.gram, with a Gram matrix
for each matrix of up to 400 columns, and a file MODEL.diagonal, with a number for each element of each
floating tensor."""
import sys

import numpy as np

import models
import tvstream

header = tvstream.Reader(sys.stdin.buffer).header
used = {v["model"] for t in header["tensors"] for v in t["vectors"]}
for m in sorted(used):
    grams, diagonals = {}, {}
    rng = np.random.default_rng(m)
    for t in header["tensors"]:
        shape = t["shape"]
        if not tvstream.is_float(t):
            continue
        diagonals[t["name"]] = ("F32", shape, rng.random(shape, np.float32).tobytes())
        if len(shape) == 2 and shape[1] <= 400:
            x = rng.standard_normal((2 * shape[1], shape[1]), np.float32)
            grams[t["name"]] = ("F32", [shape[1]] * 2, (x.T @ x / len(x)).tobytes())
    name = header["models"][m]["name"]
    models.save(f"{name}.gram", grams)
    models.save(f"{name}.diagonal", diagonals)
