"""Load `peephole serve` at ten times its sustainable rate, then stop it under that load; see benchmarks/README.md."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import tempfile
import threading
from collections import Counter
from pathlib import Path

from http_load import Load, System, Work, closed_loop, open_loop, report, start, stop

import peephole

TIMES = 10


def answered(log: Path) -> Counter[str]:
    """Return how many requests the server's log has, by status."""
    events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("{")]
    return Counter(str(event["status"]) for event in events if event["event"] == "request")


def check(system: System, loads: list[Load]) -> str:
    """Compare the answers that clients received with those in the server's log."""
    assert system.log is not None
    got: Counter[str] = Counter()
    for load in loads:
        got += load.statuses
    logged = answered(system.log)
    lost = {status: count - got[status] for status, count in logged.items() if count != got[status]}
    return f"answers in the server's log that no client got: {lost or 'none'}"


def main() -> None:
    """Print a line of JSON for each load, and the answers of the server's log that no client received."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a model file")
    parser.add_argument("sources", help="a file of sources, one a line")
    parser.add_argument("--batch", type=int, default=32, help="sources of a request: with one, HTTP is the limit")
    parser.add_argument("--seconds", type=float, default=300, help="of the overload")
    parser.add_argument("--seconds-to-term", type=float, default=10, help="of another one until SIGTERM")
    arguments = parser.parse_args()
    lines = Path(arguments.sources).read_text(encoding="utf-8").split("\n")[:6400]
    work = Work.of(peephole.load(arguments.model), [line.strip() for line in lines if line.strip()], arguments.batch)
    with tempfile.TemporaryDirectory() as folder:
        system = start("peephole", arguments.model, log=Path(folder) / "log")
        loads = []
        try:
            loads.append(asyncio.run(closed_loop(system, work, 16, 10)))
            rate = loads[0].rate
            report(system, "16 clients", loads[0])
            loads.append(asyncio.run(open_loop(system, work, TIMES * rate, arguments.seconds)))
            report(system, f"{TIMES} times {rate:.0f}/s", loads[-1])
            timer = threading.Timer(arguments.seconds_to_term, system.process.send_signal, [signal.SIGTERM])
            timer.start()
            loads.append(asyncio.run(open_loop(system, work, TIMES * rate, arguments.seconds_to_term + 60)))
            report(system, f"the same, SIGTERM after {arguments.seconds_to_term:g} s", loads[-1])
            print(f"exit code {system.process.wait(60)}")
        finally:
            if system.process.poll() is None:
                stop([system])
        print(check(system, loads))


if __name__ == "__main__":
    main()
