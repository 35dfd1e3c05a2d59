#!/usr/bin/env python3
"""Time and memory of a command for inputs of length n and 2n.

    tests/scaling.py INPUT N COMMAND...

INPUT is yaml, slices, text, samples, images, rules, tensors, experts, or templates; {} in COMMAND is replaced by the path of the input.
Doubling n may cost at most 2.3 times: otherwise the costs are printed, and the exit status is 1.
Of up to three runs the least CPU time counts; 50 ms more are allowed for starting the program."""

import json
import os
import struct
import subprocess
import sys
import tempfile


def write_yaml(path, n):
    with open(path, "w") as f:
        f.write("merge_method: task_arithmetic\nbase_model: base\ndtype: float32\nmodels:\n")
        for i in range(n):
            f.write(f"  - {{model: m{i}, parameters: {{weight: 0.{i}}}}}\n")


def write_slices(path, n):
    with open(path, "w") as f:
        f.write("merge_method: passthrough\ndtype: float32\nslices:\n")
        for i in range(n):
            f.write(f"  - sources: [{{model: m{i}, layer_range: [{i}, {i + 1}]}}]\n")


def write_text(path, n):
    with open(path, "w") as f:
        f.write("kind task-vectors\n")
        f.writelines(f"model m{i}\n" for i in range(n))
        f.write("tensor w 1\n")
        f.writelines(f"vector m{i}\n1\n" for i in range(n))


def write_samples(path, n):
    with open(path, "w") as f:
        f.writelines(f'{{"task":"t{i}","input_ids":[1,2,3],"prompt_len":1}}\n' for i in range(n))
        f.write('{"task":"t","input_ids":[999999]}\n')  # the program ends here


def write_images(path, n):
    """A folder with n samples for tests/golden/models/qwen2vl/tied, each with an image of its own."""
    size = 4 * 1176 * 2  # one token: 2 x 2 patches, in BF16
    header = {f"image{i}": {"dtype": "BF16", "shape": [4, 1176], "data_offsets": [size * i, size * (i + 1)]}
              for i in range(n)}
    text = json.dumps(header).encode()
    os.mkdir(path)
    with open(f"{path}/tensors.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        f.truncate(8 + len(text) + size * n)
    with open(f"{path}/samples.jsonl", "w") as f:
        f.writelines('{"task":"t","input_ids":[1,250,2],"prompt_len":1,"image_token_id":250,"images":'
                     f'[{{"pixel_values":"image{i}","grid_thw":[1,2,2],"tokens":1}}]}}\n' for i in range(n))
        f.write('{"task":"t","input_ids":[999999]}\n')  # the program ends here


def write_rules(path, n):
    """A folder with a stream of n models and n tensors, as text, and a rule for each of them."""
    os.mkdir(path)
    write_text(f"{path}/text", n)
    with open(f"{path}/text", "a") as f:
        f.writelines(f"tensor t{i} 1\nvector m0\n1\n" for i in range(n))
    with open(f"{path}/rules", "w") as f:
        f.writelines(f"m{i}=0.{i}\n/t{i}=0.{i}\n" for i in range(n))


def write_tensors(path, n):
    """A folder with three models of n tensors, and a configuration that merges them."""
    header = {f"model.layers.{i}.weight": {"dtype": "BF16", "shape": [1], "data_offsets": [2 * i, 2 * i + 2]}
              for i in range(n)}
    text = json.dumps(header).encode()
    os.mkdir(path)
    for model in ("base", "a", "b"):
        os.mkdir(f"{path}/{model}")
        with open(f"{path}/{model}/model.safetensors", "wb") as f:
            f.write(struct.pack("<Q", len(text)) + text + bytes(2 * n))
    with open(f"{path}/config.yml", "w") as f:
        f.write(f"merge_method: ties\nbase_model: {path}/base\nparameters: {{density: 0.5, weight: 0.5}}\n"
                f"models:\n  - model: {path}/a\n  - model: {path}/b\n")


def write_experts(path, n):
    """A folder with two models of n experts, whose weights are 0 and 1."""
    header = {f"model.layers.0.mlp.experts.{i}.up_proj.weight":
              {"dtype": "BF16", "shape": [1, 1], "data_offsets": [2 * i, 2 * i + 2]} for i in range(n)}
    text = json.dumps(header).encode()
    for model, number in (("base", b"\0\0"), ("tuned", b"\x80\x3f")):
        os.makedirs(f"{path}/{model}")
        with open(f"{path}/{model}/model.safetensors", "wb") as f:
            f.write(struct.pack("<Q", len(text)) + text + number * n)


def write_templates(path, n):
    """A folder with n models that have chat templates, and a configuration that chooses one."""
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    os.mkdir(path)
    for i in range(n):
        os.mkdir(f"{path}/m{i}")
        with open(f"{path}/m{i}/model.safetensors", "wb") as f:
            f.write(struct.pack("<Q", len(header)) + header + bytes(4))
        with open(f"{path}/m{i}/chat_template.jinja", "w") as f:
            f.write("{{ messages }}" * 1000 + str(i))
    with open(f"{path}/config.yml", "w") as f:
        f.write("merge_method: linear\nchat_template: auto\nparameters: {weight: 1}\nmodels:\n")
        f.writelines(f"  - model: {path}/m{i}\n" for i in range(n))


def cost(command):
    """CPU seconds and kilobytes of one run."""
    # Another interpreter starts it: ru_maxrss includes what the process was before exec.
    script = ("import os, sys\n"
              "pid = os.spawnvp(os.P_NOWAIT, sys.argv[1], sys.argv[1:])\n"
              "_, _, usage = os.wait4(pid, 0)\n"
              "print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss, file=sys.stderr)\n")
    done = subprocess.run([sys.executable, "-c", script, *command], stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, check=True)
    seconds, kilobytes = done.stderr.split()[-2:]
    return float(seconds), int(kilobytes)


def main():
    kind, n, command = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    least = {n: (float("inf"), float("inf")), 2 * n: (float("inf"), float("inf"))}
    with tempfile.TemporaryDirectory() as folder:
        for length in least:
            globals()["write_" + kind](f"{folder}/{length}", length)
        for _ in range(3):
            for length, before in least.items():
                words = [word.replace("{}", f"{folder}/{length}") for word in command]
                least[length] = tuple(map(min, before, cost(words)))
            (seconds, kilobytes), (seconds2, kilobytes2) = least.values()
            if seconds2 <= 2.3 * seconds + 0.05 and kilobytes2 <= 2.3 * kilobytes:
                return 0
    print(f"{kind}: {n} cost {seconds:.3f} s and {kilobytes} KB, "
          f"{2 * n} {seconds2:.3f} s and {kilobytes2} KB")
    return 1


sys.exit(main())
