#!/usr/bin/python3
"""Writes checkpoints into the folder given as argument: malformed and malicious ones, listed in
expected.tsv (path, part of the error message), and unusual but valid ones, listed in good.tsv (path,
number of tensors, name of one of them, its values). torch is not needed: its classes are defined here
under their names, so that pickle writes them."""

import argparse
import collections
import datetime
import functools
import io
import json
import os
import pathlib
import pickle
import struct
import sys
import tarfile
import types
import zipfile

folder = sys.argv[1]
expected = []
good = []


def place(name):
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path


def write(name, data):
    with open(place(name), "wb") as f:
        f.write(data)


def refuse(name, sentence, data=None):
    if data is not None:
        write(name, data)
    expected.append((name, sentence))


def accept(name, tensors, tensor, values, data=None):
    if data is not None:
        write(name, data)
    good.append((name, str(tensors), tensor, " ".join("%g" % v for v in values)))


# ---- safetensors ---------------------------------------------------------------------------------


def f32(*values):
    return struct.pack("<%df" % len(values), *values)


def entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


a = entry([2], 0, 8)
ab = f32(1, 2, 3, 4)
simple = safetensors({"a": a}, f32(1, 2))

accept("empty.safetensors", 0, "", [], safetensors({}))
accept("spaces.safetensors", 1, "a", [1, 2], safetensors(b" \n" + json.dumps({"a": a}).encode() + b"  ", f32(1, 2)))
accept("scalar.safetensors", 2, "s", [3],
       safetensors({"e": entry([0, 5], 4, 4), "s": entry([], 0, 4), "__metadata__": {"format": "pt"}}, f32(3)))
accept("escaped.safetensors", 1, "\u00e9\U0001f600", [1, 2], safetensors({"\u00e9\U0001f600": a}, f32(1, 2)))
accept("odd-offset.safetensors", 2, "b", [7],
       safetensors({"a": entry([1], 0, 1, "U8"), "b": entry([1], 1, 5)}, b"x" + f32(7)))

refuse("short.safetensors", "is not a safetensors file", b"abc")
refuse("lfs.safetensors", "Git LFS", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
refuse("huge-header.safetensors", "length is 1152921504606846976 bytes", safetensors({"a": a}, f32(1, 2), 1 << 60))
refuse("long-header.safetensors", "the file has only", safetensors({"a": a}, f32(1, 2), 99999))
refuse("overlap.safetensors", "the tensors a and b overlap",
       safetensors({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, f32(1, 2, 3)))
refuse("alias.safetensors", "overlap", safetensors({"a": a, "b": a}, f32(1, 2)))
refuse("hole.safetensors", "4 bytes before tensor b", safetensors({"a": a, "b": entry([1], 12, 16)}, ab))
refuse("hole-first.safetensors", "4 bytes before tensor a", safetensors({"a": entry([1], 4, 8)}, f32(1, 2)))
refuse("trailing.safetensors", "bytes at its end belong to no tensor (8)", safetensors({"a": a}, ab))
refuse("cut.safetensors", "the file has only 4", safetensors({"a": a}, f32(1)))
refuse("backwards.safetensors", "are reversed", safetensors({"a": entry([2], 8, 0)}, f32(1, 2)))
refuse("duplicate.safetensors", "duplicate",
       safetensors(('{"a": %s, "a": %s}' % (json.dumps(a), json.dumps(entry([2], 8, 16)))).encode(), ab))
refuse("dtype.safetensors", "unknown dtype F31", safetensors({"a": entry([2], 0, 8, "F31")}, f32(1, 2)))
refuse("no-dtype.safetensors", "has no dtype", safetensors({"a": {"shape": [2], "data_offsets": [0, 8]}}, f32(1, 2)))
refuse("no-shape.safetensors", "shape", safetensors({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, f32(1, 2)))
refuse("no-offsets.safetensors", "data_offsets", safetensors({"a": {"dtype": "F32", "shape": [2]}}, f32(1, 2)))
refuse("negative.safetensors", "shape", safetensors({"a": entry([-2], 0, 8)}, f32(1, 2)))
refuse("fraction.safetensors", "shape", safetensors({"a": entry([2.5], 0, 8)}, f32(1, 2)))
refuse("integer.safetensors", "not valid JSON",
       safetensors(b'{"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,8]}}', f32(1, 2)))
refuse("overflow.safetensors", "overflows", safetensors({"a": entry([1 << 40, 1 << 40], 0, 8)}, f32(1, 2)))
refuse("overflow-bits.safetensors", "overflows", safetensors({"a": entry([1 << 60], 0, 8)}, f32(1, 2)))
refuse("size.safetensors", "needs 12 bytes", safetensors({"a": entry([3], 0, 8)}, f32(1, 2)))
refuse("half-byte.safetensors", "whole number of bytes", safetensors({"a": entry([3], 0, 1, "F4")}, b"x"))
refuse("rank.safetensors", "at most 16", safetensors({"a": entry([1] * 17, 0, 4)}, f32(1)))
refuse("bomb.safetensors", "nested", safetensors(b'{"a":' + b"[" * 100000))
refuse("many.safetensors", "values", safetensors(b'{"a":[' + b"0," * 4200000 + b"0]}"))
refuse("nul.safetensors", "not valid JSON", safetensors({"a\0b": a}, f32(1, 2)))
refuse("raw-nul.safetensors", "not valid JSON", safetensors(b'{"a\0":1}', f32(1, 2)))
refuse("utf8.safetensors", "not valid JSON", safetensors(b'{"\xff\xfe":' + json.dumps(a).encode() + b"}", f32(1, 2)))
refuse("garbage.safetensors", "not valid JSON", safetensors(json.dumps({"a": a}).encode() + b"x", f32(1, 2)))
refuse("metadata.safetensors", "__metadata__", safetensors({"__metadata__": {"format": 1}, "a": a}, f32(1, 2)))
refuse("metadata-list.safetensors", "__metadata__", safetensors({"__metadata__": [], "a": a}, f32(1, 2)))
refuse("list-entry.safetensors", "has no dtype", safetensors({"a": [1]}, f32(1, 2)))

# ---- folders and indexes -------------------------------------------------------------------------

one = "model-00001-of-00002.safetensors"
two = "model-00002-of-00002.safetensors"
shard_b = safetensors({"b": entry([2], 0, 8)}, f32(3, 4))


def sharded(name, weight_map, first=simple, second=shard_b):
    index = weight_map if isinstance(weight_map, bytes) else json.dumps({"metadata": {}, "weight_map": weight_map}).encode()
    write(name + "/model.safetensors.index.json", index)
    write(name + "/config.json", b"{}")
    if first:
        write(name + "/" + one, first)
    if second:
        write(name + "/" + two, second)
    return name


accept(sharded("sharded", {"a": one, "b": two}), 2, "b", [3, 4])
accept(sharded("unnamed", {"a": one}, simple,
               None), 1, "a", [1, 2])
accept(sharded("more-than-named", {"b": two, "a": one}, safetensors({"a": a, "c": entry([1], 8, 12)}, f32(1, 2, 9))), 3, "c", [9])
write("no-index/" + one, simple)
write("no-index/" + two, shard_b)
accept("no-index", 2, "b", [3, 4])
write("both/model.safetensors", simple)
write("both/pytorch_model.bin", b"ignored")
accept("both", 1, "a", [1, 2])
write("diffusion/diffusion_pytorch_model.safetensors", simple)
accept("diffusion", 1, "a", [1, 2])

refuse(sharded("index-escapes", {"a": "../x"}), "../x")
refuse(sharded("index-absolute", {"a": "/etc/passwd"}), "/etc/passwd")
refuse(sharded("index-dots", {"a": ".."}), "in the folder of the index")
refuse(sharded("missing-shard", {"a": one, "b": two}, second=None), "the shard " + two + " is missing")
refuse(sharded("missing-tensor", {"a": one, "b": two, "c": two}), "tensor c is not in " + two)
refuse(sharded("wrong-shard", {"a": two, "b": two}), "tensor a is not in " + two)
refuse(sharded("same-twice", {"a": one, "b": two}, second=safetensors({"b": a, "a": entry([1], 8, 12)}, f32(3, 4, 5))),
       "two tensors are named a")
refuse(sharded("index-bomb", b'{"weight_map":' + b"[" * 5000), "nested")
refuse(sharded("index-duplicate", ('{"weight_map":{"a":"%s","a":"%s"}}' % (one, two)).encode()), "duplicate")
refuse(sharded("index-empty", {}), "no weight_map")
refuse(sharded("index-number", {"a": 1}), "not a string")
refuse(sharded("index-list", b"[]"), "not a JSON object")
write("gap/" + two, shard_b)
refuse("gap", "the shard " + one + " is missing")
write("nothing/config.json", b"{}")
refuse("nothing", "expected model.safetensors")
write("several/x.safetensors", simple)
write("several/y.safetensors", simple)
refuse("several", "several .safetensors files")

# ---- torch ---------------------------------------------------------------------------------------


def stand_in(module, name, base=object):
    parent = sys.modules.setdefault(module, types.ModuleType(module))
    made = type(name, (base,), {"__module__": module, "__qualname__": name})
    setattr(parent, name, made)
    return made


FloatStorage = stand_in("torch", "FloatStorage")
BFloat16Storage = stand_in("torch", "BFloat16Storage")
UntypedStorage = stand_in("torch.storage", "UntypedStorage")
Float8 = stand_in("torch", "float8_e4m3fn")
rebuild = stand_in("torch._utils", "_rebuild_tensor_v2")
rebuild_v3 = stand_in("torch._utils", "_rebuild_tensor_v3")
rebuild_parameter = stand_in("torch._utils", "_rebuild_parameter")
rebuild_from_type = stand_in("torch._tensor", "_rebuild_from_type_v2")
Tensor = stand_in("torch", "Tensor")
Parameter = stand_in("torch.nn.parameter", "Parameter")
Net = stand_in("models", "Net")


class Storage:
    def __init__(self, key, numel, kind=FloatStorage):
        self.id = ("storage", kind, key, "cpu", numel)


class Call:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


class Attributes(collections.OrderedDict):
    """An OrderedDict with attributes, as nn.Module.state_dict() returns it."""

    def __reduce__(self):
        return collections.OrderedDict, (), {"_metadata": collections.OrderedDict()}, None, iter(self.items())


def tensor(storage, shape, stride, offset=0):
    return Call(rebuild, storage, offset, tuple(shape), tuple(stride), False, collections.OrderedDict())


class Pickler(pickle._Pickler):
    def persistent_id(self, x):
        return x.id if isinstance(x, Storage) else None


def dump(x, protocol=2):
    out = io.BytesIO()
    Pickler(out, protocol).dump(x)
    return out.getvalue()


def archive(pickled, records={}, method=zipfile.ZIP_STORED, extra={}):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr("archive/data.pkl", pickled)
        for key, data in records.items():
            z.writestr(zipfile.ZipInfo("archive/data/" + key), data, method)
        for key, data in extra.items():
            z.writestr("archive/" + key, data)
        z.writestr("archive/version", "3\n")
    return out.getvalue()


six = {"0": f32(0, 1, 2, 3, 4, 5)}
s = Storage("0", 6)


def state(**tensors):
    return collections.OrderedDict(tensors)


plain = archive(dump(state(w=tensor(s, (2, 3), (3, 1)))), six)
accept("plain.bin", 1, "w", range(6), plain)
accept("transposed.bin", 1, "w", [0, 3, 1, 4, 2, 5], archive(dump(state(w=tensor(s, (3, 2), (1, 3)))), six))
accept("row.bin", 2, "w", [3, 4, 5], archive(dump(state(w=tensor(s, (3,), (1,), 3), tied=tensor(s, (6,), (1,)))), six))
accept("expanded.bin", 1, "w", [2, 2, 2, 2], archive(dump(state(w=tensor(s, (2, 2), (0, 0), 2))), six))
accept("scalar.bin", 1, "w", [5], archive(dump(state(w=tensor(s, (), (), 5))), six))
accept("no-elements.bin", 1, "w", [], archive(dump(state(w=tensor(s, (0, 3), (3, 1), 77))), six))
accept("no-elements-odd.bin", 1, "w", [], archive(dump(state(w=tensor(s, (0, 3), (9, 7)))), six))
accept("parameter.bin", 1, "w", [0, 1],
       archive(dump(state(w=Call(rebuild_parameter, tensor(s, (2,), (1,)), True, collections.OrderedDict()))), six))
accept("attributes.bin", 1, "w", [0, 1], archive(dump(Attributes(w=tensor(s, (2,), (1,)))), six, extra={"byteorder": "little"}))
accept("others.bin", 1, "w", [0, 1], archive(dump(state(w=tensor(s, (2,), (1,)), epoch=3, big=1 << 99, list=[1.5, None, "x", (1, 2, 3, 4)])), six))
accept("v3.bin", 1, "w", [], archive(dump(state(w=Call(
    rebuild_v3, Storage("0", 3, UntypedStorage), 0, (0,), (1,), False, collections.OrderedDict(), Float8))), {"0": b"abc"}))
write("bin/pytorch_model.bin", plain)
accept("bin", 1, "w", range(6))
write("bins/pytorch_model-00001-of-00001.bin", plain)
write("bins/pytorch_model.bin.index.json", json.dumps({"weight_map": {"w": "pytorch_model-00001-of-00001.bin"}}).encode())
accept("bins", 1, "w", range(6))


def old(keys=("0",), info=True, view=None, cut=0, protocol=2):
    storage = Storage("0", 6)
    storage.id += (view,)
    parts = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": info, "type_sizes": {"int": 4}},
             state(w=tensor(storage, (3, 2), (1, 3))), list(keys)]
    data = b"".join(dump(p, protocol) for p in parts) + struct.pack("<q", 6) + six["0"]
    return data[:len(data) - cut]


accept("old.bin", 1, "w", [0, 3, 1, 4, 2, 5], old())
refuse("old-cut.bin", "extend beyond the file", old(cut=1))
refuse("old-keys.bin", "do not match the tensors", old(keys=("1",)))
refuse("old-twice.bin", "storage 0 is listed twice", old(keys=("0", "0")) + struct.pack("<q", 0))
refuse("old-missing.bin", "storage 0 is missing", old(keys=()))
refuse("old-big-endian.bin", "little-endian", old(info=False))
refuse("old-view.bin", "storage views", old(view=("1", 0, 6)))

refuse("system.bin", "system", archive(b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R."))
refuse("os-system.bin", "os.system", archive(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R."))
refuse("eval.bin", "eval", archive(dump(state(w=Call(eval, "1")))))
refuse("getattr.bin", "getattr", archive(dump(state(w=Call(getattr, 1, "x")))))
refuse("inst.bin", "opcode 0x69", archive(b"\x80\x02(ios\nsystem\n."))
refuse("persid-text.bin", "opcode 0x50", archive(b"\x80\x02Pabc\n."))
refuse("call-dtype.bin", "is not a function", archive(b"\x80\x02ctorch\nFloatStorage\n)R."))
refuse("call-text.bin", "not a function", archive(b"\x80\x02X\x01\x00\x00\x00a)R."))
refuse("build-list.bin", "attributes", archive(b"\x80\x02]}b."))
refuse("append-dict.bin", "not a list", archive(b"\x80\x02}Na."))
refuse("setitem-list.bin", "not a dict", archive(b"\x80\x02]NNs."))
refuse("odd-items.bin", "a key has no value", archive(b"\x80\x02}(Nu."))
refuse("no-mark.bin", "mark", archive(b"\x80\x02t."))
refuse("empty-stack.bin", "stack is empty", archive(b"\x80\x02."))
refuse("under-mark.bin", "stack is empty", archive(b"\x80\x02N(\x85."))
refuse("memo.bin", "no such entry", archive(b"\x80\x02h\x07."))
refuse("memo-far.bin", "out of order", archive(b"\x80\x02Nr\xff\xff\xff\xff."))
refuse("text.bin", "truncated", archive(b"\x80\x02X\xff\xff\xff\xff."))
refuse("pickle-cut.bin", "truncated", archive(dump(state(w=1))[:-1]))
refuse("persid.bin", "not a storage", archive(b"\x80\x02)Q."))
refuse("module.bin", "not a storage", archive(b"\x80\x02U\x06moduleU\x01xU\x01yU\x01z(t\x85Q."))
refuse("stack.bin", "too deep", archive(b"\x80\x02" + b"N" * 1100000 + b"."))
refuse("values.bin", "too many values", archive(b"\x80\x02]" + b"Na" * 8400000 + b"."))
refuse("not-a-dict.bin", "a list without tensors", archive(b"\x80\x02]."))
refuse("no-tensor.bin", "without tensors", archive(dump(state(epoch=1))))

# Dicts in dicts, and objects that are never constructed.
two = tensor(s, (2,), (1,))
weights = state(w=two)
optimizer = {"state": {0: {"exp_avg": two}}, "param_groups": [{"lr": 1.0}]}
opaque = {"args": argparse.Namespace(lr=0.1, w=[1, {2}]), "path": pathlib.PurePosixPath("a/b"),
          "when": datetime.datetime(2020, 1, 2), "part": functools.partial(print, 1, sep=""), "set": {1, 2},
          "frozen": frozenset([1]), "bytes": b"abc", "array": bytearray(b"abc"), "complex": 1j, "class": io.BytesIO,
          "default": collections.defaultdict(list, {"a": [1]}), "none": None, "big": 1 << 70, "half": 0.5, "long": "x" * 300}
recursive = ([],)
recursive[0].append(recursive)
for protocol in (2, 3, 4, 5):
    accept("protocol%d.bin" % protocol, 1, "w", [0, 1],
           archive(dump({"model": {"state_dict": weights, "recursive": recursive}, **opaque, "optimizer": optimizer}, protocol), six))
    accept("old-protocol%d.bin" % protocol, 1, "w", [0, 3, 1, 4, 2, 5], old(protocol=protocol))
accept("wrapped.bin", 1, "w", [0, 1], archive(dump({"state_dict": weights}), six))
accept("wrapped.bin#state_dict", 1, "w", [0, 1])
accept("python2.bin", 2, "v", [0, 1], archive(dump(Call(collections.OrderedDict, [["w", two], ("v", two)])), six))
accept("default-dict.bin", 1, "w", [0, 1], archive(dump(collections.defaultdict(None, {"w": two})), six))
accept("subclass.bin", 2, "w", [0, 1], archive(dump(state(
    w=Call(rebuild_from_type, rebuild, Tensor, two.arguments, {"a": 1}),
    v=Call(rebuild_from_type, rebuild_parameter, Parameter, (two, True, collections.OrderedDict()), {}))), six))
accept("metadata.bin", 1, "w", [0, 1], archive(dump(state(w=Call(rebuild, *two.arguments, {"neg": False, "conj": False}))), six))
accept("statistics.bin", 1, "w", [0, 1], archive(dump(
    {"state_dict": weights, "callbacks": {"best": {"x": tensor(s, (), ())}}, "rng": [two]}), six))
choices = {"epoch": 3, "model": {"state_dict": weights, "a.b": state(v=two)}, "model.a": {"c": state(u=two)},
           "models": [weights, state(t=tensor(s, (), ()))], "best": tensor(s, (), (), 5), "optimizer": optimizer}
refuse("choices.bin", "choices.bin#model.a.c' (1 tensor: u)", archive(dump(choices), six))
accept("choices.bin#model.state_dict", 1, "w", [0, 1])
accept("choices.bin#model.a.c", 1, "u", [0, 1])
accept("choices.bin#models.1", 1, "t", [0])
accept("choices.bin#", 1, "best", [5])
refuse("choices.bin#model.state", "has no key model.state; the keys of model are: state_dict, a.b")
refuse("choices.bin#epoch", "epoch is a number; expected a dict")
refuse("choices.bin#model", "the dict \"model\" contains no tensors")
accept("choices.bin#optimizer.state.0", 1, "exp_avg", [0, 1])
refuse("plain.bin#w", "w is a tensor; expected a dict")
refuse("spaces.safetensors#w", "is a safetensors file")
write("hash#1.bin", archive(dump({"state_dict": weights}), six))
accept("hash#1.bin", 1, "w", [0, 1])
accept("hash#1.bin#state_dict", 1, "w", [0, 1])
refuse("beside.bin", "beside.bin#' (1 tensor: best), ", archive(dump({"state_dict": weights, "best": tensor(s, (), ())}), six))
refuse("integer-keys.bin", "the keys of the tensors are numbers", archive(dump({"a": {0: two}}), six))
refuse("bytes-keys.bin", "the keys of the tensors are bytes", archive(dump({b"w": two}, 3), six))
refuse("mixed-keys.bin", "the key of a tensor is a number", archive(dump({"w": two, 0: two}), six))
refuse("list.bin", "without names", archive(dump([two]), six))
refuse("bare.bin", "contains a tensor; expected a dict", archive(dump(two), six))
refuse("optimizer.bin", "the state of an optimizer", archive(dump(optimizer), six))
refuse("whole-model.bin", "an object made by models.Net, which is never called", archive(dump(Call(Net, {"w": two})), six))
refuse("buffers.bin", "out-of-band buffers", archive(b"\x80\x05\x97."))
refuse("extension.bin", "extension registry", archive(b"\x80\x02\x82\x01."))
refuse("pairs.bin", "not a pair", archive(dump(Call(collections.OrderedDict, [[1, 2, 3]])), six))
refuse("class-name.bin", "the name of a class", archive(b"\x80\x04NN\x93."))
refuse("build-tensor.bin", "attributes", archive(dump(state(w=two))[:-1] + b"b.", six))
for name, sentence, value in (
        ("negated", "resolve_neg", Call(rebuild, *two.arguments, {"neg": True})),
        ("conjugated", "resolve_conj", Call(rebuild, *two.arguments, {"conj": True})),
        ("sparse", "is sparse", Call(stand_in("torch._utils", "_rebuild_sparse_tensor"), 1, (two, two))),
        ("quantized", "is quantized", Call(stand_in("torch._utils", "_rebuild_qtensor"), two)),
        ("unknown-class", "is of the class ao.Quantized", Call(rebuild_from_type, rebuild, stand_in("ao", "Quantized"), two.arguments, {})),
        ("unknown-dtype", "has the dtype torch.float1", Call(rebuild_v3, Storage("0", 24, UntypedStorage), 0, (2,), (1,), False,
                                                             collections.OrderedDict(), stand_in("torch", "float1"))),
        ("complex128", "storage of class torch.ComplexDoubleStorage",
         tensor(Storage("0", 1, stand_in("torch", "ComplexDoubleStorage")), (1,), (1,)))):
    refuse(name + ".bin", "tensor w " + sentence if sentence.startswith(("is", "has")) else sentence,
           archive(dump(state(w=value)), six))
    accept(name + "-beside.bin", 1, "w", [0, 1], archive(dump({"model": weights, "optimizer": {"w": value}}), six))
refuse("range.bin", "needs element 7 of storage 0, which has only 6", archive(dump(state(w=tensor(s, (7,), (1,)))), six))
refuse("range-offset.bin", "needs element 9", archive(dump(state(w=tensor(s, (2, 3), (3, 1), 3))), six))
refuse("negative-stride.bin", "the stride -1", archive(dump(state(w=tensor(s, (2,), (-1,), 3))), six))
refuse("negative-size.bin", "the size -2", archive(dump(state(w=tensor(s, (-2,), (1,)))), six))
refuse("negative-offset.bin", "unexpected fields", archive(dump(state(w=tensor(s, (2,), (1,), -1))), six))
refuse("ranks.bin", "unexpected fields", archive(dump(state(w=tensor(s, (2,), (1, 1)))), six))
refuse("rank17.bin", "dimensions", archive(dump(state(w=tensor(s, (1,) * 17, (1,) * 17))), six))
refuse("stride-overflow.bin", "overflow", archive(dump(state(w=tensor(s, (1 << 40, 3), (1 << 40, 1)))), six))
refuse("shape-overflow.bin", "overflow", archive(dump(state(w=tensor(s, (1 << 40, 1 << 40), (0, 0)))), six))
refuse("storage-short.bin", "more than its 24 bytes", archive(dump(state(w=tensor(Storage("0", 7), (2,), (1,)))), six))
refuse("storage-missing.bin", "storage 1 is missing", archive(dump(state(w=tensor(Storage("1", 6), (2,), (1,)))), six))
refuse("storage-path.bin", "is missing", archive(dump(state(w=tensor(Storage("../data.pkl", 6), (2,), (1,)))), six))
refuse("storage-negative.bin", "unexpected fields", archive(dump(state(w=tensor(Storage("0", -6), (2,), (1,)))), six))
refuse("untyped.bin", "no dtype", archive(dump(state(w=tensor(Storage("0", 6, UntypedStorage), (2,), (1,)))), six))
refuse("name-nul.bin", "without NUL", archive(dump(collections.OrderedDict({"a\0b": tensor(s, (2,), (1,))})), six))
refuse("same-key.bin", "two tensors are named w",
       archive(dump(state(w=tensor(s, (2,), (1,)), v=tensor(s, (2,), (1,)))).replace(b"X\x01\0\0\0v", b"X\x01\0\0\0w"), six))
refuse("deflated.bin", "compressed", archive(dump(state(w=tensor(s, (6,), (1,)))), {"0": bytes(24)}, zipfile.ZIP_DEFLATED))
refuse("script.bin", "TorchScript", archive(dump(state(w=1)), six, extra={"constants.pkl": dump(())}))
refuse("big-endian.bin", "little-endian", archive(dump(state(w=tensor(s, (2,), (1,)))), six, extra={"byteorder": "big"}))
refuse("truncated.bin", "truncated", plain[:-10])
refuse("tail.bin", "truncated", plain + b"x")
end = len(plain) - 22
refuse("directory.bin", "beyond the file", plain[:end + 16] + b"\xff\xff\xff\x7f" + plain[end + 20:])
refuse("records.bin", "claims 60000 records", plain[:end + 10] + struct.pack("<H", 60000) + plain[end + 12:])
at = plain.rindex(b"archive/data/0") - 46
refuse("local.bin", "not at the offset", plain[:at + 42] + b"\x05\0\0\0" + plain[at + 46:])
refuse("record-size.bin", "extend into the directory", plain[:at + 20] + b"\xff\xff\xff\x0f" * 2 + plain[at + 28:])
refuse("zip64.bin", "damaged sizes", plain[:at + 20] + b"\xff\xff\xff\xff" * 2 + plain[at + 28:])
refuse("two-records.bin", "two records named archive/data/00",
       archive(dump(state(w=1)), {"00": b"x", "11": b"y"}).replace(b"archive/data/11", b"archive/data/00"))

# ---- formats that are not supported --------------------------------------------------------------


def records(*names):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name in names:
            z.writestr(name, b"x")
    return out.getvalue()


def foreign(name, what, data):
    refuse(name, "is " + what, data.ljust(64, b"x") if isinstance(data, bytes) else data)


foreign("x.h5", "an HDF5 file", b"\x89HDF\r\n\x1a\n")
foreign("x.npy", "a single numpy array", b"\x93NUMPY\1\0")
foreign("x.tflite", "a TensorFlow Lite model", b"\x1c\0\0\0TFL3")
foreign("x.pte", "an ExecuTorch program", b"\x1c\0\0\0ET12")
foreign("ggml.bin", "a GGML file of before GGUF", b"tjgg\3\0\0\0")
foreign("x.7z", "an archive of a kind", b"7z\xbc\xaf\x27\x1c")
foreign("x.bz2", "an archive of a kind", b"BZh91AY&SY")
foreign("page.bin", "a web page", b"<!DOCTYPE html><html>")
foreign("error.bin", "an XML document", b"<?xml version='1.0'?><Error>")
foreign("hub.bin", "a web page or an error message", b"Entry not found")
foreign("x.onnx", "an ONNX model", b"\x08\x07\x12\x07pytorch\x1a\x031.1:\x80\x01")
foreign("graph.onnx", "an ONNX model", b"\x08\x07:\x80\x01\n\x05" + bytes(9))
foreign("x.mlmodel", "a Core ML model", b"\x08\x01\x12\x20\n\x05input"[:1] + b"\x04\x12\x20\n\x05input" + bytes(9))
foreign("saved_model.pb", "a TensorFlow model", b"\x08\x01\x12\xc4\xe8\x0b\n\xc3\xe8\x0b" + bytes(9))
foreign("flax.msgpack", "a Flax msgpack file", b"\x81\xa6params\x82\xa5dense")
foreign("pickle.bin", "a pickle that torch.save did not write", pickle.dumps({"w": list(range(20))}, 4))
foreign("zeros.safetensors", "a file that starts with zeros only", bytes(64))
refuse("model.safetensors.part", "is it still being downloaded?", simple[:-1])
write("program.pt2", records("p/archive_format", "p/models/model.json"))
refuse("program.pt2", "a program of torch.export")
write("x.keras", records("config.json", "model.weights.h5"))
refuse("x.keras", "a Keras archive")
write("x.npz", records("w.npy"))
refuse("x.npz", "w.npy is not a .npy file of version 1 to 3")
write("distributed/__0_0.distcp", plain)
write("distributed/.metadata", b"x")
refuse("distributed", "__0_0.distcp is part of a torch.distributed checkpoint; run python")
write("tensorflow/saved_model.pb", b"\x08\x01")
refuse("tensorflow", "saved_model.pb is a TensorFlow model")
write("flax/flax_model.msgpack", b"\x81")
refuse("flax", "flax_model.msgpack is a Flax msgpack file")
write("downloading/model.safetensors.incomplete", b"")
refuse("downloading", "is an incomplete download")
write("cache/models--org--name/refs/main", b"x")
refuse("cache", "cache/models--org--name/")
write("training/epoch3.pt", plain)
refuse("training", "training/epoch3.pt")

# ---- archives ------------------------------------------------------------------------------------


def tar(name, members, mode="w"):
    with tarfile.open(place(name), mode) as t:
        for path, data in members:
            info = tarfile.TarInfo(path)
            if isinstance(data, bytes):
                info.size = len(data)
                t.addfile(info, io.BytesIO(data))
            else:
                info.type, info.linkname = data
                t.addfile(info)
    return name


model = ("m/model.safetensors", simple)
accept(tar("folder.tar", [("m", (tarfile.DIRTYPE, "")), ("m/sub/model.safetensors", b"no"), ("m/.hidden", b""), model]), 1, "a", [1, 2])
accept(tar("flat.tar.gz", [("./model.safetensors", simple)], "w:gz"), 1, "a", [1, 2])
accept(tar("bin.tar.xz", [("m/pytorch_model.bin", plain)], "w:xz"), 1, "w", range(6))
with zipfile.ZipFile(place("model.zip"), "w", zipfile.ZIP_DEFLATED) as z:
    z.writestr("__MACOSX/m/._config.json", b"x")
    z.writestr("m/model.safetensors", simple)
accept("model.zip", 1, "a", [1, 2])
refuse(tar("absolute.tar", [("/m/model.safetensors", simple)]), "leads out")
refuse(tar("dots.tar", [("m/../../x.safetensors", simple)]), "leads out")
refuse(tar("symlink.tar", [model, ("m/config.json", (tarfile.SYMTYPE, "/etc/passwd"))]), "contains the link")
refuse(tar("hardlink.tar", [model, ("m/config.json", (tarfile.LNKTYPE, "m/model.safetensors"))]), "contains the link")
refuse(tar("pipe.tar", [model, ("m/config.json", (tarfile.FIFOTYPE, ""))]), "not a file or a folder")
refuse(tar("twice.tar", [model, model]), "twice")
refuse(tar("beside.tar", [model, ("n/model.safetensors", simple)]), "outside the folder")
refuse(tar("no-weights.tar", [("m/config.json", b"{}")]), "expected model.safetensors")
refuse(tar("bad-inside.tar", [("m/model.safetensors", b"abc")]), "model.safetensors in")
whole = open(place(tar("whole.tar", [model])), "rb").read()
refuse("no-end.tar", "end blocks are missing", whole[:1024])
refuse("cut.tar", "cannot read the archive", whole[:700])
refuse("not-a-tar.gz", "cannot read the archive", b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + b"\xff" * 100)

for name, rows in (("expected.tsv", expected), ("good.tsv", good)):
    with open(place(name), "w") as f:
        f.writelines("\t".join(row) + "\n" for row in rows)
