"""1: a script that does nothing. What does it cost to run it at all?"""

import sys
import time

import contestants as all_of
from measure import USUALLY, WithoutSystemd, run, system_calls

NOTHING = ":\n"

# ext4 without a journal does not give the number of a file away that was deleted within this time, and to look past
# those takes longer and longer for whoever makes files. Who runs a script once in a boot meets none of them.
RECENTLY = 60  # seconds


def measure(tell, effort):
    # What systemd's scope and the kernel's probes take is told apart from what the agent itself takes.
    alone, unrecorded = all_of.Agent("no scope, no steps", "--steps", "off"), all_of.Agent("no steps", "--steps", "off")
    timeout = all_of.Timeout()
    others = [all_of.Bare(), timeout, all_of.Tee(), all_of.SystemdRun(), all_of.Conmon(), all_of.Google()]
    slow = [all_of.Waagent(), all_of.CloudInit()]
    everyone = [all_of.Agent(), unrecorded, alone, *others, *slow]
    without_systemd = WithoutSystemd()
    for who in everyone:
        who.prepare(NOTHING)
        counted = system_calls(who.stages(), who.output)
        tell("system calls", who.name, [counted["calls"]], "")
        tell("fsyncs", who.name, [counted["syncs"]], "")
    if effort.is_full:
        time.sleep(RECENTLY)
    # Those of the bound first, and by themselves.
    pair = [timeout, alone]
    for who, _ in in_turn(pair, effort.rounds(20)):
        once(tell, who, without_systemd if who is alone else USUALLY)
    rest = [who for who in everyone if who not in pair]
    for who, number in in_turn(rest, effort.rounds(20)):
        if who not in slow or number < effort.rounds(3):
            once(tell, who, USUALLY)


def in_turn(everyone, rounds):
    """A B A B."""
    return ((who, number) for number in range(rounds) for who in everyone)


def once(tell, who, where):
    with where:
        cost = run(who.stages(), who.output)
    if cost.code:
        print(f"warning: {who.name} ended with {cost.code}", file=sys.stderr)
        return
    tell("wall", who.name, [cost.wall * 1e3], "ms")
    tell("processor", who.name, [sum(cost.own.values()) * 1e3], "ms")
