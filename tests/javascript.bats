#!/usr/bin/env bats
# share/etl/tvstream.mjs: the test vectors, and stages in JavaScript between stages in C.
load common
load lesson
load refusals

setup_file() { make_big; }

# Node 18 or later, or the test is skipped.
needs_node() {
    command -v node >/dev/null || skip "node is not installed"
    node -e 'process.exit(process.versions.node.split(".")[0] < 18 ? 1 : 0)' || skip "node is older than 18"
}

clip_outliers() {
    node "$ROOT/share/etl/clip-outliers.mjs" "$@"
}

@test "the reader in JavaScript reads the good streams and refuses the bad ones" {
    needs_node
    "$ROOT/share/vectors/run" node "$ROOT/share/etl/stream-json.mjs"
}

@test "tests/javascript_module.mjs" {
    needs_node
    /usr/bin/python3 - <<'END2' | node "$TESTS/javascript_module.mjs" "$ROOT/share/etl/tvstream.mjs"
import ctypes

xxhash = ctypes.CDLL("libxxhash.so.0")
xxhash.XXH3_64bits.restype = ctypes.c_uint64
for n in [*range(258), 320, 1023, 1024, 1025, 1088, 1089, 2049, 20000]:
    data = bytes((i * i * 31 + i * 7) % 256 for i in range(n))
    print(n, "%016x" % xxhash.XXH3_64bits(data, ctypes.c_size_t(n)))
END2
}

@test "stages in JavaScript pass on the good streams" {
    needs_node
    local import="import { transform } from '$ROOT/share/etl/tvstream.mjs'"
    /usr/bin/python3 "$TESTS/vectors.py" stages weights,task-vectors,activations node --input-type=module -e \
        "$import; await transform(null, { name: 'copy', only: () => false })"
    local change="$import; await transform((tensor, vectors) => vectors, { name: 'copy', scope: SCOPE,
        keeps: ['l1_before', 'l1', 'keep', 'example.scale', 'example.payload'] })"
    /usr/bin/python3 "$TESTS/vectors.py" stages weights,activations,-special-numbers \
        node --input-type=module -e "${change/SCOPE/"'block'"}"
    /usr/bin/python3 "$TESTS/vectors.py" stages task-vectors node --input-type=module -e "${change/SCOPE/"'tensor'"}"
}

@test "the examples in JavaScript of share/etl/README.md" {
    needs_node
    cp "$ROOT"/share/etl/*.mjs .
    awk '/^```js$/ { n++; on = 1; next } /^```$/ { on = 0 } on { print > ("example" n ".mjs") }' "$ROOT/share/etl/README.md"
    [ ! -e example3.mjs ]
    node example1.mjs <"$BIG" | weigh 2 | combine | digests >found
    combine <"$BIG" | digests | diff - found
    lesson | from-text | node example2.mjs | tensors | grep -v '^vector' >found
    lesson | from-text | combine --normalize=all | tensors | grep -v '^vector' | diff - found
}

@test "clip-outliers.mjs is clip-outliers" {
    needs_node
    lesson | from-text | clip_outliers --quantile=0.8 | tensors >found
    lesson | from-text | /usr/bin/python3 "$ROOT/share/etl/clip-outliers" --quantile 0.8 | tensors | diff -u - found
    clip_outliers --quantile=1 <"$BIG" | digests >after
    digests <"$BIG" | diff - after
    tv-extract "$MODELS"/base "$MODELS"/math "$MODELS"/code | clip_outliers --quantile=0.99 |
        trim --density 0.5 | combine | rescale 0.5 | pack --base "$MODELS"/base out
    check out
    clip_outliers --quantile=0.99 <"$BIG" | tv-view | grep 'clip-outliers.mjs --quantile=0.99'
}

@test "clip-outliers.mjs rejects bad streams and outputs like the filters in C" {
    needs_node
    make_good
    /usr/bin/python3 "$TESTS/bad_streams.py" good.tvs .bad
    export REFUSED_BY=clip-outliers.mjs
    for file in .bad/{cut-0,cut-30*,foreign-zip,header-of-2*,models*,version*}; do
        refused clip_outliers <"$file" || wrong "of ${file#.bad/}" || return 1
    done
    relays_errors clip_outliers
    with_full_disk clip_outliers <good.tvs
    without_reader clip_outliers <good.tvs
    status=0
    clip_outliers --quantile=2 <good.tvs >out || status=$?
    [ "$status" = 2 ] && [ ! -s out ]
}
