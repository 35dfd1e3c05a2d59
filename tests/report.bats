#!/usr/bin/env bats
# Progress on a terminal, and --report, of tv run and tv merge.
load common
load lesson
load refusals

TIES='trim --density 0.2 | elect-sign | combine --normalize=agreeing'

setup() {
    own_folder
    ln -s "$A"/{base,math,code} .
    printf '%s\n' 'merge_method: task_arithmetic' 'base_model: base' 'models:' \
        '  - model: math' '    parameters: {weight: 0.5}' 'dtype: float32' >config.yml
}

# value KEY: the first value of that key in the report
value() { sed -n "s/^ *\"$1\": \([^,]*\),\{0,1\}$/\1/p" report.json | head -n 1; }

@test "the report counts bytes and lists the stages in order" {
    tv run --report=report.json "tv-extract base math code | $TIES | pack --base base out"
    python3 -m json.tool report.json >/dev/null
    sed -n 's/^ *"name": "\(.*\)",/\1/p' report.json >stages
    printf '%s\n' tv-extract trim elect-sign combine pack | diff -u - stages
    for key in seconds peak_resident peak_anonymous bytes_read bytes_written; do
        grep -q "\"$key\": [1-9]\|\"$key\": 0\.[0-9]*[1-9]" report.json
    done
    [ "$(value bytes_written)" -lt "$(stat -c %s out/model.safetensors)" ]
    [ "$(value bytes_written)" -gt "$(($(stat -c %s out/model.safetensors) - 65536))" ]
    [ "$(value peak_anonymous)" -le "$(value peak_resident)" ]
}

@test "every chain is reported, in whatever process it ran" {
    tv run --report report.json \
        'join-streams <(tv-extract base math | trim --density 0.5) <(tv-extract base code) | cat | combine | pack --base base out'
    [ "$(value chains_run)" = 4 ]
    [ "$(grep -c '"name": "tv-extract"' report.json)" = 2 ]
    [ "$(grep -c '"name": "pack"' report.json)" = 1 ]
}

@test "behind a filter that decomposes matrices, one that reads all tensors twice stores its result" {
    for steps in "swudi | trim --scope=model --density 0.5" "trim --density 0.5 | trim --scope=model --density 0.5"; do
        rm -rf out report.json
        tv run --report report.json "tv-extract base math code | $steps | combine | pack --base base out"
        value chains_run >>chains
        [ "$(grep -c '"name": "trim"' report.json)" = "$(grep -o trim <<<"$steps" | wc -l)" ]
    done
    [ "$(tr '\n' ' ' <chains)" = "2 1 " ]
    tv-extract base math code | swudi | trim --scope=model --density 0.5 | combine | pack --base base pipes
    tv run "tv-extract base math code | swudi | trim --scope=model --density 0.5 | combine | pack --base base run"
    cmp pipes/model.safetensors run/model.safetensors
}

@test "only a successful run is reported" {
    tv run --report report.json 'tv-extract base math | pack --base base out'
    cp report.json before
    REFUSED_BY=pack refused_with "exists" tv run --report report.json 'tv-extract base math | pack --base base out'
    cmp before report.json
    status=0
    tv run --report none/report.json 'tv-extract base math | pack --base base other' 2>.err || status=$?
    [ "$status" -eq 1 ]
    grep -q "cannot write none/report.json: No such file" .err
    [ "$(echo report.json*)" = report.json ]
}

@test "a report replaces only another report, and is not OUT or a side output" {
    cp -r "$A/base" own
    line='tv-extract base math | pack --base base out'
    export REFUSED_BY=tv
    for file in own/model.safetensors own/config.json config.yml; do
        refused_with "cannot write $file: it exists and is not a file that this option wrote" tv run --report "$file" "$line"
        refused_with "cannot write $file: it exists" tv merge --report "$file" config.yml out
    done
    diff -r own "$A/base"
    for report in out ./out "$PWD/out"; do
        usage_error tv run --report "$report" "$line"
        usage_error tv merge --report "$report" config.yml out
    done
    [ ! -e out ]
    tv run --report report.json "$line"
    cp report.json before
    tv run --report report.json "${line}2"
    not cmp -s report.json before
    usage_error tv run --report both 'tv-extract base math | calibrate --base base --samples s --log both | combine | pack --base base out3'
    usage_error tv run 'tv-extract base math | calibrate --base base --samples s --log out/log | combine | pack --force --base base out'
    [ ! -e both ] && [ ! -e out/log ]
}

@test "a report does not overwrite what a descriptor reads or has written" {
    tv-extract base math >in.tvs
    cp in.tvs kept
    for name in /dev/fd/0 /proc/self/fd/0 "/dev/fd/../../../$PWD/in.tvs"; do
        REFUSED_BY=tv refused_with "cannot write $name" tv run --report "$name" 'pack --base base out' <in.tvs
    done
    cmp in.tvs kept
    { echo before && tv run --report /dev/stdout 'pack --base base out' <in.tvs; } >both
    [ "$(head -n 2 both | tr '\n' ' ')" = "before { " ]
}

@test "a link to a descriptor is written to if it is open for writing, and never replaced" {
    tv-extract base math >in.tvs
    ln -s /proc/self/fd/0 in
    ln -s /dev/fd/1 out
    ln -s "$PWD/out" again
    REFUSED_BY=tv refused_with "cannot write in: Bad file descriptor" tv run --report in 'pack --base base a' <in.tvs
    [ -L in ]
    for link in out again; do
        tv run --report $link 'pack --base base a' <in.tvs >report.json
        [ "$(head -n 1 report.json)" = "{" ]
        [ -L $link ]
        rm -r a
    done
}

@test "a report is not the standard output that carries the stream" {
    for path in /dev/stdout s.tvs; do
        for pipeline in 'tv-extract base math' 'tv-extract base math | pack --base base -'; do
            into() { tv run --report $path "$pipeline" >s.tvs; }
            REFUSED_BY=tv usage_error_with "--report: $path is the standard output, which carries the stream" into
            not grep -qa payload s.tvs
        done
    done
    tv run --report /dev/stdout 'stack <(unpack base) | pack --like base out' >report.json
    [ "$(head -n 1 report.json)" = "{" ]
}

@test "a report with text after it is not replaced" {
    tv run --report r.json 'tv-extract base math | pack --base base a'
    for change in 's/^}$/}my thesis/' 's/^  "seconds"/  "thesis": 1,&/' '$d'; do
        sed "$change" r.json >changed
        cp changed kept
        REFUSED_BY='tv' refused_with "cannot write changed: it exists and is not a file that this option wrote" \
            tv run --report changed 'tv-extract base math | pack --base base b'
        cmp changed kept
    done
    tv run --report r.json 'tv-extract base math | pack --base base b'
}

@test "a report can be written to an existing pipe" {
    mkfifo pipe
    exec 7<>pipe
    tv run --report pipe 'tv-extract base math | pack --base base out'
    [ -p pipe ]
    read -r first <&7
    [ "$first" = '{' ]
    exec 7<&-
    [ "$(echo pipe*)" = pipe ]
}

@test "tv merge writes a report, and the same bytes" {
    tv merge config.yml a
    tv merge --report report.json config.yml b
    diff -r a b
    grep -q '"name": "pack"' report.json
}

@test "progress is shown on terminals only, and not with --quiet" {
    line="tv-extract base math code | $TIES | pack --base base"
    on_terminal tv run "$line a"
    grep -q "of [0-9]* tensors  .* GB/s" terminal
    on_terminal tv merge config.yml b
    grep -q "of [0-9]* tensors  .* GB/s" terminal
    on_terminal tv run --quiet "$line c"
    [ ! -s terminal ]
    on_terminal tv merge --quiet config.yml d
    [ ! -s terminal ]
    [ -z "$(tv run "$line e" 2>&1)" ]
}

# summary COMMAND...: the lines that it prints on a terminal at the end
summary() {
    on_terminal "$@"
    sed 's/.*\x1b\[K//' terminal | sed -n '/^tv merge: /,$p' >summary
}

# has_size_of FILE: the summary has the bytes of its tensors
has_size_of() {
    want=$(check --json "$1" | grep -o '"bytes": [0-9]*' | tr -dc 0-9)
    sed -n '1s/.*: \([0-9.]*\) \(.*\) written in .*/\1 \2/p' summary |
        awk -v want="$want" '{ got = $1 * ($2 == "KB" ? 1e3 : $2 == "MB" ? 1e6 : 1) }
            END { exit !(got > want * 0.98 && got < want * 1.02) }'
}

# wanted CONFIG PICK: the numbers of its summary, from other filters
wanted() {
    line=$(tv from-yaml "$1" out | tr -s '\n ' ' ')
    line="${line%%|*}| $2 ${line#*|}"
    tv run "${line%| weigh*} | stats --json --summary" >trimmed
    tv run "${line%| combine*} | stats --json --summary" >elected
    tv run "${line%| pack*} | stats --json" >merged
    /usr/bin/python3 - <<'END'
import json, math
def nonzero(name):
    vectors = json.load(open(name))["vectors"]
    return sum((1 - v["zero"]) * v["elements"] for v in vectors), sum(v["elements"] for v in vectors)
trimmed, all = nonzero("trimmed")
elected, all = nonzero("elected")
print("  nonzero after trim: about %.1f %% of the elements of the task vectors" % (100 * trimmed / all))
print("  nonzero after elect-sign: about %.1f %% of those" % (100 * elected / trimmed))
kinds = {}
for line in open("merged"):
    x = json.loads(line)
    name = x["tensor"]
    if name:
        kind = ("norms" if "norm" in name else "embeddings and LM head" if "embed" in name or "lm_head" in name
                else "attention" if "attn" in name else "MLP")
        kinds[kind] = kinds.get(kind, 0) + x["vectors"][0]["l2"] ** 2
print("  L2 norm of the change, about: " + ", ".join("%s %.3g" % (k, math.sqrt(kinds[k])) for k in
      ("attention", "MLP", "norms", "embeddings and LM head") if k in kinds))
END
}

@test "tv merge ends with a summary on a terminal" {
    printf '%s\n' 'merge_method: ties' 'base_model: base' 'models:' \
        '  - model: math' '    parameters: {weight: 0.5, density: 0.3}' \
        '  - model: code' '    parameters: {weight: 0.5, density: 0.3}' 'dtype: float32' >ties.yml
    summary tv merge ties.yml out
    sed -n 1p summary | grep -cE '^tv merge: ties of 3 models: [0-9.]+ KB written in [0-9.]+ s, with [0-9.]+ .?B of memory$'
    sed -n 2,4p summary >found
    wanted ties.yml '' >want
    diff <(sed 's/[0-9.]*//g' want) <(sed 's/[0-9.]*//g' found)
    paste <(grep -o '[0-9.]*[0-9]' want) <(grep -o '[0-9.]*[0-9]' found) >both # from a sample
    [ "$(grep -c . both)" = 7 ]
    awk '($1 - $2) ^ 2 > (0.1 * $1) ^ 2 { exit 1 }' both
    [ "$(sed -n 5p summary)" = "  model card: out/README.md" ]
    [ -s out/README.md ]
    sed -n 's/^  to verify it: //p' summary >verify
    sh verify
    [ "$(grep -c . summary)" = 6 ]
    tv merge ties.yml plain 2>stderr
    [ ! -s stderr ]
    diff -r out plain
    # Tensors of up to 4096 elements are counted completely.
    summary tv merge --only '*norm*' ties.yml norms.safetensors
    sed -n 2,4p summary | diff <(wanted ties.yml "pick '/*norm*' |") -
    summary tv merge --quiet ties.yml quiet
    [ ! -s summary ]
    diff -r out quiet
    summary tv merge --report report.json ties.yml reported
    [ "$(grep -c . summary)" = 6 ]
    grep -q '"name": "pack"' report.json
}

@test "the summary of other methods, forms of OUT, and merges that fail" {
    summary tv merge config.yml out.tar.zst
    grep -cx '  model card: README.md in out.tar.zst' summary
    not grep nonzero summary
    grep -c 'L2 norm' summary
    summary tv merge config.yml out.safetensors
    not grep 'model card' summary
    sed -n 's/^  to verify it: //p' summary >verify
    sh verify
    summary tv merge --part 1/2 config.yml parts
    tail -n 1 summary | grep -cx '  part 1/2 is stored; tv finish publishes the model when all parts are'
    printf '%s\n' 'merge_method: linear' 'models:' '  - model: math' '    parameters: {weight: 1}' \
        '  - model: code' '    parameters: {weight: 1}' >linear.yml
    summary tv merge linear.yml linear
    not grep 'L2 norm' summary
    printf '%s\n' 'merge_method: linear' 'dtype: float32' 'slices:' \
        '  - sources: [{model: math, layer_range: [0, 2], parameters: {weight: 1}}]' \
        '  - sources: [{model: code, layer_range: [2, 3], parameters: {weight: 1}}]' >slices.yml
    summary tv merge slices.yml slices
    size=$(stat -c %s slices/model.safetensors)
    sed -n '1s/.*: \([0-9.]*\) KB written.*/\1/p' summary | awk -v size="$size" '{ exit !($1 > 0.9 * size / 1000 && $1 < 1.1 * size / 1000) }'
    summary tv merge linear.yml linear || true
    not grep 'model card' summary
    tv extract-lora --max-rank 2 base math lora
    printf '%s\n' 'merge_method: task_arithmetic' 'base_model: base' 'models: [{model: base+lora, parameters: {weight: 0.5}}]' >lora.yml
    summary tv merge --lora 2 lora.yml adapter
    has_size_of adapter/adapter_model.safetensors
    sed -n 's/^  to verify it: //p' summary >verify
    grep -cx 'tv verify adapter base base+lora' verify
    sh verify
}

@test "--progress prints lines for scripts" {
    tensors=$(tv-view base | sed -n 's/^\([0-9]*\) tensors.*/\1/p')
    # lines COMMAND...: its progress begins with nothing, ends with everything, and is nothing else
    lines() {
        "$@" 2>lines >/dev/null
        head -n 1 lines | grep -cx "progress tensors=0/$tensors bytes=0/[1-9][0-9]* seconds=[0-9.]* left=-"
        tail -n 1 lines | grep -cx "progress tensors=$tensors/$tensors bytes=\([0-9]*\)/\1 seconds=[0-9.]* left=0.0"
        not grep -v '^progress ' lines
        [ "$(grep -c . lines)" -le 5 ]
    }
    line='tv-extract base math code | combine | pack --base base'
    lines tv run --progress "$line a"
    lines tv run "$line --progress b"
    diff -r a b
    lines tv run --progress "tv-extract base math code | combine | cat | pack --base base c"
    lines tv merge --progress config.yml d
    lines tv merge --progress --quiet config.yml e
    diff -r d e
    tv merge config.yml f
    diff -r d f
    lines tv verify --progress d base math
    lines stats --progress base
    lines tv-extract --progress base math
    tv-extract base math | { lines pack --progress --base base g; }
}

@test "the time left is not shown before it means something" {
    on_terminal tv run "tv-extract base math code | $TIES | pack --base base a"
    not grep -q ' left' terminal
    # A source that takes three seconds for a part of the stream.
    tv-extract base math >deltas.tvs
    size=$(stat -c %s deltas.tvs)
    { head -c $((size / 2)) deltas.tvs && sleep 3.2 && tail -c +$((size / 2 + 1)) deltas.tvs; } |
        check --progress 2>lines
    grep -cx 'progress tensors=[0-9]*/[0-9]* bytes=[0-9]*/[0-9]* seconds=3\.[0-9] left=[0-9.]*' lines
    sed -n 's/.*seconds=\([0-9.]*\) left=\([^-].*\)/\1/p' lines | awk '$1 < 2 { exit 1 }'
}

@test "usage" {
    usage_error tv run --report
    usage_error tv run --quiet=1 'check'
}
