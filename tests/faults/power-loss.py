#!/usr/bin/python3
"""power-loss.py: the power fails after every change that a program makes to the file system.

    tests/faults/power-loss.py [--only SCENARIO,...] [--resume N]
    tests/faults/power-loss.py --only force-folder --at 31      what the disk may hold after 31 changes

A run is logged: entries made, renamed and removed, contents written, files and folders synced. The log is
replayed to each of its prefixes. What was not synced by then may be lost: of the entries all, the later
ones, all but one or only one reached the disk; of each file's contents nothing, zeros of the right length,
a half, or all. In every such state the target must be whole and right, or absent, or what it was before;
once the program has ended with 0, it must be whole. A table, a report or a state that is read back is never
torn. --resume: from N states of each merge in parts and each calibration the next run must get to the end
(default all).

A scenario is a test; the last line is "N passed, N failed"."""
import argparse
import collections
import itertools
import os
import stat
import struct
import sys
import time

import harness
from scenarios import all_scenarios
from seed import make_seed
from trees import Link, read_result, write_tree

HEADER = struct.Struct("<c3xIIIQQQQ")
EXCHANGE = 2

NAMES = ["pack-folder", "pack-shards", "pack-safetensors", "pack-tar", "pack-tar.zst", "pack-gguf", "pack-link",
         "force-folder", "force-safetensors", "force-tar", "force-tar.zst", "run", "merge-ties",
         "merge-force", "merge-two", "merge-learned", "script", "parts", "finish", "finish-force",
         "resume", "resume-half", "resume-stream", "calibrate", "calibrate-gradients",
         "calibrate-resume", "calibrate-goes-on"]

Change = collections.namedtuple("Change", "what flags folder folder2 inode name name2 data")


def read_log(path):
    changes = []
    with open(path, "rb") as f:
        while head := f.read(HEADER.size):
            what, n, n2, flags, folder, folder2, inode, size = HEADER.unpack(head)
            name, name2 = f.read(n).decode(), f.read(n2).decode()
            changes.append(Change(what.decode(), flags, folder, folder2, inode, name, name2, f.read(size)))
    return changes


class Disk:
    """What has reached the disk, and what may have.

    files: {inode: what was synced}, now: {inode: the latest contents}; folders: {inode: {name: inode}} as
    synced; pending: changes of entries that were not, in their order; cache: {inode: {name: inode}}, as
    programs see them."""

    def __init__(self, root):
        self.files, self.now, self.folders, self.cache, self.links = {}, {}, {}, {}, {}
        self.pending = []
        self.root = os.stat(root).st_ino
        self.scan(root)

    def scan(self, path):
        st = os.lstat(path)
        if stat.S_ISDIR(st.st_mode):
            entries = {name: self.scan(os.path.join(path, name)) for name in os.listdir(path)}
            self.folders[st.st_ino], self.cache[st.st_ino] = entries, dict(entries)
        elif stat.S_ISLNK(st.st_mode):
            self.links[st.st_ino] = Link(os.readlink(path))
        else:
            with open(path, "rb") as f:
                self.files[st.st_ino] = self.now[st.st_ino] = f.read()
        return st.st_ino

    def apply(self, c):
        if c.what in "FDL" and c.folder in self.cache:
            if self.cache[c.folder].get(c.name) == c.inode:
                return
            self.cache[c.folder][c.name] = c.inode
            if c.what == "D":
                self.cache[c.inode], self.folders[c.inode] = {}, {}
            elif c.what == "F":
                self.files[c.inode], self.now[c.inode] = b"", b""
            self.pending.append(c)
        elif c.what == "T":  # the inode may have been another file's, which is gone
            self.files[c.inode], self.now[c.inode] = b"", b""
        elif c.what == "W" and c.inode in self.now:
            self.now[c.inode] = c.data
        elif c.what == "R" and c.folder in self.cache and c.folder2 in self.cache:
            # What is moved is known, wherever it was when the power failed.
            other = self.cache[c.folder2].get(c.name2) if c.flags & EXCHANGE else None
            c = c._replace(inode=self.cache[c.folder].get(c.name), data=other)
            change_entries(self.cache, c)
            self.pending.append(c)
        elif c.what == "U" and c.folder in self.cache:
            change_entries(self.cache, c)
            self.pending.append(c)
        elif c.what == "S" and c.inode in self.now:
            self.files[c.inode] = self.now[c.inode]
        elif c.what == "S" and c.inode in self.cache:
            # A rename is one step of any journal; it is safe when the folder that it leads to is.
            kept = []
            for p in self.pending:
                if (p.folder2 if p.what == "R" else p.folder) == c.inode:
                    change_entries(self.folders, p)
                else:
                    kept.append(p)
            self.pending = kept

    def entries(self):
        """Sets of pending changes that may have reached the disk."""
        p, seen = self.pending, set()
        sets = [p[:i] for i in range(len(p) + 1)] + [[c] for c in p] + \
            [p[:i] + p[i + 1:] for i in range(len(p))]
        for chosen in sets:
            key = tuple(map(id, chosen))
            if key not in seen:
                seen.add(key)
                folders = {inode: dict(entries) for inode, entries in self.folders.items()}
                for c in chosen:
                    change_entries(folders, c)
                yield folders

    def contents(self, inode):
        """What a file may hold."""
        safe, now = self.files.get(inode, b""), self.now.get(inode, b"")
        if safe == now:
            return [now]
        half = len(now) // 2
        return [safe, bytes(len(now)), now[:half], now[:half] + bytes(len(now) - half), now]

    def view(self, folders, mode, name=None):
        """The tree below the root, or of one name there; None if it is not there."""
        def tree(inode):
            if inode in folders:
                return {n: tree(i) for n, i in sorted(folders[inode].items())}
            if inode in self.links:
                return self.links[inode]
            contents = self.contents(inode)
            return contents[min(mode, len(contents) - 1)]
        if name is None:
            return tree(self.root)
        inode = folders[self.root].get(name)
        return None if inode is None else tree(inode)


def change_entries(folders, c):
    """Makes a change of entries where it can be made."""
    if c.what in "FDL":
        if c.folder in folders:
            folders[c.folder][c.name] = c.inode
            if c.what == "D":
                folders.setdefault(c.inode, {})
    elif c.what == "U":
        folders.get(c.folder, {}).pop(c.name, None)
    else:
        if folders.get(c.folder, {}).get(c.name) == c.inode:
            del folders[c.folder][c.name]
        if c.folder2 in folders:
            folders[c.folder2][c.name2] = c.inode
        if c.data is not None and c.folder in folders:
            folders[c.folder][c.name] = c.data


MODES = range(5)


def describe(c):
    text = {"F": "file", "T": "file without a name", "D": "folder", "L": "link", "W": "write", "S": "sync", "R": "rename", "U": "unlink"}[c.what]
    names = " ".join(n for n in (c.name, c.name2) if n)
    return f"{text} {names or 'of inode ' + str(c.inode)}" + (f", {len(c.data)} bytes" if c.what == "W" else "")


def short(tree):
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{name}: {short(sub)}" for name, sub in tree.items()) + "}"
    if isinstance(tree, Link):
        return "-> " + tree
    return "absent" if tree is None else f"{len(tree)} bytes" + (" of 0" if tree and not any(tree) else "")


def check_state(disk, folders, mode, s, ended):
    """What is wrong with one state."""
    for name in s.targets:
        if name in s.stdout:
            continue
        tree = disk.view(folders, mode, name)
        if tree == s.good[name] or not ended and tree == s.start.get(name):
            continue
        return f"{name} is {short(tree)}" + (" after exit status 0" if ended else "")
    for name, versions in s.versions.items():
        tree = disk.view(folders, mode, name)
        if versions and tree not in [None, s.start.get(name)] + versions:
            return f"{name} is torn"
    return None


def go_on(runner, s, tree):
    """The next run, from this state."""
    runner.empty()
    for name, sub in tree.items():
        write_tree(runner.path(name), sub)
    for name in s.stdout:
        path = runner.path(name)
        if os.path.exists(path):
            os.unlink(path)
    whole = all(tree.get(name) == s.good[name] for name in s.targets if name not in s.stdout)
    if whole and not s.stdout:
        return None
    done = runner.run_lines(s.again, s.env)
    if done.failed:
        return f"the next run fails: {done.err.strip()}"
    for name in s.targets:
        if read_result(runner.path(name), name) != s.good[name]:
            return f"the next run exits with 0, but {name} differs"
    return None


def renamed_versions(changes, s):
    """{name: what it held each time when it was renamed into place} of tables, reports and states."""
    names = {name: [] for name in s.parts + s.side}
    now, inode_of = {}, {}
    for c in changes:
        if c.what in "FL":
            inode_of[c.folder, c.name] = c.inode
        elif c.what == "W":
            now[c.inode] = c.data
        elif c.what == "R":
            inode = inode_of.pop((c.folder, c.name), None)
            if inode is not None:
                inode_of[c.folder2, c.name2] = inode
                if c.name2 in names:
                    names[c.name2].append(now.get(inode, b""))
    return names


def examine(runner, s, options):
    """(changes, states, [what is wrong, ...])"""
    runner.learn(s)
    runner.prepare(s)
    log = runner.map_file + ".log"
    if os.path.exists(log):
        os.unlink(log)
    disk = Disk(runner.run)
    done = runner.inject(s, None, log)
    if done.failed:
        raise SystemExit(f"{s.name}: {done.err}")
    changes, wrong, states, seen = read_log(log), [], 0, set()
    s.versions = renamed_versions(changes, s)
    resumable = []
    for i in range(len(changes) + 1):
        if i:
            disk.apply(changes[i - 1])
        ended = i == len(changes)
        if options.at is not None and i != options.at:
            continue
        for folders, mode in itertools.product(disk.entries(), MODES):
            states += 1
            problem = check_state(disk, folders, mode, s, ended)
            if options.at is not None:
                print(f"  {short(disk.view(folders, mode))}  {problem or 'good'}")
            if problem and problem not in seen:
                seen.add(problem)
                wrong.append((i, describe(changes[i - 1]) if i else "nothing", problem))
            if s.again:
                tree = disk.view(folders, mode)
                key = repr(tree)
                if key not in seen:
                    seen.add(key)
                    resumable.append((i, tree))
    chosen = resumable if options.resume is None else \
        [resumable[j * len(resumable) // options.resume] for j in range(min(options.resume, len(resumable)))]
    for i, tree in chosen:
        problem = go_on(runner, s, tree)
        if problem and problem not in seen:
            seen.add(problem)
            wrong.append((i, describe(changes[i - 1]) if i else "nothing", problem))
    return len(changes), states, len(chosen), wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", help="scenarios, with commas between them")
    parser.add_argument("--at", type=int, help="only after so many changes, with all states")
    parser.add_argument("--resume", type=int, help="states of each scenario from which the next run goes on")
    options = parser.parse_args()
    began = time.monotonic()
    everything = {s.name: s for s in all_scenarios()}
    names = options.only.split(",") if options.only else NAMES
    harness.build_injector()
    root = harness.temporary_root()
    make_seed(root, harness.BIN)
    runner, failed, total = harness.Runner(root), 0, 0
    print(f"{'scenario':20} {'changes':>8} {'states':>8} {'resumed':>8}")
    for name in names:
        changes, states, resumed, wrong = examine(runner, everything[name], options)
        total += states
        print(f"{name:20} {changes:8} {states:8} {resumed:8}")
        for i, after, problem in wrong[:8]:
            print(f"    after {i} changes ({after}): {problem[:300]}\n"
                  f"    tests/faults/power-loss.py --only {name} --at {i}")
        failed += bool(wrong)
    print(f"\n{total} states in {time.monotonic() - began:.0f} s")
    print(f"{len(names) - failed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
