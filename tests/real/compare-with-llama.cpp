#!/usr/bin/env python3
"""compare-with-llama.cpp BUILD GOLDEN: merges that are written as GGUF load in llama.cpp, and its
logits are those of forward.

BUILD is a build folder of llama.cpp with bin/libllama.so, GOLDEN is tests/golden. For each model and
type, prints the largest difference of log-probabilities over all tokens of a sequence. llama.cpp
rounds activations to the type of the matrix, which forward does not; with F32 they agree. Works in
the current folder.

Needs numpy, a C compiler, and forward, pack, tv-extract and others on PATH.
"""
import glob
import io
import json
import os
import re
import subprocess
import sys

import numpy as np

BUILD, GOLDEN = sys.argv[1:]
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(GOLDEN, "quantised/scripts"), os.path.join(HERE, "../../share/etl")]
import ggufraw
import tvstream

IDS = [5, 17, 3, 90, 41, 77, 12, 100, 64, 8, 23, 99]
LIMITS = {"f32": 1e-3, "f16": 2e-2, "bf16": 0.2, "q8_0": 0.5}
TRANSFORMERS = ["llama_llama3", "llama_tied", "mistral_bf16_sharded", "mistral_gqa", "mistral_headdim",
                "qwen2_tied", "qwen2_untied", "qwen2_yarn"]
STRING, U32, F32 = 8, 4, 6
failures = []


def build_program():
    with open(os.path.join(BUILD, "CMakeCache.txt")) as f:
        source = re.search("^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$", f.read(), re.M)[1]
    library = os.path.join(BUILD, "bin")
    subprocess.run([os.environ.get("CC", "cc"), "-o", "llama-logits", os.path.join(HERE, "llama-logits.c"),
                    "-I", source + "/include", "-I", source + "/ggml/include", "-L", library,
                    "-Wl,-rpath," + library, "-lllama", "-lggml", "-lggml-base"], check=True)


def shell(line):
    return subprocess.run(["bash", "-c", "set -euo pipefail; " + line], check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout


# ---- a GGUF file like a golden model of transformers ------------------------------------------------

NAMES = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
         "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down"}


def gguf_name(name):
    whole = {"model.embed_tokens.weight": "token_embd.weight", "lm_head.weight": "output.weight",
             "model.norm.weight": "output_norm.weight"}
    if name in whole:
        return whole[name]
    layer, middle, kind = re.match(r"model\.layers\.(\d+)\.(.*)\.(weight|bias)$", name).groups()
    return f"blk.{layer}.{NAMES[middle]}.{kind}"


def interleave(x, heads):
    return x.reshape(heads, 2, x.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(x.shape)


def metadata(config, arch, head_dim):
    a = arch + "."
    scaling = config.get("rope_scaling")
    yield "general.architecture", STRING, arch
    yield "general.type", STRING, "model"
    yield a + "vocab_size", U32, config["vocab_size"]
    yield a + "context_length", U32, config["max_position_embeddings"]
    yield a + "embedding_length", U32, config["hidden_size"]
    yield a + "block_count", U32, config["num_hidden_layers"]
    yield a + "feed_forward_length", U32, config["intermediate_size"]
    yield a + "attention.head_count", U32, config["num_attention_heads"]
    yield a + "attention.head_count_kv", U32, config["num_key_value_heads"]
    yield a + "attention.key_length", U32, head_dim
    yield a + "attention.value_length", U32, head_dim
    yield a + "attention.layer_norm_rms_epsilon", F32, config["rms_norm_eps"]
    yield a + "rope.freq_base", F32, config["rope_theta"]
    yield a + "rope.dimension_count", U32, head_dim
    yield "tokenizer.ggml.model", STRING, "none"
    if scaling and scaling.get("type") == "yarn":
        yield a + "rope.scaling.type", STRING, "yarn"
        yield a + "rope.scaling.factor", F32, scaling["factor"]
        yield a + "rope.scaling.original_context_length", U32, scaling["original_max_position_embeddings"]


def rope_freqs(config, head_dim):
    s = config["rope_scaling"]
    wave = 2 * np.pi * config["rope_theta"] ** (np.arange(0, head_dim, 2) / head_dim)
    low, high = (s["original_max_position_embeddings"] / s[k] for k in ("low_freq_factor", "high_freq_factor"))
    smooth = np.clip((s["original_max_position_embeddings"] / wave - s["low_freq_factor"]) /
                     (s["high_freq_factor"] - s["low_freq_factor"]), 0, 1)
    blend = 1 / ((1 - smooth) / s["factor"] + smooth)
    return np.where(wave < high, 1, np.where(wave > low, s["factor"], blend)).astype("<f4")


def tensors_of(stream):
    for tensor, blocks in tvstream.Reader(io.BytesIO(stream)):
        yield tensor["name"], tvstream.whole(tensor, blocks)[0]


def write_base(model, path):
    """A GGUF file in F32 of a model of transformers, all weights times 0.9."""
    with open(os.path.join(model, "config.json")) as f:
        config = json.load(f)
    arch = "qwen2" if config["model_type"] == "qwen2" else "llama"
    heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    tensors = []
    if (config.get("rope_scaling") or {}).get("rope_type") == "llama3":
        tensors.append(("rope_freqs.weight", rope_freqs(config, head_dim)))
    for name, x in tensors_of(shell(f"unpack m={model}")):
        if name.endswith("inv_freq"):
            continue
        x = np.float32(0.9) * x
        if arch == "llama" and re.search("[qk]_proj", name):
            x = interleave(x, heads if "q_proj" in name else kv)
        tensors.append((gguf_name(name), x))
    with open(path, "wb") as f:
        f.write(ggufraw.build(list(metadata(config, arch, head_dim)),
                              [(n, x.shape[::-1], 0, x.astype("<f4").tobytes()) for n, x in tensors]))


# ---- the comparison ---------------------------------------------------------------------------------


def log_probabilities(logits):
    x = logits.astype("f8")
    x -= x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def compare(name, kind, options=""):
    """out.gguf in llama.cpp against forward."""
    stream = shell(f"forward m=out.gguf --only logits --threads 1 --samples ids.jsonl {options}")
    ours = next(x for n, x in tensors_of(stream) if "logits" in n)
    theirs = subprocess.run(["./llama-logits", "out.gguf", *map(str, IDS)], check=True,
                            stdout=subprocess.PIPE).stdout
    theirs = np.frombuffer(theirs, "<f4").reshape(len(IDS), -1)
    difference = abs(log_probabilities(ours) - log_probabilities(theirs)).max()
    spread = log_probabilities(ours).std()
    holds = ours.shape == theirs.shape and difference < LIMITS[kind]
    print("ok" if holds else "not ok", f"{name} {kind}: log-probabilities differ by {difference:.1e} at most "
          f"(standard deviation {spread:.1f})")
    if not holds:
        failures.append(name)


build_program()
with open("ids.jsonl", "w") as f:
    json.dump({"input_ids": IDS, "prompt_len": 1}, f)
for name in TRANSFORMERS:
    model = os.path.join(GOLDEN, "models/text", name)
    if not os.path.isdir(model):
        continue
    write_base(model, "base.gguf")
    for kind in LIMITS:
        shell(f"tv-extract base.gguf m={model} | rescale 0.5 | pack --force --base base.gguf --dtype {kind} out.gguf")
        compare(name, kind, f"--config {model}/config.json")
for like in sorted(glob.glob(os.path.join(GOLDEN, "quantised/gguf/models/*/*.gguf"))):
    if "-of-" in like and "-00001-" not in like:
        continue
    for kind in LIMITS:
        shell(f"unpack a={like} b={like} | combine --normalize=all | pack --force --like {like} --dtype {kind} out.gguf")
        compare(os.path.basename(os.path.dirname(like)), kind)
sys.exit(1 if failures else 0)
