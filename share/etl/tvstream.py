"""Tensor streams (share/stream.md) in Python, for writing your own stages of tvtools pipelines.

    import tvstream

    def halve(tensor, vectors):
        return [x / 2 for x in vectors]

    tvstream.transform(halve)

`transform` turns a function into a stage. Joins, sources and sinks use Reader and Writer instead. A
stream is read and written block by block: memory depends on the size of a block, or with
scope="tensor" of a tensor, never on the size of the model.

Requires numpy and msgpack. Hashes are XXH3, computed by the `xxhash` package or the library
libxxhash.so.0. Without either, streams are read without verification and written without checksums
(no checksum in the trailers, hash: false at the end), which the format allows.
"""
import ctypes
import math
import os
import signal
import stat
import struct
import sys

try:
    import msgpack
    import numpy as np
except ImportError as e:
    # Debian's packages belong to its own Python, which may not be the first on PATH.
    debian, program = "/usr/bin/python3", os.path.realpath(sys.argv[0])
    if (sys.executable != debian and os.path.dirname(program) == os.path.dirname(os.path.realpath(__file__))
            and os.path.exists(debian) and os.system(debian + " -c 'import msgpack, numpy' 2>/dev/null") == 0):
        os.execv(debian, [debian, *sys.argv])
    sys.exit(f"{os.path.basename(program)}: the Python package {e.name} is missing (on Debian, run "
             "apt-get install python3-numpy python3-msgpack and use /usr/bin/python3)")

__version__ = "0.1.0"

MAGIC = b"\xa4TVS1"
MAP_MAX = 256 << 20
DEPTH_MAX = 31
RANK_MAX = 16
LAYERS_MAX = (1 << 31) - 1
BLOCK = 65536
LONG_ROW = 1 << 20
KINDS = ("weights", "task-vectors", "activations")
FLOATS = ("F16", "BF16", "F32", "F64")

# name: bits, numpy type of the payload. F8 and smaller are represented as bytes.
DTYPES = {
    "BOOL": (8, "u1"), "F4": (4, "u1"), "F6_E2M3": (6, "u1"), "F6_E3M2": (6, "u1"),
    "U8": (8, "u1"), "I8": (8, "i1"), "F8_E5M2": (8, "u1"), "F8_E4M3": (8, "u1"),
    "F8_E8M0": (8, "u1"), "F8_E4M3FNUZ": (8, "u1"), "F8_E5M2FNUZ": (8, "u1"),
    "I16": (16, "<i2"), "U16": (16, "<u2"), "F16": (16, "<f2"), "BF16": (16, "<u2"),
    "I32": (32, "<i4"), "U32": (32, "<u4"), "F32": (32, "<f4"), "C64": (64, "<c8"),
    "F64": (64, "<f8"), "I64": (64, "<i8"), "U64": (64, "<u8"),
}


class Error(Exception):
    """One sentence. Raise it in a stage to fail with that sentence."""


class StageFailed(Error):
    """The stream contains the error record of an earlier stage."""

    def __init__(self, stage, sentence):
        super().__init__(sentence)
        self.stage, self.sentence = stage, sentence


def _require(condition, sentence):
    if not condition:
        raise Error("broken stream: " + sentence)


# ---- hashes ------------------------------------------------------------------------------------


def _find_xxh3():
    """A class with update(bytes) and digest() -> 8 bytes, big-endian; None if neither library exists."""
    try:
        from xxhash import xxh3_64
        return xxh3_64
    except ImportError:
        pass
    try:
        lib = ctypes.CDLL("libxxhash.so.0")
        lib.XXH3_createState.restype = ctypes.c_void_p
        lib.XXH3_64bits_digest.restype = ctypes.c_uint64
    except (OSError, AttributeError):
        return None

    class Xxh3:
        def __init__(self):
            self.state = ctypes.c_void_p(lib.XXH3_createState())
            lib.XXH3_64bits_reset(self.state)

        def update(self, data):
            lib.XXH3_64bits_update(self.state, data, ctypes.c_size_t(len(data)))

        def digest(self):
            return lib.XXH3_64bits_digest(self.state).to_bytes(8, "big")

        def __del__(self):
            lib.XXH3_freeState(self.state)

    return Xxh3


class _NoHash:
    def update(self, data):
        pass


xxh3 = _find_xxh3()


def _hash():
    return xxh3() if xxh3 else _NoHash()


# ---- tensors -----------------------------------------------------------------------------------


def elements(tensor):
    return math.prod(tensor["shape"])


def columns(tensor):
    """Elements of a row: the last dimension, 1 for a scalar."""
    return tensor["shape"][-1] if tensor["shape"] else 1


def block_elements(tensor):
    """Elements of a full block."""
    n, c = elements(tensor), columns(tensor)
    if n == 0 or any(DTYPES[v["dtype"]][0] % 8 for v in tensor["vectors"]):
        return n
    return BLOCK if c > LONG_ROW else min(n, max(1, BLOCK // c) * c)


def spans(tensor):
    """(first element, number of elements) of each block, in order."""
    n, c, block = elements(tensor), columns(tensor), block_elements(tensor)
    unit = c if c > LONG_ROW and block < n else n  # elements that are split into blocks separately
    for start in range(0, n, max(1, unit)):
        for first in range(start, start + unit, block):
            yield first, min(block, start + unit - first)


def is_float(tensor):
    return all(v["dtype"] in FLOATS for v in tensor["vectors"])


def weights(tensor, k, first, n):
    """The weights of vector k for n elements starting at flat index `first`, as an array."""
    w = tensor["vectors"][k].get("weight", 1)
    if not isinstance(w, list):
        return np.full(n, float(w))
    chunk = -(-elements(tensor) // len(w))
    return np.asarray(w, float)[np.arange(first, first + n) // chunk]


def joined(header, tensor):
    """The value of the key `joined` of the vector that a join makes of the tensor's vectors; None if
    all weights are and were 1."""
    if all(v.get("weight", 1) in (1, [1]) and not v.get("joined") for v in tensor["vectors"]):
        return None
    return [dict({"name": header["models"][v["model"]]["name"]},
                 **{key: v[key] for key in ("weight", "joined") if key in v}) for v in tensor["vectors"]]


def bf16_to_f32(bits):
    """uint16 -> float32, exact."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def f32_to_bf16(x):
    """float32 -> uint16, rounded to nearest even; NaN is preserved."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = ((bits >> 16 & 1) + 0x7FFF + bits) >> 16
    return np.where(np.isnan(x), bits >> 16 | 0x40, rounded).astype("<u2")


def decode(dtype, data):
    """Payload as a one-dimensional array: F16 and BF16 as float32, F8 and smaller as bytes."""
    x = np.frombuffer(data, DTYPES[dtype][1])
    if dtype == "BF16":
        return bf16_to_f32(x)
    return x.astype(np.float32) if dtype == "F16" else x.copy()


def encode(dtype, x):
    """The inverse of decode, rounding to nearest even."""
    with np.errstate(over="ignore"):
        if dtype == "BF16":
            return f32_to_bf16(np.asarray(x, np.float32)).tobytes()
        return np.asarray(x).astype(DTYPES[dtype][1]).tobytes()


def _check_finite(tensor, k, first, x):
    if tensor["vectors"][k]["dtype"] in FLOATS and not np.isfinite(x).all():
        at = first + int(np.flatnonzero(~np.isfinite(np.ravel(x)))[0])
        raise Error(f"tensor {tensor['name']}, vector {k}: non-finite number at flat index {at}")


def decoded(tensor, blocks, allow_nonfinite=False):
    """Converts blocks of bytes to blocks of arrays of shape (rows, columns), or (1, n) for part of a
    long row."""
    for block, (first, n) in zip(blocks, spans(tensor)):
        arrays = []
        for k, data in enumerate(block):
            dtype = tensor["vectors"][k]["dtype"]
            x = decode(dtype, data)
            if not allow_nonfinite:
                _check_finite(tensor, k, first, x)
            fits = x.size == n and n % columns(tensor) == 0
            arrays.append(x.reshape(-1, columns(tensor)) if fits else x.reshape(1, -1))
        yield arrays


def whole(tensor, blocks):
    """Assembles blocks of arrays to one array per vector, in the tensor's shape. Not for F4 and F6."""
    arrays = None
    for block, (first, n) in zip(blocks, spans(tensor)):
        if arrays is None:
            arrays = [np.empty(elements(tensor), x.dtype) for x in block]
        for x, part in zip(arrays, block):
            x[first:first + n] = part.ravel()
    if arrays is None:
        arrays = [decode(v["dtype"], b"") for v in tensor["vectors"]]
    return [x.reshape(tensor["shape"]) for x in arrays]


def cut(tensor, arrays):
    """Splits arrays into blocks: the inverse of whole."""
    flat = [np.ravel(x) for x in arrays]
    for first, n in spans(tensor):
        yield [x[first:first + n] for x in flat]


# ---- records -----------------------------------------------------------------------------------


def _is_nested_at_most(levels, x):
    if not isinstance(x, (dict, list)) or not x:
        return True
    items = x.values() if isinstance(x, dict) else x
    return levels > 0 and all(_is_nested_at_most(levels - 1, item) for item in items)


def _unpack(data):
    try:
        record = msgpack.unpackb(data, raw=False, strict_map_key=False,
                                 unicode_errors="surrogateescape")
    except (ValueError, TypeError):
        record = None
    _require(isinstance(record, dict), "a record is not one msgpack map of the length before it")
    _require(_is_nested_at_most(DEPTH_MAX, record), f"a record is nested more than {DEPTH_MAX} deep")
    return record


def _pack(record):
    data = msgpack.packb(record, unicode_errors="surrogateescape")
    if len(data) > MAP_MAX:
        raise Error(f"a record of {len(data)} bytes (the maximum is {MAP_MAX})")
    return data


def _is_count(x):
    return type(x) is int and x >= 0


def _is_number(x):
    return type(x) in (int, float) and math.isfinite(x)


def _is_hash(x):
    return isinstance(x, bytes) and len(x) == 8


def _is_text(x):
    return isinstance(x, str) and "\0" not in x


def _is_dtype(x):
    return isinstance(x, str) and x in DTYPES


def _check_weight(name, w, n):
    m = w if isinstance(w, list) else [w]
    _require(m and all(_is_number(x) for x in m), f"weight of tensor {name} is not a finite number")
    _require(len(m) == 1 or len(m) <= n and (len(m) - 1) * -(-n // len(m)) < n,
          f"the list of weights of tensor {name} does not fit its number of elements")


def _check_joined(name, vectors, n):
    _require(isinstance(vectors, list), f"joined of tensor {name} is not a list")
    for v in vectors:
        _require(isinstance(v, dict) and _is_text(v.get("name")), f"a joined vector of tensor {name} has no name")
        _check_weight(name, v.get("weight", 1), n)
        _check_joined(name, v.get("joined", []), n)


def _check_vector(tensor, v, n, n_models):
    name = tensor["name"]
    _require(isinstance(v, dict), f"a vector of tensor {name} is not a map")
    _require(_is_count(v.get("model")) and v["model"] < n_models,
          f"a vector of tensor {name} belongs to no model")
    for key in ("dtype", "stored"):
        _require(_is_dtype(v.get(key, "F32" if key == "stored" else None)),
              f"{key} of tensor {name} is {v.get(key)!r}; expected a dtype of safetensors")
    _require(v.get("source") is None or _is_text(v["source"]), f"source of tensor {name} is not a string")
    _check_weight(name, v.get("weight", 1), n)
    _check_joined(name, v.get("joined", []), n)
    payload = v.get("payload", {})
    _require(isinstance(payload, dict) and
          all(_is_number(payload.get(key, 0)) for key in ("l1_before", "l1", "keep")),
          f"payload attributes of tensor {name} are not numbers")
    _require(DTYPES[v["dtype"]][0] * n % 8 == 0, f"tensor {name} does not fill whole bytes")


def check_tensor(t, n_models):
    """Raises an Error unless t is a valid manifest entry or tensor header."""
    _require(isinstance(t, dict), "a tensor is not a map")
    name, shape, vectors = t.get("name"), t.get("shape"), t.get("vectors")
    _require(_is_text(name), "a tensor has no name")
    _require(isinstance(shape, list) and len(shape) <= RANK_MAX and all(map(_is_count, shape)) and
          8 * math.prod(d for d in shape if d) < 1 << 63, f"shape of tensor {name} is {shape!r}")
    _require(_is_text(t.get("base", "")), f"base of tensor {name} is not a string")
    layer = t.get("layer", [0, 1])
    _require(isinstance(layer, list) and len(layer) == 2 and all(map(_is_count, layer)) and
          layer[0] < layer[1] <= LAYERS_MAX, f"layer of tensor {name} is {layer!r}")
    _require(isinstance(vectors, list) and vectors, f"tensor {name} has no vectors")
    for v in vectors:
        _check_vector(t, v, elements(t), n_models)
    models = [v["model"] for v in vectors]
    _require(models == sorted(set(models)), f"vectors of tensor {name} are not in order of the models")
    if "block" in t:
        _require(_is_count(t["block"]) and t["block"] == block_elements(t), f"block of tensor {name} is {t['block']!r}, "
              f"expected {block_elements(t)} for its shape")


def _check_history(history):
    _require(isinstance(history, list), "history is not a list")
    for step in history:
        _require(isinstance(step, dict) and _is_text(step.get("tool")) and
              _is_text(step.get("version")) and isinstance(step.get("arguments"), list) and
              all(map(_is_text, step["arguments"])), "a step of the history lacks tool, version or arguments")
        fingerprints = step.get("fingerprints", [])
        _require(isinstance(fingerprints, list) and all(map(_is_hash, fingerprints)),
                 "fingerprints of a step are not a list of bins of 8 bytes")
        _require(_is_text(step.get("blas", "")), "the blas of a step is not a str")
        _require(isinstance(step.get("parents", []), list), "parents of a step are not a list")
        for parent in step.get("parents", []):
            _check_history(parent)


def check_header(h):
    """Raises an Error unless h is a valid stream header."""
    _require(h.get("record") == "header", "the first record is not the header")
    if type(h.get("version")) is not int or h["version"] != 1:
        raise Error(f"the stream has format version {h.get('version')!r}; this program reads version 1")
    _require(h.get("kind") in KINDS, f"kind is {h.get('kind')!r}")
    _require(_is_dtype(h.get("rounding", "F32")), f"rounding is {h.get('rounding')!r}")
    for key in ("models", "tensors"):
        _require(isinstance(h.get(key), list), f"{key} of the header is not a list")
    _check_history(h.get("history", []))
    for m in h["models"]:
        _require(isinstance(m, dict) and _is_text(m.get("name")), "a model has no name")
        _require(_is_hash(m.get("fingerprint", bytes(8))), "a fingerprint is not a bin of 8 bytes")
        for key in ("role", "hub", "commit", "quantization"):
            _require(_is_text(m.get(key, "")), f"{key} of a model is not a string")
    for t in h["tensors"]:
        check_tensor(t, len(h["models"]))
    for key in ("models", "tensors"):
        names = [x["name"] for x in h[key]]
        _require(len(set(names)) == len(names), f"two {key} have the same name")


def _manifest_values(t):
    """The values of a tensor header that must match the manifest."""
    return t["name"], t["shape"], [(v["model"], v["dtype"]) for v in t["vectors"]]


# ---- reading -----------------------------------------------------------------------------------

# first byte of an integer or a bin: number of bytes of its value
_VALUE_BYTES = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8,
          0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}


class Reader:
    """Reads a stream from a binary file.

        reader = tvstream.Reader(sys.stdin.buffer)
        reader.header                                 # the header map
        for tensor, blocks in reader:                 # tensor: its header map
            for x, y in blocks:                       # one array per vector (here 2)
                ...
        reader.end                                    # the end map

    The reader makes every check that the format requires: it raises Error if the stream is invalid,
    and StageFailed if an earlier stage has failed. Blocks that the loop body does not read are
    skipped. The stream is verified only when the loop has ended.
    """

    def __init__(self, file, what="standard input", allow_nonfinite=False):
        self._file, self._what, self._allow = file, what, allow_nonfinite
        self._sum = _hash()  # of the stream, except the contents of payload bins
        self._payload = 0
        self.end = None
        magic = file.read(len(MAGIC))
        if not magic:
            raise Error(f"{what} is empty; expected a tensor stream")
        if not MAGIC.startswith(magic):
            raise Error(f"{what} is not a tensor stream (it does not begin with TVS1)")
        if magic != MAGIC:
            magic += self._take(len(MAGIC) - len(magic), hashed=False)
            _require(magic == MAGIC, "it does not begin with TVS1")
        self._sum.update(magic)
        self.header = self._record("header")[0]
        check_header(self.header)

    def _take(self, n, hashed=True):
        data = self._file.read(n)
        while len(data) < n:
            more = self._file.read(n - len(data))
            if not more:
                raise Error(f"{self._what} is truncated: the stream ends without its end record")
            data += more
        if hashed:
            self._sum.update(data)
        return data

    def _head(self):
        """The header of the next object: (is it a bin?, value)."""
        first = self._take(1)[0]
        if first < 0x80:
            return False, first
        _require(first in _VALUE_BYTES, f"expected an integer or a bin, found byte 0x{first:02x}")
        value = self._take(_VALUE_BYTES[first])
        _require(first < 0xD0 or value[0] < 0x80, "negative length")
        return first <= 0xC6, int.from_bytes(value, "big")

    def _map(self, size):
        _require(size <= MAP_MAX, f"a record of {size} bytes (the maximum is {MAP_MAX})")
        data = self._take(size)
        record = _unpack(data)
        if record.get("record") == "error":
            raise StageFailed(str(record.get("stage", "")), str(record.get("sentence", "")))
        return record, data

    def _record(self, *types):
        is_bin, size = self._head()
        _require(not is_bin, "expected a record, found payload")
        record, data = self._map(size)
        _require(record.get("record") in types,
              f"expected a record {' or '.join(types)}, found {record.get('record')!r}")
        return record, data

    def _blocks(self, tensor, data):
        checksum = _hash()
        checksum.update(data)
        for _, n in spans(tensor):
            block = []
            for v in tensor["vectors"]:
                size = DTYPES[v["dtype"]][0] * n // 8
                is_bin, found = self._head()
                if not is_bin:
                    self._map(found)
                    _require(False, "expected payload, found a record")
                _require(found == size, f"a block of tensor {tensor['name']} has {found} bytes "
                      f"instead of {size}")
                block.append(self._take(size, hashed=False))
                checksum.update(block[-1])
                self._payload += size
            yield block
        trailer = self._record("trailer")[0]
        if "checksum" in trailer:
            _require(_is_hash(trailer["checksum"]), "a checksum is not a bin of 8 bytes")
            _require(not xxh3 or trailer["checksum"] == checksum.digest(),
                  f"wrong checksum of tensor {tensor['name']}")

    def raw(self):
        """Like iterating over the reader, with bytes instead of arrays."""
        for entry in self.header["tensors"]:
            tensor, data = self._record("tensor", "end")
            _require(tensor["record"] == "tensor", "the end record comes before the last tensor")
            check_tensor(tensor, len(self.header["models"]))
            _require(_manifest_values(tensor) == _manifest_values(entry),
                  f"tensor {tensor['name']} does not match the manifest")
            blocks = self._blocks(tensor, data)
            yield tensor, blocks
            for _ in blocks:
                pass
        self._finish()

    def __iter__(self):
        for tensor, blocks in self.raw():
            yield tensor, decoded(tensor, blocks, self._allow)

    def _finish(self):
        end = self._record("end")[0]
        _require(_is_count(end.get("tensors")) and _is_count(end.get("bytes")) and
                 end["tensors"] == len(self.header["tensors"]) and end["bytes"] == self._payload,
                 "the end record has a wrong number of tensors or bytes")
        hashes = end.get("hashes", {})
        _require(isinstance(hashes, dict) and all(map(_is_text, hashes)) and all(map(_is_hash, hashes.values())),
                 "hashes in the end record are not bins of 8 bytes under names of models")
        _require(isinstance(end.get("hash", True), bool), "hash in the end record is not true or false")
        if end.get("hash", True):
            expected = self._sum.digest() if xxh3 else None
            is_bin, size = self._head()
            _require(is_bin and size == 8, "its hash is not a bin of 8 bytes")
            found = self._take(8)
            _require(not xxh3 or found == expected, "wrong hash of its records")
        _require(not self._file.read(1), "bytes follow its end")
        self.end = end


# ---- writing -----------------------------------------------------------------------------------


def _int(value):
    return msgpack.packb(value)


class Writer:
    """Writes a stream to a buffered binary file.

        writer = tvstream.Writer(sys.stdout.buffer)
        writer.header(header)                 # written immediately
        writer.tensor(tensor, blocks)         # in the manifest's order, or in steps:
        writer.begin(tensor); writer.block([x, y]); ...; writer.finish()
        writer.end(reader.end.get("hashes"))  # passes on the hashes of the models that were read

    A block is a list with one array, or the encoded bytes, per vector. Arrays are rounded to the
    vector's dtype. The writer adds `record`, `block` and checksums.
    """

    def __init__(self, file, what="standard output", allow_nonfinite=False):
        self._file, self._what, self._allow = file, what, allow_nonfinite
        self._sum = _hash()
        self._tensors = self._payload = 0
        self._started = self._broken = False

    def _write(self, head, content=b""):
        """Writes an object that starts with `head`; `content` is not part of the stream's hash."""
        intact, self._broken = not self._broken, True
        self._sum.update(head)
        try:
            self._file.write(head)
            self._file.write(content)
        except OSError as e:
            raise Error(f"cannot write to {self._what}: {e.strerror}") from e
        self._broken = not intact

    def _flush(self):
        try:
            self._file.flush()
        except OSError as e:
            self._broken = True
            raise Error(f"cannot write to {self._what}: {e.strerror}") from e

    def _write_record(self, record):
        data = _pack(record)
        self._write(_int(len(data)) + data)
        return data

    def _start(self):
        if not self._started:
            self._write(MAGIC)
        self._started = True

    def header(self, header):
        header = dict(header, record="header", version=1)
        header.setdefault("history", [])
        check_header(header)
        self._header = header
        self._start()
        self._write_record(header)
        self._flush()

    def begin(self, tensor):
        tensor = dict(tensor, record="tensor", block=block_elements(tensor))
        check_tensor(tensor, len(self._header["models"]))
        manifest = self._header["tensors"]
        if self._tensors == len(manifest) or \
                _manifest_values(tensor) != _manifest_values(manifest[self._tensors]):
            raise Error(f"tensor {tensor['name']} does not match the manifest")
        self._tensors += 1
        self._tensor, self._spans = tensor, spans(tensor)
        self._checksum = _hash()
        self._checksum.update(self._write_record(tensor))

    def block(self, vectors):
        tensor = self._tensor
        first, n = next(self._spans, (0, 0))
        if n == 0 or len(vectors) != len(tensor["vectors"]):
            raise Error(f"tensor {tensor['name']}: too many blocks, or {len(vectors)} vectors instead "
                        f"of {len(tensor['vectors'])}")
        for k, (x, v) in enumerate(zip(vectors, tensor["vectors"])):
            bits, wire = DTYPES[v["dtype"]]
            data = x
            if not isinstance(x, (bytes, bytearray, memoryview)):
                data = encode(v["dtype"], x)
                if not self._allow and v["dtype"] in FLOATS:
                    _check_finite(tensor, k, first, decode(v["dtype"], data))
            if len(data) != bits * n // 8:
                raise Error(f"a block of tensor {tensor['name']} has {len(data)} bytes instead of "
                            f"{bits * n // 8}")
            size = len(data)
            head = struct.pack(">BB", 0xC4, size) if size < 1 << 8 else \
                struct.pack(">BH", 0xC5, size) if size < 1 << 16 else struct.pack(">BI", 0xC6, size)
            self._write(head, data)
            self._checksum.update(bytes(data))
            self._payload += size

    def finish(self):
        if next(self._spans, None):
            raise Error(f"tensor {self._tensor['name']}: too few blocks")
        trailer = {"record": "trailer"}
        if xxh3:
            trailer["checksum"] = self._checksum.digest()
        self._write_record(trailer)

    def tensor(self, tensor, blocks):
        self.begin(tensor)
        for block in blocks:
            self.block(block)
        self.finish()

    def end(self, hashes=None):
        if self._tensors != len(self._header["tensors"]):
            raise Error(f"{self._tensors} tensors were written, the manifest has "
                        f"{len(self._header['tensors'])}")
        end = {"record": "end", "tensors": self._tensors, "bytes": self._payload}
        if hashes:
            end["hashes"] = hashes
        if not xxh3:
            end["hash"] = False
        self._write_record(end)
        if xxh3:
            self._write(b"\xc4\x08" + self._sum.digest())
        self._flush()

    def error(self, stage, sentence):
        """Writes an error record, which ends the stream; nothing after a failed write."""
        if self._broken:
            return
        self._start()
        self._write_record({"record": "error", "stage": stage, "sentence": sentence})
        self._flush()


# ---- stages ------------------------------------------------------------------------------------


def add_step(header, tool, version, arguments):
    """The header with one more step in its history."""
    step = {"tool": tool, "version": version, "arguments": [str(a) for a in arguments]}
    return dict(header, history=header.get("history", []) + [step])


def _apply(function, tensor, arrays):
    results = function(tensor, arrays)
    if not isinstance(results, (list, tuple)) or \
            [np.shape(y) for y in results] != [x.shape for x in arrays]:
        raise Error(f"tensor {tensor['name']}: the stage's function must return a list of arrays with "
                    "the shapes of its arguments")
    return results


def _without_attributes(tensor, keeps):
    """The tensor without payload attributes, except those in `keeps`."""
    vectors = []
    for v in tensor["vectors"]:
        kept = {a: x for a, x in v.get("payload", {}).items() if a in keeps}
        v = {key: x for key, x in v.items() if key != "payload"}
        vectors.append(dict(v, payload=kept) if kept else v)
    return dict(tensor, vectors=vectors)


def _run(reader, writer, function, scope, only, keeps, allow):
    for tensor, raw in reader.raw():
        if not is_float(tensor) or elements(tensor) == 0 or only and not only(tensor):
            writer.tensor(tensor, raw)
            continue
        tensor = _without_attributes(tensor, keeps)
        blocks = decoded(tensor, raw, allow)
        if scope == "tensor":
            blocks = cut(tensor, _apply(function, tensor, whole(tensor, blocks)))
        else:
            blocks = (_apply(function, tensor, block) for block in blocks)
        writer.tensor(tensor, blocks)
    writer.end(reader.end.get("hashes"))


def _printable(text):
    return "".join(c if c.isprintable() else "?" for c in text)


def _sentence(e):
    """The error message as one line; for an exception in the stage's own code, with its location."""
    text = str(e)
    if not isinstance(e, Error):
        trace = e.__traceback__
        while trace.tb_next:
            trace = trace.tb_next
        file = os.path.basename(trace.tb_frame.f_code.co_filename)
        text = f"{type(e).__name__}: {text} ({file}, line {trace.tb_lineno})"
    return _printable(text)


def transform(function, scope="block", *, name=None, version="0", arguments=None, kinds=KINDS,
              only=None, keeps=(), allow_nonfinite=False):
    """Runs the program as a stage from standard input to standard output.

    function(tensor, vectors) receives a tensor's header map and a list with one float array per
    vector, and returns the list of the changed arrays. With scope "block" the arrays are blocks of
    whole rows, (rows, columns); with "tensor" they are whole tensors in their shape, and the function
    may also set weights and payload attributes in tensor["vectors"][k]. F16 and BF16 are converted to
    float32 on input and rounded on output.

    Tensors that are empty or not floating-point, and those for which only(tensor) is false, are passed
    on unchanged. Weights and unknown keys are passed on. Payload attributes are dropped, except those
    named in `keeps`, because the payload changes.

    name, version and arguments (default: those of the command line) form the step in the stream's
    history; pass arguments explicitly if the command line contains paths. `kinds` are the kinds of
    streams that the stage accepts. A failure is reported on standard error and in the stream, and the
    program exits with 1.
    """
    name = name or os.path.basename(sys.argv[0])
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if not sys.stdin or not sys.stdout:
        sys.exit(f"{name}: standard input or output is closed")
    source, target = sys.stdin.buffer, sys.stdout.buffer
    if target.isatty():
        sys.exit(f"{name}: standard output is a terminal; write the tensor stream to a pipe or a "
                 "file (tv-view shows it as text)")
    sys.stdout = sys.stderr  # a print in the function must not write into the stream
    writer = Writer(target, allow_nonfinite=allow_nonfinite)
    try:
        if source.isatty():
            raise Error("standard input is a terminal; expected a tensor stream")
        reader = Reader(source)
        if reader.header["kind"] not in kinds:
            raise Error(f"the stream contains {reader.header['kind']}; expected {' or '.join(kinds)}")
        arguments = sys.argv[1:] if arguments is None else arguments
        writer.header(add_step(reader.header, name, version, arguments))
        _run(reader, writer, function, scope, only, keeps, allow_nonfinite)
        try:
            target.close()
        except OSError as e:
            raise Error(f"cannot close standard output: {e.strerror}") from e
    except Exception as e:  # every failure must be reported downstream
        stage, sentence = name, _sentence(e)
        printed = isinstance(e, StageFailed)
        if printed:
            stage, sentence = e.stage, e.sentence
            printed = not stat.S_ISREG(os.fstat(source.fileno()).st_mode)
        if not printed:  # a failed stage has printed its sentence, unless the stream is a file
            print(_printable(f"{stage}: {sentence}"), file=sys.stderr, flush=True)
        try:
            writer.error(stage, sentence)
        except (Error, ValueError):
            pass
        os._exit(1)  # does not try to flush again
