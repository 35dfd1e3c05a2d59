#!/usr/bin/python3
"""The rows of quantised/checks.tsv in the golden data whose input is a GGUF file, by what they check:

    tests/gguf.py GOLDEN source|config|write|quantise|refuse|accept

Reads and writes files in the working folder, with tv on PATH. Prints a line for each row that does
not hold; exit status 1 if there are any, or no row. Rows are left out where their files are only in
the full golden data.
"""
import csv
import os
import subprocess
import sys

sys.dont_write_bytecode = True
GOLDEN = os.path.join(sys.argv[1], "quantised")
sys.path[:0] = [GOLDEN, os.path.join(GOLDEN, "scripts")]
import compare
import ggufraw
import models

LIKE = os.path.join(GOLDEN, "gguf/models/write-base/model.gguf")


class Failed(Exception):
    pass


def run(pipeline):
    return subprocess.run(["tv", "run", pipeline], capture_output=True, text=True, check=False)


def convert(pipeline):
    result = run(pipeline)
    if result.returncode:
        raise Failed(result.stderr)


def source(model, expected):
    convert(f"unpack {model} | pack --force out.safetensors")
    return compare.bits(expected, "out.safetensors")


def config(model, expected):
    convert(f"unpack {model} | pack --force --like {model} out")
    return compare.js(expected, "out/config.json")


def write(model, expected):
    kind = os.path.basename(expected).removesuffix(".gguf").lower()
    convert(f"unpack {model} | pack --force --like {LIKE} --dtype {kind} out.gguf")
    return compare.gg(expected, "out.gguf")


def encode(x, kind):
    """The bytes of the matrix x in a GGUF file that is like one of an unknown architecture."""
    info = ggufraw.TYPES[ggufraw.IDS[kind]]
    like = ("x", list(x.shape[::-1]), ggufraw.IDS[kind], bytes(x.size // info[1] * info[2]))
    with open("like.gguf", "wb") as f:
        f.write(ggufraw.build([("general.architecture", 8, "none")], [like]))
    models.save("x.safetensors", {"x": ("F32", list(x.shape), x.tobytes())})
    convert(f"unpack x.safetensors | pack --force --like like.gguf --dtype {kind.lower()} out.gguf")
    with open("out.gguf", "rb") as f:
        return ggufraw.read(f.read())[1][0][3]


def quantise(model, expected):
    x, want = compare.load(model)["x"][1], compare.load(expected)
    x = x.reshape(-1, x.shape[-1])
    bad = []
    for name, kind in {"blocks": "Q8_0", "f16": "F16", "bf16": "BF16"}.items():
        if name in want:
            value = want[name][1]  # BF16 was widened
            value = value.view("<u2").reshape(-1)[1::2] if name == "bf16" else value
            bad += [name] if encode(x, kind) != value.tobytes() else []
    return bad


def refuse(model, expected):
    result = run(f"unpack {model} | pack out-refused.safetensors")
    bad = [] if result.returncode == 1 else [f"exit status {result.returncode}"]
    bad += [] if result.stderr.count("\n") == 1 else [f"not one sentence: {result.stderr}"]
    return bad + [name for name in os.listdir() if "out-refused" in name]


def accept(model, expected):
    convert(f"unpack {model} | pack --force out.safetensors")
    return []


def main():
    failures = rows = 0
    with open(os.path.join(GOLDEN, "checks.tsv"), encoding="utf-8") as f:
        for row in csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE):
            files = [os.path.join(GOLDEN, row[key]) for key in ("input", "expected")]
            if row["what"] != sys.argv[2] or not row["input"].startswith("gguf/"):
                continue
            if row["expected"] != "-" and not all(map(os.path.exists, files)):
                continue
            rows += 1
            try:
                bad = globals()[row["what"]](*files)
            except Failed as failure:
                bad = [str(failure)]
            if bad:
                failures += 1
                print(row["input"], row["note"], *bad, sep=": ")
    return failures > 0 or rows == 0


if __name__ == "__main__":
    sys.exit(main())
