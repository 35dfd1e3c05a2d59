#!/usr/bin/python3
"""kills.py: signals at random moments, to one stage, to the process group, to a whole pipeline.

    tests/faults/kills.py [--count N] [--seed S] [--only CASE,...] [--jobs N]
    tests/faults/kills.py --only pipes --kill 'call pack 57 SIGKILL'

Half of the signals come at a call (inject.so raises them before the n-th call of a process, so that
they can be repeated), half after a random time. Afterwards the target is whole and right, or absent, or
the old one. What remains is documented: folders and files that SIGKILL gave nobody time to remove, and
.OUT.parts. The same command then runs again, gets to the end, and removes what remained.

The verdicts are those of faults.py. The last line is "N passed, N failed"; a kill is one test."""
import argparse
import collections
import fnmatch
import multiprocessing
import os
import random
import signal
import sys
import time

import harness
from harness import GOOD, OURS, VERDICTS
from scenarios import OLD, Scenario, all_scenarios
from seed import make_seed
from trees import read_tree, remove_tree

# The dispositions are the default ones.
NAMES = ["SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGPIPE"]
# What SIGKILL may leave until the next run to the same target.
REMAINS = ["*.partial-*", ".out*.old-*", ".out.parts", "$TMPDIR/tvtools-*"]


def cases():
    taken = {s.name: s for s in all_scenarios()}
    names = ["pipeline", "run", "foreign", "substitution", "pack-tar.zst", "force-safetensors",
             "merge-ties", "merge-force", "merge-two", "merge-slices", "script", "parts", "finish",
             "finish-force", "resume", "resume-half", "calibrate-resume", "calibrate-goes-on"]
    chosen = [taken[name] for name in names]
    models, pack = "../seed/base ../seed/math ../seed/code", "pack --base ../seed/base"
    ties = f"tv-extract {models} | trim --density 0.5 | elect-sign | combine --normalize=agreeing"
    chosen.append(Scenario("pipeline-force", f"{ties} | {pack} --force out", old={"out": OLD}))
    part = "tv merge --quiet --shards=3 --part=%d/3 ../seed/ties.yml out"
    beside = "bash -c '" + " ".join(f"{part % i} & p{i}=$!;" for i in (1, 2, 3)) + \
        " wait $p1 && wait $p2 && wait $p3 && tv finish out'"
    again = [part % i for i in (1, 2, 3)] + ["tv finish out"]
    chosen.append(Scenario("parts-side-by-side", beside, parts=[".out.parts"], again=again))
    twice = f"bash -c '({ties} | {pack} out) & a=$!; ({ties} | {pack} out) & b=$!; wait $a; x=$?; wait $b || exit $x'"
    chosen.append(Scenario("two-to-one-target", twice, again=[f"{ties} | {pack} out"]))
    return chosen


# ---- processes -------------------------------------------------------------------------------------

def descendants(pids):
    """[(pid, name), ...] of these and what they have started."""
    found, todo = [], list(pids)
    while todo:
        pid = todo.pop()
        try:
            with open(f"/proc/{pid}/comm") as f:
                found.append((pid, f.read().strip()))
            with open(f"/proc/{pid}/task/{pid}/children") as f:
                todo += map(int, f.read().split())
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def send(pid, number, group=False):
    try:
        (os.killpg if group else os.kill)(pid, number)
        return True
    except ProcessLookupError:
        return False


# ---- one kill --------------------------------------------------------------------------------------

class Case:
    """A scenario, and what is known of it."""

    def __init__(self, scenario):
        self.scenario, self.calls, self.took = scenario, {}, 0.0


def draw(case, rng):
    """('call', role, n, signal) or ('time', seconds, signal, 'stage' | 'group' | 'all')."""
    name = rng.choice(NAMES)
    if rng.random() < 0.5:
        role = rng.choice(sorted(case.calls))
        return "call", role, rng.randint(1, case.calls[role]), name + rng.choice(["", "+"])
    return "time", round(rng.uniform(0, 0.9 * case.took), 4), name, rng.choice(["stage", "group", "all"])


def kill(runner, case, how, seed):
    """(killed names, outcome); nobody is killed where the signal came too late."""
    s, hit = case.scenario, []
    if how[0] == "call":
        done = runner.inject(s, (how[1], "any", how[2], how[3]))
        if runner.injected():
            hit = ["group"] if how[3].endswith("+") else [how[1].split("#")[0].split(".")[0]]
        return hit, done
    _, seconds, name, scope = how
    number, rng = getattr(signal, name), random.Random(seed)

    def strike(group, pids):
        time.sleep(float(seconds))
        alive = [(pid, comm) for pid, comm in descendants(pids) if comm in OURS]
        if scope == "group":
            hit.extend(["group"] if alive and send(group, number, True) else [])
        elif scope == "all":
            hit.extend(comm for pid, comm in alive if send(pid, number))
        elif alive:
            pid, comm = rng.choice(alive)
            hit.extend([comm] if send(pid, number) else [])

    return hit, runner.run_lines(s.lines, s.env, during=strike)


def documented(name, killed):
    return killed and any(fnmatch.fnmatch(name, pattern) for pattern in REMAINS)


def judge(runner, case, how, hit, done):
    """[(verdict, why), ...], the worst first."""
    s, found = case.scenario, []
    name = how[3].rstrip("+") if how[0] == "call" else how[2]
    crashed = [f"{program}: {signal.Signals(-status).name}" for program, status in done.named
               if status is not None and status < 0 and -status in harness.CRASHES]
    if done.hangs:
        found.append(("HANG", ""))
    elif crashed or done.child_crashed:
        found.append(("CRASH", ", ".join(crashed) or "a child"))
    whole = True
    for target in s.targets:
        tree, old = read_tree(runner.path(target)), s.start.get(target)
        if tree == s.good[target]:
            continue
        whole = False
        if not done.failed:
            found.append(("WRONG", f"exit 0, but {target} " + ("is not there" if tree is None else "differs")))
        elif target in s.stdout:
            if isinstance(tree, bytes) and harness.looks_whole(tree):
                found.append(("BAD-TARGET", f"{target} looks whole and is not"))
        elif tree != old:
            found.append(("BAD-TARGET", f"{target} is " + ("gone" if tree is None else "not what it should be")))
    names, more = harness.strangers(runner, s)
    more = [n for n in more if n.startswith("$")]  # what is in .OUT.parts the next run removes
    left = [n for n in names + more if n not in s.parts and not documented(n, name == "SIGKILL")]
    if left:
        found.append(("LEFTOVER", " ".join(left)))
    lines = harness.sentences(s, done.err)
    if len(lines) > 1 and len(hit) == 1 and hit != ["group"] and "bash" not in s.lines[0]:
        found.append(("LINES", f"{len(lines)} lines"))
    if not done.hangs and (not whole or "--force" in s.lines[-1]):
        run_again(runner, s, found)
    found.sort(key=lambda f: VERDICTS.index(f[0]))
    return found or [("ok" if not done.failed else "clean", "")]


def run_again(runner, s, found):
    """The same once more, to the end."""
    for name in s.stdout:
        path = runner.path(name)
        if os.path.exists(path):
            os.unlink(path)
    if s.name == "script" and os.path.exists(os.path.join(runner.run, "out.results")):
        remove_tree(os.path.join(runner.run, "out.results"))
    done = runner.run_lines(s.again or s.lines, s.env)
    if done.failed:
        found.append(("STUCK", f"the next run fails: {done.err.strip()}"))
        return
    for name in s.targets:
        if read_tree(runner.path(name)) != s.good[name]:
            found.append(("WRONG", f"the next run exits with 0, but {name} differs"))
    names, more = harness.strangers(runner, s)
    left = [name for name in names if name not in s.parts or name.endswith(".parts")] + more
    if left:
        found.append(("LEFTOVER", f"after the next run: {' '.join(left)}"))


# ---- many ------------------------------------------------------------------------------------------

runner = None
everything = {}


def work_as(root, numbers):
    global runner
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    runner = harness.Runner(root, numbers.get())


def learn(name):
    case = everything[name]
    s = case.scenario
    counts = runner.learn(s)
    took = []
    for _ in range(3):
        runner.prepare(s)
        began = time.monotonic()
        runner.run_lines(s.lines, s.env)
        took.append(time.monotonic() - began)
    return s.start, s.good, s.good_lines, {role: calls["any"] for role, calls in counts.items() if "any" in calls}, \
        sorted(took)[1]


def strike(task):
    name, how, seed = task
    case = everything[name]
    runner.prepare(case.scenario)
    hit, done = kill(runner, case, how, seed)
    if not hit:
        return None
    found = judge(runner, case, how, hit, done)
    return found[0][0], "; ".join(f"{v}: {why}" if i else why for i, (v, why) in enumerate(found)), done.err, hit


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="cases, with commas between them")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--kill", help="this one only: 'call ROLE N SIGNAL' or 'time SECONDS SIGNAL SCOPE'")
    options = parser.parse_args()
    began = time.monotonic()
    chosen = cases()
    if options.only:
        names = options.only.split(",")
        unknown = set(names) - {s.name for s in chosen}
        if unknown:
            sys.exit(f"kills.py: no case is called {', '.join(sorted(unknown))}")
        chosen = [s for s in chosen if s.name in names]
    harness.build_injector()
    root = harness.temporary_root()
    make_seed(root, harness.BIN)
    everything.update((s.name, Case(s)) for s in chosen)
    numbers = multiprocessing.SimpleQueue()
    for number in range(options.jobs):
        numbers.put(number)
    with multiprocessing.Pool(options.jobs, work_as, (root, numbers)) as pool:
        for case, known in zip(everything.values(), pool.imap(learn, everything)):
            s = case.scenario
            s.start, s.good, s.good_lines, case.calls, case.took = known
    rng = random.Random(options.seed)
    names = list(everything)
    table, bad, n = collections.Counter(), 0, 0
    for number in range(options.jobs):
        numbers.put(number)

    def tasks():
        for i in range(3 * options.count):
            name = names[i % len(names)]
            how = tuple(options.kill.split()) if options.kill else draw(everything[name], rng)
            yield name, how, options.seed + i

    with multiprocessing.Pool(options.jobs, work_as, (root, numbers)) as pool:
        todo = list(tasks())[:1] if options.kill else list(tasks())
        for (name, how, seed), result in zip(todo, pool.imap(strike, todo)):
            if not result:
                continue
            n += 1
            verdict, why, said, hit = result
            table[name, verdict] += 1
            table["all", verdict] += 1
            if verdict not in GOOD or options.kill:
                bad += verdict not in GOOD
                print(f"{verdict:10} tests/faults/kills.py --only {name} --kill '{' '.join(map(str, how))}'\n"
                      f"    {why}; hit {' '.join(hit)}; {' // '.join(said.strip().splitlines())[:200]}", flush=True)
            if n == options.count:
                break
        pool.terminate()
    used = [v for v in VERDICTS if table["all", v]]
    width = max(len(name) for name in names)
    print(f"\n{'case':{width}}", *[f"{v:>11}" for v in used])
    for name in names + ["all"]:
        print(f"{name:{width}}", *[f"{table[name, v] or '.':>11}" for v in used])
    print(f"\n{n} kills in {time.monotonic() - began:.0f} s")
    print(f"{n - bad} passed, {bad} failed")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
