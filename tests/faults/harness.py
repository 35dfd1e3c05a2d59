"""What faults.py, kills.py and power-loss.py share: runs of a scenario with inject.so, and what they
left behind.

Runs are cheap: programs are started without a shell, in a tmpfs if there is one, and a run ends when
the last process that holds its standard error has gone.
"""
import atexit
import mmap
import os
import re
import select
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

from trees import read_result, read_tree, remove_tree, write_tree

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


# ---- running ---------------------------------------------------------------------------------------

# struct shared of inject.c
ROLES, FRAMES = 64, 32
N_ROLES_AT = 1024
FRAMES_AT = N_ROLES_AT + 12
ROLES_AT = FRAMES_AT + FRAMES * 96
ROLE_SIZE = 48 + 64 * 4
SHARED = ROLES_AT + ROLES * ROLE_SIZE

SIGNALS = [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTERM]


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
        self.named = []  # (name, exit status) of each process; a signal is negative
        self.err, self.hangs = "", False
        self.child_crashed = 0  # a signal

    @property
    def failed(self):
        return self.hangs or any(status for _, status in self.named)


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
        self.env = {"PATH": BIN + ":/usr/local/bin:/usr/bin:/bin", "TMPDIR": self.tmp, "LC_ALL": "C",
                    "HOME": self.run, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

    def empty(self):
        for folder in (self.run, self.tmp):
            for name in os.listdir(folder):
                remove_tree(os.path.join(folder, name))

    def prepare(self, s):
        """The folder as it is before the scenario runs."""
        self.empty()
        for name, tree in s.start.items():
            write_tree(self.path(name), tree)

    def learn(self, s):
        """Runs a scenario without a fault and keeps what comes of it; {role: {function: calls}}."""
        self.empty()
        s.start = dict(s.old)
        if s.file:
            s.start[s.file[0]] = read_tree(os.path.join(self.seed, s.file[0]))
        for name, tree in s.start.items():
            write_tree(self.path(name), tree)
        for line in s.before:
            done = self.run_lines([line], s.env)
            if done.failed:
                raise ValueError(f"{s.name}: {line}: {done.named} {done.err}")
        s.start = read_tree(self.run)
        done = self.inject(s, None)
        s.good = self.results(s)
        s.good_lines = set(done.err.splitlines())
        missing = [name for name, tree in s.good.items() if tree is None]
        if done.failed or missing:
            raise ValueError(f"{s.name} fails without a fault: {done.named} {done.err} {missing}")
        counts = self.counts()
        if s.file:
            self.prepare(s)
            with open(os.path.join(self.run, s.file[1]), "r+b") as f:
                f.seek(-2, os.SEEK_END)
                byte = f.read(1)[0] ^ 1
                f.seek(-2, os.SEEK_END)
                f.write(bytes([byte]))
            if not self.run_lines(s.lines, s.env).failed:
                s.changed = self.results(s)
        return counts

    def path(self, name):
        return os.path.join(self.run, name)

    def results(self, s):
        """{name: tree} of all that the scenario makes."""
        return {name: read_result(self.path(name), name) for name in s.targets + s.side + s.log}

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
        done = self.run_lines(s.lines, env)
        done.child_crashed = struct.unpack_from("I", self.map, N_ROLES_AT + 8)[0]
        return done

    def run_lines(self, lines, env=None, limit=20, during=None):
        """The outcome of lines, one after another until one fails; `during` is called with the process
        group and the processes of the first while it runs. Longer than `limit` seconds is for ever."""
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
        """Their exit statuses; None of those that have not ended by then."""
        statuses = []
        for pid in pids:
            done, code = os.waitpid(pid, os.WNOHANG)
            while not done and time.monotonic() < deadline:
                time.sleep(0.001)
                done, code = os.waitpid(pid, os.WNOHANG)
            statuses.append(os.waitstatus_to_exitcode(code) if done else None)
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
                    raise ValueError(f"{file} is too large for a pipe")
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


# ---- judging ---------------------------------------------------------------------------------------

# The worst first.
VERDICTS = ["HANG", "CRASH", "WRONG", "BAD-TARGET", "STUCK", "PUBLISHED-BUT-FAILED", "LEFTOVER",
            "SILENT", "LINES", "NOT-RETRIED", "clean", "ok"]
GOOD = ("ok", "clean")
CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGXFSZ,
           signal.SIGSYS, signal.SIGTRAP}
PUBLISHED = re.compile(r"\b(in place|published|was replaced|was written|is complete)\b")
SENTENCE = re.compile(r"^([a-z][\w-]*( [a-z-]+)?|Fatal Internal Error in libarchive): ")


def sentences(s, err):
    """The lines that say why; notes, and what a run without a fault says too, do not count."""
    return [line for line in err.splitlines()
            if line.strip() and line not in s.good_lines and ": note: " not in line and ": warning: " not in line]


def looks_whole(data):
    """Would the next reader take this output for a whole stream or archive?"""
    if data.startswith(b"\xa4TVS"):
        return b"\xa6record\xa3end" in data and data[-10:-8] == b"\xc4\x08"
    return len(data) > 1024 and data[257:262] == b"ustar" and data.endswith(bytes(1024))


def strangers(runner, s):
    """Names that are there and should not be: (any, after a failure that may leave parts)."""
    expected = set(s.start) | set(s.targets) | set(s.side) | set(s.log)
    names = [name for name in sorted(os.listdir(runner.run)) if name not in expected]
    more = [f"$TMPDIR/{name}" for name in os.listdir(runner.tmp)]
    for part in s.parts:
        folder = runner.path(part)
        for at, _, files in os.walk(folder):
            more += [os.path.relpath(os.path.join(at, f), runner.run) for f in files if f.startswith(".")]
    return names, more


def judge(runner, s, done, quiet=False):
    """[(verdict, why), ...] of a run, the worst first; `quiet`: nobody could hear it."""
    found = []
    now = runner.results(s)
    lines = sentences(s, done.err)
    names, unfinished = strangers(runner, s)
    crashed = [f"{name}: {signal.Signals(-status).name}" for name, status in done.named
               if status is not None and status < 0 and -status != signal.SIGPIPE]
    crashed += [f"{name}: status {status}" for name, status in done.named
                if status is not None and status > 128 and status != 128 + signal.SIGPIPE]
    if done.child_crashed and not crashed:
        crashed = [f"a child: {signal.Signals(done.child_crashed).name}"]
    if done.hangs:
        found.append(("HANG", ""))
    if crashed and not done.hangs:
        found.append(("CRASH", ", ".join(crashed)))
    for name, tree in s.start.items():
        if name not in now and name not in s.parts and (not s.file or name != s.file[0]) and \
                read_tree(runner.path(name)) != tree:
            found.append(("BAD-TARGET", f"{name} was changed"))
    if not done.failed:
        for name, tree in now.items():
            if tree != s.good[name] and now != s.changed:
                found.append(("WRONG", f"exit 0, but {name} " + ("is not there" if tree is None else "differs")))
        left = [n for n in names if n not in s.parts or n.endswith(".parts")] + unfinished
        left = [name for name in left if os.path.basename(name) not in done.err]  # a warning names it
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
            if not any(PUBLISHED.search(line) for line in lines):
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
    left = [name for name in left if os.path.basename(name) not in done.err]  # it says so
    if left:
        found.append(("LEFTOVER", " ".join(left)))
    if not quiet and not done.hangs and not crashed:
        if not lines:
            found.append(("SILENT", f"statuses {done.named}"))
        elif len(lines) > 1 or not SENTENCE.match(lines[0]):
            found.append(("LINES", f"{len(lines)} lines"))
    found.sort(key=lambda f: VERDICTS.index(f[0]))
    return found or [("clean", "")]
