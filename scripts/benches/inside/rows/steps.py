"""5: what recording steps costs a script."""

import contestants as all_of
from measure import run

SCRIPTS = {
    "1,000 external commands": "/bin/true\n" * 1000,
    "1,000,000 rounds of a loop": "for ((i = 0; i < 1000000; i++)); do :; done\n",
}


def measure(tell, effort):
    off, auto = all_of.Agent("steps off", "--steps", "off"), all_of.Agent("steps auto")
    hook = all_of.Agent("steps by the hook", "--steps", "hook")
    for what, script in SCRIPTS.items():
        for _ in range(effort.rounds(6)):
            for who in (off, auto, hook):
                who.prepare(script)
                # The whole call, the kernel's time for putting the probes in included.
                tell(what, who.name, [run(who.stages(), who.output).wall], "s")
                recorded = who.outcome()["steps"]
                assert (recorded.get("unavailable") is None) == (who is not off), recorded
    auto.clean()
