"""What faults.py, kills.py and power-loss.py share: tiny models, scenarios, runs of pipelines with
inject.so, and what a run left behind.

A scenario is a list of pipelines, one after another, in a folder of its own beside the models in
../seed, with what must be there when it has ended well. Runs are cheap: programs are started without
a shell, in a tmpfs if there is one, and a run ends when the last process that holds its standard
error has gone.
"""
import atexit
import io
import json
import math
import mmap
import os
import pickle
import random
import re
import select
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import types
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
TOP = os.path.dirname(TESTS)
BUILD = os.path.join(TOP, os.environ.get("BUILD", "build"))
BIN = os.path.join(BUILD, "bin")
INJECT = os.path.join(BUILD, "faults", "inject.so")
OURS = set(os.listdir(BIN)) if os.path.isdir(BIN) else set()


def build_injector():
    """Compiles inject.c if it is newer than inject.so."""
    source = os.path.join(HERE, "inject.c")
    if os.path.exists(INJECT) and os.path.getmtime(INJECT) > os.path.getmtime(source):
        return
    os.makedirs(os.path.dirname(INJECT), exist_ok=True)
    temporary = f"{INJECT}.{os.getpid()}"
    subprocess.run(shlex.split(os.environ.get("CC", "cc")) +
                   ["-shared", "-fPIC", "-O1", "-o", temporary, source], check=True)
    os.rename(temporary, INJECT)


def temporary_root():
    """A folder that goes with this program, in memory if there is room."""
    for place in ("/dev/shm", os.environ.get("TMPDIR", "/tmp"), "/tmp"):
        try:
            free = os.statvfs(place)
            if free.f_bavail * free.f_frsize > 32 << 20 and os.access(place, os.W_OK):
                break
        except OSError:
            pass
    root, owner = tempfile.mkdtemp(prefix="tvtools-faults-", dir=place), os.getpid()
    atexit.register(lambda: os.getpid() == owner and shutil.rmtree(root, ignore_errors=True))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    return root


# ---- trees -----------------------------------------------------------------------------------------

class Link(str):
    """Where a symbolic link points."""


def read_tree(path):
    """The bytes of a file, {name: tree} of a folder, a Link, None where nothing is."""
    try:
        if os.path.islink(path):
            return Link(os.readlink(path))
        if os.path.isdir(path):
            return {name: read_tree(os.path.join(path, name)) for name in sorted(os.listdir(path))}
        with open(path, "rb") as f:
            return f.read()
    except FileNotFoundError:
        return None


def read_result(path, name):
    """As read_tree; of a report, whose numbers are times, what it says without them."""
    tree = read_tree(path)
    return re.sub(rb"[0-9][0-9.e+-]*", b"0", tree) if name == "report" and tree else tree


def write_tree(path, tree):
    if isinstance(tree, Link):
        os.symlink(tree, path)
    elif isinstance(tree, dict):
        os.mkdir(path)
        for name, sub in tree.items():
            write_tree(os.path.join(path, name), sub)
    elif tree is not None:
        with open(path, "wb") as f:
            f.write(tree)


def remove_tree(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


# ---- models ----------------------------------------------------------------------------------------

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
        for name, shape in (("gate", (INTER, HIDDEN)), ("up", (INTER, HIDDEN)), ("down", (HIDDEN, INTER))):
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


def torch_file(tensors):
    """A .bin as torch.save writes it."""
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
    Pickler(text, 2).dump({name: Tensor(str(i), *t) for i, (name, t) in enumerate(tensors.items())})
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
    with tarfile.open(f"{name}", "w" + mode, format=tarfile.PAX_FORMAT) as t:
        for file in sorted(os.listdir(folder)):
            info = t.gettarinfo(os.path.join(folder, file), f"{os.path.basename(folder)}/{file}")
            info.mtime = 0
            with open(os.path.join(folder, file), "rb") as f:
                t.addfile(info, f)


def make_seed(root):
    """ROOT/seed: models in every form, streams, samples, configurations."""
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
    write_tree(os.path.join(seed, "bin"), dict(SIDE, **{"pytorch_model.bin": torch_file(model(few_tensors(), *experts["math"]))}))
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
    write_tree(os.path.join(seed, "rules"), b"0.5\nmath/*mlp*=0.25\n")
    for line in ("tv-extract base math code > deltas", "tv-extract base math > delta",
                 "tv-extract base code > other", "tv-extract base math code | combine > merged",
                 "tv-extract base math code | pick '/*0*' > few", "unpack math code > weights", "unpack math code | combine --normalize=all > mean",
                 "tv-extract base math code | dare-drop --density 0.5 --seed 1 --l1 > dropped",
                 "unpack math | pack --like math --shard-size 1K sharded",
                 "unpack 'math[0:1]' > low", "unpack 'code[1:2]' > high",
                 "tv-extract lm-base math=lm-math code=lm-code > lm-deltas",
                 "calibrate --base lm-base < lm-deltas --samples math.jsonl "
                 "--samples code.jsonl --epochs 1 --coefficients table > /dev/null"):
        subprocess.run(["bash", "-o", "pipefail", "-c", line], cwd=seed, check=True,
                       env=dict(os.environ, PATH=f"{BIN}:{os.environ['PATH']}"))
    return seed


# ---- scenarios -------------------------------------------------------------------------------------

OLD = {"config.json": b"old", "old.safetensors": b"old too"}


class Scenario:
    """`lines`: pipelines, run one after another until one fails. Words are the shell's; `< FILE` gives
    the first command a file, `<| FILE` the same bytes in a pipe, `> FILE` keeps what the last prints.
    `targets`: what is there afterwards. `old`: {target: tree} before; `before`: lines that lead up to the
    start. `parts`: what may remain after a failure, and serves to go on. `again`: the lines that do so.
    `side`: files beside the result (a table, a report), which may be there after a failure, if whole;
    `log`: those that grow line by line. `file`: an input that is copied here, to be cut or changed."""

    def __init__(self, name, lines, targets=("out",), old=None, before=(), parts=(), again=None,
                 side=(), log=(), file=None, env=None, only=None):
        self.name, self.lines = name, [lines] if isinstance(lines, str) else list(lines)
        self.targets, self.old, self.before = list(targets), old or {}, list(before)
        self.parts, self.again, self.side, self.log = list(parts), again, list(side), list(log)
        self.file, self.env, self.only = file, env or {}, only
        self.start = {}  # what is there before it runs
        self.good = self.good_lines = None
        self.changed = None  # the result where the input was changed from the start
        self.stdout = [line.split(" > ")[1].strip() for line in self.lines if " > " in line]


def scenarios():
    """All of them; the names are stable."""
    seed, found = "../seed/", []

    def add(name, lines, *args, **options):
        found.append(Scenario(name, lines, *args, **options))

    # each filter once, from a pipe
    for name, stream in (("combine", "deltas"), ("dare-drop --density 0.5 --seed 1", "deltas"),
                         ("della-drop --density 0.5 --epsilon 0.1 --seed 1", "deltas"),
                         ("elect-sign", "deltas"), ("model-stock", "deltas"), ("nuslerp", "deltas"),
                         ("multislerp", "deltas"), ("ram", "deltas"), ("rescale --by l1", "dropped"),
                         ("sce-select --topk 0.3", "deltas"), ("sce-weigh", "deltas"),
                         ("trim --density 0.5", "deltas"), ("weigh @../seed/rules", "deltas"),
                         ("pick math '/*mlp*'", "deltas"), ("tv-rename 'model.*=m.*'", "deltas"),
                         ("arcee-fusion", "weights"), ("karcher", "weights"),
                         ("nearswap --t 0.001", "weights"), ("slerp --t 0.3", "weights"),
                         ("add-base ../seed/base", "merged"),
                         ("check", "deltas"), ("stats", "few"), ("tv-view --values", "few"),
                         ("tv-diff - ../seed/deltas", "deltas")):
        add(name.split()[0], f"{name} <| {seed}{stream} > out")
    add("from-text", f"from-text < {seed}text > out")
    add("weigh-table", f"weigh --table {seed}table < {seed}lm-deltas > out")
    add("trim-model", f"trim --density 0.5 --scope model --memory 1K --spool . <| {seed}deltas > out")
    add("spool", f"trim --density 0.5 --memory 64 --spool . <| {seed}deltas > out")
    add("join-streams", f"join-streams {seed}delta {seed}other > out")
    add("stack", f"stack {seed}low {seed}high > out")

    # reading models
    for form in ("sharded", "bin", "math.tar", "math.tar.gz", "math.tar.zst", "math.zip", "mean"):
        add("unpack-" + form, f"unpack {seed}{form} > out")
    add("unpack-hub", "unpack lab/math > out", env={"HF_HUB_CACHE": "../seed/hub"})
    add("extract", "tv-extract ../seed/base math ../seed/code > out", file=("math", "math/model.safetensors"))
    add("extract-archives", "tv-extract ../seed/base.tar.zst math.tar.zst > out",
        file=("math.tar.zst", "math.tar.zst"))
    add("extract-saved", "unpack --dtype float32 ../seed/base ../seed/math | tv-extract > out")

    # writing models
    pack = "pack --base ../seed/base"
    for form in ("out", "out.safetensors", "out.tar", "out.tar.zst"):
        kind = form[4:] or "folder"
        add("pack-" + kind, f"{pack} {form} < {seed}merged", [form])
        add("force-" + kind, f"{pack} --force {form} <| {seed}merged", [form],
            old={form: OLD if form == "out" else b"old"})
    add("pack-shards", f"pack --like ../seed/base --shard-size 1K --chat-template {{}} out <| {seed}mean")
    add("pack-standard-output", f"{pack} - < {seed}merged > out")
    add("pack-link", f"{pack} --force out < {seed}merged", old={"out": Link("elsewhere"), "elsewhere": OLD})
    add("pack-base-archive", f"pack --base ../seed/base.tar.zst --dtype bfloat16 out < {seed}merged")

    # several stages
    models = "../seed/base ../seed/math ../seed/code"
    ties = f"tv-extract {models} | trim --density 0.5 | elect-sign | combine --normalize=agreeing"
    add("pipeline", f"{ties} | {pack} out")
    add("foreign", f"tv run --quiet --threads=1 '{ties.replace('| elect', '| cat | elect')} | {pack} out'")
    add("substitution", "tv run --quiet --threads=1 'join-streams <(tv-extract ../seed/base ../seed/math) "
        f"<(tv-extract ../seed/base ../seed/code) | combine | {pack} out'")
    add("run", f"tv run --quiet --threads=1 --report report '{ties} | {pack} out.safetensors'",
        ["out.safetensors"], side=["report"])
    add("run-threads", f"tv run --quiet --threads=3 '{ties} | {pack} out'")
    add("run-file", f"tv run --quiet --threads=1 '{ties.replace('../seed/math', 'math')} | {pack} out'",
        file=("math", "math/model.safetensors"))

    # merges
    for name in METHODS:
        add("merge-" + name, f"tv merge --quiet --threads=1 {seed}{name}.yml out",
            side=["table.tsv"] if name == "learned" else [])
    add("merge-force", f"tv merge --quiet --threads=1 --force {seed}ties.yml out", old={"out": OLD})
    add("merge-check", f"tv merge --check {seed}ties.yml none > out")
    add("from-yaml", f"tv from-yaml {seed}two.yml out > script", ["script"])
    add("script", "bash -euo pipefail script", before=[f"tv from-yaml {seed}two.yml out > script"],
        parts=["out.results"])
    part = f"tv merge --quiet --threads=1 --shards=2 --part=%d/2 {seed}ties.yml out"
    parts = [part % 1, part % 2, "tv finish out"]
    add("parts", parts, parts=[".out.parts"], again=parts)
    add("finish", "tv finish out", before=parts[:2], parts=[".out.parts"], again=parts)
    add("finish-force", "tv finish --force out", before=[part % 1 + " --force", part % 2 + " --force"],
        old={"out": OLD}, parts=[".out.parts"], again=[p + " --force" for p in parts])
    resume = f"tv merge --quiet --threads=1 --shards=2 --resume {seed}ties.yml out"
    add("resume", resume, parts=[".out.parts"], again=[resume])
    add("resume-half", resume, before=[part % 1], parts=[".out.parts"], again=[resume])
    other = f"tv merge --quiet --shards=2 --part=%d/2 {seed}slices.yml out"
    add("resume-other", resume, before=[other % 1, other % 2], parts=[".out.parts"], again=[resume])
    add("resume-stream", f"{pack} --shards 2 --resume out < {seed}merged", parts=[".out.parts"],
        again=[f"{pack} --shards 2 --resume out < {seed}merged"])

    # language models
    samples = "--samples ../seed/math.jsonl --samples ../seed/code.jsonl"
    learn = f"calibrate --base ../seed/lm-base {samples} --epochs 1 --accumulation 2 --per-task 2 --threads 1"
    add("forward", "forward ../seed/lm-math --samples ../seed/math.jsonl --threads 1 > out")
    add("score", f"score ../seed/lm-math {samples} --threads 1 > out")
    add("calibrate", f"{learn} --coefficients table --log log < {seed}lm-deltas > out", ["out"],
        side=["table"], log=["log"])
    add("calibrate-plus-plus", f"{learn} --plus-plus < {seed}lm-deltas > out")
    add("calibrate-gradients", f"{learn} --dry-run --gradients gradients < {seed}lm-deltas > out", ["out"],
        side=["gradients"])
    again = f"{learn} --coefficients table --resume state < {seed}lm-deltas > out"
    add("calibrate-resume", again, ["out"], side=["table"], parts=["state"], again=[again])
    add("calibrate-goes-on", again, ["out"], side=["table"], parts=["state"], again=[again],
        before=[f"{learn} --coefficients table --resume state < {seed}lm-deltas > out"])
    return found


# ---- running ---------------------------------------------------------------------------------------

def parse_line(line):
    """[(words, input, is_pipe, output), ...] of the commands of a pipeline."""
    commands, words = [], shlex.split(line)
    current, source, pipe, target = [], None, False, None
    i = 0
    while i < len(words):
        if words[i] == "|":
            commands.append([current, source, pipe, None])
            current, source, pipe = [], None, False
        elif words[i] in ("<", "<|"):
            source, pipe, i = words[i + 1], words[i] == "<|", i + 1
        elif words[i] == ">":
            target, i = words[i + 1], i + 1
        else:
            current.append(words[i])
        i += 1
    commands.append([current, source, pipe, target])
    return commands


class Outcome:
    def __init__(self):
        self.statuses, self.err, self.hangs = [], "", False  # status of each process, negative: a signal
        self.named = []  # (name, status)

    @property
    def failed(self):
        return self.hangs or any(status for status in self.statuses)


class Runner:
    """Runs pipelines in ROOT/runN; several of them work side by side."""

    def __init__(self, root, number=0):
        self.run = os.path.join(root, f"run{number}")
        self.tmp = os.path.join(root, f"tmp{number}")
        self.map_file = os.path.join(root, f"map{number}")
        self.seed = os.path.join(root, "seed")
        for folder in (self.run, self.tmp):
            os.makedirs(folder, exist_ok=True)
        with open(self.map_file, "wb") as f:
            f.truncate(SHARED)
        self.fd = os.open(self.map_file, os.O_RDWR)
        self.map = mmap.mmap(self.fd, SHARED)
        self.env = {"PATH": BIN + ":/usr/local/bin:/usr/bin:/bin", "TMPDIR": self.tmp, "LC_ALL": "C", "HOME": self.run,
                    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

    def empty(self):
        for folder in (self.run, self.tmp):
            for name in os.listdir(folder):
                remove_tree(os.path.join(folder, name))

    def prepare(self, s):
        """The folder as it is before the scenario runs."""
        self.empty()
        for name, tree in s.start.items():
            write_tree(os.path.join(self.run, name), tree)

    def learn(self, s):
        """Runs a scenario without a fault and keeps what comes of it; {role: {function: calls}}."""
        self.empty()
        s.start = dict(s.old)
        if s.file:
            s.start[s.file[0]] = read_tree(os.path.join(self.seed, s.file[0]))
        for name, tree in s.start.items():
            write_tree(os.path.join(self.run, name), tree)
        for line in s.before:
            done = self.run_lines([line], s.env)
            if done.failed:
                raise SystemExit(f"{s.name}: {line}: {done.statuses} {done.err}")
        s.start = read_tree(self.run)
        done = self.inject(s, None)
        s.good = {name: read_result(os.path.join(self.run, name), name) for name in s.targets + s.side + s.log}
        s.good_lines = set(done.err.splitlines())
        missing = [name for name, tree in s.good.items() if tree is None]
        if done.failed or missing:
            raise SystemExit(f"{s.name} fails without a fault: {done.statuses} {done.err} {missing}")
        counts = self.counts()
        if s.file:
            self.prepare(s)
            with open(os.path.join(self.run, s.file[1]), "r+b") as f:
                f.seek(-2, os.SEEK_END)
                byte = f.read(1)[0] ^ 1
                f.seek(-2, os.SEEK_END)
                f.write(bytes([byte]))
            if not self.run_lines(s.lines, s.env).failed:
                s.changed = {name: read_result(os.path.join(self.run, name), name) for name in s.good}
        return counts

    def inject(self, s, fault, log=None):
        """Runs it with a fault (ROLE, FUNCTION, N, ACTION) in the folder as it is."""
        self.map[:] = bytes(SHARED)
        env = dict(s.env, LD_PRELOAD=INJECT, INJECT_MAP=self.map_file)
        if fault:
            env["INJECT"] = "{} {} {} {}".format(*fault)
        if s.file:
            env["INJECT_FILE"] = os.path.join(self.run, s.file[1])
        if log:
            env["INJECT_LOG"] = log
        return self.run_lines(s.lines, env)

    def run_lines(self, lines, env=None, limit=20, during=None):
        """During: called with the process group's id while the first line runs."""
        done, roles = Outcome(), {}
        err_out, err_in = os.pipe()
        deadline = time.monotonic() + limit
        text = []
        try:
            for line in lines:
                last = line is lines[-1]
                pids, names, group = self.start(line, env or {}, err_in, roles)
                if during:
                    during(group, pids)
                    during = None
                if last:
                    os.close(err_in)
                    err_in = -1
                    self.drain(err_out, text, deadline)
                statuses = self.wait(pids, deadline)
                done.statuses += statuses
                done.named += zip(names, statuses)
                if None in statuses or (last and text and text[-1] is None):
                    done.hangs = True
                    try:
                        os.killpg(group, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                    self.wait(pids, time.monotonic() + 10)
                if any(statuses):
                    break
            if err_in >= 0:
                os.close(err_in)
                err_in = -1
                self.drain(err_out, text, deadline)
                done.hangs |= bool(text) and text[-1] is None
        finally:
            for fd in (err_out, err_in):
                if fd >= 0:
                    os.close(fd)
        done.err = b"".join(t for t in text if t).decode("utf-8", "replace")
        return done

    @staticmethod
    def drain(fd, text, deadline):
        """Reads to the end, which comes when all processes have gone; None at the end: they have not."""
        while True:
            ready, _, _ = select.select([fd], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                text.append(None)
                return
            piece = os.read(fd, 65536)
            if not piece:
                return
            text.append(piece)

    @staticmethod
    def wait(pids, deadline):
        statuses = []
        for pid in pids:
            status = None
            while status is None:
                done, code = os.waitpid(pid, os.WNOHANG if time.monotonic() < deadline + 1 else 0) \
                    if time.monotonic() < deadline else os.waitpid(pid, os.WNOHANG)
                if done:
                    status = os.waitstatus_to_exitcode(code)
                elif time.monotonic() > deadline:
                    break
                else:
                    time.sleep(0.001)
            statuses.append(status)
        return statuses

    def start(self, line, env, err, roles):
        """Starts the commands of a line in a process group of their own."""
        pids, names, group, opened = [], [], 0, []
        commands = parse_line(line)
        source = None
        os.chdir(self.run)
        for i, (words, file, is_pipe, target) in enumerate(commands):
            if file and is_pipe:
                with open(file, "rb") as f:
                    data = f.read()
                source, feed = os.pipe()
                if len(data) > 60000:
                    raise SystemExit(f"{file} is too large for a pipe")
                os.write(feed, data)
                os.close(feed)
            elif file:
                source = os.open(file, os.O_RDONLY)
            elif source is None:
                source = os.open("/dev/null", os.O_RDONLY)
            opened.append(source)
            following = None
            if target:
                out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            elif i + 1 < len(commands):
                following, out = os.pipe()
            else:
                out = os.open("/dev/null", os.O_WRONLY)
            opened.append(out)
            name = words[0]
            roles[name] = roles.get(name, 0) + 1
            own = dict(self.env, **env)
            if name in OURS:
                own["INJECT_ROLE"] = name if roles[name] == 1 else f"{name}#{roles[name]}"
            pid = os.posix_spawnp(os.path.join(BIN, name) if name in OURS else name, words, own,
                                  file_actions=[(os.POSIX_SPAWN_DUP2, source, 0),
                                                (os.POSIX_SPAWN_DUP2, out, 1),
                                                (os.POSIX_SPAWN_DUP2, err, 2)],
                                  setpgroup=group, setsigdef=SIGNALS)
            group = group or pid
            pids.append(pid)
            names.append(name)
            source = following
        for fd in opened:
            os.close(fd)
        return pids, names, group

    # -- what inject.so has noted

    def roles(self):
        n = min(struct.unpack_from("I", self.map, N_ROLES_AT)[0], ROLES)
        for i in range(n):
            at = ROLES_AT + i * ROLE_SIZE
            name = self.map[at:at + 48].split(b"\0")[0].decode()
            yield name, struct.unpack_from("64I", self.map, at + 48)

    def kinds(self):
        return self.map[:1024].split(b"\0")[0].decode().split()

    def counts(self):
        kinds = self.kinds()
        return {role: {k: n for k, n in zip(kinds, counts) if n} for role, counts in self.roles()
                if re.split(r"[#.]", role)[0] in OURS}

    def injected(self):
        return struct.unpack_from("I", self.map, N_ROLES_AT + 4)[0]

    def frames(self):
        for i in range(FRAMES):
            at = FRAMES_AT + i * 96
            text = self.map[at:at + 96].split(b"\0")[0].decode()
            if text:
                yield text


# struct shared of inject.c
ROLES, FRAMES = 64, 32
N_ROLES_AT = 1024
FRAMES_AT = N_ROLES_AT + 8
ROLES_AT = FRAMES_AT + FRAMES * 96
ROLE_SIZE = 48 + 64 * 4
SHARED = ROLES_AT + ROLES * ROLE_SIZE

SIGNALS = [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTERM]


# ---- judging ---------------------------------------------------------------------------------------

# The worst first.
VERDICTS = ["HANG", "CRASH", "WRONG", "BAD-TARGET", "STUCK", "PUBLISHED-BUT-FAILED", "LEFTOVER",
            "SILENT", "LINES", "NOT-RETRIED", "clean", "ok"]
GOOD = ("ok", "clean")
CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGXFSZ,
           signal.SIGSYS, signal.SIGTRAP}
SENTENCE = re.compile(r"^([a-z][\w-]*( [a-z-]+)?|Fatal Internal Error in libarchive): ")


def sentences(s, err):
    """The lines that say why; notes, and what a run without a fault says too, do not count."""
    return [line for line in err.splitlines()
            if line.strip() and line not in s.good_lines and ": note: " not in line and ": warning: " not in line]


def looks_whole(data):
    """Would the next reader take this output for a whole stream or archive?"""
    if data.startswith(b"\xa4TVS"):
        return data[-10:-8] == b"\xc4\x08"
    return len(data) > 1024 and data[257:262] == b"ustar" and data.endswith(bytes(1024))


def strangers(runner, s):
    """Names that are there and should not be: (any, after a failure that may leave parts)."""
    expected = set(s.start) | set(s.targets) | set(s.side) | set(s.log)
    names = [name for name in sorted(os.listdir(runner.run)) if name not in expected]
    more = [f"$TMPDIR/{name}" for name in os.listdir(runner.tmp)]
    for part in s.parts:
        folder = os.path.join(runner.run, part)
        for at, _, files in os.walk(folder):
            more += [os.path.relpath(os.path.join(at, f), runner.run) for f in files if f.startswith(".")]
    return names, more


def judge(runner, s, done, quiet=False):
    """[(verdict, why), ...] of a run, the worst first; `quiet`: nobody could hear it."""
    found = []
    now = {name: read_result(os.path.join(runner.run, name), name) for name in s.targets + s.side + s.log}
    lines = sentences(s, done.err)
    names, unfinished = strangers(runner, s)
    crashed = [f"{name}: {signal.Signals(-status).name}" for name, status in done.named
               if status is not None and status < 0 and -status != signal.SIGPIPE]
    crashed += [f"{name}: status {status}" for name, status in done.named
                if status is not None and status > 128 and status != 128 + signal.SIGPIPE]
    if done.hangs:
        found.append(("HANG", ""))
    if crashed and not done.hangs:
        found.append(("CRASH", ", ".join(crashed)))
    for name, tree in s.start.items():
        if name not in now and name not in s.parts and (not s.file or name != s.file[0]) and \
                read_tree(os.path.join(runner.run, name)) != tree:
            found.append(("BAD-TARGET", f"{name} was changed"))
    if not done.failed:
        for name, tree in now.items():
            if tree != s.good[name] and now != s.changed:
                found.append(("WRONG", f"exit 0, but {name} " + ("is not there" if tree is None else "differs")))
        left = [n for n in names if n not in s.parts or n.endswith(".parts")] + unfinished
        if left:
            found.append(("LEFTOVER", " ".join(left)))
        return found or [("ok", "")]
    for name in s.targets:
        tree, old = now[name], s.start.get(name)
        if name in s.stdout:
            if tree != s.good[name] and tree and isinstance(tree, bytes) and looks_whole(tree):
                found.append(("BAD-TARGET", f"{name} looks whole and is not"))
        elif tree == old:
            pass
        elif tree == s.good[name]:
            if not any("in place" in line or "published" in line for line in lines):
                found.append(("PUBLISHED-BUT-FAILED", name))
        else:
            found.append(("BAD-TARGET", f"{name} is " + ("gone" if tree is None else "not what it should be")))
    for name in s.side:
        if now[name] not in (None, s.start.get(name), s.good[name]):
            found.append(("BAD-TARGET", f"{name} is neither absent nor whole"))
    for name in s.log:
        if now[name] is not None and not s.good[name].startswith(now[name].rpartition(b"\n")[0]):
            found.append(("BAD-TARGET", f"{name} is not the beginning of a log"))
    left = [name for name in names if name not in s.parts] + unfinished
    left = [name for name in left if not any(f"{name} beside it" in line for line in lines)]
    if left:
        found.append(("LEFTOVER", " ".join(left)))
    if not quiet and not done.hangs and not crashed:
        if not lines:
            found.append(("SILENT", f"statuses {done.statuses}"))
        elif len(lines) > 1 or not SENTENCE.match(lines[0]):
            found.append(("LINES", f"{len(lines)} lines"))
    found.sort(key=lambda f: VERDICTS.index(f[0]))
    return found or [("clean", "")]
