"""2: memory, all processes together, while 10 GiB are printed."""

import os
import time

import contestants as all_of
from measure import Peak, start


def measure(tell, effort):
    agent, tee = all_of.Agent("ci-setup-agent", "--output-limit", "64M"), all_of.Tee()
    for who, gib in ((agent, 10), (tee, 10), (all_of.Conmon(), 1)):
        gib = gib if effort.is_full else 0.5
        who.prepare(f"yes 0123456789abcdef | head -c {int(gib * 2**30)}\n")
        peak = Peak(who.processes)
        waiting = set(start(who.stages(), who.output))
        while waiting:
            peak.look()
            waiting -= {pid for pid in waiting if os.waitpid(pid, os.WNOHANG)[0]}
            time.sleep(0.01)
        tell("peak memory, resident", who.name, [peak.resident / 1024], "MiB")
        tell("peak memory, fair part", who.name, [peak.fair / 1024], "MiB")
        who.clean()
