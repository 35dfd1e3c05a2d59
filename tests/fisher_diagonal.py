#!/usr/bin/python3
"""fisher_diagonal.py MODEL SAMPLES: does forward --fisher give the mean of the squared slopes of the
log-likelihood, at the largest element of each tensor? The slopes are finite differences of logits that
forward computes. Allowed: 3 %."""
import json
import shutil
import struct
import subprocess
import sys

import numpy as np

import tvstream


def forward(model, *options):
    with subprocess.Popen(["forward", model, *options], stdout=subprocess.PIPE) as p:
        return {t["name"]: tvstream.whole(t, blocks)[0] for t, blocks in tvstream.Reader(p.stdout)}


def scored(sample):
    """The positions at which the response is predicted."""
    return slice(max(sample.get("prompt_len", 0), 1) - 1, len(sample["input_ids"]) - 1)


def log_likelihoods(logits, predictions):
    result = []
    for s, sample in enumerate(samples):
        z = logits[f"sample{s}.logits"][scored(sample)].astype(float)
        z -= z.max(1, keepdims=True)
        p = z - np.log(np.exp(z).sum(1, keepdims=True))
        result.append(sum(row[y] for row, y in zip(p, predictions[s])))
    return np.array(result)


model, path = sys.argv[1:]
samples = [json.loads(line) for line in open(path) if line.strip()]
logits = forward(model, "--samples", path, "--only", "logits")
predictions = [logits[f"sample{s}.logits"][scored(x)].argmax(1) for s, x in enumerate(samples)]
n_scored = sum(len(p) > 0 for p in predictions)
diagonal = forward(model, "--samples", path, "--fisher")

shutil.copytree(model, "shifted")
data = bytearray(open(f"{model}/model.safetensors", "rb").read())
size, = struct.unpack("<Q", data[:8])
header = {name: t for name, t in json.loads(data[8:8 + size]).items() if name != "__metadata__"}
assert set(header) == set(diagonal), set(header) ^ set(diagonal)
for name, t in header.items():
    assert list(diagonal[name].shape) == t["shape"] and t["dtype"] == "F32", name
    i = int(diagonal[name].argmax())
    at = 8 + size + t["data_offsets"][0] + 4 * i
    x, = struct.unpack_from("<f", data, at)
    h = 2.0 ** -8 * max(abs(x), 0.05)
    sides = []
    for shifted in np.float32(x - h), np.float32(x + h):
        struct.pack_into("<f", data, at, shifted)
        with open("shifted/model.safetensors", "wb") as f:
            f.write(data)
        sides.append((float(shifted), log_likelihoods(
            forward("shifted", "--samples", path, "--only", "logits"), predictions)))
    struct.pack_into("<f", data, at, x)
    slopes = (sides[1][1] - sides[0][1]) / (sides[1][0] - sides[0][0])
    expected, found = (slopes ** 2).sum() / n_scored, diagonal[name].flat[i]
    print(f"{name}: {found:.4g}, {expected:.4g}")
    assert abs(found - expected) <= 0.03 * expected, name
