#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big; }

@test "as a table: models, recipe, tensors, totals" {
    lesson | from-text | trim --density 0.5 | weigh 0.25 | tv-view | tr -s ' ' | sed 's/ $//' >found
    diff -u - found <<END
kind task-vectors

model role fingerprint
base base -
math expert -
code expert -

recipe
 1. trim --density=0.5 (0.1.0)
 2. weigh 0.25 (0.1.0)

tensor shape layer math code
w 2x3 - F32 F32 math: weight 0.25 l1_before 6.75 code: weight 0.25 l1_before 10.5

1 tensor, 2 vectors, 6 elements per model, 48 bytes of payload
END
}

@test "prints the norms before and after a drop" {
    lesson | from-text | della-drop --density 0 --seed 1 | tv-view | tr -s ' ' | grep ^w >found
    echo 'w 2x3 - F32 F32 math: l1_before 6.75 l1 0 code: l1_before 10.5 l1 0' | diff -u - found
}

# harmless FILE: no control characters but newlines, no bidirectional marks
harmless() {
    /usr/bin/python3 - "$1" <<'END'
import re, sys
text = open(sys.argv[1], "rb").read().decode()
bad = re.findall("[\0-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]", text)
assert text and not bad, (sys.argv[1], bad)
END
}

@test "control characters in names never reach a terminal" {
    own_folder
    bad='\u001b[31m\u009b31m\u202e\u2066x\u200f'
    printf '%s\n' 'kind task-vectors' 'model base role=base' "model \"m$bad\"" \
        "tensor \"w$bad\" 2" "vector \"m$bad\"" '1 nan' | from-text --allow-nonfinite >bad.tvs
    tv-view bad.tvs >out && harmless out
    tv-view --values bad.tvs >values && harmless values
    from-text --allow-nonfinite values | cmp - bad.tvs
    tv-view --json bad.tvs >out && harmless out
    tv-view --allow-nonfinite <bad.tvs | cat >/dev/null
    stats bad.tvs >out && harmless out
    stats --json bad.tvs >out && harmless out
    check bad.tvs >out || harmless out
    tv-diff bad.tvs <(from-text <<<$'kind task-vectors\nmodel base role=base') >out 2>&1 || harmless out
    trim --density 0.5 <bad.tvs 2>out >/dev/null || harmless out
    weigh "none$(printf '\u009b')=1" <bad.tvs --allow-nonfinite 2>out >/dev/null || true
    harmless out
    printf 'merge_method: linear\nmodels: [{model: "a%s"}, {model: "b%s"}]\nparameters: {weight: 1}\n' \
        "$bad" "$bad" >c.yml
    tv from-yaml c.yml >out 2>&1 || true
    harmless out
    tv merge c.yml "out$(printf '\u202e')" 2>out || harmless out
}

@test "--json: one line per record, with the content of the stream" {
    lesson | from-text | weigh 0.25 | tee good.tvs | tv-view --json >found
    /usr/bin/python3 -c '
import json, msgpack
lines = [json.loads(line) for line in open("found")]
maps = [o for o in msgpack.Unpacker(open("good.tvs", "rb")) if isinstance(o, dict)]
assert lines == [m for m in maps if m["record"] != "trailer"], lines'
}

@test "--values: numbers in the form that from-text reads" {
    lesson >text
    from-text text | tv-view --values | diff -u text -
}

@test "--header reads no tensor, all other modes read to the end" {
    make_good
    tv-view --header <good.tvs >whole
    head -c 260 good.tvs | tv-view --header | diff -u whole -
    refused_with "is truncated" tv-view < <(head -c 260 good.tvs)
}

@test "reads checkpoints, saved streams and standard input" {
    tv-view "$BIG" >found
    tv-view <"$BIG" | diff -u found -
    tv-view - <"$BIG" | diff -u found -
    unpack "$MODELS"/math | tensors >weights
    tv-view --values "$MODELS"/math | sed -n '/^tensor/,$p' | sed /^hash/d | diff -u weights -
}

@test "control characters in names do not reach the terminal" {
    lesson | sed 's/^tensor w/tensor "w\\u001b[2J\\n"/' | from-text | tv-view >found
    not grep -qP '\x1b' found
    grep -qF 'w?[2J?' found
}

@test "same output from pipes and files, with any threads and memory" {
    always_alike tv-view --values
    always_alike tv-view --json
    always_alike tv-view
}

@test "long names fit into a terminal; elsewhere they are complete" {
    long_names | from-text >long.tvs
    tv-view long.tvs >all
    grep -c 'layers.0.self_attn.rotary_embedding.q_proj.weight' all
    for columns in 60 80 100; do
        on_terminal tv-view long.tvs
        [ "$(sed '/elements per model/d' terminal | LC_ALL=C.UTF-8 wc -L)" -le $columns ]
        [ "$(grep -c . terminal)" = "$(grep -c . all)" ]
        [ "$(grep -cE '^model.*…[^ ]*.weight +2x3 .* F32 +F32 +F32 *$' terminal)" = 2 ]
        grep -cE '^tensor +shape +layer +o[^ ]*…[^ ]*1 ' terminal
        grep -cE '^organ[^ ]*v0.3 +expert +-$' terminal
    done
    columns=300 on_terminal tv-view long.tvs
    diff all terminal
}

@test "rejects bad streams" {
    make_good
    refuses_bad_streams tv-view
    refuses_bad_streams tv-view --values
    refuses_bad_streams tv-view --json
    refused_with not-there tv-view not-there
}

@test "rejects bad outputs" {
    make_good
    refuses_bad_output tv-view
    refuses_bad_output tv-view --header
    refuses_bad_output tv-view --values
    refuses_bad_output tv-view --json
}

@test "usage" {
    usage_error tv-view a b
    usage_error tv-view --hex
    usage_error_with "--values cannot be combined" tv-view --values --json
}
