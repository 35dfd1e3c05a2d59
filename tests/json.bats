#!/usr/bin/env bats
# --json prints the lines that tvtools-json(7) documents, and no others.
load common
load lesson
load refusals

setup() {
    own_folder
    make_good
    lesson | sed 's/^0 0.25 3$/0 nan inf/' | from-text --allow-nonfinite >nan.tvs
}

# prints PROGRAM STATUS COMMAND...: adds its output to the file PROGRAM
prints() {
    local status=0
    "${@:3}" >>"$1" 2>.err || status=$?
    [ "$status" = "$2" ] && [ ! -s .err ] || wrong "${*:3}: exits with $status: $(<.err)"
}

# A merge that has been changed, and models whose tokenizers differ.
make_merged() {
    cp -r "$A"/{base,math} .
    echo '{"model": {"vocab": {"a": 0, "b": 1}}}' >base/tokenizer.json
    echo '{"model": {"vocab": {"b": 0, "a": 1}}}' >math/tokenizer.json
    tv-extract base math | combine | rescale 0.5 | pack --base base merged.safetensors
    printf '\x01' | dd of=merged.safetensors bs=1 conv=notrunc seek=$(($(stat -c %s merged.safetensors) - 1)) status=none
    printf '%s\n' 'merge_method: task_arithmetic' 'base_model: base' 'models: [{model: math}]' 'parameters: {weight: 1}' >config.yml
}

@test "the keys of every line are those of the page, in their order" {
    S=$GOLDEN/expert-merging/t1
    head -2 "$S/eval/rev.jsonl" >rev.jsonl
    make_merged
    weigh 2 <good.tvs >weighed.tvs
    prints check 1 check --json nan.tvs
    prints stats 0 stats --json good.tvs
    prints tv-diff 1 tv-diff --json good.tvs weighed.tvs
    prints score 0 score --json --samples rev.jsonl "$S/models-bf16/base"
    prints "tv merge --check" 0 tv merge --check --json config.yml out
    prints "tv verify" 1 tv verify --json merged.safetensors base math
    /usr/bin/python3 - "$ROOT/share/man/tvtools-json.7" <<'END'
import json, re, sys
page = open(sys.argv[1]).read()
lines = re.search(r"^\.Sh LINES$(.*?)^\.Sh ", page, re.M | re.S)[1]
defined = re.search(r"^\.Sh KEYS$(.*?)^\.Sh ", page, re.M | re.S)[1]

def keys(text):
    return re.sub(r"^\.\w+( Li)?|,", "", text, flags=re.M).split()

documented = {}
for section in lines.split("\n.Ss ")[1:]:
    program, _, rest = section.partition("\n")
    documented[program] = [tuple(keys(item.partition("\n")[2].replace(".El", "")))
                           for item in rest.split("\n.It ")[1:]]
del documented["tv-view"]

def lists(value):
    return [item for v in value.values() if isinstance(v, list) for item in v if isinstance(item, dict)]

for program, expected in documented.items():
    rows = [json.loads(line) for line in open(program)]
    rows += [item for row in rows for item in lists(row)]
    printed = {tuple(row) for row in rows}
    assert printed == set(expected), (program, printed, expected)
used = {key for kinds in documented.values() for kind in kinds for key in kind}
listed = [key for item in re.findall(r"^\.It (Li .*)", defined, re.M) for key in keys(".It " + item)]
assert listed == sorted(listed) and set(listed) == used, (used ^ set(listed), listed)
END
}

@test "tv-view prints the keys of the format" {
    unpack "$A/base" | tv-view --json >records
    weigh 0.5 <good.tvs | combine | tv-view --json >>records
    grep -o '"[a-z_0-9]*": ' records | tr -d '": ' | sort -u >keys
    [ "$(wc -l <keys)" -gt 20 ]
    while read -r key; do
        grep -q "^| \`$key\` |" "$ROOT/share/stream.md" || fail "stream.md lacks $key"
    done <keys
}

@test "a number that is undefined or infinite is null, names are escaped" {
    lesson | sed 's/^tensor w/tensor "w\\u001b\\\\"/; s/^-1 4 0.5$/0 0 0/; s/^2 0 -3$/0 0 0/' | from-text >zero.tvs
    stats --json zero.tvs >found
    grep -c '"cosine": null' found
    grep -cF '{"tensor": "w\u001b\\"' found
    not tv-diff --json good.tvs <(lesson | sed 's/^[-0-9].*/0 0 0/' | from-text) >found
    grep -c '"max_relative_difference": null' found
}

@test "a run that fails prints no totals" {
    head -c 200 good.tvs >cut.tvs
    not check --json cut.tvs >found 2>err
    [ ! -s found ]
    [ "$(wc -l <err)" = 1 ]
}

@test "tv merge --check: totals without findings; free space is null for standard output" {
    make_merged
    cp base/tokenizer.json math
    tv merge --check --json config.yml - >found
    /usr/bin/python3 -c '
import json
total, = map(json.loads, open("found"))
assert total["valid"] and total["models"] == ["base", "math"] and total["findings"] == 0, total
assert total["bytes"] > 0 and total["free_bytes"] is None and not total["at_most"], total'
    tv merge --check --json --lora 4 config.yml out | grep -c '"at_most": true'
}

@test "tv verify lists every difference" {
    cp -r "$A"/{base,math} .
    tv-extract base math | combine | pack --base base merged.safetensors
    tv verify --json merged.safetensors base math >found
    grep -c '^{"same": true, .*"findings": 0, .*"models": \["base", "math"\], "notes": \[\]}$' found
    /usr/bin/python3 - <<'END'
import json, struct
with open("merged.safetensors", "r+b") as f:
    size = struct.unpack("<Q", f.read(8))[0]
    for name, t in json.loads(f.read(size)).items():
        if name != "__metadata__":
            f.seek(8 + size + t["data_offsets"][0])
            f.write(b"\1")
END
    not tv verify --json merged.safetensors base math >found
    /usr/bin/python3 -c '
import json
*findings, total = map(json.loads, open("found"))
assert total["tensors"] == total["findings"] == len(findings) > 5 and not total["same"], total'
}

@test "usage" {
    REFUSED_BY='tv merge' usage_error_with "--json needs --check" tv merge --json config.yml out
    REFUSED_BY='tv verify' usage_error_with "--print and --json cannot be combined" tv verify --print --json merged
}
