#!/usr/bin/python3
"""Checks what calibrate writes against a golden run, or against another run on the same samples.

    calibrate.py probe GOLDEN                 the probe coefficients as a table for --start
    calibrate.py gradients GOLDEN at_init FILE
    calibrate.py log GOLDEN FILE
    calibrate.py table GOLDEN FILE
    calibrate.py same A B                     the tables A.tsv and B.tsv, the logs A.log and B.log
    calibrate.py same-gradients FILE FILE

Tolerances are those of the golden data's README, between two runs those of calibrate's page.
"""
import json
import sys


def leaves(a, b):
    """Pairs of numbers at the same places of two trees; the second says which places."""
    if isinstance(b, dict):
        assert set(b) <= set(a), set(b) - set(a)
        for key in b:
            yield from leaves(a[key], b[key])
    elif isinstance(b, list):
        assert len(a) == len(b), (len(a), len(b))
        for x, y in zip(a, b):
            yield from leaves(x, y)
    else:
        yield a, b


def alpha_tolerance(update):
    return 2e-5 if update <= 2 else 3e-4 if update <= 4 else 3e-3


def near(what, a, b, absolute=0.0, relative=0.0):
    assert abs(a - b) <= absolute + relative * abs(b), (what, a, b)


def check_gradients(golden, section, found):
    expected = golden[section]
    assert len(found["samples"]) == len(expected["samples"])
    for f, x in zip(found["samples"], expected["samples"]):
        assert (f["task"], f["sample"]) == (x["task"], x["sample"]), (f, x)
        near("hidden", f["hidden"], x["hidden"], relative=1e-5)
        near("logit", f["logit"], x["logit"], relative=1e-5)
    for key in ("mean_hidden", "mean_logit", "regulariser"):
        near(key, found[key], expected[key], 1e-9, 1e-5)
    assert set(found["grad_alignment"]) == set(expected["grad_alignment"])
    for key in ("grad_alignment", "grad_regulariser"):
        for a, b in leaves(found[key], expected[key]):
            near(key, a, b, 2e-6, 1e-4)


def check_log(golden, lines):
    stage = max(line.get("stage", 0) for line in lines)
    updates = {line["update"]: line for line in lines if line.get("stage", 0) == stage}
    assert len(updates) == golden["updates_done"], len(updates)
    for x in golden["updates"]:
        f, tolerance = updates[x["update"]], alpha_tolerance(x["update"])
        for key in ("epoch", "samples"):
            assert f[key] == x[key], (key, f[key], x[key])
        near("lr", f["lr"], x["lr"], relative=1e-9)
        for key in ("grad_norm", "mean_hidden", "mean_logit", "mean_reg"):
            near(key, f[key], x[key], tolerance)
        for a, b in leaves(f["alpha"], x.get("alpha", {})):
            near("alpha after update %d" % x["update"], a, b, tolerance)


def check_table(golden, text):
    table = {}
    for line in text.splitlines()[1:]:
        tensor, model, chunk, value = line.split("\t")
        row = table.setdefault(tensor, {}).setdefault(model, [])
        assert int(chunk) == len(row), line
        row.append(float(value))
    tolerance = alpha_tolerance(golden["updates_done"])
    for tensor, expected in golden["final_alpha"].items():
        for model, values in zip(golden["experts"], expected):
            for a, b in leaves(table[tensor][model], values):
                near(tensor, a, b, tolerance)
    start = golden["setting"]["init"]
    for tensor, row in table.items():
        if tensor in golden["final_alpha"]:
            continue
        rest = start if tensor in golden["frozen"] else 0
        for values in row.values():
            assert len(values) == 1
            near(tensor, values[0], rest, 1e-12)


def check_same(a, b):
    logs = [[json.loads(line) for line in open(name + ".log")] for name in (a, b)]
    assert len(logs[0]) == len(logs[1]) > 0, list(map(len, logs))
    for f, x in zip(*logs):
        assert f.keys() == x.keys(), (f.keys(), x.keys())
        for key in f.keys() - {"alpha"}:
            near(key, f[key], x[key], 1e-6, 1e-4)
    tables = [[line.split("\t") for line in open(name + ".tsv")][1:] for name in (a, b)]
    assert len(tables[0]) == len(tables[1]) > 100, list(map(len, tables))
    tolerance = alpha_tolerance(sum("lr" in line for line in logs[0]))
    for f, x in zip(*tables):
        assert f[:3] == x[:3], (f, x)
        near(" ".join(f[:3]), float(f[3]), float(x[3]), tolerance)


def check_same_gradients(a, b):
    for f, x in leaves(a, b):
        if isinstance(x, str):
            assert f == x, (f, x)
        else:
            near("losses and gradients", f, x, 2e-6, 1e-4)


def main():
    what, path, *rest = sys.argv[1:]
    if what == "same":
        return check_same(path, *rest)
    golden = json.load(open(path))
    if what == "probe":
        print("tensor\tmodel\tchunk\tvalue")
        for tensor, rows in golden["probe_alpha"].items():
            for model, row in zip(golden["experts"], rows):
                for chunk, value in enumerate(row):
                    print(tensor, model, chunk, repr(value), sep="\t")
    elif what == "gradients":
        check_gradients(golden, rest[0], json.load(open(rest[1])))
    elif what == "log":
        check_log(golden, [json.loads(line) for line in open(rest[0])])
    elif what == "same-gradients":
        check_same_gradients(json.load(open(rest[0])), golden)
    else:
        check_table(golden, open(rest[0]).read())


main()
