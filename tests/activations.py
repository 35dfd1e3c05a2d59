#!/usr/bin/python3
"""activations.py CASE FORWARD...: does forward give what the golden case holds, for its config.json
in the layouts of transformers 4 and 5? FORWARD... are the program and options for it.

CASE has config.json, config.v5.json, model.safetensors, golden.json (sequences) and golden.safetensors
(seqI.hidden.l.f64, seqI.logits.f64). Allowed: 2e-5 of the largest value of a tensor."""
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
    types = {"F32": "<f4", "F64": "<f8", "I64": "<i8"}
    return {name: np.frombuffer(data[slice(*t["data_offsets"])], types[t["dtype"]]).reshape(t["shape"])
            for name, t in header.items() if name != "__metadata__"}


def worst(found, case, golden):
    """The largest difference over the largest value, and where."""
    count, most = 0, (0, "")
    for name, x in found.items():
        sample, kind = name.split(".", 1)
        expected = golden[f"seq{sample[6:]}.{kind}.f64"]
        assert x.shape == expected.shape, name
        most = max(most, (abs(x - expected).max() / abs(expected).max(), name))
        count += 1
    sequences, layers = len(case["sequences"]), case["num_hidden_layers"]
    assert count == sequences * (layers + 2), f"{count} tensors"
    return most


def main(folder, *forward):
    case = json.load(open(os.path.join(folder, "golden.json")))
    golden = read_safetensors(os.path.join(folder, "golden.safetensors"))
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as samples:
        for s in case["sequences"]:
            print(json.dumps(s), file=samples)
        samples.flush()
        for config in "config.json", "config.v5.json":
            with subprocess.Popen([*forward, folder, "--samples", samples.name, "--config",
                                   os.path.join(folder, config)], stdout=subprocess.PIPE) as p:
                found = {t["name"]: tvstream.whole(t, blocks)[0]
                         for t, blocks in tvstream.Reader(p.stdout)}
            error, name = worst(found, case, golden)
            print(f"{case['case']} {config}: {error:.1e} ({name})")
            if p.returncode or error > 2e-5:
                sys.exit(f"{folder}: {name} is off by {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
