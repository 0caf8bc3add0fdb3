"""Inside the machine: measures the rows that are named and prints what it finds, a JSON object a line."""

import importlib
import json
import sys
import time

import contestants as all_of
import measure

SET_UP_FOR = {"start": ("Google", "CloudInit"), "output": ("Google", "CloudInit")}


class Effort:
    """How often things are done: all of it, or a quick look."""

    def __init__(self, is_full):
        self.is_full = is_full

    def rounds(self, full):
        return full if self.is_full else max(1, full // 4)


def main(effort, *rows):
    measure.become_subreaper()
    for peer in sorted({peer for row in rows for peer in SET_UP_FOR.get(row, ())}):
        getattr(all_of, peer)().set_up()
    all_of.Agent().prepare(":\n")
    for row in rows:

        def tell(what, who, values, unit):
            print(json.dumps({"row": row, "what": what, "who": who, "values": values, "unit": unit}), flush=True)

        began = time.monotonic()
        importlib.import_module(f"rows.{row}").measure(tell, Effort(effort == "full"))
        print(f"{row}: {time.monotonic() - began:.0f} s", file=sys.stderr)


main(*sys.argv[1:])
