"""1: a script that does nothing. What does it cost to run it at all?"""

import sys

import contestants as all_of
from measure import USUALLY, WithoutSystemd, run, system_calls

NOTHING = ":\n"


def measure(tell, effort):
    # What systemd's scope and the kernel's probes take is told apart from what the agent itself takes.
    alone, unrecorded = all_of.Agent("no scope, no steps", "--steps", "off"), all_of.Agent("no steps", "--steps", "off")
    others = [all_of.Bare(), all_of.Timeout(), all_of.Tee(), all_of.SystemdRun(), all_of.Conmon(), all_of.Google()]
    slow = [all_of.Waagent(), all_of.CloudInit()]
    everyone = [all_of.Agent(), unrecorded, alone, *others, *slow]
    without_systemd = WithoutSystemd()
    for who in everyone:
        who.prepare(NOTHING)
        counted = system_calls(who.stages(), who.output)
        tell("system calls", who.name, [counted["calls"]], "")
        tell("fsyncs", who.name, [counted["syncs"]], "")
    for number in range(effort.rounds(20)):
        for who in everyone:
            if who in slow and number >= effort.rounds(3):
                continue
            with without_systemd if who is alone else USUALLY:
                cost = run(who.stages(), who.output)
            if cost.code:
                print(f"warning: {who.name} ended with {cost.code}", file=sys.stderr)
                continue
            tell("wall", who.name, [cost.wall * 1e3], "ms")
            tell("processor", who.name, [sum(cost.own.values()) * 1e3], "ms")
