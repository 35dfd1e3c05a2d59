#!/usr/bin/python3
"""mixture.py OUT EXPECTED RTOL: is the mixture of experts in the folder OUT the expected one?

OUT has a tensor for each expert's matrix. EXPECTED/model.safetensors may have those of all experts in one:
mlp.experts.gate_up_proj (E, 2 I, H), with gate above up, and mlp.experts.down_proj (E, H, I), and the router
as mlp.gate. Of a tensor, RTOL times its largest value is allowed. Routers that are not expected only need
their shape. Of config.json the keys that make a model a mixture are compared."""
import json
import os
import re
import sys

import numpy as np

from activations import read_safetensors

KEYS = ["architectures", "model_type", "num_local_experts", "num_experts", "n_routed_experts",
        "num_experts_per_tok", "intermediate_size", "moe_intermediate_size", "shared_expert_intermediate_size",
        "sliding_window", "decoder_sparse_step", "norm_topk_prob", "use_sliding_window", "n_shared_experts",
        "first_k_dense_replace", "moe_layer_freq", "scoring_func"]
PROJECTIONS = {"w1": "gate", "w3": "up", "w2": "down", "gate_proj": "gate", "up_proj": "up", "down_proj": "down"}


def fuse(tensors):
    """The experts' matrices in one tensor each, as transformers 5 has them inside."""
    fused, experts = {}, {}
    for name, x in tensors.items():
        name = name.replace(".block_sparse_moe.", ".mlp.")
        found = re.fullmatch(r"(.*\.mlp\.experts)\.(\d+)\.(\w+)\.weight", name)
        if found:
            experts.setdefault(found[1], {}).setdefault(int(found[2]), {})[PROJECTIONS[found[3]]] = x
        else:
            fused[name] = x
    for name, e in experts.items():
        fused[f"{name}.gate_up_proj"] = np.stack([np.concatenate([e[i]["gate"], e[i]["up"]]) for i in range(len(e))])
        fused[f"{name}.down_proj"] = np.stack([e[i]["down"] for i in range(len(e))])
    return fused


def main(out, folder, rtol):
    found = read_safetensors(f"{out}/model.safetensors")
    expected = read_safetensors(f"{folder}/model.safetensors")
    if any(name.endswith("gate_up_proj") for name in expected):
        found = fuse(found)
    for name in sorted(found.keys() | expected.keys()):
        if name not in expected and name.endswith("mlp.gate.weight"):
            continue
        assert name in found and name in expected, f"{name} is in one only"
        a, b = found[name].astype(float), expected[name].astype(float)
        assert a.shape == b.shape, f"{name}: {a.shape} for {b.shape}"
        error = abs(a - b).max() / max(abs(b).max(), 1e-30)
        assert error <= float(rtol), f"{name} is off by {error} of its largest value"
    if not os.path.exists(f"{folder}/config.json"):
        return
    a, b = (json.load(open(f"{f}/config.json")) for f in (out, folder))
    for key in KEYS:
        assert key not in b or a.get(key, "none") == b[key], f"config.json: {key} is {a.get(key)}, expected {b[key]}"
    if b["model_type"] == "qwen3_moe":
        assert a["num_experts"] == b["num_local_experts"]


main(*sys.argv[1:])
