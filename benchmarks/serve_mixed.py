"""Measure short requests among long ones over HTTP: sources that join at any step, or wait for batches.

Both systems are `peephole serve`; `batches` predicts all sources that wait in one call of `Model.predict`, as it does
for models that the engine's session does not search. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from http_load import Work, closed_loop, open_loop, report, start, stop

import peephole

LONG_SHARE = 0.1
PIECES = 25  # lines that make a long source


def main() -> None:
    """Print a line of JSON for each system, load and round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a model file")
    parser.add_argument("sources", help="a file of sources, one a line; a long one is several of them")
    parser.add_argument("--joint", default="", help="what is between the lines of a long source")
    parser.add_argument("--seconds", type=float, default=20, help="of each load")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    lines = [line.strip() for line in Path(arguments.sources).read_text(encoding="utf-8").split("\n")[:2000]]
    short = [line for line in lines if line]
    model = peephole.load(arguments.model)
    work = Work.of(model, short[:1000], kind="short")
    joined = [arguments.joint.join(short[first : first + PIECES]) for first in range(0, len(short) - PIECES, PIECES)]
    long = Work.of(model, joined, kind="long")
    weights = [(1 - LONG_SHARE) / len(work)] * len(work) + [LONG_SHARE / len(long)] * len(long)
    systems = [start(name, arguments.model) for name in ("peephole", "batches")]
    mixed = work * len(long) + long * (len(work) // 9)  # a tenth are long
    try:
        for system in systems:
            asyncio.run(closed_loop(system, work, 4, 3))
        rate = min(asyncio.run(closed_loop(system, mixed, 64, arguments.seconds)).rate for system in systems)
        for _ in range(arguments.rounds):
            for percent in (50, 80):
                for system in systems:
                    load = asyncio.run(open_loop(system, work + long, rate * percent / 100, arguments.seconds, weights))
                    report(system, f"{percent} % of {rate:.0f}/s", load)
    finally:
        stop(systems)


if __name__ == "__main__":
    main()
