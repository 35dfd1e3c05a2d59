#!/usr/bin/python3
"""Checks calibrate's gradients for models that see images against a golden case.

    vision.py start CASE                    its coefficients as a table for --start
    vision.py gradients CASE RESULT FILE    FILE, from --gradients, against RESULT of the golden.json:
                                            losses to 1e-5, gradients to 1e-4 of the largest
"""
import json
import os
import sys


def start(golden):
    print("tensor\tmodel\tchunk\tvalue")
    for tensor, rows in golden["alpha"]["scalar"].items():
        for model, row in zip(golden["experts"], rows):
            for chunk, value in enumerate(row):
                print(tensor, model, chunk, repr(value), sep="\t")


def check(golden, result, found):
    expected = golden[result]
    expected = expected.get("scalar", expected)
    spec, tasks = golden["spec"], {}
    losses = {(s["task"], s["sample"]): (s["hidden"], s["logit"]) for s in found["samples"]}
    for sample, loss in zip(golden["samples"], expected["samples"]):
        number = tasks[sample["task"]] = tasks.get(sample["task"], -1) + 1
        hidden, logit = losses.pop((sample["task"], number))
        mse = spec["hidden_weight"] * sum(loss["mse"].values()) / len(loss["mse"])
        assert abs(hidden - mse) <= 1e-5 * mse, (sample, hidden, mse)
        assert abs(logit - loss["ce"]) <= 1e-5 * loss["ce"], (sample, logit, loss["ce"])
    assert not losses
    gradients = found["grad_alignment"]
    assert set(gradients) == set(expected["grad"]), set(gradients) ^ set(expected["grad"])
    most = max(abs(x) for rows in expected["grad"].values() for row in rows for x in row)
    worst = max((abs(a - b), tensor) for tensor, rows in expected["grad"].items()
                for r, s in zip(gradients[tensor], rows) for a, b in zip(r, s))
    print(f"{result}: {worst[0] / most:.1e} ({worst[1]})")
    assert worst[0] <= 1e-4 * most, worst


def main():
    what, case, *rest = sys.argv[1:]
    golden = json.load(open(os.path.join(case, "golden.json")))
    if what == "start":
        start(golden)
    else:
        check(golden, rest[0], json.load(open(rest[1])))


main()
