#!/usr/bin/env bats
# The test vectors in share/vectors, read by the programs in C and by the reader in Python.
load common
load refusals

vectors() {
    /usr/bin/python3 "$TESTS/vectors.py" "$@"
}

@test "each rule of stream.md has a bad stream" {
    vectors rules
}

@test "a program that skips payload finds it in a file" {
    vectors seek
}

@test "the generator writes the files of the tree" {
    vectors generate
}

@test "check and tv-view read the good streams" {
    vectors programs
}

@test "check refuses the bad streams" {
    vectors refusals
}

@test "the reader in Python reads the good streams and refuses the bad ones" {
    "$ROOT/share/vectors/run" /usr/bin/python3 "$ROOT/share/etl/stream-json"
}

@test "a reader that cannot compute hashes accepts wrong ones only" {
    cat >reader <<END2
import sys
sys.path.insert(0, "$ROOT/share/etl")
import tvstream
tvstream.xxh3 = None
exec(open("$ROOT/share/etl/stream-json").read())
END2
    "$ROOT/share/vectors/run" /usr/bin/python3 reader >found || true
    grep -o '^[a-z]*/[a-z0-9-]*' found | diff -u - <(awk -F'\t' \
        '($2 == "checksum" || $2 == "hash") && $1 != "hash-4-bytes" { print "bad/" $1 }' "$ROOT/share/vectors/bad.tsv")
}

@test "file(1) recognizes a stream by the rule of stream.md" {
    command -v file >/dev/null || skip "file is not installed"
    sed -n '/a rule for file(1)/,/^The media type/s/^    //p' "$ROOT/share/stream.md" >magic
    [ "$(wc -l <magic)" = 3 ]
    local stream=$ROOT/share/vectors/good/minimal.tvs
    [ "$(file -b -m magic "$stream")" = "tensor stream of tvtools, version 1" ]
    [ "$(file -b --mime-type -m magic "$stream")" = application/vnd.tvtools.tensor-stream ]
    [ "$(file -b --extension -m magic "$stream")" = tvs ]
}

@test "run finds what a reader does wrong" {
    cat >reader <<'END2'
import json, sys
for path in sys.argv[1:]:
    print(json.dumps({"error": "no"}))
END2
    status=0
    "$ROOT/share/vectors/run" /usr/bin/python3 reader >found || status=$?
    [ "$status" = 1 ]
    grep -qx 'good/minimal: was refused: no' found
    grep -q '^bad/error-as-header: the message of the error record is lost: no' found
    [ "$(grep -c '^good/' found)" = "$(find "$ROOT/share/vectors/good" -name '*.json' | wc -l)" ]
    sed -i 's/"error": "no"/"header": {}, "tensors": [], "end": {}/' reader
    "$ROOT/share/vectors/run" /usr/bin/python3 reader >found || true
    grep -qx 'good/minimal: meaning.header: the key record is missing' found
    [ "$(grep -c '^bad/.*: was not refused' found)" = "$(($(wc -l <"$ROOT/share/vectors/bad.tsv") - 1))" ]
    not "$ROOT/share/vectors/run" true 2>found
    grep -qx "the reader printed 0 lines for [0-9]* streams" found
}

# A stage may pass on a value of the manifest in place of the tensor header's.
@test "stages in C and in Python pass on the good streams" {
    export PYTHONPATH=$ROOT/share/etl PYTHONDONTWRITEBYTECODE=1
    vectors stages weights,task-vectors,-tensor-header-differs weigh --multiply --allow-nonfinite 1
    vectors stages weights,task-vectors,activations \
        python 'tvstream.transform(None, name="copy", only=lambda tensor: False)'
    vectors stages task-vectors python 'tvstream.xxh3 = None
tvstream.transform(lambda tensor, vectors: vectors, name="copy",
                   keeps=("l1_before", "l1", "keep", "example.scale", "example.payload"))'
}
