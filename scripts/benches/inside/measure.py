"""Starting programs and seeing what they cost: time, processor time of each process, memory, system calls."""

import collections
import contextlib
import ctypes
import os
import re
import subprocess
import time

PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWNS = 0x20000
MS_PRIVATE_ALL = 1 << 18 | 1 << 14  # MS_PRIVATE | MS_REC

# What is measured: wall and processor seconds until the caller has its result; `own` the processor seconds of each
# program by the name the kernel has for it, its children not included, those that outlive the call included.
Cost = collections.namedtuple("Cost", "wall code own")


def become_subreaper():
    """Whoever loses its parent comes to us: the agent's processes that outlive the call, too."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class WithoutSystemd:
    """A mount namespace in which nothing says that systemd runs: what is started within does not ask it for anything."""

    def __init__(self):
        libc = ctypes.CDLL(None, use_errno=True)
        self.enter = lambda fd: check(libc.setns(fd, CLONE_NEWNS))
        self.usual = os.open("/proc/self/ns/mnt", os.O_RDONLY)
        check(libc.unshare(CLONE_NEWNS))
        check(libc.mount(b"none", b"/", None, MS_PRIVATE_ALL, None))
        check(libc.mount(b"none", b"/run/systemd", b"tmpfs", 0, None))
        self.other = os.open("/proc/self/ns/mnt", os.O_RDONLY)
        self.enter(self.usual)

    def __enter__(self):
        self.enter(self.other)

    def __exit__(self, *_):
        self.enter(self.usual)


def check(result):
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


USUALLY = contextlib.nullcontext()


def start(stages, output, environment=None):
    """Starts a pipeline; returns the pids. `output` is a path for the last one's standard output."""
    pids, source = [], None
    environment = {"PATH": os.environ["PATH"], "HOME": "/root", **(environment or {})}
    for index, words in enumerate(stages):
        is_last = index == len(stages) - 1
        sink = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) if is_last else None
        read, write = (None, sink) if is_last else os.pipe()
        null = os.open("/dev/null", os.O_RDWR)
        actions = [(os.POSIX_SPAWN_DUP2, null if source is None else source, 0)]
        # The pipeline's first program speaks into it with both its mouths, as `2>&1` has it.
        actions += [
            (os.POSIX_SPAWN_DUP2, write, 1),
            (os.POSIX_SPAWN_DUP2, write if len(stages) == 1 or not is_last else null, 2),
        ]
        pids.append(os.posix_spawnp(words[0], words, environment, file_actions=actions))
        for fd in (null, write, source):
            if fd is not None:
                os.close(fd)
        source = read
    return pids


def run(stages, output="/dev/null", environment=None):
    """Runs a pipeline to its end and returns its `Cost`. The exit code is the first program's."""
    began = time.monotonic()
    pids = start(stages, output, environment)
    own, waiting, code = collections.Counter(), set(pids), 0
    while waiting:
        pid, status, used, name = next_dead()
        own[name] += used
        if pid == pids[0]:
            code = os.waitstatus_to_exitcode(status)
        waiting.discard(pid)
    wall = time.monotonic() - began
    # Now what outlived the call: the next one is to begin on a machine at rest.
    while (dead := next_dead()) is not None:
        own[dead[3]] += dead[2]
    return Cost(wall, code, own)


def next_dead():
    """Buries the next child: pid, status, own processor seconds, name. None where there are no children."""
    try:
        pid = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT).si_pid
    except ChildProcessError:
        return None
    used, name = processor_seconds(pid), read(f"/proc/{pid}/comm").strip()
    _, status = os.waitpid(pid, 0)
    return pid, status, used, name


def processor_seconds(pid):
    return int(read(f"/proc/{pid}/schedstat").split()[0]) / 1e9


def read(path):
    with open(path) as file:
        return file.read()


def system_calls(stages, output="/dev/null", environment=None):
    """How many system calls a pipeline's processes make, and how many of them are fsync(2) or fdatasync(2)."""
    table = "/bench/strace"
    words = [["strace", "-f", "-c", "-o", f"{table}.{index}", *stage] for index, stage in enumerate(stages)]
    run(words, output, environment)
    total = syncs = 0
    for index in range(len(stages)):
        for line in read(f"{table}.{index}").splitlines():
            row = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s.*?(\w+)$", line)
            if row and row[2] != "total":
                total += int(row[1])
                syncs += int(row[1]) if row[2] in ("fsync", "fdatasync") else 0
    return {"calls": total, "syncs": syncs}


class Peak:
    """The peak of the memory of all processes of some names together, in KiB: resident, and their fair part."""

    def __init__(self, names):
        self.names, self.resident, self.fair = names, 0, 0

    def look(self):
        resident = fair = 0
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if read(f"/proc/{pid}/comm").strip().startswith(self.names):
                    fields = dict(line.split(":", 1) for line in read(f"/proc/{pid}/smaps_rollup").splitlines()[1:])
                    resident += int(fields["Rss"].split()[0])
                    fair += int(fields["Pss"].split()[0])
            except (OSError, KeyError):
                continue
        self.resident, self.fair = max(self.resident, resident), max(self.fair, fair)


def quietly(*words):
    """Runs something that is not measured, and insists that it works."""
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))} ended with {done.returncode}: {done.stdout[-2000:]}")
    return done.stdout
