"""Load `peephole serve`, a plain FastAPI endpoint and LitServe in turns; see benchmarks/README.md."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from http_load import Work, closed_loop, open_loop, report, start, stop

import peephole


def main() -> None:
    """Print a line of JSON for each system, load and round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a model file")
    parser.add_argument("sources", help="a file of sources, one a line")
    parser.add_argument("--litserve-python", help="Python of an environment with litserve; without it, it is left out")
    parser.add_argument("--seconds", type=float, default=10, help="of each load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 8, 64])
    parser.add_argument("--percent", type=int, nargs="*", default=[50, 80, 100, 1000], help="of the sustainable rate")
    arguments = parser.parse_args()
    lines = Path(arguments.sources).read_text(encoding="utf-8").split("\n")[:2000]
    work = Work.of(peephole.load(arguments.model), [line.strip() for line in lines if line.strip()])
    systems = [start(name, arguments.model) for name in ("peephole", "processes", "plain")]
    if arguments.litserve_python:
        systems.append(start("litserve", arguments.model, arguments.litserve_python))
    sustained = {system.name: 0.0 for system in systems}
    try:
        for system in systems:  # warm up; LitServe listens before its worker is ready
            asyncio.run(closed_loop(system, work, 4, 5))
        for _ in range(arguments.rounds):
            for clients in arguments.clients:
                for system in systems:
                    load = asyncio.run(closed_loop(system, work, clients, arguments.seconds))
                    sustained[system.name] = max(sustained[system.name], load.rate)
                    report(system, f"{clients} clients", load)
        for _ in range(arguments.rounds):
            for percent in arguments.percent:
                for system in systems:
                    rate = sustained[system.name] * percent / 100
                    load = asyncio.run(open_loop(system, work, rate, arguments.seconds))
                    report(system, f"{percent} % of its own rate, {rate:.0f}/s", load)
    finally:
        stop(systems)


if __name__ == "__main__":
    main()
