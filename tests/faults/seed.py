"""What the scenarios read: tiny models in every form that is read, streams of them, samples, and
configurations. A model has some hundred bytes a tensor, in several dtypes."""
import io
import json
import math
import os
import pickle
import random
import shutil
import struct
import subprocess
import sys
import tarfile
import types
import zipfile

from trees import Link, read_tree, write_tree

GGUF = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                    "golden/quantised/gguf/models/qwen2-q8_0/model.gguf")

HIDDEN, HEADS, INTER, VOCAB, LAYERS = 8, 2, 12, 20, 2
CONFIG = {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "hidden_size": HIDDEN,
          "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": 1,
          "head_dim": HIDDEN // HEADS, "intermediate_size": INTER, "vocab_size": VOCAB,
          "hidden_act": "silu", "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
          "max_position_embeddings": 64, "sliding_window": None, "tie_word_embeddings": False,
          "torch_dtype": "float32"}


def language_model():
    """The tensors of a Mistral."""
    kv = HIDDEN // HEADS
    yield "model.embed_tokens.weight", (VOCAB, HIDDEN), "BF16"
    for i in range(LAYERS):
        layer = f"model.layers.{i}."
        yield layer + "input_layernorm.weight", (HIDDEN,), "F32"
        for name, rows in (("q", HIDDEN), ("k", kv), ("v", kv), ("o", HIDDEN)):
            yield f"{layer}self_attn.{name}_proj.weight", (rows, HIDDEN), "F32"
        yield layer + "post_attention_layernorm.weight", (HIDDEN,), "F32"
        for name, shape in (("gate", (INTER, HIDDEN)), ("up", (INTER, HIDDEN)),
                            ("down", (HIDDEN, INTER))):
            yield f"{layer}mlp.{name}_proj.weight", shape, "F32"
    yield "model.norm.weight", (HIDDEN,), "F32"
    yield "lm_head.weight", (VOCAB, HIDDEN), "BF16"


def few_tensors():
    """Enough to merge."""
    yield "model.embed_tokens.weight", (VOCAB, HIDDEN), "BF16"
    for i in range(LAYERS):
        yield f"model.layers.{i}.mlp.weight", (INTER, HIDDEN), "F32" if i else "F16"
        yield f"model.layers.{i}.norm.weight", (HIDDEN,), "F64" if i else "F32"
    yield "none", (0, HIDDEN), "F32"
    yield "scale", (), "F32"


def adapter_tensors():
    """A LoRA adapter of the Mistral, with a norm stored whole."""
    for i in range(LAYERS):
        module = f"base_model.model.model.layers.{i}.self_attn.q_proj.lora_"
        yield module + "A.weight", (2, HIDDEN), "F32"
        yield module + "B.weight", (HIDDEN, 2), "BF16"
    yield "base_model.model.model.norm.weight", (HIDDEN,), "F32"


SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


def encode(x, dtype):
    if dtype == "BF16":
        return struct.pack("<f", x)[2:]
    return struct.pack({"F64": "<d", "F32": "<f", "F16": "<e"}[dtype], x)


def model(tensors, seed, step):
    """{name: (dtype, shape, bytes)}: a base plus `step` times what `seed` says."""
    base, own, made = random.Random(1), random.Random(seed), {}
    for name, shape, dtype in tensors:
        data = [encode(base.gauss(1 if "norm" in name else 0, 0.3) + step * own.gauss(0, 1), dtype)
                for _ in range(math.prod(shape))]
        made[name] = (dtype, list(shape), b"".join(data))
    return made


def safetensors(tensors):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values())


def torch_file(tensors, is_training=False):
    """A .bin as torch.save writes it, or with these tensors as model.state_dict of a training checkpoint."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    storages = {}
    for dtype, name in (("F64", "DoubleStorage"), ("F32", "FloatStorage"), ("F16", "HalfStorage"),
                        ("BF16", "BFloat16Storage")):
        storages[dtype] = type(name, (), {"__module__": "torch"})
        setattr(torch, name, storages[dtype])

    def _rebuild_tensor_v2():
        pass
    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2

    class Storage:
        def __init__(self, dtype, key, n):
            self.id = ("storage", storages[dtype], key, "cpu", n)

    class Tensor:
        def __init__(self, key, dtype, shape, data):
            storage = Storage(dtype, key, len(data) // SIZES[dtype])
            self.args = (storage, 0, tuple(shape), ((shape + [1, 1])[1], 1)[2 - len(shape):],
                         False, {})

        def __reduce__(self):
            return _rebuild_tensor_v2, self.args

    class Pickler(pickle.Pickler):
        def persistent_id(self, o):
            return o.id if isinstance(o, Storage) else None

    sys.modules.update({"torch": torch, "torch._utils": utils})
    text, out = io.BytesIO(), io.BytesIO()
    state = {name: Tensor(str(i), *t) for i, (name, t) in enumerate(tensors.items())}
    if is_training:
        state = {"epoch": 3, "model": {"state_dict": state, "ema": dict(state)},
                 "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}}
    Pickler(text, 2).dump(state)
    del sys.modules["torch"], sys.modules["torch._utils"]
    with zipfile.ZipFile(out, "w") as z:
        for name, data in [("data.pkl", text.getvalue()), ("version", b"3\n")] + \
                          [(f"data/{i}", t[2]) for i, t in enumerate(tensors.values())]:
            z.writestr(zipfile.ZipInfo("archive/" + name), data)
    return out.getvalue()


SIDE = {"config.json": json.dumps(CONFIG).encode(),
        "generation_config.json": b'{"eos_token_id": 2}',
        "tokenizer.json": b'{"model": {"vocab": {"a": 0}}}',
        "tokenizer_config.json": b'{"eos_token": "</s>"}'}

ADAPTER_CONFIG = b'{"peft_type": "LORA", "r": 2, "lora_alpha": 3, "rank_pattern": {"q_proj": 2}}'

SAMPLES = [{"task": task, "input_ids": [1, a, b, 7, 3, 2], "prompt_len": 3}
           for task in ("math", "code") for a, b in ((5, 9), (11, 4))]

TEXT = """kind task-vectors
model base role=base
model math role=expert
model code role=expert
tensor w 2x3
vector math
1 -2 0.5
0 0.25 3
vector code
-1 4 0.5
2 0 -3
"""

MOE = """base_model: ../seed/lm-base
experts:
  - source_model: ../seed/lm-math
    positive_prompts: [[1, 2], [3]]
  - source_model: ../seed/lm-code
    positive_prompts: [[4]]
    negative_prompts: [[5]]
"""
METHODS = {
    "ties": """merge_method: ties
base_model: ../seed/base
models:
  - {model: ../seed/math, parameters: {weight: 0.5, density: 0.5}}
  - {model: ../seed/code, parameters: {weight: 0.3, density: [0.9, 0.3]}}
parameters: {lambda: 0.7}
dtype: float32
""",
    "two": """name: both
merge_method: linear
models:
  - {model: ../seed/math, parameters: {weight: 0.5}}
  - {model: ../seed/code, parameters: {weight: 0.5}}
dtype: float32
---
merge_method: task_arithmetic
base_model: both
models:
  - {model: ../seed/math, parameters: {weight: 1}}
  - {model: both, parameters: {weight: 1}}
dtype: float32
""",
    "vocabulary": """merge_method: task_arithmetic
base_model: ../seed/base
models:
  - {model: ../seed/math, parameters: {weight: 0.5}}
  - {model: ../seed/code, parameters: {weight: 0.5}}
tokenizer:
  pad_to_multiple_of: 4
  tokens:
    new: {source: {kind: model_token, model: ../seed/math, token: a}}
chat_template: chatml
dtype: float32
""",
    "slices": """merge_method: linear
slices:
  - sources:
      - {model: ../seed/math, layer_range: [0, 1], parameters: {weight: 0.5}}
      - {model: ../seed/code, layer_range: [0, 1], parameters: {weight: 0.5}}
  - sources:
      - {model: ../seed/code, layer_range: [1, 2], parameters: {weight: 1}}
dtype: float32
""",
    "learned": """merge_method: expert_merging
base_model: ../seed/lm-base
models:
  - {model: ../seed/lm-math, parameters: {task: math, samples: ../seed/math.jsonl}}
  - {model: ../seed/lm-code, parameters: {task: code, samples: ../seed/code.jsonl}}
parameters: {epochs: 1, per_task: 1, coefficients: table.tsv}
""",
}


def archive(folder, name, mode):
    with tarfile.open(name, "w" + mode, format=tarfile.PAX_FORMAT) as t:
        for file in sorted(os.listdir(folder)):
            info = t.gettarinfo(os.path.join(folder, file), f"{os.path.basename(folder)}/{file}")
            info.mtime = 0
            with open(os.path.join(folder, file), "rb") as f:
                t.addfile(info, f)


def make_seed(root, programs):
    """ROOT/seed; `programs` is where ours are."""
    seed = os.path.join(root, "seed")
    experts = {"base": (2, 0), "math": (3, 0.02), "code": (4, 0.02)}
    write_tree(seed, {})
    for name, how in experts.items():
        write_tree(os.path.join(seed, "lm-" + name),
                   dict(SIDE, **{"model.safetensors": safetensors(model(language_model(), *how))}))
        tensors = model(few_tensors(), *how)
        write_tree(os.path.join(seed, name), dict(SIDE, **{"model.safetensors": safetensors(tensors)}))
        with zipfile.ZipFile(os.path.join(seed, name + ".zip"), "w") as z:
            for file in sorted(os.listdir(os.path.join(seed, name))):
                z.write(os.path.join(seed, name, file), f"{name}/{file}")
        for ending, mode in ((".tar", ""), (".tar.gz", ":gz")):
            archive(os.path.join(seed, name), os.path.join(seed, name + ending), mode)
        subprocess.run(["zstd", "-q", f"{seed}/{name}.tar"], check=True)
    write_tree(os.path.join(seed, "lora"), {"adapter_config.json": ADAPTER_CONFIG,
                                            "adapter_model.safetensors":
                                            safetensors(model(adapter_tensors(), 5, 0))})
    archive(os.path.join(seed, "lora"), os.path.join(seed, "lora.tar"), "")
    math_model = model(few_tensors(), *experts["math"])
    write_tree(os.path.join(seed, "bin"), dict(SIDE, **{"pytorch_model.bin": torch_file(math_model)}))
    write_tree(os.path.join(seed, "last.ckpt"), torch_file(math_model, is_training=True))
    blobs = {f"{i:02}": data for i, data in enumerate(read_tree(os.path.join(seed, "math")).values())}
    names = sorted(os.listdir(os.path.join(seed, "math")))
    write_tree(os.path.join(seed, "hub"), {"models--lab--math": {
        "blobs": blobs, "refs": {"main": b"abc"},
        "snapshots": {"abc": {name: Link(f"../../blobs/{i:02}") for i, name in enumerate(names)}}}})
    for name, lines in (("math", SAMPLES[:2]), ("code", SAMPLES[2:])):
        write_tree(os.path.join(seed, name + ".jsonl"),
                   "".join(json.dumps(line) + "\n" for line in lines).encode())
    for name, text in METHODS.items():
        write_tree(os.path.join(seed, name + ".yml"), text.encode())
    write_tree(os.path.join(seed, "text"), TEXT.encode())
    write_tree(os.path.join(seed, "moe.yml"), MOE.encode())
    write_tree(os.path.join(seed, "rules"), b"0.5\nmath/*mlp*=0.25\n")
    shutil.copy(GGUF, os.path.join(seed, "model.gguf"))
    for line in ("unpack model.gguf > gguf-weights", "tv-extract base math code > deltas", "tv-extract base math > delta",
                 "tv-extract base code > other", "tv-extract base math code | combine > merged",
                 "tv-extract base math code | pick '/*0*' > few", "unpack math code > weights",
                 "unpack math code | combine --normalize=all > mean",
                 "pick '/*0*' < weights > zeroth", "pick --drop '/*0*' < weights > others",
                 "tv-extract base math code | dare-drop --density 0.5 --seed 1 --l1 > dropped",
                 "unpack math | pack --like math --shard-size 1K sharded",
                 "tv-extract base math code | trim --density 0.5 | combine | pack --base base --shards 2 made",
                 "unpack model.gguf | pack --like model.gguf made.gguf",
                 "unpack 'math[0:1]' > low", "unpack 'code[1:2]' > high",
                 "tv-extract lm-base math=lm-math code=lm-code > lm-deltas",
                 "forward lm-base --tokens 1,2,3 --only hidden > states",
                 "forward lm-math --samples math.jsonl --gram > math.gram",
                 "forward lm-code --samples code.jsonl --gram > code.gram",
                 "forward lm-math --samples math.jsonl --fisher > math.diagonal",
                 "forward lm-code --samples code.jsonl --fisher > code.diagonal",
                 "swudi < lm-deltas > cleaned",
                 "calibrate --base lm-base < lm-deltas --samples math.jsonl "
                 "--samples code.jsonl --epochs 1 --coefficients table > /dev/null"):
        subprocess.run(["bash", "-o", "pipefail", "-c", line], cwd=seed, check=True,
                       env=dict(os.environ, PATH=f"{programs}:{os.environ['PATH']}"))
    return seed
