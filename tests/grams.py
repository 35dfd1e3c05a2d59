#!/usr/bin/python3
"""grams.py MODEL TOKEN...: does single.gram hold the Gram matrices of samples of one token each, and
few.gram those that follow from the hidden states in few.hidden? With one token attention returns v, so
that every input of a linear map can be computed here."""
import json
import sys

import numpy as np

import tvstream
from activations import read_safetensors


def read(path):
    return {t["name"]: tvstream.whole(t, blocks)[0].astype(float)
            for t, blocks in tvstream.Reader(open(path, "rb"))}


def rmsnorm(x, g, eps):
    return x / np.sqrt((x * x).mean(1, keepdims=True) + eps) * g


def check(found, x, name):
    expected = x.T @ x / len(x)
    assert abs(found[name] - expected).max() <= 1e-5 * abs(expected).max(), name


model, *tokens = sys.argv[1:]
config = json.load(open(f"{model}/config.json"))
W = {name: x.astype(float) for name, x in read_safetensors(f"{model}/model.safetensors").items()}
eps, H, G = (config[key] for key in ("rms_norm_eps", "num_attention_heads", "num_key_value_heads"))
single, few, hidden = read("single.gram"), read("few.gram"), read("few.hidden")


def linear(x, name):
    return x @ W[name + ".weight"].T + W.get(name + ".bias", 0)


x = W["model.embed_tokens.weight"][[int(t) for t in tokens]]
for layer in range(config["num_hidden_layers"]):
    p = f"model.layers.{layer}."
    x_norm = rmsnorm(x, W[p + "input_layernorm.weight"], eps)
    v = linear(x_norm, p + "self_attn.v_proj").reshape(len(x), G, -1)
    o = np.repeat(v, H // G, 1).reshape(len(x), -1)
    h = x + linear(o, p + "self_attn.o_proj")
    h_norm = rmsnorm(h, W[p + "post_attention_layernorm.weight"], eps)
    g = linear(h_norm, p + "mlp.gate_proj")
    z = g / (1 + np.exp(-g)) * linear(h_norm, p + "mlp.up_proj")
    for kind in "qkv":
        check(single, x_norm, f"{p}self_attn.{kind}_proj.weight")
    check(single, o, p + "self_attn.o_proj.weight")
    check(single, h_norm, p + "mlp.gate_proj.weight")
    check(single, h_norm, p + "mlp.up_proj.weight")
    check(single, z, p + "mlp.down_proj.weight")
    x = h + linear(z, p + "mlp.down_proj")
    states = np.concatenate([hidden[f"sample{s}.hidden.{layer}"] for s in range(2)])
    check(few, rmsnorm(states, W[p + "input_layernorm.weight"], eps), p + "self_attn.q_proj.weight")
n = 7 * config["num_hidden_layers"]
if "lm_head.weight" in W:
    check(single, rmsnorm(x, W["model.norm.weight"], eps), "lm_head.weight")
    n += 1
assert len(single) == n, len(single)
