#!/usr/bin/python3
"""quantized.py bits EXPECTED OUT    two safetensors files have the same names, shapes and F32 bits
quantized.py config EXPECTED OUT  config.json OUT has the keys and values of EXPECTED, and no
                                  quantization_config
quantized.py cases FOLDER         writes quantized models NAME/ with NAME.expected.safetensors, and
                                  checkpoints that are refused, which FOLDER/refused.tsv lists with
                                  a part of the sentence"""
import json
import os
import struct
import sys

import numpy as np

from models import bf16, save


def load(path):
    with open(path, "rb") as f:
        size, = struct.unpack("<Q", f.read(8))
        header, data = json.loads(f.read(size)), f.read()
    header.pop("__metadata__", None)
    return {n: (t["dtype"], t["shape"], data[slice(*t["data_offsets"])]) for n, t in header.items()}


def f32_bits(tensor):
    dtype, shape, data = tensor
    if dtype == "BF16":
        return shape, (np.frombuffer(data, "<u2").astype("<u4") << 16).tobytes()
    return shape, np.frombuffer(data, {"F16": "<f2", "F32": "<f4"}[dtype]).astype("<f4").tobytes()


def bits(expected, out):
    a, b = load(expected), load(out)
    assert a.keys() == b.keys(), sorted(a.keys() ^ b.keys())
    for name in a:
        assert f32_bits(a[name]) == f32_bits(b[name]), name


def config(expected, out):
    with open(expected) as a, open(out) as b:
        a, b = json.load(a), json.load(b)
    for key in a:
        same = a[key] == b.get(key)
        if isinstance(a[key], float):
            same = np.float32(a[key]) == np.float32(b[key])
        assert same, f"{key}: {b.get(key)!r}, not {a[key]!r}"
    assert "quantization_config" not in json.dumps(b)


# ---- made here --------------------------------------------------------------------------------


def value(code):
    """Of an E4M3 code."""
    sign, e, m = -1 if code & 0x80 else 1, code >> 3 & 15, code & 7
    return sign * (2.0 ** (e - 7) * (1 + m / 8) if e else m / 8 * 2.0 ** -6)


E4M3 = np.array([value(c) for c in range(256)], "<f4")
RANDOM = np.random.default_rng(1)


def codes(*shape):
    return RANDOM.integers(0, 127, shape).astype("u1") | RANDOM.integers(0, 2, shape).astype("u1") << 7


def scales(*shape):
    return RANDOM.uniform(1e-4, 3, shape).astype("<f4")


def f32(x):
    return "F32", list(np.shape(x)), np.asarray(x, "<f4").tobytes()


def f8(x):
    return "F8_E4M3", list(x.shape), x.tobytes()


def write(path, tensors, quantization=None, **config):
    os.makedirs(path)
    save(f"{path}/model.safetensors", tensors)
    if quantization is not None:
        config["quantization_config"] = quantization
    with open(f"{path}/config.json", "w") as f:
        json.dump(dict({"model_type": "none"}, **config), f)


def model(name, tensors, expected, quantization=None, **config):
    """A model, and what is read from it."""
    write(name, tensors, quantization, **config)
    save(f"{name}.expected.safetensors", {n: f32(x) for n, x in expected.items()})


def groups(size):
    return {"quant_method": "compressed-tensors", "format": "float-quantized",
            "config_groups": {"g": {"weights": {"num_bits": 8, "group_size": size}}}}


def models():
    norm = np.ones(3, "<f4")
    c, s = codes(3, 5, 7), scales(3, 3, 2)
    rows, columns = np.arange(5) // 2, np.arange(7) // 4
    model("experts", {"x.experts.up": f8(c), "x.experts.up_scale_inv": f32(s), "norm": f32(norm)},
          {"x.experts.up": E4M3[c] * s[:, rows][:, :, columns], "norm": norm},
          {"quant_method": "fp8", "weight_block_size": [2, 4]})
    s = scales(3, 5, 1)
    model("expert-rows", {"x.weight": f8(c), "x.weight_scale": f32(s)}, {"x.weight": E4M3[c] * s},
          {"quant_method": "fbgemm_fp8"})
    c, s = codes(4, 10), scales(4, 3)
    model("groups", {"x.weight": f8(c), "x.weight_scale": f32(s)},
          {"x.weight": E4M3[c] * s[:, np.arange(10) // 4]}, groups(4))
    s = scales(4)
    model("section", {"x.weight": f8(c), "x.weight_scale": f32(s)},
          {"x.weight": E4M3[c] * s[:, None]}, text_config={"compression_config": {
              "quant_method": "compressed-tensors", "format": "naive-quantized"}})
    model("no-config", {"x.weight": f8(c), "x.weight_scale": f32(np.reshape(s, (4, 1)))},
          {"x.weight": E4M3[c] * s[:, None]})
    e = RANDOM.integers(100, 140, (2, 3)).astype("u1")
    power = np.ldexp(np.float32(1), e.astype(int) - 127)
    model("ue8m0-bytes", {"x.weight": f8(c), "x.weight_scale_inv": ("U8", [2, 3], e.tobytes())},
          {"x.weight": E4M3[c] * power[np.arange(4) // 2][:, np.arange(10) // 4]},
          {"quant_method": "fp8", "weight_block_size": [2, 4], "scale_fmt": "ue8m0"})
    q, s = RANDOM.integers(-128, 128, (4, 10)).astype("i1"), scales(4, 1)
    s16 = (s.view("<u4") >> 16 << 16).view("<f4")
    model("int8", {"x.weight": ("I8", [4, 10], q.tobytes()), "norm": f32(norm),
                   "x.weight_scale": ("BF16", [4, 1], bf16(s)),
                   "x.weight_zero_point": ("I8", [4, 1], bytes(4))},
          {"x.weight": q.astype("<f4") * s16, "norm": norm},
          {"quant_method": "compressed-tensors", "format": "int-quantized"})
    c = codes(2, 3)
    model("dropped", dict({"x.weight": f8(c), "x.weight_scale": f32(2.0), "kv": f8(c[0])}, **{
        f"x.{n}": f32(1.0) for n in ("input_scale", "activation_scale", "k_scale", "v_scale",
                                     "q_scale", "output_scale")}),
          {"x.weight": 2 * E4M3[c], "kv": E4M3[c[0]]}, {"quant_method": "modelopt", "quant_algo": "FP8"})
    model("undone", {"x.weight": f32(np.ones((2, 2))), "x.weight_scale": f32(3.0)},
          {"x.weight": np.ones((2, 2))}, {"quant_method": "gptq", "bits": 4})
    c = codes(4, 10)
    model("empty-rows", {"x.weight": f8(c[:, :0]), "x.weight_scale": f32(scales(4, 1))},
          {"x.weight": np.zeros((4, 0))})
    model("modelopt", {"x.weight": f8(c), "x.weight_scale": f32(2.0)}, {"x.weight": 2 * E4M3[c]})
    with open("modelopt/hf_quant_config.json", "w") as f:
        json.dump({"quantization": {"quant_algo": "FP8"}}, f)


def refused():
    """Yields the sentence's part, tensors, and quantization_config."""
    def raw(dtype, *shape):
        size = {"8": 1, "6": 2, "2": 4, "4": 8}[dtype.split("_")[0][-1]]
        return dtype, list(shape), bytes(size * int(np.prod(shape)))

    w, s = raw("F8_E4M3", 4, 10), f32(np.ones((4, 1)))
    block = {"quant_method": "fp8", "weight_block_size": [2, 4]}
    half = {"x.weight": raw("U8", 8, 1)}
    yield "bitsandbytes (8 bits)", {"x.weight": raw("I8", 4, 4), "x.SCB": f32(np.ones(4)),
                                    "x.weight_format": raw("U8")}, None
    yield "bitsandbytes (8 bits)", {"x.weight": raw("I8", 4, 4)}, {"quant_method": "bitsandbytes",
                                                                   "load_in_8bit": True}
    yield "bitsandbytes (4 bits)", dict(half, **{"x.weight.absmax": raw("U8", 4)}), None
    yield "bitsandbytes (4 bits)", {"x.weight.quant_state.bitsandbytes__fp4": raw("U8", 4)}, None
    yield "AWQ", {"x.qweight": raw("I32", 4, 4), "x.qzeros": raw("I32", 1, 4)}, None
    yield "pack-quantized", {"x.weight_packed": raw("I32", 4, 4)}, None
    yield "nvfp4-pack-quantized", {"x.weight_packed": raw("U8", 4, 4)}, None
    yield "llm-compressor", {"x.y": raw("I32", 4, 4)}, {"quant_method": "compressed-tensors",
                                                        "format": "pack-quantized"}
    yield "rotated", {"x.weight": w, "x.weight_scale": s}, dict(groups(4), transform_config={"a": 1})
    yield "dequantize=True", {"x_blocks": raw("U8", 4), "x_scales": raw("U8", 4)}, None
    yield "HQQ", {"x.W_q": raw("U8", 4)}, None
    yield "AQLM", {"x.codes": raw("I8", 4), "x.codebooks": raw("F16", 4)}, None
    yield "BitNet", dict(half, **{"x.weight_scale": f32(1.0)}), None
    yield "NVFP4", dict(half, **{"x.weight_scale_2": f32(1.0)}), None
    yield "NVFP4", half, {"quant_method": "modelopt", "quant_algo": "NVFP4"}
    yield "MLX", {"x.weight": raw("U32", 4, 1), "x.scales": raw("F16", 4, 1),
                  "x.biases": raw("F16", 4, 1)}, None
    for method in ("torchao", "quanto", "hqq", "aqlm", "eetq", "vptq", "spqr", "higgs", "bitnet",
                   "auto-round", "quark"):
        yield "unquantized model it was made from", {"x.y": w}, {"quant_method": method}
    yield '""?"', {"norm": s}, {"quant_method": '"\n'}
    yield "F8_E4M3FNUZ", {"x.weight": raw("F8_E4M3FNUZ", 2, 2)}, None
    yield "F8_E5M2FNUZ", {"x.weight": raw("F8_E5M2FNUZ", 2, 2)}, None
    yield "has no scales", {"x.weight": w}, block
    yield "weight is missing", {"y.weight": w, "y.weight_scale": s, "x.weight_scale_inv": s}, block
    yield "is not quantized", {"y.weight": w, "y.weight_scale": s, "x.weight": s,
                               "x.weight_scale": s}, block
    yield "no config.json gives the size", {"x.weight": w, "x.weight_scale": f32(np.ones((2, 3)))}, None
    yield "one per block of 2x4", {"x.weight": w, "x.weight_scale": f32(np.ones((2, 2)))}, block
    yield "one per block of 2x4", {"x.weight": w, "x.weight_scale": f32(np.ones((4, 2)))}, block
    yield "scale -1 at flat index 2", {"x.weight": w,
                                       "x.weight_scale": f32([[1], [1], [-1], [1]])}, None
    yield "scale inf", {"x.weight": w, "x.weight_scale": f32(np.inf)}, None
    yield "scales of dtype F64", {"x.weight": w, "x.weight_scale": raw("F64", 4, 1)}, None
    yield "scales of dtype U8", {"x.weight": w, "x.weight_scale_inv": raw("U8", 2, 3)}, block
    yield "asymmetric", {"x.weight": raw("I8", 4, 10), "x.weight_scale": s,
                         "x.weight_zero_point": ("I8", [4, 1], b"\0\0\1\0")}, {
                             "quant_method": "compressed-tensors", "format": "int-quantized"}
    for shape in ([2], [2, -1], [2, 0], 128, [2, "4"], [2.0, 4.0]):
        yield "pair of positive integers", {"x.weight": w}, dict(block, weight_block_size=shape)
    yield "group_size is not", {"x.weight": w}, groups(0)
    yield "several block sizes", {"x.weight": w, "x.weight_scale": f32(np.ones((2, 3)))}, dict(
        groups(4), config_groups={i: {"weights": {"block_structure": [2, i]}} for i in (4, 5, 4)} | {
            "b": {"weights": {"block_structure": [3, 4]}}})


def cases():
    models()
    with open("refused.tsv", "w") as f:
        for i, (sentence, tensors, quantization) in enumerate(refused()):
            write(f"refused-{i}", tensors, quantization)
            f.write(f"refused-{i}\t{sentence}\n")


if __name__ == "__main__":
    if sys.argv[1] == "cases":
        os.makedirs(sys.argv[2])
        os.chdir(sys.argv[2])
        cases()
    else:
        {"bits": bits, "config": config}[sys.argv[1]](*sys.argv[2:])
