"""4: the deadline. How exactly is it kept, how soon are all dead, and who is left?"""

import os
import subprocess
import time

import contestants as all_of
from measure import next_dead, quietly, read, start

# Seconds until the deadline: by then all of them have to be there.
LIMIT = {1: 1, 100: 2, 10_000: 8}
HEARD = "/bench/heard"


def crowd(count):
    """Processes in sessions of their own, deaf to SIGTERM; the first one writes down when it came, since its start."""
    return (
        "exec perl -MPOSIX=setsid -MTime::HiRes=time -e '$0 = q(crowd); $began = time; $SIG{TERM} = q(IGNORE); "
        f"for (2 .. {count}) {{ my $pid = fork; if (!$pid) {{ setsid; sleep 100; exit }} }} "
        f"$SIG{{TERM}} = sub {{ open F, q(>), q({HEARD}); print F time - $began; close F }}; "
        "while (1) { sleep 100 }'\n"
    )


def survivors():
    return int(subprocess.run(["pgrep", "--count", "--full", "^crowd"], stdout=subprocess.PIPE, text=True).stdout)


def measure(tell, effort):
    # Where all of them but systemd-run and the agent stay; those two see to it themselves.
    quietly("systemctl", "set-property", "--runtime", "walinuxagent.service", "TasksMax=infinity")
    everyone = [
        all_of.Agent("ci-setup-agent", "--steps", "off"),
        all_of.Timeout(),
        all_of.SystemdRun(),
        all_of.Waagent(),
    ]
    for count, limit in LIMIT.items():
        for _ in range(effort.rounds({1: 5, 100: 3, 10_000: 1}[count])):
            for who in everyone:
                once(tell, who, count, limit)


def once(tell, who, count, limit):
    who.prepare(crowd(count), f"{limit}s")
    if os.path.exists(HEARD):
        os.unlink(HEARD)
    began = time.monotonic()
    for pid in start(who.stages(f"{limit}s"), who.output):
        os.waitpid(pid, 0)
    wall = time.monotonic() - began
    left = survivors()
    what = f"{count:,} processes" if count > 1 else "1 process"
    if count == 1 and os.path.exists(HEARD):
        tell("SIGTERM, off the deadline by", who.name, [abs(float(read(HEARD)) - limit) * 1e3], "ms")
    # Deaf as they are, all live until the grace is over.
    tell(f"{what}: returns after deadline and grace", who.name, [(wall - limit - who.grace) * 1e3], "ms")
    tell(f"{what}: survivors", who.name, [left], "")
    while survivors():
        subprocess.run(["pkill", "--signal", "KILL", "--full", "^crowd"])
        time.sleep(0.05)
    while next_dead():
        pass
    who.clean()
