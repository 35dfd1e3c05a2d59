#!/usr/bin/python3
"""digests.py: prints the stream on standard input like tv-view --values, with a digest in place of the numbers of each
vector; without the fingerprints and hashes of models, and without the vectors that a join has applied. (The stream
must have the key `block`, which programs in C write.)"""
import hashlib
import math
import sys

import msgpack

objects = iter(msgpack.Unpacker(sys.stdin.buffer, max_buffer_size=0))


def record():
    next(objects)
    return next(objects)


def words(fields, *keys):
    """Those that are present, in this order, and what else there is."""
    rest = sorted(fields.keys() - {*keys, "record", "fingerprint", "joined", "payload"})
    return "".join(f" {key}={shown(fields[key])}" for key in [*keys, *rest] if key in fields)


def shown(x):
    return int(x) if isinstance(x, float) and x.is_integer() else x


def without_fingerprints(x):
    if isinstance(x, list):
        return list(map(without_fingerprints, x))
    if isinstance(x, dict):
        return {key: without_fingerprints(value) for key, value in x.items() if key != "fingerprints"}
    return x


def vector_words(name, v):
    v = {**v, **v.get("payload", {})}
    source = v.pop("source", name)
    origin = " no-source" if source is None else "" if source == name else f" source={source}"
    dtype = v.pop("dtype")
    return f"vector {models[v.pop('model')]}" + ("" if dtype == "F32" else f" {dtype}") + origin + \
        words(v, "stored", "weight", "l1_before", "l1", "keep")


assert next(objects) == "TVS1"
header = record()
models = [model.pop("name") for model in header["models"]]
for key in sorted(header.keys() - {"record", "models", "history", "tensors"}):
    print(key, header[key])
for name, model in zip(models, header["models"]):
    print(f"model {name}{words(model, 'role')}")
for step in header.get("history", []):
    print("step", without_fingerprints(step))
while (tensor := record())["record"] == "tensor":
    name, shape, size, vectors = (tensor.pop(key) for key in ("name", "shape", "block", "vectors"))
    digests = [hashlib.sha256() for _ in vectors]
    for _ in range(-(-math.prod(shape) // size) if size else 0):
        for digest in digests:
            digest.update(next(objects))
    print(f"tensor {name} {'x'.join(map(str, shape)) or 'scalar'}{words(tensor, 'layer', 'base')}")
    for v, digest in zip(vectors, digests):
        print(vector_words(name, v))
        print(digest.hexdigest())
    record()
assert tensor["record"] == "end"
