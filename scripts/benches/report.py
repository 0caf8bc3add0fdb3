"""What was measured, as people read it: the bounds, the table beside the peers, and why a peer is ahead."""

import collections
import os
import platform
import statistics
import subprocess
import sys
import time

import plot
from bounds import BOUNDS
from reasons import REASONS

AGENT, TEE = "ci-setup-agent", "timeout \\| tee"
COLUMNS = (AGENT, TEE, "timeout", "bash script > file", "systemd-run", "conmon", "google", "cloud-init", "waagent")
BEGIN, END = "<!-- scripts/bench --readme writes from here -->\n", "<!-- to here -->\n"
BESIDE = ("start", "output", "visible", "deadline", "memory", "size")


class Measured:
    """Everything measured in one run: medians and spreads by row, what and who."""

    def __init__(self, measurements):
        self.host = next(found["host"] for found in measurements if "host" in found)
        self.values, self.units = collections.defaultdict(list), {}
        for found in measurements:
            if "row" in found:
                key = found["row"], found["what"]
                self.values[(*key, found["who"])] += found["values"]
                self.units[key] = found["unit"]

    def rows(self, *names):
        """What was measured in these rows, in order."""
        return [key for name in names for key in self.units if key[0] == name]

    def median(self, row, what, who=AGENT):
        values = self.values.get((row, what, who))
        return statistics.median(values) if values else None

    def spread(self, row, what, who=AGENT):
        """Half of what the middle half of the values extends over."""
        values = self.values[(row, what, who)]
        if len(values) < 4:
            return (max(values) - min(values)) / 2
        first, _, third = statistics.quantiles(values, n=4)
        return (third - first) / 2

    def cell(self, row, what, who=AGENT):
        middle = self.median(row, what, who)
        if middle is None:
            return ""
        spread = self.spread(row, what, who)
        return number(middle) + (f" ±{spread:.2g}" if number(spread) != "0" else "")


def number(value):
    """Three figures are enough."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.005 else "0"


def host():
    """The machine, by its name and by what matters here."""
    model = next(
        (line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?"
    )
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    disk = subprocess.run(
        ["findmnt", "-no", "FSTYPE", "-T", "/var/tmp"], stdout=subprocess.PIPE, text=True
    ).stdout.strip()
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], stdout=subprocess.PIPE, text=True
    ).stdout.strip()
    text = f"{model}, {os.cpu_count()} processors, {memory:.0f} GiB, {disk}, Linux {platform.release()}"
    return {
        "host": f"{text}; {time.strftime('%Y-%m-%d')}, commit {commit}, load {os.getloadavg()[0]:.1f} at the beginning"
    }


def markdown(measurements):
    found = Measured(measurements)
    parts = [
        f"Measured on {found.host}. Medians, ± half the distance between the quartiles; less is better everywhere."
    ]
    parts += [bounds(found), beside(found), alone(found), reasons(found)]
    return "\n".join(part for part in parts if part)


def table(head, rows):
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def bounds(found):
    rows = []
    for what, bound, measure in BOUNDS:
        result = measure(found)
        if result:
            text, is_held = result
            rows.append([what, bound, text, "yes" if is_held else "**no**"])
    return table(["bound", "at most", "measured", "held"], rows)


def beside(found):
    rows = []
    for row, what in found.rows(*BESIDE):
        agent, tee = found.median(row, what), found.median(row, what, TEE)
        if agent is None:
            continue
        ratio = (f"{agent / tee:.2g}×" if agent < 10 * tee else f"{agent / tee:.0f}×") if tee and agent else ""
        unit = found.units[row, what]
        cells = [found.cell(row, what, who) for who in COLUMNS]
        rows.append([f"{what}, {unit}" if unit else what, cells[0], cells[1], ratio, *cells[2:]])
    return table(["beside others", AGENT, "`timeout \\| tee`", "ratio", *COLUMNS[2:]], rows)


def alone(found):
    rows = []
    for row, what in found.rows("start", "steps", "growth"):
        unit = found.units[row, what]
        for its_row, its_what, who in found.values:
            if (its_row, its_what) == (row, what) and who not in COLUMNS[1:] and (row != "start" or who != AGENT):
                rows.append(
                    [
                        what if who == AGENT else f"{what}: {who}",
                        found.cell(row, what, who) + (f" {unit}" if unit else ""),
                    ]
                )
    return table(["the agent by itself", ""], rows)


def reasons(found):
    """A sentence for each row in which somebody is ahead by more than chance."""
    by_reason = collections.defaultdict(dict)
    for row, what in found.rows(*BESIDE):
        agent = found.median(row, what)
        if agent is None:
            continue
        slack = found.spread(row, what)
        ahead = [
            who for who in COLUMNS[1:] if (other := found.median(row, what, who)) is not None and other < agent - slack
        ]
        if ahead:
            reason = next((text for words, text in REASONS if f"{row}: {what}".startswith(words)), None)
            if reason is None:
                print(
                    f"warning: {', '.join(ahead)} ahead in `{what}`, and reasons.py does not say why", file=sys.stderr
                )
                reason = "(no reason is known yet)"
            by_reason[reason].update(dict.fromkeys(ahead))
    text = [f"- {', '.join(f'`{who}`' for who in ahead)}: {reason}" for reason, ahead in by_reason.items()]
    return "\nWhere others are ahead:\n\n" + "\n".join(text) + "\n" if text else ""


def picture(measurements):
    """As an SVG, each row as a multiple of the pipeline with tee."""
    found = Measured(measurements)
    return plot.plot(found, found.rows(*BESIDE), TEE, COLUMNS[:2] + COLUMNS[3:], AGENT)


def into_readme(measurements, readme, figure):
    """Rewrites what is between the two marks."""
    whole = readme.read_text()
    if BEGIN not in whole or END not in whole:
        sys.exit(
            f"error: {readme} lacks the marks `{BEGIN.strip()}` and `{END.strip()}`\nhint: put both into its performance section"
        )
    before, rest = whole.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    figure.write_text(picture(measurements))
    readme.write_text(
        f"{before}{BEGIN}{markdown(measurements)}\n![{AGENT} beside others](scripts/benches/{figure.name})\n{END}{after}"
    )
