"""2: much output, in large, ordinary and tiny writes. Throughput and processor time of who takes it in."""

import contestants as all_of
from measure import run

MIB = 1 << 20


def printing(size, count):
    """A script that prints `count` times `size` bytes, each with one write(2)."""
    return f'exec perl -e \'$x = "x" x {size - 1} . "\\n"; for (1 .. {count}) {{ syswrite STDOUT, $x }}\'\n'


def measure(tell, effort):
    agent, tee = all_of.Agent(), all_of.Tee()
    everyone = [agent, tee, all_of.Bare(), all_of.SystemdRun()]
    # 1 GiB is too much for those who look at each line; what they take is told for a GiB all the same.
    patient = [all_of.Conmon(), all_of.Google(), all_of.CloudInit(), all_of.Waagent()]
    # Memory that the machine has never used before costs whoever comes first.
    for who in (tee, agent):
        who.prepare(printing(4096, 1 << 18))
        run(who.stages(), who.output)
        who.clean()
    for what, size, count, part in (
        ("1 GiB in 4 KiB writes", 4096, 1 << 18, 8),
        ("256 MiB in 80-byte lines", 80, 256 * MIB // 80, 8),
        ("1,000,000 1-byte writes", 1, 1_000_000, 8),
    ):
        for number in range(effort.rounds(5)):
            for who in everyone:
                once(tell, what, who, size, count, 1)
            if number == 0:
                for who in patient:
                    once(tell, what, who, size, count // part, part)


def once(tell, what, who, size, count, part):
    who.prepare(printing(size, count))
    cost = run(who.stages(), who.output)
    # What it costs to hold the output: the script's own processes are bash and perl.
    around = sum(used for name, used in cost.own.items() if name.startswith(who.processes or "-"))
    tell(what, who.name, [cost.wall * part], "s")
    tell(what + ", processor", who.name, [around * part], "s")
    who.clean()
