"""Shapes and configs of vision-language models, and samples for them with images of noise."""
import json
import os
import struct

import numpy as np

QWEN = {"internvl2.5-1b": (896, 4864, 24, 14, 2, 151674, False),
        "qwen2-vl-2b": (1536, 8960, 28, 12, 2, 151936, True),
        "qwen2-vl-7b": (3584, 18944, 28, 28, 4, 152064, False)}
IMAGE_TOKEN = {"internvl2.5-1b": 151667, "qwen2-vl-2b": 151655, "qwen2-vl-7b": 151655}


def text_config(model, decoder_layers):
    """`decoder_layers`: the first ones; None: all."""
    hidden, wide, layers, heads, kv, vocabulary, tied = QWEN[model]
    return {"hidden_size": hidden, "intermediate_size": wide,
            "num_hidden_layers": decoder_layers or layers,
            "num_attention_heads": heads, "num_key_value_heads": kv, "vocab_size": vocabulary,
            "tie_word_embeddings": tied, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
            "max_position_embeddings": 32768, "use_sliding_window": False, "hidden_act": "silu"}


def config(model, decoder_layers):
    text = text_config(model, decoder_layers)
    if model.startswith("qwen"):
        return {"architectures": ["Qwen2VLForConditionalGeneration"], "model_type": "qwen2_vl", **text,
                "image_token_id": IMAGE_TOKEN[model],
                "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
                "vision_config": {"depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16,
                                  "in_chans": 3, "hidden_size": text["hidden_size"], "patch_size": 14,
                                  "spatial_merge_size": 2, "temporal_patch_size": 2}}
    return {"architectures": ["InternVLChatModel"], "model_type": "internvl_chat",
            "downsample_ratio": 0.5, "ps_version": "v2", "select_layer": -1, "force_image_size": 448,
            "llm_config": {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", **text},
            "vision_config": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
                              "num_attention_heads": 16, "image_size": 448, "patch_size": 14,
                              "norm_type": "layer_norm", "layer_norm_eps": 1e-06, "qkv_bias": True,
                              "qk_normalization": False, "hidden_act": "gelu"}}


def weight_and_bias(name, shape):
    yield name + ".weight", shape
    yield name + ".bias", shape[:1]


def text_shapes(of, prefix, head):
    hidden, wide, vocabulary = of["hidden_size"], of["intermediate_size"], of["vocab_size"]
    narrow = hidden // of["num_attention_heads"] * of["num_key_value_heads"]
    yield prefix + "embed_tokens.weight", (vocabulary, hidden)
    yield prefix + "norm.weight", (hidden,)
    if not of["tie_word_embeddings"]:
        yield head, (vocabulary, hidden)
    for i in range(of["num_hidden_layers"]):
        p = f"{prefix}layers.{i}."
        yield p + "input_layernorm.weight", (hidden,)
        yield p + "post_attention_layernorm.weight", (hidden,)
        for name, rows in ("q", hidden), ("k", narrow), ("v", narrow):
            yield from weight_and_bias(p + f"self_attn.{name}_proj", (rows, hidden))
        yield p + "self_attn.o_proj.weight", (hidden, hidden)
        for name in "gate", "up":
            yield p + f"mlp.{name}_proj.weight", (wide, hidden)
        yield p + "mlp.down_proj.weight", (hidden, wide)


def vision_layer_shapes(p, size, wide):
    for name in "norm1", "norm2":
        yield from weight_and_bias(p + name, (size,))
    yield from weight_and_bias(p + "attn.qkv", (3 * size, size))
    yield from weight_and_bias(p + "attn.proj", (size, size))
    yield from weight_and_bias(p + "mlp.fc1", (wide, size))
    yield from weight_and_bias(p + "mlp.fc2", (size, wide))


def shapes(model, decoder_layers):
    text = text_config(model, decoder_layers)
    hidden = text["hidden_size"]
    if model.startswith("qwen"):
        yield from text_shapes(text, "model.", "lm_head.weight")
        yield "visual.patch_embed.proj.weight", (1280, 3, 2, 14, 14)
        for i in range(32):
            yield from vision_layer_shapes(f"visual.blocks.{i}.", 1280, 5120)
        yield from weight_and_bias("visual.merger.ln_q", (1280,))
        yield from weight_and_bias("visual.merger.mlp.0", (5120, 5120))
        yield from weight_and_bias("visual.merger.mlp.2", (hidden, 5120))
        return
    yield from text_shapes(text, "language_model.model.", "language_model.lm_head.weight")
    p = "vision_model.embeddings."
    yield p + "class_embedding", (1, 1, 1024)
    yield p + "position_embedding", (1, 1025, 1024)
    yield from weight_and_bias(p + "patch_embedding", (1024, 3, 14, 14))
    for i in range(24):
        p = f"vision_model.encoder.layers.{i}."
        yield from vision_layer_shapes(p, 1024, 4096)
        yield p + "ls1", (1024,)
        yield p + "ls2", (1024,)
    yield from weight_and_bias("mlp1.0", (4096,))
    yield from weight_and_bias("mlp1.1", (hidden, 4096))
    yield from weight_and_bias("mlp1.3", (hidden, hidden))


def write_samples(folder, model, tiles, tasks):
    """Writes a folder of samples as images-to-samples does: one sample for each task, with an image of
    `tiles` times 448 x 448 pixels and 64 text tokens."""
    rng, intern = np.random.default_rng(0), model.startswith("internvl")
    pixels = rng.standard_normal((tiles, 3, 448, 448) if intern else (tiles * 1024, 1176), np.float32)
    header = json.dumps({"image": {"dtype": "F32", "shape": pixels.shape,
                                   "data_offsets": [0, pixels.nbytes]}}).encode()
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "tensors.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(header)) + header + pixels.tobytes())
    image = {"pixel_values": "image", "tokens": tiles * 256}
    if not intern:
        image["grid_thw"] = [1, 32, 32 * tiles]
    with open(os.path.join(folder, "samples.jsonl"), "w") as f:
        for task in tasks:
            words = rng.integers(0, 150000, 64).tolist()
            ids = words[:8] + [IMAGE_TOKEN[model]] * image["tokens"] + words[8:]
            print(json.dumps({"task": task, "input_ids": ids, "image_token_id": IMAGE_TOKEN[model],
                              "images": [image]}), file=f)
