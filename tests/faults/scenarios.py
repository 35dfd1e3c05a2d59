"""The scenarios: pipelines that run in a folder of their own beside the models in ../seed, and what must
be there when they have ended well. To add one, add a line to all_scenarios()."""
from seed import METHODS
from trees import Link

HEADER = b'{"w":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}'
OLD_FILE = len(HEADER).to_bytes(8, "little") + HEADER + b"old"
OLD = {"config.json": b"old", "old.safetensors": OLD_FILE}


class Scenario:
    """`lines`: pipelines, run one after another until one fails. Words are the shell's; `< FILE` gives
    the first command a file, `<| FILE` the same bytes in a pipe, `> FILE` keeps what the last prints.
    `targets`: what is there afterwards. `old`: {target: tree} before; `before`: lines that lead up to the
    start. `parts`: what may remain after a failure, and serves to go on. `again`: the lines that do so.
    `side`: files beside the result (a table, a report), which may be there after a failure, if whole;
    `log`: those that grow line by line. `file`: an input that is copied here, to be cut or changed."""

    def __init__(self, name, lines, targets=("out",), old=None, before=(), parts=(), again=None,
                 side=(), log=(), file=None, env=None):
        self.name, self.lines = name, [lines] if isinstance(lines, str) else list(lines)
        self.targets, self.old, self.before = list(targets), old or {}, list(before)
        self.parts, self.again, self.side, self.log = list(parts), again, list(side), list(log)
        self.file, self.env = file, env or {}
        self.start = {}  # what is there before it runs
        self.good = self.good_lines = None
        self.changed = None  # the result where the input was changed from the start
        self.stdout = [line.split(" > ")[1].strip() for line in self.lines if " > " in line]


def all_scenarios():
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
                         ("swudi", "deltas"), ("tsv-merge", "deltas"), ("iso-merge", "deltas"),
                         ("wudi --steps 2", "deltas"), ("add-noise 0.1", "deltas"), ("add-base ../seed/base", "merged"),
                         ("check", "deltas"), ("stats", "few"), ("tv-view --values", "few"),
                         ("tv-diff - ../seed/deltas", "deltas")):
        add(name.split()[0], f"{name} <| {seed}{stream} > out")
    add("from-text", f"from-text < {seed}text > out")
    add("weigh-table", f"weigh --table {seed}table < {seed}lm-deltas > out")
    add("trim-model", f"trim --density 0.5 --scope model --memory 1K --spool . <| {seed}deltas > out")
    add("spool", f"trim --density 0.5 --memory 64 --spool . <| {seed}deltas > out")
    add("join-streams", f"join-streams {seed}delta {seed}other > out")
    add("stack", f"stack {seed}low {seed}high > out")
    add("stack-disjoint", f"stack --disjoint {seed}zeroth {seed}others > out")
    add("zero-bias", f"zero-bias {seed}lm-base '*q_proj' > out")
    add("moe-router", f"moe-router {seed}states {seed}states > out")
    add("moe", f"tv moe --quiet {seed}moe.yml out", file=("moe.yml", "moe.yml"))
    for name, option in ("regmean", "gram"), ("fisher", "diagonal"):
        files = f"--{option} math=math.{option} --{option} code=../seed/code.{option}"
        add(name, f"{name} {files} --threads 1 < {seed}lm-deltas > out", file=(f"math.{option}", f"math.{option}"))

    # reading models
    for form in ("sharded", "bin", "model.gguf", "math.tar", "math.tar.gz", "math.tar.zst", "math.zip", "mean"):
        add("unpack-" + form, f"unpack {seed}{form} > out")
    add("unpack-key", f"unpack {seed}last.ckpt#model.state_dict > out")
    add("extract-key", f"tv-extract {seed}base last.ckpt#model.ema > out", file=("last.ckpt", "last.ckpt"))
    add("unpack-hub", "unpack lab/math > out", env={"HF_HUB_CACHE": "../seed/hub"})
    add("extract", "tv-extract ../seed/base math ../seed/code > out", file=("math", "math/model.safetensors"))
    add("extract-archives", "tv-extract ../seed/base.tar.zst math.tar.zst > out",
        file=("math.tar.zst", "math.tar.zst"))
    add("unpack-adapter", "unpack ../seed/lm-base+../seed/lora > out")
    add("extract-adapter", "tv-extract ../seed/lm-base lora.tar > out", file=("lora.tar", "lora.tar"))
    add("extract-saved", "unpack --dtype float32 ../seed/base ../seed/math | tv-extract > out")

    add("saved", "combine < deltas > out", file=("deltas", "deltas"))
    add("check-model", "check ../seed/math > out")

    # writing models
    pack = "pack --base ../seed/base"
    for form in ("out", "out.safetensors", "out.tar", "out.tar.zst"):
        kind = form[4:] or "folder"
        add("pack-" + kind, f"{pack} {form} < {seed}merged", [form])
        add("force-" + kind, f"{pack} --force {form} <| {seed}merged", [form],
            old={form: OLD if form == "out" else OLD_FILE})
    add("pack-gguf", f"pack --like ../seed/model.gguf out.gguf < {seed}gguf-weights", ["out.gguf"])
    add("force-gguf", f"pack --force --like ../seed/model.gguf out.gguf < {seed}gguf-weights", ["out.gguf"],
        old={"out.gguf": OLD_FILE})
    lora = "tv-extract ../seed/lm-base ../seed/lm-math | pack --lora 2 --base ../seed/lm-base"
    add("pack-adapter", lora + " out")
    add("force-adapter", lora + " --force out", old={"out": OLD})
    add("pack-shards", f"pack --like ../seed/base --shard-size 1K --chat-template {{}} out <| {seed}mean")
    add("pack-standard-output", f"{pack} - < {seed}merged > out")
    add("pack-link", f"{pack} --force out < {seed}merged", old={"out": Link("elsewhere"), "elsewhere": OLD})
    add("pack-tokenizer", f"{pack} --tokenizer ../seed/math out < {seed}merged")
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
    add("merge-report", f"tv merge --quiet --threads=1 --report report {seed}ties.yml out", side=["report"])
    add("merge-archive", f"tv merge --quiet --threads=1 {seed}ties.yml out.tar.zst", ["out.tar.zst"])
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

    # computed again
    verify = "tv verify --quiet --threads=1"
    add("verify", f"{verify} {seed}made {seed}base {seed}math {seed}code > out")
    add("verify-search", f"{verify} {seed}made {seed} > out")
    add("verify-gguf", f"{verify} {seed}made.gguf {seed}model.gguf > out")
    named = " ".join(f"{name}={seed}{name}" for name in ("base", "math", "code"))
    add("verify-print", f"tv verify --print {seed}made {named} > out")

    # language models
    samples = "--samples ../seed/math.jsonl --samples ../seed/code.jsonl"
    learn = f"calibrate --base ../seed/lm-base {samples} --epochs 1 --accumulation 2 --per-task 2 --threads 1"
    add("forward", "forward ../seed/lm-math --samples ../seed/math.jsonl --threads 1 > out")
    add("score", f"score ../seed/lm-math {samples} --threads 1 > out")
    add("calibrate", f"{learn} --coefficients table --log log < {seed}lm-deltas > out", ["out"],
        side=["table"], log=["log"])
    add("calibrate-plus-plus", f"{learn} --plus-plus < {seed}lm-deltas > out")
    add("calibrate-start", f"{learn} --start ../seed/table --config ../seed/lm-base/config.json < {seed}lm-deltas > out")
    add("calibrate-gradients", f"{learn} --dry-run --gradients gradients < {seed}lm-deltas > out", ["out"],
        side=["gradients"])
    taught = f"{learn} --expert math=../seed/lm-math --expert code=../seed/lm-code"
    add("calibrate-saved", f"{taught} < cleaned > out", file=("cleaned", "cleaned"))
    add("calibrate-behind-swudi", f"tv run --quiet --threads=1 'tv-extract ../seed/lm-base math=../seed/lm-math "
        f"code=../seed/lm-code | swudi | {taught} | combine | pack --base ../seed/lm-base out'")
    add("tune", f"tv tune {samples} --threads 1 --budget 2 --log log 'tv-extract ../seed/lm-base math=../seed/lm-math "
        "code=../seed/lm-code | combine | rescale {lambda:0.3..1.5} | pack --base ../seed/lm-base none' > out",
        ["out"], log=["log"])
    again = f"{learn} --coefficients table --resume state < {seed}lm-deltas > out"
    add("calibrate-resume", again, ["out"], side=["table"], parts=["state"], again=[again])
    add("calibrate-goes-on", again, ["out"], side=["table"], parts=["state"], again=[again],
        before=[f"{learn} --coefficients table --resume state < {seed}lm-deltas > out"])
    return found
