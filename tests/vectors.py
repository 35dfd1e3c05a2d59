#!/usr/bin/python3
"""Tests share/vectors: vectors.py TEST

    programs   the programs in C read the good streams: check, tv-view --json, tv-view --values
    stages     CHOICE COMMAND...: a stage passes on streams, unchanged but for a step in the history; CHOICE lists
               kinds, and with a minus names of streams that are left out. COMMAND may be python CODE, which finds tvstream imported
    refusals   check refuses the bad ones with one sentence
    rules      each rule of share/stream.md has a bad stream, and each bad stream a rule and a section
    seek       payload is where a walk through the file finds it, as "Files" in stream.md describes
    generate   share/vectors/generate writes the files in the tree

Prints what is wrong and exits with 1."""
import gzip
import hashlib
import importlib.machinery
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile

SHARE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "share")
VECTORS = os.path.join(SHARE, "vectors")
sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader("run", os.path.join(VECTORS, "run"))
run = importlib.util.module_from_spec(importlib.util.spec_from_loader("run", loader))
loader.exec_module(run)
wrong = 0


def check(condition, sentence):
    global wrong
    if not condition:
        wrong += 1
        print(sentence)


def output(*command, stdin=None):
    done = subprocess.run(command, stdin=stdin, stdout=subprocess.PIPE, check=False)
    check(done.returncode == 0, f"{' '.join(command)} exits with {done.returncode}")
    return done.stdout.decode()


def normal_vector(v, name):
    v = {key: value for key, value in v.items() if value != []}
    if isinstance(v.get("weight"), list) and len(v["weight"]) == 1:
        v["weight"] = v["weight"][0]
    if v.get("weight") == 1:
        del v["weight"]
    if "joined" in v:
        v["joined"] = [normal_vector(x, None) for x in v["joined"]]
    if name is not None and v.get("source") == name:
        del v["source"]
    return v


def normal_tensor(t):
    return {**t, "vectors": [normal_vector(v, t["name"]) for v in t["vectors"]]}


def normal(meaning):
    """The meaning of the stream that a program in C writes: without values that are the defaults, with those that a
    writer adds, without the unknown keys of the end record."""
    header = {"history": [], **meaning["header"], "tensors": [normal_tensor(t) for t in meaning["header"]["tensors"]]}
    tensors = [{**t, "header": normal_tensor({"block": (t["blocks"] or [0])[0], **t["header"]})}
               for t in meaning["tensors"]]
    end = {key: value for key, value in meaning["end"].items() if key in ("record", "tensors", "bytes", "hashes")}
    return {"header": header, "tensors": tensors, "end": end}


def plain(x):
    """A value as tv-view --json prints it: bins as hexadecimal digits."""
    if isinstance(x, list):
        return [plain(item) for item in x]
    if not isinstance(x, dict):
        return x
    if set(x) == {"$bin"}:
        return x["$bin"]
    if set(x) == {"$ext"}:
        return ""
    if set(x) == {"$int"}:
        return int(x["$int"])
    if set(x) == {"$map"}:
        return {key if isinstance(key, str) else json.dumps(key): value
                for key, value in ((plain(key), plain(value)) for key, value in x["$map"])}
    return {key: plain(value) for key, value in x.items()}


def compare(name, found, wanted):
    difference = run.differences(found, wanted, name)
    check(difference is None, difference)


def meanings(paths):
    lines = output("/usr/bin/python3", os.path.join(SHARE, "etl", "stream-json"), *paths).splitlines()
    return list(map(json.loads, lines))


def known_checksums(name):
    with open(os.path.join(VECTORS, "good", name + ".json"), encoding="utf-8") as file:
        return json.load(file)["checksums"] == "all"


def test_programs(good, folder):
    copies = []
    for name, path, meaning in good:
        done = subprocess.run(["check", "--allow-nonfinite", path], capture_output=True, check=False)
        check(done.returncode == 0 and b"OK: " in done.stdout and
              (b"lacks checksums" in done.stderr) != known_checksums(name),
              f"check of {name} prints {(done.stdout + done.stderr).decode()}")
        wanted = normal(meaning)
        lines = [json.loads(line, parse_int=lambda text: float(text) if text == "-0" else int(text))
                 for line in output("tv-view", "--json", path).splitlines()]
        compare(f"{name}, tv-view --json", lines,
                plain([wanted["header"], *(t["header"] for t in wanted["tensors"]), wanted["end"]]))
        # The text form has one place for what the manifest and the tensor header both contain.
        if name != "tensor-header-differs":
            copies.append((f"{name}, text", copy(["from-text", "--allow-nonfinite"], folder,
                                                 output("tv-view", "--values", path).encode()), wanted))
    for (name, _, wanted), found in zip(copies, meanings([path for _, path, _ in copies])):
        compare(name, found, wanted)


def copy(command, folder, data):
    """The path of what the command writes, given these bytes."""
    copy.number = getattr(copy, "number", 0) + 1
    path = os.path.join(folder, f"copy-{copy.number}.tvs")
    with open(path, "wb") as file:
        done = subprocess.run(command, input=data, stdout=file, check=False)
    check(done.returncode == 0, f"{' '.join(command)} exits with {done.returncode}")
    return path


def copy_in_python(code, folder, data):
    """The same, of code in Python, in a fork: to start Python with numpy takes ten times as long."""
    import tvstream
    copy_in_python.number = getattr(copy_in_python, "number", 0) + 1
    paths = [os.path.join(folder, f"{end}-{copy_in_python.number}.tvs") for end in ("from", "to")]
    with open(paths[0], "wb") as file:
        file.write(data)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(paths[0], os.O_RDONLY), 0)
        os.dup2(os.open(paths[1], os.O_WRONLY | os.O_CREAT), 1)
        sys.argv = ["-c"]
        try:
            exec(code, {"tvstream": tvstream})
        except BaseException as e:
            print(f"{code}: {e!r}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    check(os.waitpid(child, 0)[1] == 0, f"{code} fails")
    return paths[1]


def test_stages(good, folder, choice, command):
    choice = choice.split(",")
    good = [row for row in good if row[2]["header"]["kind"] in choice and "-" + row[0] not in choice]
    paths = []
    for _, path, _ in good:
        with open(path, "rb") as file:
            if command[0] == "python":
                paths.append(copy_in_python(command[1], folder, file.read()))
            else:
                paths.append(copy(command, folder, file.read()))
    for (name, _, meaning), found in zip(good, meanings(paths)):
        check("error" not in found and found["header"]["history"], f"{name}: the stage adds no step")
        if "error" not in found:
            found["header"]["history"].pop()
            compare(f"{name}, stage", normal(found), normal(meaning))


def test_refusals():
    for name, path, what in run.read_bad():
        done = subprocess.run(["check", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        said = done.stderr.decode()
        check(done.returncode == 1 and not done.stdout and said.count("\n") == 1,
              f"{name} ({what}): check exits with {done.returncode} and prints {done.stdout.decode()}{said}")
        prefix = "check: "
        if what.startswith("error: "):
            prefix = f"trim: the disk is full (recorded in {path})\n"
        check(said.startswith(prefix), f"{name} ({what}): {said}")


def test_rules():
    with open(os.path.join(SHARE, "stream.md"), encoding="utf-8") as file:
        text = file.read()
    section = text.split("## What a reader must reject\n")[1].split("\n## ")[0]
    names = [name for line in re.findall(r"^\d+\. ((?:`[a-z-]+`(?:, )?)+):", section, re.M)
             for name in re.findall("[a-z-]+", line)]
    check(len(re.findall(r"^\d+\. ", section, re.M)) == 16 and len(names) == len(set(names)) > 30,
          f"share/stream.md names the rules {names}")
    headings = re.findall(r"^##+ (.*)", text, re.M)
    with open(os.path.join(VECTORS, "bad.tsv"), encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file][1:]
    for name, rule, where, _ in rows:
        check(rule in names, f"{name}: stream.md has no rule {rule}")
        check(where in headings, f"{name}: stream.md has no section {where}")
    for rule in names:
        check(rule in {row[1] for row in rows}, f"no bad stream breaks the rule {rule}")
    files = {name[:-len(".tvs")] for name in os.listdir(os.path.join(VECTORS, "bad"))}
    check(files == {row[0] for row in rows}, "bad.tsv does not list the files of bad/")
    dump = text.split("## Worked example\n")[1].split("\n## ")[0]
    example = bytes.fromhex(" ".join(re.findall(r"^ {4}[0-9a-f]{4}  ((?:[0-9a-f]{2} ?)+)", dump, re.M)))
    with open(os.path.join(VECTORS, "good", "worked-example.tvs"), "rb") as file:
        check(file.read() == example, "good/worked-example.tvs is not the example in stream.md")


def read_head(file):
    """The value of an int or of the head of a bin."""
    first = file.read(1)[0]
    size = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xD3: 8}.get(first, 0)
    return int.from_bytes(file.read(size), "big") if size else first


def walk(file, tensors):
    """The offset of each bin: a list per tensor. Skips the contents."""
    file.seek(5)
    file.seek(read_head(file), os.SEEK_CUR)
    for t in tensors:
        offsets = []
        file.seek(read_head(file), os.SEEK_CUR)
        for n in t["blocks"]:
            for v in t["vectors"]:
                size = read_head(file)
                check(size * sum(t["blocks"]) == v["bytes"] * n, "a bin has another size than the document says")
                offsets.append(file.tell())
                file.seek(size, os.SEEK_CUR)
        file.seek(read_head(file), os.SEEK_CUR)
        yield offsets


def test_seek(good):
    for name, path, meaning in good:
        with open(path, "rb") as file:
            for t, offsets in zip(meaning["tensors"], list(walk(file, meaning["tensors"]))):
                for k, v in enumerate(t["vectors"]):
                    found = b""
                    for n, at in zip(t["blocks"], offsets[k::len(t["vectors"])]):
                        file.seek(at)
                        found += file.read(n * v["bytes"] // sum(t["blocks"]))
                    check(v.get("payload", found.hex()) == found.hex() and
                          v.get("sha256", "") in ("", hashlib.sha256(found).hexdigest()),
                          f"{name}: a walk finds another payload of {t['header']['name']}")


def files_of(folder):
    """The contents of each file: of a compressed one, decompressed."""
    found = {}
    for part in ("good", "bad", "bad.tsv"):
        path = os.path.join(folder, part)
        for name in [part] if os.path.isfile(path) else [os.path.join(part, name) for name in os.listdir(path)]:
            with (gzip.open if name.endswith(".gz") else open)(os.path.join(folder, name), "rb") as file:
                found[name] = file.read()
    return found


def test_generate(folder):
    output(sys.executable, os.path.join(VECTORS, "generate"), folder)
    old, new = files_of(VECTORS), files_of(folder)
    for name in sorted({*old, *new}):
        check(old.get(name) == new.get(name), f"generate writes another {name}")


with tempfile.TemporaryDirectory() as temporary:
    if sys.argv[1] == "programs":
        test_programs(list(run.read_good(temporary)), temporary)
    elif sys.argv[1] == "stages":
        test_stages(list(run.read_good(temporary)), temporary, sys.argv[2], sys.argv[3:])
    elif sys.argv[1] == "refusals":
        test_refusals()
    elif sys.argv[1] == "seek":
        test_seek(list(run.read_good(temporary)))
    elif sys.argv[1] == "rules":
        test_rules()
    else:
        test_generate(temporary)
sys.exit(1 if wrong else 0)
