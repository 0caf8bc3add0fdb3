"""5: what recording steps costs a script."""

import contestants as all_of
from measure import run

SCRIPTS = {
    "1,000 external commands": "/bin/true\n" * 1000,
    "1,000,000 rounds of a loop": "for ((i = 0; i < 1000000; i++)); do :; done\n",
}


def measure(tell, effort):
    pair = [all_of.Agent("steps off", "--steps", "off"), all_of.Agent("steps auto")]
    for what, script in SCRIPTS.items():
        for _ in range(effort.rounds(6)):
            for who in pair:
                who.prepare(script)
                # The whole call, the kernel's time for putting the probes in included.
                tell(what, who.name, [run(who.stages(), who.output).wall], "s")
    recorded = pair[1].outcome()["steps"]
    assert recorded.get("unavailable") is None, recorded
    pair[1].clean()
