#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big; }

# math: 1 -2 0.5 0 0.25 3, code: -1 4 0.5 2 0 -3. Norms: 6.75, sqrt(14.3125); 10.5, sqrt(30.25).
# Dot product -17.75. Both are nonzero at 4 elements, 3 of them with opposite signs.
@test "norms, zeros, cosine and sign conflicts" {
    lesson | from-text | stats --json | head -1 >found
    /usr/bin/python3 - <<'END'
import json, math
found = json.load(open("found"))
math_, code = found["vectors"]
pair, = found["pairs"]
near = lambda a, b: abs(a - b) < 1e-12
assert found["tensor"] == "w" and (math_["model"], code["model"]) == ("math", "code")
assert near(math_["zero"], 1 / 6) and near(code["zero"], 1 / 6), found
assert near(math_["l1"], 6.75) and near(code["l1"], 10.5), found
assert near(math_["l2"], math.sqrt(14.3125)) and near(code["l2"], 5.5), found
assert near(math_["mean"], 2.75 / 6) and near(code["mean"], 2.5 / 6), found
assert (math_["min"], math_["max"], math_["max_abs"]) == (-2, 3, 3), found
assert (code["min"], code["max"], code["max_abs"]) == (-3, 4, 4), found
assert near(pair["cosine"], -17.75 / (5.5 * math.sqrt(14.3125))), pair
assert near(pair["opposite"], 3 / 4), pair
END
}

@test "as a table" {
    lesson | from-text | stats | tr -s ' ' >found
    diff -u - found <<END
tensor model elements zero L1 L2 mean max|x| min max cos:math opp:math
w math 6 0.1667 6.75 3.783 0.4583 3 -2 3 - -
w code 6 0.1667 10.5 5.5 0.4167 4 -3 4 -0.8531 0.75

all tensors math 6 0.1667 6.75 3.783 0.4583 3 -2 3 - -
all tensors code 6 0.1667 10.5 5.5 0.4167 4 -3 4 -0.8531 0.75
END
    lesson | from-text | stats --summary | tr -s ' ' | tail -2 | diff -u <(tail -2 found) -
}

@test "the total equals numpy's over all tensors" {
    stats --json --summary <"$BIG" >found
    PYTHONPATH=$ROOT/share/etl PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 - "$BIG" <<'END'
import json, sys
import numpy as np, tvstream
found = json.load(open("found"))
vectors = [[], []]
for tensor, blocks in tvstream.Reader(open(sys.argv[1], "rb")):
    for k, x in enumerate(tvstream.whole(tensor, blocks)):
        vectors[k].append(x.ravel().astype("f8"))
a, b = (np.concatenate(v) for v in vectors)
for x, v in ((a, found["vectors"][0]), (b, found["vectors"][1])):
    assert v["elements"] == x.size, v
    assert np.isclose(v["l1"], abs(x).sum(), 1e-12) and np.isclose(v["l2"], np.sqrt((x * x).sum()), 1e-12)
    assert np.isclose(v["zero"], (x == 0).mean()) and v["max_abs"] == abs(x).max()
pair, = found["pairs"]
assert np.isclose(pair["cosine"], (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()), 1e-9)
assert np.isclose(pair["opposite"], (a * b < 0).sum() / ((a != 0) & (b != 0)).sum(), 1e-12)
END
}

@test "counts non-finite numbers separately" {
    lesson | sed 's/^0 0.25 3$/0 nan 3/' | from-text --allow-nonfinite | stats | grep -c '1 not finite'
}

@test "same numbers from pipes and files, with any threads and memory" {
    always_alike stats
    always_alike stats --json
}

@test "rejects bad streams" {
    make_good
    refuses_bad_streams stats
    refuses_bad_streams stats --json
    refused_with not-there stats not-there
}

@test "rejects bad outputs" {
    make_good
    refuses_bad_output stats
    refuses_bad_output stats --json
}

@test "usage" {
    usage_error stats a b
    usage_error stats --csv
}
