#!/usr/bin/env bats
# Stages in Python between stages in C, and programs that use only msgpack.
load common
load lesson
load refusals

setup_file() { make_big; }

clip_outliers() {
    /usr/bin/python3 "$ROOT/share/etl/clip-outliers" "$@"
}

@test "tests/unit/stream_py.py" {
    /usr/bin/python3 "$TESTS/unit/stream_py.py"
}

@test "clip-outliers in the middle of a pipeline" {
    tv-extract "$MODELS"/base "$MODELS"/math "$MODELS"/code | clip_outliers --quantile 0.99 |
        trim --density 0.5 | combine | rescale 0.5 | pack --base "$MODELS"/base out
    check out
    clip_outliers --quantile 0.99 <"$BIG" | check >found
    not grep warning found
    clip_outliers --quantile 0.99 <"$BIG" | tv-view | grep 'clip-outliers --quantile=0.99'
    clip_outliers --quantile 1 <"$BIG" | digests >after
    digests <"$BIG" | diff - after
}

@test "clips at a quantile computed by hand" {
    lesson | from-text | clip_outliers --quantile 0.8 | tensors >found
    diff -u - found <<END
tensor w 2x3
vector math
1 -2 0.5
0 0.25 2
vector code
-1 3 0.5
2 0 -3
END
}

@test "another Python than Debian's, without the packages" {
    make_good
    /usr/bin/python3 -m venv --without-pip venv
    PATH=$T/venv/bin:$PATH "$ROOT/share/etl/clip-outliers" --quantile 1 <good.tvs | check
    cp "$ROOT"/share/etl/{clip-outliers,tvstream.py} .
    mkdir packages
    echo 'raise ImportError(name="numpy")' >packages/numpy.py
    REFUSED_BY=clip-outliers PYTHONPATH=packages refused_with "the Python package msgpack is missing (on Debian, run" \
        env PATH="$T/venv/bin:$PATH" ./clip-outliers
}

@test "rejects bad streams and outputs like the filters in C" {
    make_good
    /usr/bin/python3 "$TESTS/bad_streams.py" good.tvs .bad
    export REFUSED_BY=clip-outliers
    for file in .bad/{cut-0,cut-2*,flipped-1*,foreign*,header*,models*,version*}; do
        refused clip_outliers <"$file" || wrong "of ${file#.bad/}" || return 1
    done
    relays_errors clip_outliers
    with_full_disk clip_outliers <good.tvs
    without_reader clip_outliers <good.tvs
}

@test "filters in C pass its errors on silently" {
    lesson | sed 's/^0 0.25 3$/0 nan 3/' | from-text --allow-nonfinite >nan.tvs
    REFUSED_BY=clip-outliers refused_with "w" clipped
}

clipped() {
    clip_outliers <nan.tvs | trim --density 0.5 | combine | check
}

@test "plain msgpack reads a whole stream" {
    trim --density 0.2 <"$BIG" | weigh 0.5 >some.tvs
    tv-view --values <some.tvs >text
    /usr/bin/python3 - <<'END' >found
import msgpack
import numpy as np

objects = iter(msgpack.Unpacker(open("some.tvs", "rb")))
assert next(objects) == "TVS1"
next(objects)
header = next(objects)
models = [m["name"] for m in header["models"]]
for length in objects:
    record = next(objects)
    if record["record"] == "end":
        break
    assert record["record"] == "tensor"
    n, blocks = int(np.prod(record["shape"], dtype=int)), []
    while sum(len(b[0]) for b in blocks) < 4 * n:
        blocks.append([next(objects) for _ in record["vectors"]])
    next(objects)
    assert next(objects)["record"] == "trailer"
    for k, v in enumerate(record["vectors"]):
        x = np.frombuffer(b"".join(b[k] for b in blocks), "<f4").astype("f8")
        print(record["name"], models[v["model"]], v["weight"], x.size, (x != 0).sum(), x.sum())
assert len(next(objects)) == 8
assert next(objects, None) is None
END
    awk '/^tensor/ { t = $2 } /^vector/ { print t, $2 }' text >names
    cut -d ' ' -f 1,2 found | diff -u names -
    grep -q '^model.layers.0.mlp.weight math 0.5 80000 16000 ' found
}

@test "plain msgpack writes a stream" {
    /usr/bin/python3 - <<'END' >plain.tvs
import msgpack, struct, sys


def record(**fields):
    packed = msgpack.packb(fields)
    return msgpack.packb(len(packed)) + packed


entry = {"name": "w", "shape": [2, 3], "vectors": [{"model": 0, "dtype": "F32"}]}
sys.stdout.buffer.write(
    msgpack.packb("TVS1")
    + record(record="header", version=1, kind="task-vectors", models=[{"name": "math"}], tensors=[entry])
    + record(record="tensor", **entry)
    + msgpack.packb(struct.pack("<6f", 1, -2, 0.5, 0, 0.25, 3))
    + record(record="trailer") + record(record="end", tensors=1, bytes=24, hash=False))
END
    lesson | sed '/^model base/d; /^vector code/,$d; /^model code/d; s/ role=.*//' | from-text >good.tvs
    tv-diff plain.tvs good.tvs
    trim --density 1 <plain.tvs >through.tvs
    trim --density 1 <good.tvs | cmp - through.tvs
}

# Tensors are passed on as they were read, with their checksums, or changed and without.
@test "a stage with plain msgpack that cannot hash" {
    cat >stage <<'END'
import sys
import msgpack
import numpy as np

unpacker = msgpack.Unpacker(sys.stdin.buffer)
out = sys.stdout.buffer


def read_record():
    data = unpacker.read_bytes(unpacker.unpack())
    return msgpack.unpackb(data), data


def write_record(fields, data=None):
    data = data or msgpack.packb(fields)
    out.write(msgpack.packb(len(data)) + data)


out.write(msgpack.packb(unpacker.unpack()))
header, _ = read_record()
header["history"].append({"tool": "halve", "version": "1", "arguments": []})
write_record(header)
for _ in header["tensors"]:
    tensor, data = read_record()
    changes = "mlp" in tensor["name"] or sys.argv[1] == "all"
    write_record(tensor, None if changes else data)
    left = int(np.prod(tensor["shape"], dtype=int))
    while left:
        for _ in tensor["vectors"]:
            x = np.frombuffer(unpacker.unpack(), "<f4")
            out.write(msgpack.packb((x / 2 if changes else x).tobytes()))
        left -= len(x)
    trailer, _ = read_record()
    if changes:
        del trailer["checksum"]
    write_record(trailer)
end, _ = read_record()
write_record(dict(end, hash=False))
assert len(unpacker.unpack()) == 8
END
    tv-extract "$MODELS"/base "$MODELS"/math "$MODELS"/code >in.tvs
    for choice in all '*mlp*'; do
        /usr/bin/python3 stage "$choice" <in.tvs >out.tvs
        check out.tvs 2>&1 | grep -c '^check: warning: the stream lacks checksums'
        rescale --include "${choice/all/*}" 0.5 <in.tvs | digests | diff - <(digests <out.tvs)
        trim --density 0.5 <out.tvs | combine | pack --base "$MODELS"/base out
        check out
        rm -r out
    done
}

# On demand: ARROW_PYTHON=... names a Python that has pyarrow, numpy and msgpack.
@test "arrow-ipc hands tensors to Arrow and back" {
    local python=${ARROW_PYTHON:-/usr/bin/python3}
    "$python" -c 'import pyarrow, numpy, msgpack' 2>/dev/null || skip "no pyarrow"
    arrow_ipc() { "$python" "$ROOT/share/etl/arrow-ipc" "$@"; }
    unpack "$MODELS"/math "$MODELS"/code >w.tv
    arrow_ipc to w.arrow <w.tv
    arrow_ipc from w.arrow | tensors | diff - <(tensors <w.tv | sed 's/ layer=.*//')
    arrow_ipc to d.arrow <"$BIG"
    arrow_ipc from d.arrow | tensors | sed 's/ stored=.*//' |
        diff - <(tensors <"$BIG" | sed 's/ layer=.*//; s/ stored=.*//')
    arrow_ipc from d.arrow | combine | check
    head -c 1000 d.arrow >short.arrow
    run ! arrow_ipc from short.arrow
    head -c 1000 "$BIG" >short
    run ! arrow_ipc to x.arrow <short
}
