"""Measures the agent beside its peers: `scripts/bench` calls this. See there."""

import argparse
import json
import pathlib
import subprocess

import report
from machine import SCRIPTS, fail, machine

ROWS = ("start", "output", "visible", "deadline", "memory", "steps", "growth", "size")
OUT = SCRIPTS.parent / "target/bench"


def main():
    asked = argparse.ArgumentParser(prog="scripts/bench", description="Measures ci-setup-agent beside its peers.")
    asked.add_argument(
        "rows", metavar="ROW", nargs="*", help=f"what to measure: {', '.join(ROWS)}; all of it if none is named"
    )
    asked.add_argument("--quick", action="store_true", help="fewer rounds and smaller amounts: a look, not a result")
    asked.add_argument("--readme", action="store_true", help="put the result into README.md as well")
    asked.add_argument("--again", action="store_true", help="measure nothing: write the last result once more")
    asked.add_argument("--package", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    asked.add_argument("--faultfs", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    asked = asked.parse_args()
    for row in asked.rows:
        if row not in ROWS:
            fail(f"there is no row `{row}`", f"name some of {', '.join(ROWS)}")
    OUT.mkdir(parents=True, exist_ok=True)
    kept = OUT / "measurements.jsonl"
    if not asked.again:
        kept.write_text(measured(asked))
    measurements = [json.loads(line) for line in kept.read_text().splitlines()]
    text = report.markdown(measurements)
    (OUT / "bench.md").write_text(text)
    (OUT / "bench.svg").write_text(report.picture(measurements))
    print(text)
    if asked.readme:
        report.into_readme(measurements, SCRIPTS.parent / "README.md", SCRIPTS / "benches/bench.svg")


def measured(asked):
    """What the machine prints, a measurement a line."""
    lines = [json.dumps(report.host())]
    with machine(asked.package, asked.faultfs) as start:
        words = ["python3", "/bench/benches/inside", "quick" if asked.quick else "full", *(asked.rows or ROWS)]
        inside = start(*words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        lines += [line.rstrip("\n") for line in inside.stdout]
        if inside.wait():
            fail("a measurement has failed", "see above")
    return "".join(f"{line}\n" for line in lines)


main()
