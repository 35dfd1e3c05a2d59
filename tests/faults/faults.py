#!/usr/bin/python3
"""faults.py: every call of every function fails in turn, in every program of every scenario.

    tests/faults/faults.py                        all positions
    tests/faults/faults.py --sample 1             one of each scenario and function
    tests/faults/faults.py --only merge-ties,run --functions malloc,write
    tests/faults/faults.py --only run --fault 'tv malloc 17 ENOMEM'     one, with all that it says

What must hold after a fault: exit status 0, and the output is byte for byte that of a run without one
(ok); or another status, one sentence on standard error, the target absent or as it was, and nothing
left over but what is documented (clean). Everything else has a name:

    HANG                  it did not end
    CRASH                 a signal ended it
    WRONG                 exit status 0, but the result is not there or another
    BAD-TARGET            it failed, and the target is damaged, or looks whole and is not
    STUCK                 of merges in parts, and with --resume: the next run does not get there
    PUBLISHED-BUT-FAILED  it failed, the target is there and whole, and no sentence says so
    LEFTOVER              files that nobody removes
    SILENT                it failed without a word
    LINES                 several sentences, or none that says whose it is
    NOT-RETRIED           a short transfer or an interrupted one counts as a failure

One scenario and one function are one test; the last line is "N passed, N failed"."""
import argparse
import collections
import itertools
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import harness
from harness import GOOD, VERDICTS
from scenarios import all_scenarios
from seed import make_seed
from trees import read_tree

# Functions and the ways in which they fail; every 4th position with what is in the second list.
MEMORY = (["ENOMEM"], ["ENOMEM+"])
READ = (["EIO", "EINTR", "SHORT"], ["EIO+", "ESTALE"])
WRITE = (["ENOSPC", "EIO", "EINTR", "SHORT"], ["ENOSPC+", "EDQUOT"])
ACTIONS = {
    "malloc": MEMORY, "calloc": MEMORY, "realloc": MEMORY, "memalign": MEMORY, "memstream": MEMORY,
    "open": (["EMFILE", "EACCES", "EIO"], ["EMFILE+", "EINTR"]),
    "openat": (["EMFILE", "EACCES", "EIO"], ["ENOSPC", "EMFILE+", "EINTR"]),
    "fopen": (["EMFILE", "EACCES"], ["EMFILE+"]), "opendir": (["EMFILE", "ENOMEM"], ["EACCES"]),
    "readdir": (["EIO"], []), "read": READ, "pread": READ, "readv": READ,
    "write": WRITE, "pwrite": WRITE, "writev": WRITE, "send": (["EINTR", "SHORT"], []), "put": (["ENOSPC"], ["ENOSPC+"]),
    "get": (["EIO"], []), "fflush": (["ENOSPC"], ["EIO"]), "fclose": (["ENOSPC"], ["EIO"]),
    "fsync": (["EIO", "ENOSPC"], []), "syncrange": (["EIO"], []), "ftruncate": (["EIO", "EINTR"], []),
    "fallocate": (["ENOSPC", "EIO", "EINTR", "EOPNOTSUPP"], []), "mmap": (["ENOMEM"], ["ENOMEM+"]),
    "close": (["EIO", "ENOSPC"], ["EINTR"]), "rename": (["EIO", "ENOSPC", "EINVAL", "EINVAL+"], []),
    "unlink": (["EIO", "EACCES"], []), "mkdir": (["ENOSPC", "EACCES"], []), "link": (["EIO", "ENOSPC"], []),
    "stat": (["EIO", "EACCES"], []), "readlink": (["EIO"], []), "statvfs": (["EIO", "ENOSYS"], []),
    "lseek": (["EIO"], []), "flock": (["ENOLCK", "EIO", "EINTR"], []), "pipe": (["EMFILE"], []),
    "dup": (["EMFILE", "EINTR"], []), "fork": (["EAGAIN", "ENOMEM"], []), "exec": (["EACCES", "ENOMEM"], []),
    "waitpid": (["EINTR"], []), "poll": (["EINTR", "ENOMEM"], []), "eventfd": (["EMFILE"], []),
    "thread": (["EAGAIN", "EAGAIN+"], []), "getrandom": (["ENOSYS", "EINTR"], []), "fcntl": (["EINVAL"], []),
    "rlimit": (["EPERM"], []), "dlopen": (["ENOMEM"], [])}
RETRIED = {"read", "pread", "readv", "write", "pwrite", "writev", "send", "flock", "waitpid", "poll", "fallocate"}

KINDS = {"allocation": "malloc calloc realloc memalign memstream", "open": "open openat fopen opendir",
         "read": "read pread readv get readdir", "write": "write pwrite writev send put fflush fclose",
         "sync": "fsync syncrange", "entries": "rename unlink mkdir link", "close": "close", "mmap": "mmap",
         "size": "ftruncate fallocate", "stat": "stat readlink statvfs lseek", "lock": "flock",
         "process": "pipe dup fork exec waitpid poll eventfd thread getrandom fcntl rlimit dlopen",
         "limits": "fsize nofile space closed", "changed input": "cut change"}
KIND_OF = {f: kind for kind, functions in KINDS.items() for f in functions.split()}

CHUNK = 100


def sizes(tree):
    if isinstance(tree, dict):
        return max([sizes(sub) for sub in tree.values()] + [0])
    return len(tree) if isinstance(tree, bytes) else 0


def plan(s, counts):
    """{function: [(role, function, n, action, calls), ...]} of a scenario."""
    faults = collections.defaultdict(list)
    for role, calls in counts.items():
        for function, n in calls.items():
            often, sometimes = ACTIONS.get(function, ([], []))
            for i in range(1, n + 1):
                faults[function] += [(role, function, i, a, n) for a in often + (sometimes if i % 4 == 1 else [])]
        if "." not in role:
            most = max([sizes(tree) for tree in s.good.values()])
            for i in range(16):
                faults["fsize"].append((role, "fsize", most * i // 14, "LIMIT", 16))
            faults["space"] += [(role, "space", n, "LIMIT", 12) for n in range(8, 200, 16)]
            faults["nofile"] += [(role, "nofile", n, "LIMIT", 22) for n in range(3, 25)]
            faults["closed"] += [(role, "closed", n, "LIMIT", 3) for n in (1, 2, 3)]
        if s.file:
            most = calls.get("any", 0)
            for action in "CUT", "CHANGE":
                faults[action.lower()] += [(role, "any", n, action, most) for n in range(1, most + 1)]
    return faults


def spread(items, n):
    """N of them, evenly; of one the middle."""
    if n >= len(items):
        return items
    return [items[(2 * i + 1) * len(items) // (2 * n)] for i in range(n)]


# ---- one fault -------------------------------------------------------------------------------------

def go_on(runner, s, found):
    """After a failure: the next run must get to the end."""
    for name in s.stdout:
        path = runner.path(name)
        if os.path.exists(path):
            os.unlink(path)
    done = runner.run_lines(s.again, s.env)
    if done.failed:
        found.append(("STUCK", f"the next run fails: {done.err.strip()}"))
        return
    for name in s.targets + s.side:
        if read_tree(runner.path(name)) != s.good[name]:
            found.append(("WRONG", f"the next run exits with 0, but {name} differs"))
    names, more = harness.strangers(runner, s)
    left = [name for name in names if name.endswith(".parts") or name not in s.parts] + more
    if left:
        found.append(("LEFTOVER", f"after the next run: {' '.join(left)}"))


def ends_program(frames):
    """Is it a library that ends the program, or crashes, when it gets no memory as it is loaded
    (libgfortran and libquadmath), or for a filter of an archive (libarchive)?"""
    outside = [frame for frame in frames if not frame.startswith(("inject.so", "+"))]
    return any(frame.startswith(("libgfortran", "libquadmath")) for frame in frames) or \
        len(outside) > 1 and outside[0].startswith("libarchive") and \
        outside[1].endswith("archive_write_add_filter_zstd")


def try_fault(runner, s, fault, limit=20):
    """(verdict, why, what it said, frames), or None if that call did not come."""
    role, function, n, action, _ = fault
    runner.prepare(s)
    done = runner.inject(s, fault[:4])
    if done.hangs and limit < 60:
        return try_fault(runner, s, fault, 60)
    if not runner.injected():
        return None
    frames = list(runner.frames())
    found = harness.judge(runner, s, done, quiet=function == "closed" and n == 3)
    if s.again and done.failed and not done.hangs and \
            any(read_tree(runner.path(name)) != s.good[name] for name in s.targets):
        go_on(runner, s, found)
    if ends_program(frames):
        found = [f for f in found if f[0] not in ("LINES", "CRASH")] or [("clean", "")]
    if function == "space":  # children inherit it: each process fails for itself
        found = [f for f in found if f[0] != "LINES"] or [("clean", "")]
    if found[0][0] == "clean" and (action == "SHORT" or action == "EINTR" and function in RETRIED):
        found.insert(0, ("NOT-RETRIED", ""))
    found = [f for f in found if f[0] not in GOOD] or found
    found.sort(key=lambda f: VERDICTS.index(f[0]))
    return found[0][0], "; ".join(f"{v}: {why}" if i else why for i, (v, why) in enumerate(found)), done.err, frames


# ---- all of them -----------------------------------------------------------------------------------

runner = None  # of this process
everything = {}  # {name: scenario}


def work_as(root, numbers):
    global runner
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    runner = harness.Runner(root, numbers.get())


def learn(name):
    s = everything[name]
    return runner.learn(s), s.start, s.good, s.good_lines, s.changed


def try_chunk(chunk):
    name, faults = chunk
    return [(fault, try_fault(runner, everything[name], fault)) for fault in faults]


def command_of(name, fault):
    return f"tests/faults/faults.py --only {name} --fault '{' '.join(map(str, fault[:4]))}'"


class Places:
    """Which lines of the sources frames are."""

    def __init__(self):
        self.known = {}

    def look_up(self, wanted):
        """wanted: {(program, offset)}"""
        by_program = collections.defaultdict(list)
        for program, offset in wanted:
            by_program[program].append(offset)
        for program, offsets in by_program.items():
            done = subprocess.run(["addr2line", "-f", "-s", "-e", os.path.join(harness.BIN, program)] + offsets,
                                  capture_output=True, text=True).stdout.splitlines()
            for offset, function, line in zip(offsets, done[::2], done[1::2]):
                self.known[program, offset] = f"{function} ({line.split(' ')[0]})"

    def describe(self, program, frames):
        """From the innermost on; inject.so and the start are left out."""
        for frame in frames:
            if frame.startswith("+"):
                text = self.known.get((program, frame[1:]), frame)
                if text.startswith("main "):
                    return
                yield text
            elif not frame.startswith(("inject.so", "libc.so.6 ?")):
                yield frame


def program_of(role):
    return re.split(r"[#.]", role)[0]


# Who calls these is of interest.
DULL = {"found", "mem_alloc", "mem_resize", "mem_copy_text", "mem_alloc_aligned", "arena_alloc", "arena_copy",
        "arena_copy_text", "arena_copy_text_n", "bytes_append", "error_set", "arena_printf"}


def site_of(places):
    """The library in which a call failed, if it was one, and the two functions of ours that led there."""
    names = [place.split(" ")[0] for place in places]
    library = [re.sub(r"\.so.*", "", name) for name in names[:1] if ".so" in name]
    ours = [name for name in names if ".so" not in name and name not in DULL]
    return " in ".join(library + [" <- ".join(ours[:2]) or "?"])


def without_names(text):
    """A sentence without what differs from run to run."""
    text = re.sub(r"(\.partial|\.old|\.safetensors)[-.][a-z0-9]{6}\b", r"\1-XXXXXX", text)
    text = re.sub(r"\bout(\.safetensors|\.tar\.zst|\.tar)?(?=[./: ]|$)(?! of memory)", "OUT", text)
    return re.sub(r"\d+", "N", text)


def group_of(row):
    """What has one cause, as far as one can tell from outside: by what was said where it is about that,
    by the place of the call where it is not."""
    lines = [line for line in row["said"].splitlines() if ": note: " not in line and ": warning: " not in line]
    said = without_names((lines or [""])[0])
    if row["verdict"] in ("LINES", "LEFTOVER"):
        return row["verdict"], said or row["function"], without_names(row["why"].split(";")[0])
    return row["verdict"], f"{row['kind']}: {site_of(row['places'])}", without_names(row["why"].split(";")[0])


def print_table(rows, title, key):
    table = collections.Counter((key(row), row["verdict"]) for row in rows)
    names = list(dict.fromkeys(key(row) for row in rows))
    used = [v for v in VERDICTS if any((name, v) in table for name in names)]
    width = max([len(name) for name in names] + [len(title)])
    print(f"\n{title:{width}}", *[f"{v[:12]:>12}" for v in used], f"{'all':>8}")
    for name in names + ["all"]:
        counts = [sum(n for (k, v), n in table.items() if v == verdict and name in (k, "all")) for verdict in used]
        print(f"{name:{width}}", *[f"{n or '.':>12}" for n in counts], f"{sum(counts):8}")


def write_findings(path, bad):
    groups = collections.defaultdict(list)
    for row in bad:
        verdict, cause, why = group_of(row)
        groups[verdict, cause].append(row)
    order = sorted(groups.items(), key=lambda g: (VERDICTS.index(g[0][0]), -len(g[1]), g[0]))
    with open(path, "w") as f:
        for (verdict, cause), rows in order:
            f.write(f"\n## {verdict}: {len(rows)} times {cause}\n\n")
            for text, n in collections.Counter(group_of(row)[2] for row in rows).most_common(4):
                f.write(f"    {n} times {text}\n")
            for what in ("scenario", "function"):
                names = collections.Counter(row[what] for row in rows)
                f.write(f"    {what}: " + ", ".join(f"{name} {n}" for name, n in names.most_common(10)) + "\n")
            for site, n in collections.Counter(site_of(row["places"]) for row in rows).most_common(8):
                f.write(f"    at: {n} {site}\n")
            for row in spread(rows, 3):
                f.write(f"    {row['command']}\n        {' // '.join(row['said'].strip().splitlines())[:160]}\n")
            for place in rows[len(rows) // 2]["places"][:10]:
                f.write(f"            {place}\n")


def show(s, fault):
    """One fault, with all that can be seen."""
    counts = runner.learn(s)
    print("scenario:", s.name)
    for line in s.before:
        print("  before:", line)
    for line in s.lines:
        print("  runs:  ", line)
    print("  calls of that function without a fault:",
          {role: calls.get(fault[1], 0) for role, calls in counts.items()})
    result = try_fault(runner, s, fault)
    if not result:
        print("  that call did not come")
        return 1
    verdict, why, said, frames = result
    program, places = program_of(fault[0]), Places()
    places.look_up({(program, frame[1:]) for frame in frames if frame.startswith("+")})
    print("  failed at:", *places.describe(program, frames), sep="\n      ")
    print("  standard error:", *said.splitlines(), sep="\n      ")
    print("  left:", *sorted(os.listdir(runner.run)))
    print(f"  {verdict}  {why}")
    return verdict not in GOOD


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", help="scenarios, with commas between them")
    parser.add_argument("--functions", help="functions, likewise")
    parser.add_argument("--sample", type=int, default=0, help="faults of each scenario and function")
    parser.add_argument("--total", type=int, help="of those, so many faults in all, evenly chosen")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--fault", help="'ROLE FUNCTION N ACTION': only this one, with all that it says")
    parser.add_argument("--findings", help="a file for the bad cases, grouped by where they come from")
    parser.add_argument("--keep", help="with --fault: a folder that gets what was left")
    parser.add_argument("--list", action="store_true", help="print the scenarios")
    options = parser.parse_args()
    began = time.monotonic()
    chosen = all_scenarios()
    if options.only:
        names = options.only.split(",")
        unknown = set(names) - {s.name for s in chosen}
        if unknown:
            sys.exit(f"faults.py: no scenario is called {', '.join(sorted(unknown))}")
        chosen = [s for s in chosen if s.name in names]
    if options.list:
        for s in chosen:
            print(s.name, *s.lines, sep="\n    ")
        return 0
    harness.build_injector()
    root = harness.temporary_root()
    seed = make_seed(root, harness.BIN)
    inputs = read_tree(seed)
    everything.update((s.name, s) for s in chosen)
    numbers = multiprocessing.SimpleQueue()
    for number in range(options.jobs + 1):
        numbers.put(number)
    if options.fault:
        work_as(root, numbers)
        role, function, n, action = options.fault.split()
        status = show(chosen[0], (role, function, int(n), action, 0))
        if options.keep:
            shutil.copytree(runner.run, options.keep, symlinks=True)
        return status

    # What a run without a fault does; then the faults, in an order that is always the same.
    with multiprocessing.Pool(options.jobs, work_as, (root, numbers)) as pool:
        plans = {}
        for s, (counts, *rest) in zip(chosen, pool.imap(learn, [s.name for s in chosen])):
            s.start, s.good, s.good_lines, s.changed = rest
            plans[s.name] = plan(s, counts)
    for number in range(options.jobs):
        numbers.put(number)
    chunks = []
    for s in chosen:
        for function, faults in plans[s.name].items():
            if options.functions and function not in options.functions.split(","):
                continue
            faults = spread(faults, options.sample) if options.sample else faults
            chunks += [(s.name, faults[i:i + CHUNK]) for i in range(0, len(faults), CHUNK)]
    if options.total:
        chosen_faults = spread([(name, [fault]) for name, faults in chunks for fault in faults], options.total)
        chunks = [(name, [f for _, fs in group for f in fs])
                  for name, group in itertools.groupby(chosen_faults, lambda c: c[0])]
    rows, tests, missed = [], {}, 0
    with multiprocessing.Pool(options.jobs, work_as, (root, numbers)) as pool:
        for (name, _), results in zip(chunks, pool.imap(try_chunk, chunks)):
            for fault, result in results:
                function = fault[3].lower() if fault[1] == "any" else fault[1]
                test = (name, function)
                tests.setdefault(test, True)
                if not result:
                    missed += 1
                    continue
                verdict, why, said, frames = result
                row = {"scenario": name, "fault": fault, "function": function, "kind": KIND_OF[function],
                       "verdict": verdict, "why": why, "said": said, "frames": frames,
                       "program": program_of(fault[0]), "command": command_of(name, fault)}
                rows.append(row)
                if verdict not in GOOD:
                    tests[test] = False
                    print(f"{verdict:20} {row['command']}\n    {why}; {' // '.join(said.strip().splitlines())[:200]}",
                          flush=True)
    bad = [row for row in rows if row["verdict"] not in GOOD]
    if options.findings:
        places = Places()
        places.look_up({(row["program"], frame[1:]) for row in bad for frame in row["frames"] if frame[0] == "+"})
        for row in bad:
            row["places"] = list(places.describe(row["program"], row["frames"]))
        write_findings(options.findings, bad)
    if rows:
        print_table(rows, "function", lambda row: row["kind"])
        print_table(rows, "scenario", lambda row: row["scenario"])
    tests["all", "inputs"] = read_tree(seed) == inputs
    if not tests["all", "inputs"]:
        print("BAD-TARGET           some fault changed an input")
    failed = sum(not good for good in tests.values())
    print(f"\n{len(rows)} faults in {time.monotonic() - began:.0f} s, {len(bad)} bad; {missed} calls did not come")
    print(f"{len(tests) - failed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
