"""3: how soon a line is on the share for another client, and how many writes that costs there."""

import glob
import json
import os
import subprocess
import time

import contestants as all_of
from measure import start

BACKING = "/bench/backing"
MOUNT = "/bench/fuse"
CONTROL = "/bench/faultfs.sock"
# As Azure Files shows itself to an instance, and every write goes to the server at once.
OWNER = {"uid": 0, "gid": 0, "file_mode": 0o777, "dir_mode": 0o777, "changes": "Ignored"}
LIKE_SMB = {
    "owner": OWNER,
    "default_permissions": True,
    "rename_over_open": 13,
    "unlink_open": 16,
    "hard_links": False,
    "symlinks": False,
    "cache": {"secs": 1, "nanos": 0},
}


def printing(lines, seconds):
    """A script that prints so many lines, each with the time, evenly over so many seconds."""
    a_tick = max(lines // (seconds * 500), 1)
    return (
        "exec perl -MTime::HiRes=time,sleep -e '$| = 1; my ($lines, $tick, $seconds) = @ARGV; my $began = time; "
        "for my $n (1 .. $lines) { print time, qq(\\n); next if $n % $tick; "
        f"my $ahead = $began + $n * $seconds / $lines - time; sleep $ahead if $ahead > 0 }}' {lines} {a_tick} {seconds}\n"
    )


def ask(question):
    return json.loads(
        subprocess.run(
            ["/bench/faultfs", "ask", CONTROL, json.dumps(question)], check=True, stdout=subprocess.PIPE
        ).stdout
    )


def measure(tell, effort):
    os.makedirs(f"{BACKING}/Users", exist_ok=True)
    os.chmod(BACKING, 0o777)
    os.makedirs(MOUNT, exist_ok=True)
    server = subprocess.Popen(
        ["/bench/faultfs", BACKING, MOUNT, "--control", CONTROL, "--options", json.dumps(LIKE_SMB)],
        stdout=subprocess.DEVNULL,
    )
    while not os.path.ismount(MOUNT):
        time.sleep(0.05)
    tee, agent = all_of.Tee(), all_of.Agent(share=MOUNT, state="/bench/state-fuse")
    tee.output = f"{MOUNT}/log"
    try:
        for what, lines, seconds in (
            ("1,000,000 lines in 30 s", 1_000_000, 30),
            ("2 lines a second", 20, 10),
        ):
            for who, pattern, part in ((agent, "Logs/*/creation/*/output.log", 1), (tee, "log", 3)):
                # The pipeline's figures are the same in any second.
                part = part if effort.is_full else 6
                follow(tell, what, who, pattern, lines // part, max(seconds // part, 1))
    finally:
        server.terminate()
        server.wait()


def follow(tell, what, who, pattern, lines, seconds):
    known = set(glob.glob(f"{BACKING}/{pattern}")) if who.name == "ci-setup-agent" else set()
    who.prepare(printing(lines, seconds))
    ask("Reset")
    waiting = set(start(who.stages(), who.output))
    log, delays, rest = None, [], b""
    while waiting:
        if log is None:
            new = set(glob.glob(f"{BACKING}/{pattern}")) - known
            log = open(new.pop(), "rb", buffering=0) if new else None
        else:
            rest, seen = take(log, rest)
            now = time.time()
            # Of many lines one in a hundred: it is this process that must not be what is measured.
            delays += [(now - float(line)) * 1e3 for line in seen[:: 100 if len(seen) > 1000 else 1]]
        waiting -= {pid for pid in waiting if os.waitpid(pid, os.WNOHANG)[0]}
        time.sleep(0.002)
    # The last line is flushed by the exit.
    delays.sort()
    tell(f"{what}: p50 until visible", who.name, [delays[len(delays) // 2]], "ms")
    tell(f"{what}: p99 until visible", who.name, [delays[int(len(delays) * 0.99)]], "ms")
    tell(f"{what}: writes a second", who.name, [busiest(who, seconds)], "")
    who.clean()


def take(log, rest):
    text = rest + log.read(64 << 20)
    *lines, rest = text.split(b"\n")
    return rest, lines


def busiest(who, seconds):
    """Writes to the share in the busiest second of the steady state: without the first, in which a run makes itself
    known, and the end, where the exit waits for what is missing."""
    if who.name != "ci-setup-agent":
        return ask({"Counts": "log"})["Counts"]["operations"].get("write", 0) / seconds
    records = ask({"Records": [["write"], "Logs"]})["Records"]
    times = sorted(record["at"]["secs"] + record["at"]["nanos"] / 1e9 for record in records)
    steady = [at for at in times if times[0] + 1 < at < times[0] + seconds - 0.5]
    return max((sum(first <= at < first + 1 for at in steady) for first in steady), default=0)
