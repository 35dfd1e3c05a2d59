#!/usr/bin/python3
"""activations.py CASE FORWARD...: does forward give what the golden case holds, for its config.json
in the layouts of transformers 4 and 5? FORWARD... are the program and options for it.

CASE has config.json, config.v5.json, model.safetensors, golden.json (sequences) and golden.safetensors
(seqI.hidden.l.f64, seqI.logits.f64); or, of models that see images, a folder for each layout of config
and names, samples.jsonl, tensors.safetensors, and the same results as sI.hidden.l.f64 and so on.
Allowed: 2e-5 of the largest value of a tensor."""
import json
import os
import struct
import subprocess
import sys
import tempfile

import numpy as np

import tvstream


def read_safetensors(path):
    with open(path, "rb") as f:
        size, = struct.unpack("<Q", f.read(8))
        header, data = json.loads(f.read(size)), f.read()
    types = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "U8": "u1", "BF16": "<u2"}

    def array(t):
        x = np.frombuffer(data[slice(*t["data_offsets"])], types[t["dtype"]])
        return ((x.astype("<u4") << 16).view("<f4") if t["dtype"] == "BF16" else x).reshape(t["shape"])

    return {name: array(t) for name, t in header.items() if name != "__metadata__"}


def worst(found, case, golden, prefix):
    """The largest difference over the largest value, and where."""
    most = (0, "")
    for name, x in found.items():
        sample, kind = name.split(".", 1)
        expected = golden[f"{prefix}{sample[6:]}.{kind}.f64"]
        assert x.shape == expected.shape, name
        most = max(most, (abs(x - expected).max() / abs(expected).max(), name))
    samples = case.get("sequences", case.get("samples"))
    assert len(found) == len(samples) * (case["num_hidden_layers"] + 2), f"{len(found)} tensors"
    return most


def check(case, golden, prefix, layout, *forward):
    with subprocess.Popen(forward, stdout=subprocess.PIPE) as p:
        found = {t["name"]: tvstream.whole(t, blocks)[0] for t, blocks in tvstream.Reader(p.stdout)}
    error, name = worst(found, case, golden, prefix)
    print(f"{case['case']} {layout}: {error:.1e} ({name})")
    if p.returncode or error > 2e-5:
        sys.exit(f"{case['case']} {layout}: {name} is off by {error}")


def main(folder, *forward):
    case = json.load(open(os.path.join(folder, "golden.json")))
    golden = read_safetensors(os.path.join(folder, "golden.safetensors"))
    if os.path.exists(os.path.join(folder, "samples.jsonl")):
        for layout in case["layouts"]:
            check(case, golden, "s", layout, *forward, os.path.join(folder, layout),
                  "--samples", folder)
        return
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as samples:
        for s in case["sequences"]:
            print(json.dumps(s), file=samples)
        samples.flush()
        for config in "config.json", "config.v5.json":
            check(case, golden, "seq", config, *forward, folder, "--samples", samples.name,
                  "--config", os.path.join(folder, config))


if __name__ == "__main__":
    main(*sys.argv[1:])
