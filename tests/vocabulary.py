#!/usr/bin/python3
"""vocabulary.py GOLDEN OUT: what `tv merge` wrote to OUT/CASE, for each case of golden/tokenizers that is there,
against what is expected.

Compares tokens with their ids and flags, the weights' names, shapes and elements, config.json, and which files there
are. Prints what differs; exit status 1 then."""
import csv
import json
import pathlib
import sys

import numpy as np


def tensors(path):
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    found = {}
    for name, t in header.items():
        if name == "__metadata__":
            continue
        first, last = (end + offset for offset in t["data_offsets"])
        x = np.frombuffer(data[first:last], "<u2" if t["dtype"] == "BF16" else "<f4")
        x = (x.astype(np.uint32) << 16).view(np.float32) if t["dtype"] == "BF16" else x
        found[name] = t["dtype"], x.reshape(t["shape"]).astype(np.float64)
    return found


def vocabulary(path):
    tokenizer = json.loads((path / "tokenizer.json").read_text())
    model, added = tokenizer["model"]["vocab"], {a["content"]: a for a in tokenizer["added_tokens"]}
    ids = {t[0]: i for i, t in enumerate(model)} if isinstance(model, list) else dict(model)
    ids.update({text: a["id"] for text, a in added.items()})
    lines = ["id\ttoken\tadded\tspecial\tnormalized"]
    for text, i in sorted(ids.items(), key=lambda item: item[1]):
        a = added.get(text)
        flags = (a is not None, bool(a and a["special"]), bool(a and a["normalized"]))
        lines.append("\t".join([str(i), json.dumps(text, ensure_ascii=False), *(str(int(f)) for f in flags)]))
    return "\n".join(lines) + "\n"


def merges_are_valid(path):
    model = json.loads((path / "tokenizer.json").read_text())["model"]
    pairs = [m if isinstance(m, list) else m.split(" ") for m in model.get("merges", [])]
    return all({*pair, "".join(pair)} <= set(model["vocab"]) for pair in pairs)


def differences(case, out, rtol):
    expected = case / "expected"
    if vocabulary(out) != (expected / "vocab.tsv").read_text():
        yield "tokens"
    if not merges_are_valid(out):
        yield "merges"
    wanted, found = (tensors(folder / "model.safetensors") for folder in (expected, out))
    if set(wanted) != set(found):
        yield "names of tensors"
    for name in set(wanted) & set(found):
        (dtype, x), (own, y) = wanted[name], found[name]
        if dtype != own or x.shape != y.shape or np.abs(x - y).max() > rtol * np.abs(x).max():
            yield name
    info = json.loads((expected / "info.json").read_text())
    config = json.loads((out / "config.json").read_text())
    if any(config[key] != info[key] for key in ("vocab_size", "tie_word_embeddings")):
        yield "config.json"
    files = {p.name for p in out.iterdir()}
    if not {"config.json", "tokenizer.json", "tokenizer_config.json"} <= files or files & {
        "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "tokenizer.model",
    }:
        yield "files"


def main():
    golden, out = (pathlib.Path(p) for p in sys.argv[1:])
    failed = 0
    with open(golden / "checks.tsv", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if (golden / row["folder"] / "expected").exists()]
    for row in rows:
        case = golden / row["folder"]
        found = list(differences(case, out / case.name, float(row["rtol"])))
        if found:
            print(f"{case.name}: other {', '.join(found)}")
        failed += bool(found)
    return 1 if failed or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
