#!/usr/bin/python3
"""Tests share/etl: tvstream.py, clip-outliers, the examples in README.md, and the worked example in
share/stream.md. Exits 1 with one sentence at the first failure."""
import hashlib
import io
import os
import random
import re
import runpy
import subprocess
import sys
import tempfile

import msgpack
import numpy as np

SHARE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "share")
ETL = os.path.join(SHARE, "etl")
sys.dont_write_bytecode = True
sys.path.insert(0, ETL)
import tvstream as tv

ENVIRONMENT = dict(os.environ, PYTHONPATH=ETL, PYTHONDONTWRITEBYTECODE="1")


def check(condition, sentence):
    if not condition:
        sys.exit(f"stream_py.py: {sentence}")


def refused(data, what, sentence=""):
    try:
        for _, blocks in tv.Reader(io.BytesIO(data), "input"):
            for _ in blocks:
                pass
    except tv.Error as e:
        check(sentence in str(e), f"{what} was refused with \"{e}\" instead of \"{sentence}\"")
        return
    check(False, f"{what} was not refused")


def read(data):
    """What a stream says: header, then (tensor header, payload) of each tensor, then the end."""
    reader = tv.Reader(io.BytesIO(data))
    found = [(t, [x for block in blocks for x in block]) for t, blocks in reader.raw()]
    return [reader.header, *found, reader.end]


def tensors(data):
    """(tensor header, arrays) of each tensor."""
    return [(t, tv.whole(t, blocks)) for t, blocks in tv.Reader(io.BytesIO(data))]


class FakeHash:
    """Stands for XXH3 where that is missing, and shows which bytes are hashed."""

    def __init__(self):
        self.state = hashlib.blake2b(digest_size=8)

    def update(self, data):
        self.state.update(data)

    def digest(self):
        return self.state.digest()


# ---- streams to test with ------------------------------------------------------------------------


def entry(name, shape, dtypes=("F32",), **more):
    return dict({"name": name, "shape": shape,
                 "vectors": [{"model": k + 1, "dtype": d} for k, d in enumerate(dtypes)]}, **more)


def header(entries, **more):
    models = [{"name": "base", "role": "base", "fingerprint": b"12345678"},
              {"name": "math", "role": "expert"}, {"name": "code"}]
    return dict({"kind": "task-vectors", "models": models, "tensors": entries, "history": []},
                **more)


def payload(tensor, seed=1):
    rng = np.random.default_rng(seed)
    arrays = []
    for v in tensor["vectors"]:
        n, (bits, wire) = tv.elements(tensor), tv.DTYPES[v["dtype"]]
        if v["dtype"] in tv.FLOATS:
            x = tv.decode(v["dtype"], tv.encode(v["dtype"], rng.standard_normal(n)))
        else:
            x = np.frombuffer(rng.bytes(n * bits // 8), wire)
        arrays.append(x)
    return arrays


def write(h, own=None, hashes=None):
    out = io.BytesIO()
    w = tv.Writer(out)
    w.header(h)
    for i, t in enumerate(own or h["tensors"]):
        if all(tv.DTYPES[v["dtype"]][0] % 8 == 0 for v in t["vectors"]):
            w.tensor(t, tv.cut(t, payload(t, i)))
        else:
            w.tensor(t, [payload(t, i)])
    w.end(hashes)
    return out.getvalue()


def small():
    """Two vectors of two dtypes, a scalar, an empty tensor, bytes; keys that nobody knows."""
    entries = [entry("a.weight", [3, 4], ("F32", "BF16"), base="old.weight", layer=[0, 2], x=[1.5]),
               entry("b", [], ("F32",)), entry("c", [0, 5], ("F64", "F16")),
               entry("d", [7], ("U8", "I64"))]
    h = header(entries, rounding="BF16", unknown={"k": b"\0\1", "f": -2.5})
    h["models"][2]["note"] = "n"
    h["history"] = [{"tool": "t", "version": "1", "arguments": ["--x=1"], "who": None}]
    h["tensors"][0]["vectors"][1]["stored"] = "F16"
    tensors = [dict(t, own=i) for i, t in enumerate(entries)]
    h["history"][0]["latin-1"] = "caf\udce9"  # a byte that is no UTF-8
    first = dict(entries[0]["vectors"][0], weight=[1, 2.5, -3], mine=[True],
                 payload={"l1_before": 3, "l1": 2, "keep": 0.5, "other": "o"})
    joined = [{"name": "a", "weight": [1, 2], "joined": [{"name": "c", "who": "x"}]}, {"name": "b"}]
    tensors[0]["vectors"] = [first, dict(entries[0]["vectors"][1], weight=0.25, source=None,
                                         joined=joined)]
    h["models"][1].update(hub="org/name", commit="0123abc")
    return h, tensors


# ---- parts ---------------------------------------------------------------------------------------


def brute_spans(shape):
    """Blocks, row by row: as many rows as fit; a row above 2^20 cut by itself."""
    columns = shape[-1] if shape else 1
    rows = int(np.prod(shape[:-1], dtype=object)) if shape else 1
    found, at = [], 0
    if columns == 0:
        return found
    if columns > 2**20:
        for row in range(rows):
            left = columns
            while left:
                n = min(left, 65536)
                found.append((at, n))
                at, left = at + n, left - n
        return found
    held = 0
    for row in range(rows):
        if held and held + columns > 65536:
            found.append((at, held))
            at, held = at + held, 0
        held += columns
    return found + ([(at, held)] if held else [])


def test_blocks():
    shapes = [[], [1], [7], [65535], [65536], [65537], [131072], [2**20], [2**20 + 1], [3 * 2**20],
              [0], [0, 5], [5, 0], [3, 0, 2**21], [2, 2**20 + 5], [3, 2**20], [4, 65537],
              [5, 65536], [300, 64], [1025, 64], [1024, 64], [7, 3, 11, 13], [70000, 1],
              [2, 70000, 1], [3, 43691], [5, 32768], [9, 32769], [1, 1, 1], [2, 2**20 + 65536]]
    rng = random.Random(5)
    shapes += [[rng.randrange(1, 400) for _ in range(rng.randrange(4))] for _ in range(60)]
    for shape in shapes:
        t = entry("t", shape)
        spans = list(tv.spans(t))
        check(spans == brute_spans(shape), f"blocks of shape {shape} are {spans[:3]}...")
        full = max((n for _, n in spans), default=0)
        check(tv.block_elements(t) == full,
              f"a full block of shape {shape} has {tv.block_elements(t)} elements, not {full}")
    for dtype in ("F4", "F6_E2M3"):
        t = entry("t", [4, 65536], ("F32", dtype))
        check(list(tv.spans(t)) == [(0, 4 * 65536)], f"a tensor with {dtype} is cut into blocks")


def test_dtypes():
    bits = np.arange(65536).astype("<u2")
    x = tv.decode("BF16", bits.tobytes())
    back = np.frombuffer(tv.encode("BF16", x), "<u2")
    same = (back == bits) | np.isnan(x) & np.isnan(tv.bf16_to_f32(back))
    check(same.all(), f"bf16 {bits[~same][:1]} does not come back as it was")
    for value, want in ((1 + 2**-8, 1.0), (1 + 3 * 2**-8, 1 + 2**-6), (-1 - 2**-8, -1.0),
                        (1 + 2**-8 + 2**-20, 1 + 2**-7), (3.4e38, np.inf)):
        got = tv.decode("BF16", tv.encode("BF16", [value]))[0]
        check(got == want, f"{value} rounds to bf16 {got} instead of {want}")
    half = tv.decode("F16", tv.encode("F16", np.float32([1 + 2**-11, 65519])))
    check(half.dtype == np.float32 and list(half) == [1, 65504], f"f16 rounds to {half}")


def test_weights():
    t = entry("t", [2, 5])
    check(list(tv.weights(t, 0, 3, 2)) == [1, 1], "a weight that is not given is not 1")
    t["vectors"][0]["weight"] = [10, 20, 30]  # chunks of 4, 4, 2
    check(list(tv.weights(t, 0, 3, 6)) == [10, 20, 20, 20, 20, 30], "weight chunks lie elsewhere")
    u = entry("u", [2], ("F32", "F32"))
    h = header([u])
    names = [h["models"][v["model"]]["name"] for v in u["vectors"]]
    check(tv.joined(h, u) is None, "weights of 1 are recorded")
    u["vectors"][1]["weight"] = 0.5
    check(tv.joined(h, u) == [{"name": names[0]}, {"name": names[1], "weight": 0.5}],
          f"a join records {tv.joined(h, u)}")


def test_round_trip():
    h, own = small()
    data = write(h, own, {"math": b"abcdefgh"})
    reader = tv.Reader(io.BytesIO(data))
    for key, value in h.items():
        check(reader.header[key] == value, f"header key {key} came back as {reader.header[key]}")
    for i, (t, blocks) in enumerate(reader):
        for key, value in own[i].items():
            check(t[key] == value, f"key {key} of tensor {t['name']} came back as {t[key]}")
        arrays = tv.whole(t, blocks)
        for k, (x, y) in enumerate(zip(payload(own[i], i), arrays)):
            check(list(y.shape) == t["shape"] and (x == y.ravel()).all(),
                  f"vector {k} of tensor {t['name']} came back changed")
    check(reader.end["hashes"] == {"math": b"abcdefgh"}, "full hashes were lost")
    out, reader = io.BytesIO(), tv.Reader(io.BytesIO(data))
    w = tv.Writer(out)
    w.header(reader.header)
    for t, blocks in reader.raw():
        w.tensor(t, blocks)
    w.end(reader.end.get("hashes"))
    check(read(out.getvalue()) == read(data), "a copied stream says something else")
    check([t["name"] for t, _ in tv.Reader(io.BytesIO(data))] == ["a.weight", "b", "c", "d"],
          "tensors were lost when their blocks were not read")


def test_large():
    """More than one block, rows longer than 2^20, all dtypes."""
    h = header([entry("a", [2000, 70], ("BF16", "F16")), entry("b", [2, 2**20 + 3], ("I8",)),
                entry("c", [3, 70000], ("F64",))] +
               [entry("z" + d, [6, 4], (d,)) for d in tv.DTYPES])
    data = write(h)
    for i, (t, blocks) in enumerate(tv.Reader(io.BytesIO(data))):
        blocks = list(blocks)
        check(len(blocks) == len(brute_spans(t["shape"])), f"tensor {t['name']}: number of blocks")
        for k, x in enumerate(payload(t, i)):
            y = np.concatenate([b[k].ravel() for b in blocks])
            check(x.tobytes() == y.tobytes(), f"tensor {t['name']} came back changed")
    check(blocks[0][0].shape == (6, 4), "a block does not have the shape (rows, columns)")


def objects(data):
    """(offset, object) of all objects of a stream."""
    unpacker = msgpack.Unpacker(io.BytesIO(data), unicode_errors="surrogateescape")
    at, found = 0, []
    for o in unpacker:
        found.append((at, o))
        at = unpacker.tell()
    return found


def test_refusals():
    data = write(*small())
    found = objects(data)
    check(len(found) > 20, "the test stream has too few objects")
    refused(b"", "an empty stream", "is empty")
    refused(b"PK\3\4..........", "a foreign file", "not a tensor stream")
    refused(data + b"\0", "a byte after the end", "follow")
    refused(data + data, "a stream after the end", "follow")
    refused(tv.MAGIC + msgpack.packb(2**31), "a map of 2 GiB", "the maximum is")
    for at, _ in found[1:]:
        refused(data[:at], f"a stream cut at the object at {at}", "is truncated")
    for at in range(1, len(data), 3):
        refused(data[:at], f"a stream cut at byte {at}")
    # An error record where an object may start: in place of a length or of payload.
    record = msgpack.packb({"record": "error", "stage": "trim", "sentence": "it broke"})
    last = max(at for at, o in found if isinstance(o, dict))
    places = [at for at, o in found[1:] if at < last and not isinstance(o, dict)]
    check(len(places) > 10, "too few places for an error record")
    for at in places:
        try:
            read(data[:at] + msgpack.packb(len(record)) + record)
            check(False, f"an error record at {at} was not seen")
        except tv.StageFailed as e:
            check((e.stage, e.sentence) == ("trim", "it broke"), "an error record was misread")
    # A flipped bit is noticed where hashes are, and where not nothing but Error comes out.
    rng = random.Random(3)
    for _ in range(1000):
        at, bit = rng.randrange(len(data)), 1 << rng.randrange(8)
        try:
            read(data[:at] + bytes([data[at] ^ bit]) + data[at + 1:])
            check(not tv.xxh3, f"a flipped bit in byte {at} was not noticed")
        except tv.Error:
            pass


def stream(*parts):
    """A stream of maps and bins (given as bytes), with widest possible lengths, without hashes."""
    data = tv.MAGIC
    for part in parts:
        if isinstance(part, bytes):
            data += b"\xc6" + len(part).to_bytes(4, "big") + part
        else:
            packed = msgpack.packb(part)
            data += b"\xd3" + len(packed).to_bytes(8, "big") + packed
    return data


def test_records():
    t = entry("a", [3, 4], ("F32", "F32"))
    u = entry("b", [2], ("U8",))
    h = dict(header([t, u]), record="header", version=1)
    first, second = dict(t, record="tensor", block=12), dict(u, record="tensor")
    trailer = {"record": "trailer"}
    end = {"record": "end", "tensors": 2, "bytes": 98, "hash": False}
    body = [first, bytes(48), bytes(48), trailer, second, bytes(2), trailer, end]
    check(len(read(stream(h, *body))) == 4, "wide lengths were not read")
    del h["history"]
    read(stream(h, *body))

    def vector(**change):
        return dict(first, vectors=[dict(t["vectors"][0], **change), t["vectors"][1]])

    for what, change in {
            "version": {"version": 2}, "kind": {"kind": "numbers"}, "dtype": {"rounding": "F33"},
            "list of models": {"models": [{"name": "x"}] * 3}, "manifest": {"tensors": [u, u]},
            "record": {"record": "trailer"}, "number of tensors": {"tensors": [t]},
            "fingerprint": {"models": [dict(m, fingerprint=b"1") for m in h["models"]]},
            "model": {"models": [{"role": "base"}] + h["models"][1:]},
            "hub": {"models": [dict(m, hub=1) for m in h["models"]]},
            "commit": {"models": [dict(m, commit=b"abc") for m in h["models"]]},
            "history": {"history": [{"tool": "trim", "version": "1"}]},
            "parent": {"history": [{"tool": "trim", "version": "1", "arguments": [],
                                    "parents": [[{"tool": "x"}]]}]},
            "longer manifest": {"tensors": [t, u, entry("c", [1])]}}.items():
        refused(stream(dict(h, **change), *body), f"a header with another {what}")
    for what, bad in {
            "name": dict(first, name="z"), "shape": dict(first, shape=[4, 3]),
            "rank": dict(first, shape=[1] * 17), "size": dict(first, shape=[2**40, 2**40]),
            "size beside 0": dict(first, shape=[0, 2**40, 2**40]), "dim": dict(first, shape=[-1]),
            "layer": dict(first, layer=[2, 2]), "vectors": dict(first, vectors=[]),
            "order of vectors": dict(first, vectors=first["vectors"][::-1]),
            "block": dict(first, block=11), "model": vector(model=9), "dtype": vector(dtype="F64"),
            "dtype name": vector(dtype="f32"), "dtype list": vector(dtype=[]),
            "stored": vector(stored=None), "empty weights": vector(weight=[]),
            "13 weights": vector(weight=[1] * 13), "empty chunk": vector(weight=[1] * 9),
            "weight": vector(weight=float("nan")), "joined": vector(joined={}),
            "joined name": vector(joined=[{"weight": 1}]),
            "joined weight": vector(joined=[{"name": "x", "weight": "1"}]),
            "joined chunks": vector(joined=[{"name": "x", "joined": [{"name": "y", "weight": [1] * 9}]}]),
            "attribute": vector(payload={"keep": "x"}),
            "zero byte": dict(first, base="a\0b"), "record": dict(first, record="news")}.items():
        refused(stream(h, bad, *body[1:]), f"a tensor with a bad {what}", "broken stream")
    swapped = dict(t, vectors=t["vectors"][::-1])
    refused(stream(dict(h, tensors=[swapped, u])), "a manifest with swapped vectors", "in order")
    for m in (1, 2, 3, 4, 6, 12):  # 5 chunks of 3 would leave one empty
        read(stream(h, vector(weight=[1] * m), *body[1:]))
    refused(stream(h, vector(weight=[1] * 5), *body[1:]), "5 weights for 12 elements")
    refused(stream(h, first, bytes(47), *body[2:]), "a short block", "47 bytes instead of 48")
    refused(stream(h, *body[:2], *body[3:]), "a missing block", "expected payload")
    refused(stream(h, *body[:3], *body[4:]), "a missing trailer", "trailer")
    refused(stream(h, *body[:4], end), "a missing tensor", "before the last tensor")
    refused(stream(h, *body[:7], dict(end, tensors=3)), "a wrong count of tensors", "wrong number")
    refused(stream(h, *body[:7], dict(end, bytes=97)), "a wrong count of bytes", "wrong number")
    refused(stream(h, *body[:7], dict(end, hashes={"m": 1})), "a bad full hash", "hashes")
    refused(stream(h, *body[:7], {**end, "hash": True}), "a promised hash that is missing", "truncated")
    odd = dict(h, tensors=[entry("a", [3], ("F6_E2M3",))])
    refused(stream(odd), "18 bits of payload", "whole bytes")
    nan = np.float32([1, np.nan] + [1] * 10).tobytes()
    refused(stream(h, first, bytes(48), nan, *body[3:]), "a NaN", "tensor a, vector 1: non-finite number at flat index 1")


def test_writer():
    t = entry("a", [3, 4])
    for what, work in {
            "an infinity": lambda w: w.tensor(t, [[np.full(12, np.inf)]]),
            "an overflow": lambda w: w.tensor(t, [[np.full(12, 1e300)]]),
            "a short block": lambda w: w.tensor(t, [[np.zeros(11)]]),
            "two vectors": lambda w: w.tensor(t, [[np.zeros(12)] * 2]),
            "two blocks": lambda w: w.tensor(t, [[np.zeros(12)]] * 2),
            "no block": lambda w: w.tensor(t, []),
            "another tensor": lambda w: w.begin(entry("b", [3, 4])),
            "a missing tensor": lambda w: w.end()}.items():
        w = tv.Writer(io.BytesIO())
        w.header(header([t]))
        try:
            work(w)
        except tv.Error:
            continue
        check(False, f"the writer took {what}")


# ---- stages --------------------------------------------------------------------------------------


def run(program, data, *words, saved=False):
    command = [sys.executable, *program, *words]
    if not saved:
        return subprocess.run(command, input=data, capture_output=True, env=ENVIRONMENT)
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        return subprocess.run(command, stdin=file, capture_output=True, env=ENVIRONMENT)


def run_in_fork(program, data):
    """The same in a fork of this process: to start Python with numpy takes a quarter of a second."""
    source, pipe = os.pipe()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            os.close(pipe)
            for fd, file in enumerate((source, out.fileno(), err.fileno())):
                os.dup2(file, fd)
            sys.argv = program
            runpy.run_path(program[0], run_name="__main__")
            os._exit(0)
        os.close(source)
        with open(pipe, "wb") as file:
            file.write(data)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(program, status, out.read(), err.read())


def good(done, what):
    check(done.returncode == 0 and not done.stderr,
          f"{what} exits with {done.returncode}: {done.stderr.decode()}")
    return done.stdout


def test_clip():
    clip = [os.path.join(ETL, "clip-outliers")]
    h, own = small()
    data = write(h, own, {"math": b"abcdefgh"})
    out = good(run(clip, data, "--quantile", "0.5"), "clip-outliers")
    reader = tv.Reader(io.BytesIO(out))
    step = reader.header["history"][1]
    check(reader.header["history"][0] == h["history"][0] and step["tool"] == "clip-outliers" and
          step["arguments"] == ["--quantile=0.5"], f"the history is {reader.header['history']}")
    check(reader.header["unknown"] == h["unknown"], "an unknown key was lost")
    for i, (t, blocks) in enumerate(reader):
        ys = tv.whole(t, blocks)
        check(t["own"] == i, "an unknown key of a tensor was lost")
        for x, y, v in zip(payload(own[i], i), ys, t["vectors"]):
            if v["dtype"] in tv.FLOATS and x.size:
                q = np.quantile(np.abs(x), 0.5)
                want = tv.decode(v["dtype"], tv.encode(v["dtype"], np.clip(x, -q, q)))
                check((want == y.ravel()).all(), f"tensor {t['name']} is clipped wrongly")
                check("payload" not in v, "payload attributes survived")
            else:
                check((x == y.ravel()).all(), f"tensor {t['name']} was touched")
        if i == 0:
            v, w = t["vectors"]
            check(v["weight"] == [1, 2.5, -3] and v["mine"] == [True] and w["source"] is None and
                  w["joined"] == own[0]["vectors"][1]["joined"],
                  "weights, unknown keys, source or joined were lost")
    check(reader.end["hashes"] == {"math": b"abcdefgh"}, "full hashes were lost")
    t = entry("a", [1500, 70])
    x = payload(t, 0)[0]
    y = tensors(good(run(clip, write(header([t]))), "clip-outliers"))[0][1][0]
    check(np.abs(y).max() == np.float32(np.quantile(np.abs(x), 0.999)),
          "a tensor of several blocks is clipped block by block")
    check(run(clip, data, "--quantile", "2").returncode == 2, "a usage error does not exit with 2")
    check(b"activations" in run(clip, write(dict(h, kind="activations"), own)).stderr,
          "a kind without a meaning was taken")


def relayed(data, what):
    """Stage and sentence of the error record that ends a stream."""
    try:
        read(data)
    except tv.StageFailed as e:
        return e.stage, e.sentence
    check(False, f"{what} left no error record")


def test_failures():
    clip = [os.path.join(ETL, "clip-outliers")]
    data = write(*small())
    record = msgpack.packb({"record": "error", "stage": "trim", "sentence": "it broke"})
    for at in (5, objects(data)[3][0], objects(data)[5][0]):
        broken = data[:at] + msgpack.packb(len(record)) + record
        done = run(clip, broken)
        check(done.returncode == 1 and not done.stderr, f"a relayed error prints {done.stderr}")
        check(relayed(done.stdout, "a relay") == ("trim", "it broke"), "a relayed error changed")
        done = run(clip, broken, saved=True)
        check(done.returncode == 1 and done.stderr == b"trim: it broke\n",
              f"an error in a saved stream prints {done.stderr}")
    for at, _ in objects(data):
        done = run_in_fork(clip, data[:at])
        said = done.stderr.startswith(b"clip-outliers: standard input is ")
        check(done.returncode == 1 and said and done.stderr.count(b"\n") == 1,
              f"a stream cut at {at} prints {done.stderr}")
        check(relayed(done.stdout, "a cut stream")[0] == "clip-outliers",
              "the failed stage is lost")
    for code, sentence in (("raise tvstream.Error('as told')", "as told"),
                           ("1 / 0", "ZeroDivisionError: division by zero (<string>, line 3)"),
                           ("return v[:1]", "must return a list"),
                           ("return None", "must return"),
                           ("return [x / 0 for x in v]", "at flat index 0")):
        program = f"import tvstream, numpy\ndef f(t, v):\n {code}\nnumpy.seterr(all='ignore')\n" \
                  "tvstream.transform(f, name='mine')"
        done = run(["-c", program], data)
        check(done.returncode == 1 and done.stderr.startswith(b"mine: ") and
              sentence in done.stderr.decode(), f"{code} prints {done.stderr}")
        check(sentence in relayed(done.stdout, code)[1],
              f"the record of {code} says something else")
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, *clip], input=data, stdout=full, env=ENVIRONMENT,
                              stderr=subprocess.PIPE)
    check(done.returncode == 1 and
          done.stderr.startswith(b"clip-outliers: cannot write to standard output"),
          f"a full disk prints {done.stderr}")
    large = write(header([entry(f"t{i}", [1000, 300]) for i in range(5)]))
    with subprocess.Popen([sys.executable, *clip], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=ENVIRONMENT) as stage:
        stage.stdout.close()
        try:
            stage.stdin.write(large)
            stage.stdin.close()
        except BrokenPipeError:
            pass
        check(stage.stderr.read() == b"", "a reader that has gone is not met in silence")
        stage.stdin = None
    check(stage.returncode == -13, f"a reader that has gone gives status {stage.returncode}")


def test_readme():
    with open(os.path.join(ETL, "README.md")) as file:
        programs = re.findall(r"```python\n(.*?)```", file.read(), re.S)
    check(len(programs) == 3, "README.md has another number of examples")
    h = header([entry("a", [3, 4], ("F32", "F32")), entry("b", [70000], ("F32", "F32"))])
    for v in h["tensors"][0]["vectors"]:
        v["payload"] = {"keep": 0.5}
    data = write(h)
    outputs = [good(run(["-c", p], data), "an example in README.md") for p in programs]
    for a, b, c, d in zip(*map(tensors, [data, *outputs])):
        check(all((x / 2 == y).all() for x, y in zip(a[1], b[1])), "halve does not halve")
        check("payload" not in b[0]["vectors"][0], "halve keeps attributes")
        norms = [np.linalg.norm(x) for x in a[1]]
        check(np.allclose([v["weight"] for v in c[0]["vectors"]], norms / np.sum(norms)),
              "by_norm sets other weights")
        check(a[0]["vectors"][0].get("payload") == c[0]["vectors"][0].get("payload"),
              "by_norm drops attributes")
        check(np.allclose(d[1][0], (a[1][0] + a[1][1]) / 2), "mean is not the mean")
        check(d[0]["vectors"] == [{"model": 3, "source": None, "dtype": "F32"}], "mean's vector")


def test_specification():
    """The worked example of share/stream.md."""
    with open(os.path.join(SHARE, "stream.md")) as file:
        text = file.read()
    dump = re.search(r"## Worked example.*?\n## ", text, re.S)
    check(dump, "stream.md has no worked example")
    lines = re.findall(r"^ {4}([0-9a-f]{4})  ((?:[0-9a-f]{2} ?)+)", dump.group(), re.M)
    data = b""
    for offset, codes in lines:
        check(int(offset, 16) == len(data), f"offset {offset} in stream.md is wrong")
        data += bytes.fromhex(codes)
    found = tensors(data)
    check(len(found) == 1 and found[0][0]["name"] == "w" and
          found[0][1][0].tolist() == [[1, -2, 0.5], [0, 0.25, 3]],
          f"the example in stream.md holds {found}")


def main():
    found = tv.xxh3
    test_blocks()
    test_dtypes()
    test_weights()
    for tv.xxh3 in (FakeHash, None, found):
        test_round_trip()
        test_large()
        test_refusals()
        test_records()
        test_writer()
    test_clip()
    test_failures()
    test_readme()
    test_specification()
    print("ok")


if __name__ == "__main__":
    try:
        main()
    except tv.Error as e:
        check(False, f"a good stream was refused: {e}")
