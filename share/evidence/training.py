"""A Llama-like decoder in torch, its training, and the files of a family; used by train-family, train-smollm2
and train-vision-family. A configuration is a dict with the keys of config.json.
"""
import copy
import json
import math
import multiprocessing.connection
import os
import struct
import sys

import torch
from torch import nn
from torch.nn import functional


# ---- the model -------------------------------------------------------------------------------------


class RMSNorm(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.epsilon = config["rms_norm_eps"]
        self.weight = nn.Parameter(torch.ones(config["hidden_size"]))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon) * self.weight


def linear(inputs, outputs, std=0.04, bias=False):
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.normal_(layer.weight, std=std)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def rotate(x, cos, sin):
    """RoPE of x (B, heads, T, head size)."""
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        hidden, heads, kv_heads = (config[k] for k in ("hidden_size", "num_attention_heads", "num_key_value_heads"))
        self.head_size, self.group = config["head_dim"], heads // kv_heads
        bias = config["model_type"].startswith("qwen2")
        self.q_proj = linear(hidden, heads * self.head_size, bias=bias)
        self.k_proj = linear(hidden, kv_heads * self.head_size, bias=bias)
        self.v_proj = linear(hidden, kv_heads * self.head_size, bias=bias)
        self.o_proj = linear(heads * self.head_size, hidden, 0.04 / math.sqrt(2 * config["num_hidden_layers"]))

    def forward(self, x, cos, sin):
        batch, length, _ = x.shape
        q, k, v = (p(x).view(batch, length, -1, self.head_size).transpose(1, 2)
                   for p in (self.q_proj, self.k_proj, self.v_proj))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        k, v = (t.repeat_interleave(self.group, 1) for t in (k, v))
        scores = q @ k.transpose(-1, -2) / math.sqrt(self.head_size)
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        y = scores.masked_fill(future, -math.inf).softmax(-1) @ v
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, -1))


class MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        hidden, intermediate = config["hidden_size"], config["intermediate_size"]
        self.gate_proj = linear(hidden, intermediate)
        self.up_proj = linear(hidden, intermediate)
        self.down_proj = linear(intermediate, hidden, 0.04 / math.sqrt(2 * config["num_hidden_layers"]))

    def forward(self, x):
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = RMSNorm(config), RMSNorm(config)
        self.self_attn, self.mlp = Attention(config), MLP(config)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """The names of its parameters are those of the checkpoint."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(config["vocab_size"], config["hidden_size"])
        nn.init.normal_(self.model.embed_tokens.weight, std=0.04)
        self.model.layers = nn.ModuleList(Layer(config) for _ in range(config["num_hidden_layers"]))
        self.model.norm = RMSNorm(config)
        if not config["tie_word_embeddings"]:
            self.lm_head = linear(config["hidden_size"], config["vocab_size"])

    def forward(self, ids):
        """The hidden states after the last norm; `logits` makes logits of them."""
        return self.run_layers(self.model.embed_tokens(ids), torch.arange(ids.shape[1])[:, None])

    def run_layers(self, x, positions):
        """positions: of each token, (T, 1), or for each frequency of RoPE, (T, head size / 2)"""
        size = self.config["head_dim"]
        angle = positions * self.config["rope_theta"] ** (-torch.arange(0, size, 2) / size)
        for layer in self.model.layers:
            x = layer(x, angle.cos(), angle.sin())
        return self.model.norm(x)

    def logits(self, hidden):
        tied = self.config["tie_word_embeddings"]
        return functional.linear(hidden, (self.model.embed_tokens if tied else self.lm_head).weight)

    def learning_rate(self, parameter, slow):
        """Of a parameter, as a multiple of that of the training."""
        return 1 if "_proj" in parameter else slow


def write_safetensors(path, tensors):
    """Writes arrays of numpy in F32 or F16, by name."""
    header, at = {}, 0
    for name, array in tensors.items():
        header[name] = {"dtype": {4: "F32", 2: "F16"}[array.itemsize], "shape": list(array.shape),
                        "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for array in tensors.values():
            f.write(array.tobytes())


def write_checkpoint(model, folder):
    os.makedirs(folder)
    with open(f"{folder}/config.json", "w") as f:
        json.dump(model.config, f, indent=2)
        f.write("\n")
    write_safetensors(f"{folder}/model.safetensors",
                      {name: tensor.numpy().astype("<f4") for name, tensor in sorted(model.state_dict().items())})


# ---- training --------------------------------------------------------------------------------------


def train(name, model, steps, lr, draw, batch, slow, mixed, half=None):
    """Trains on the responses of `batch` examples a step that `draw` returns: (prompt, response) as tokens, and
    other inputs of the model if it has any; embedding, head and norms with `slow` times the learning rate, or not
    at all if it is 0. With `mixed`, matrices are multiplied in bfloat16; weights, gradients and the optimizer are
    F32. The model `half` gets the weights after half of the steps."""
    groups = {1: [], slow: []}
    for parameter, values in model.named_parameters():
        multiple = model.learning_rate(parameter, slow)
        groups.setdefault(multiple, []).append(values)
        values.requires_grad_(multiple > 0)
    optimizer = torch.optim.AdamW([{"params": values, "lr": multiple * lr} for multiple, values in groups.items()],
                                  betas=(0.9, 0.98), weight_decay=0.01, fused=mixed)
    warmup = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(
        (step + 1) / warmup, 0.05 + 0.95 * (1 + math.cos(math.pi * step / steps)) / 2))
    for step in range(steps):
        if half and step == steps // 2:
            half.load_state_dict(model.state_dict())
        examples = [draw() for _ in range(batch)]
        length = max(len(prompt) + len(response) for prompt, response, *_ in examples) - 1
        ids = torch.zeros((batch, length), dtype=torch.long)
        targets = torch.full((batch, length), -1)
        for i, (prompt, response, *_) in enumerate(examples):
            tokens = torch.tensor(prompt + response)
            ids[i, :len(tokens) - 1] = tokens[:-1]
            targets[i, len(prompt) - 1:len(tokens) - 1] = tokens[len(prompt):]
        inputs = [torch.stack(x) for x in zip(*(x for _, _, *x in examples))]
        compared = targets >= 0
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss = functional.cross_entropy(model.logits(model(ids, *inputs)[compared]), targets[compared])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % max(1, steps // 5) == 0 or step + 1 == steps:
            print(f"{name}: step {step + 1} of {steps}, loss {loss.item():.4f}", file=sys.stderr)
    return model


# ---- the files of a family -------------------------------------------------------------------------


@torch.no_grad()
def answer(model, prompt, end, *inputs):
    """The response by greedy decoding, the token `end` included."""
    ids, inputs = list(prompt), [x[None] for x in inputs]
    while len(ids) < len(prompt) + 20 and ids[-1] != end:
        ids.append(int(model.logits(model(torch.tensor([ids]), *inputs)[0, -1]).argmax()))
    return ids[len(prompt):]


def sample_object(task, text, prompt, response, decode):
    """A line of samples, from tokens; text: of the prompt; `decode` makes text of response tokens."""
    return {"task": task, "prompt": text, "response": decode(response), "input_ids": prompt + response,
            "prompt_len": len(prompt)}


def write_samples(folder, task, samples, decode):
    """Writes (text of the prompt, prompt, response) as lines."""
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/{task}.jsonl", "w") as f:
        for sample in samples:
            f.write(json.dumps(sample_object(task, *sample, decode)) + "\n")


def still_runs(process):
    if process.exitcode:
        sys.exit("a process of --jobs failed")
    return process.exitcode is None


def run_jobs(calls, jobs):
    """Calls (function, arguments...), with more than one of `jobs` each in a process of its own."""
    if jobs == 1:
        for function, *arguments in calls:
            function(*arguments)
        return
    context, running = multiprocessing.get_context("fork"), []
    for function, *arguments in calls:
        if len(running) == jobs:
            multiprocessing.connection.wait([p.sentinel for p in running])
            running = [p for p in running if still_runs(p)]
        running.append(context.Process(target=function, args=arguments, daemon=True))
        running[-1].start()
    for process in running:
        process.join()
        still_runs(process)


def train_experts(folder, base, strengths, mixture_lr, drawing, held_out, decode, end, jobs=1, starts={},
                  write=write_samples, **how):
    """Trains an expert of each task and the mixture, and writes them and their samples, `jobs` at a time.
    strengths: {task: (steps, learning rate)}; mixture_lr: None for no mixture; drawing(task) and
    drawing(None) return the `draw` of an expert and of the mixture; held_out: {task: (samples for calib,
    samples for eval)}, each (text of the prompt, prompt, right response, other inputs), where a task
    without samples for eval is not in the mixture; starts: {task: model} of experts that do not start from
    the base; write(folder, task, samples, decode) writes samples; how: batch, slow and mixed of `train`."""
    evaluated = [t for t in strengths if held_out[t][1]]

    def train_expert(task):
        steps, lr = strengths[task]
        expert = train(f"expert-{task}", copy.deepcopy(starts.get(task, base)), steps, lr, drawing(task), **how)
        write_checkpoint(expert, f"{folder}/models/expert-{task}")
        calib, evaluation = held_out[task]
        answered = [(text, prompt, answer(expert, prompt, end, *inputs), *inputs) for text, prompt, _, *inputs in calib]
        write(f"{folder}/calib", task, answered, decode)
        if evaluation:
            write(f"{folder}/eval", task, evaluation, decode)

    def train_mixture():
        steps = sum(strengths[t][0] for t in evaluated)
        mixture = train("mixture", copy.deepcopy(base), steps, mixture_lr, drawing(None), **how)
        write_checkpoint(mixture, f"{folder}/models/mixture")

    run_jobs([*((train_expert, t) for t in strengths), *([(train_mixture,)] if mixture_lr else [])], jobs)
