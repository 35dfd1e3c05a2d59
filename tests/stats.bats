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

# tensors: three tensors of two experts, of which b has the most opposite signs, and c the largest numbers
three_tensors() {
    printf 'kind task-vectors\nmodel base role=base\nmodel math role=expert\nmodel code role=expert\n'
    printf 'tensor %s 3\nvector math\n%s\nvector code\n%s\n' \
        model.layers.0.self_attn.q_proj.weight '1 2 0' '1 2 3' b '1 2 -1' '-1 -2 -1' c '4 5 6' '4 5 -7'
}

@test "sorted by a number, the largest first; the total is over all tensors" {
    three_tensors | from-text >three.tvs
    # order COMMAND...: the tensors of its rows
    order() { "$@" three.tvs | sed '1d;/^all/d' | awk 'NF && !seen[$1]++ { printf "%s ", $1 }'; }
    first=model.layers.0.self_attn.q_proj.weight
    [ "$(order stats)" = "$first b c " ]
    [ "$(order stats --by conflict)" = "b c $first " ]
    [ "$(order stats --by l2)" = "c $first b " ]
    [ "$(order stats --by min)" = "c b $first " ]
    [ "$(order stats --by mean)" = "c $first b " ]
    [ "$(order stats --by zero)" = "$first b c " ]
    [ "$(order stats --by elements)" = "$first b c " ]
    [ "$(order stats --by cosine --top 1)" = "$first " ]
    [ "$(order stats --by conflict --top 2)" = "b c " ]
    [ "$(order stats --by conflict --top 9)" = "b c $first " ]
    stats three.tvs | tail -n 2 >all
    stats --by conflict --top 1 three.tvs | tail -n 2 | diff all -
    stats --json three.tvs | sort >json
    stats --json --by conflict three.tvs >sorted
    sort sorted | diff json -
    head -n 1 sorted | grep -c '^{"tensor": "b"'
    stats --json --by conflict --top 1 three.tvs | diff <(sed -n '1p;$p' sorted) -
    pick math <three.tvs | stats --by conflict | sed '1d;/^all/d' | awk 'NF { print $1 }' |
        diff <(printf '%s\n' $first b c) -
}

@test "the columns that are named, in their order" {
    titles() { lesson | from-text | stats "$@" | head -n 1 | tr -s ' '; }
    [ "$(titles --columns l2,zero)" = "tensor model L2 zero" ]
    [ "$(titles --columns conflict,max_abs,cosine)" = "tensor model opp:math max|x| cos:math" ]
    [ "$(titles --columns elements,zero,l1,l2,mean,max_abs,min,max,cosine,conflict)" = "$(titles)" ]
    lesson | from-text | stats --columns conflict,elements | tail -n 1 | tr -s ' ' >found
    [ "$(cat found)" = "all tensors code 0.75 6" ]
}

@test "numbers fit into their columns" {
    printf '%s\n' 'kind task-vectors' 'model base role=base' 'model math' 'tensor w 111' 'vector math' \
        "0$(printf ' 1%.0s' {1..110})" | from-text >few.tvs
    stats few.tvs >table
    [ "$(sed '/^$/d' table | awk '{ print length }' | sort -u | wc -l)" = 1 ]
    [ "$(awk '/^w/ { print $4 }' table)" = 0.00901 ]
}

@test "a table fits into the width, and says what it leaves out" {
    three_tensors | from-text >three.tvs
    stats three.tvs >all
    stats --width 0 three.tvs | cmp - all
    stats --width 500 three.tvs | cmp - all
    for width in 40 41 60 80 81 100 120; do
        stats --width $width three.tvs >table
        [ "$(sed '$d' table | LC_ALL=C.UTF-8 wc -L)" -le $width ]
        tail -n 1 table | grep -c "^left out to fit $width columns (see --columns and --width): [a-z0-9_, ]*$"
        [ "$(grep -c . table)" = $(($(grep -c . all) + 1)) ]
        stats --width $width --by max three.tvs | head -n 1 | grep -cE '^tensor +model +max( |$)'
    done
    stats --width 80 three.tvs >table
    [ "$(head -n 1 table | tr -s ' ')" = "tensor model zero L2 cos:math opp:math" ]
    grep -c '^model….*weight  math ' table
    stats --width 20 three.tvs | diff - <(stats --width 40 three.tvs)
    stats --width 80 --columns elements,l2 three.tvs | head -n 1 | grep -cE 'elements +L2$'
    columns=80 on_terminal stats three.tvs
    diff terminal table
    columns=300 on_terminal stats three.tvs
    diff terminal all
    columns=80 on_terminal stats --width 0 three.tvs
    diff terminal all
}

@test "a table of many models with long names fits" {
    { printf 'kind task-vectors\n' && printf 'model organization-name/Model-7B-v0.%d role=expert\n' {1..9}
      printf 'tensor w 2\n' && printf 'vector organization-name/Model-7B-v0.%d\n1 -1\n' {1..9}; } | from-text >many.tvs
    stats --width 100 many.tvs >table
    [ "$(sed '$d' table | LC_ALL=C.UTF-8 wc -L)" -le 100 ]
    tail -n 1 table | grep -cE ': (cosine, conflict|conflict, cosine), max_abs, l1, mean, min, max, elements$'
    stats --width 100 --columns conflict many.tvs | head -n 1 | grep -c 'opp:orga…'
}

@test "counts non-finite numbers separately" {
    lesson | sed 's/^0 0.25 3$/0 nan 3/' | from-text --allow-nonfinite | stats | grep -c '1 not finite'
}

@test "same numbers from pipes and files, with any threads and memory" {
    always_alike stats
    always_alike stats --by conflict --top 2
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
    usage_error stats --by size
    usage_error stats --top 3
    usage_error stats --by l2 --top 0
    usage_error stats --by l2 --summary
    usage_error stats --columns l2,size
    usage_error stats --columns l2,l2
    usage_error stats --columns l2,
    usage_error stats --columns ''
    usage_error stats --json --columns l2
    usage_error stats --json --width 80
    usage_error stats --width -1
    usage_error stats --csv
}
