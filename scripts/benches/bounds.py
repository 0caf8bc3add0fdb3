"""The bounds of what the agent may cost, and where each is measured."""


def start(who):
    def measure(found):
        agent, timeout = found.median("start", "wall", who), found.median("start", "wall", "timeout")
        return agent and (f"{agent - timeout:.1f} ms ({agent:.1f} to {timeout:.1f})", agent - timeout <= 5)

    return measure


def beside_tee(row, what):
    """Not more than the pipeline with tee; three in a hundred are no difference."""

    def measure(found):
        agent, tee = found.median(row, what), found.median(row, what, "timeout \\| tee")
        return agent and (f"{agent / tee:.2f}× ({agent:.2f} s to {tee:.2f} s)", agent <= tee * 1.03)

    return measure


def steps(what, most):
    def measure(found):
        off, auto = found.median("steps", what, "steps off"), found.median("steps", what, "steps auto")
        return off and (f"{(auto / off - 1) * 100:.1f} % ({auto:.3f} s to {off:.3f} s)", auto / off - 1 <= most)

    return measure


def plain(row, what, most, unit=""):
    def measure(found):
        value = found.median(row, what)
        return None if value is None else (f"{value:.3g} {unit}".strip(), value <= most)

    return measure


def crowd(found):
    left = found.median("deadline", "10,000 processes: survivors")
    late = found.median("deadline", "10,000 processes: returns after deadline and grace")
    return None if late is None else (f"{left:.0f} left, {late / 1000:.2f} s", left == 0 and late <= 2000)


BOUNDS = (
    ("a script that does nothing, more than `timeout`: the agent's own part", "5 ms", start("no scope, no steps")),
    (
        "the same with systemd's scope and the kernel's probes, which wait for grace periods",
        "5 ms",
        start("ci-setup-agent"),
    ),
    ("1 GiB in 4 KiB writes, beside `tee spool > share`", "1×", beside_tee("output", "1 GiB in 4 KiB writes")),
    ("256 MiB in lines of 80 bytes, the same", "1×", beside_tee("output", "256 MiB in 80-byte lines")),
    ("1,000,000 writes of 1 byte, the same", "1×", beside_tee("output", "1,000,000 1-byte writes")),
    ("processor time for 1 GiB, beside that of `tee`", "1×", beside_tee("output", "1 GiB in 4 KiB writes, processor")),
    (
        "memory of all processes together, 10 GiB of output, what they share counted once",
        "12 MiB",
        plain("memory", "peak memory, fair part", 12, "MiB"),
    ),
    (
        "writes to the share in the busiest second, 1,000,000 lines in 30 s",
        "2",
        plain("visible", "1,000,000 lines in 30 s: writes a second", 2),
    ),
    ("10,000 processes in sessions of their own, after the grace", "0 left, 2 s", crowd),
    ("recording the steps of 1,000 external commands", "3 %", steps("1,000 external commands", 0.03)),
    ("recording a loop of 1,000,000 rounds", "10 %", steps("1,000,000 rounds of a loop", 0.10)),
    ("the package, installed", "6 MiB", plain("size", "installed size", 6, "MiB")),
)
