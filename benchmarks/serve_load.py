"""Load `peephole serve`, a plain FastAPI endpoint and LitServe; see benchmarks/README.md.

Every answer is compared with that of `Model.predict`; every request is answered rightly, refused, or counted as failed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peephole
from peephole.model import Notices

WORKER = Path(__file__).with_name("serve_worker.py")
SEED = 1
LARGEST_POOL = 800  # connections of an open loop; a request that finds none free waits, which counts as its time


@dataclass
class System:
    """A server under test."""

    name: str
    path: str
    port: int
    process: subprocess.Popen[bytes]

    def body(self, source: str) -> bytes:
        """Return a request for the best target of a source."""
        return json.dumps({"sources": [source]} if self.name == "peephole" else {"source": source}).encode()

    def best(self, body: bytes) -> tuple[str, float]:
        """Return the target of an answer and its log p."""
        tree = json.loads(body)
        one = tree["results"][0]["predictions"][0] if self.name == "peephole" else tree
        return one["text"], one["log_prob"]

    def rss(self) -> float:
        """Return the resident memory of the server's process and its children, in MB."""
        pids = [self.process.pid]
        for entry in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            pids += map(int, entry.read_text().split())
        found = 0
        for pid in pids:
            try:
                found += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            except OSError:
                continue
        return found / 1e6


@dataclass
class Load:
    """What became of the requests of one load."""

    seconds: float = 0.0
    times: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    untold: int = 0
    rss: float = 0.0

    def row(self) -> dict[str, Any]:
        """Return rates and quantiles."""
        times = sorted(self.times)
        return {
            "answers_per_second": round(len(times) / self.seconds, 1),
            "p50_ms": round(1000 * times[len(times) // 2], 1) if times else None,
            "p99_ms": round(1000 * times[int(len(times) * 0.99)], 1) if times else None,
            "statuses": dict(self.statuses),
            "wrong": self.wrong,
            "refused_without_reason": self.untold,
            "rss_mb": round(self.rss),
        }


class Connection:
    """A connection that is kept."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send a request; return status, headers and body."""
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.system.port)
        reader, writer = self.streams
        head = f"POST {self.system.path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:] if line)}
        return int(lines[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"]))

    def close(self) -> None:
        """Close the connection."""
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


async def send(connection: Connection, source: str, wanted: tuple[str, float], load: Load, started: float) -> None:
    """Send a request and count what became of it; `started` is when it should have been sent."""
    system = connection.system
    try:
        status, headers, body = await asyncio.wait_for(connection.post(system.body(source)), 60)
    except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
        load.statuses[type(error).__name__] += 1
        connection.close()
        return
    load.statuses[str(status)] += 1
    if status == 200:
        load.times.append(time.monotonic() - started)
        load.wrong += system.best(body) != wanted
    elif "retry-after" not in headers and status in (429, 503):
        load.untold += 1


Pairs = list[tuple[str, tuple[str, float]]]


async def closed_loop(system: System, pairs: Pairs, clients: int, seconds: float) -> Load:
    """Load with clients that send the next request when they have their answer."""
    load, ends = Load(), time.monotonic() + seconds

    async def client(number: int) -> None:
        connection, draw = Connection(system), random.Random(SEED + number)
        while (now := time.monotonic()) < ends:
            await send(connection, *draw.choice(pairs), load, now)
        connection.close()

    started = time.monotonic()
    await asyncio.gather(*map(client, range(clients)))
    load.seconds, load.rss = time.monotonic() - started, system.rss()
    return load


async def open_loop(system: System, pairs: Pairs, rate: float, seconds: float) -> Load:
    """Load with requests that come at a rate, whatever becomes of those before."""
    load, draw = Load(), random.Random(SEED)
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(LARGEST_POOL):
        free.put_nowait(Connection(system))

    async def request(due: float) -> None:
        connection = await free.get()
        try:
            await send(connection, *draw.choice(pairs), load, due)
        finally:
            free.put_nowait(connection)

    started = due = time.monotonic()
    running: set[asyncio.Task[None]] = set()
    while due < started + seconds:
        if (pause := due - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        if len(running) < 4 * LARGEST_POOL:  # more cannot be sent by this program
            task = asyncio.create_task(request(due))
            running.add(task)
            task.add_done_callback(running.discard)
        else:
            await asyncio.sleep(0.001)
        load.rss = max(load.rss, system.rss()) if draw.random() < 0.01 else load.rss
        due += draw.expovariate(rate)
    await asyncio.gather(*running)
    load.seconds = time.monotonic() - started
    while not free.empty():
        free.get_nowait().close()
    return load


def start(name: str, model: str, litserve_python: str | None) -> System:
    """Start a server and wait until it listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    if name == "peephole":
        command = [sys.executable, "-m", "peephole", "serve", model, "--port", str(port)]
    else:
        python = litserve_python if name == "litserve" else sys.executable
        command = [str(python), str(WORKER), name, model, str(port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    ends = time.monotonic() + 120
    while time.monotonic() < ends:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return System(name, "/v1/predict" if name == "peephole" else "/predict", port, process)
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"{name} did not start")


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
    parser.add_argument("--overload-seconds", type=float, default=0, help="of ten times the load, at the end")
    arguments = parser.parse_args()
    model = peephole.load(arguments.model)
    words = Path(arguments.sources).read_text(encoding="utf-8").split("\n")[:2000]
    sources = [word.strip() for word in words if word.strip()]
    found = model.predict(sources, attention=False, notices=Notices())
    pairs = [(source, (one[0].text, one[0].log_prob)) for source, one in zip(sources, found, strict=True)]
    names = ["peephole", "plain", *(["litserve"] if arguments.litserve_python else [])]
    systems = [start(name, arguments.model, arguments.litserve_python) for name in names]
    sustained: dict[str, list[float]] = {name: [] for name in names}

    def report(system: System, what: str, load: Load) -> None:
        print(json.dumps({"system": system.name, "load": what, **load.row()}), flush=True)

    try:
        for system in systems:  # warm up; LitServe listens before its worker is ready
            asyncio.run(closed_loop(system, pairs, 4, 5))
        for _ in range(arguments.rounds):
            for clients in arguments.clients:
                for system in systems:
                    load = asyncio.run(closed_loop(system, pairs, clients, arguments.seconds))
                    sustained[system.name].append(len(load.times) / load.seconds)
                    report(system, f"{clients} clients", load)
        for _ in range(arguments.rounds):
            for percent in arguments.percent:
                for system in systems:
                    rate = max(sustained[system.name]) * percent / 100
                    load = asyncio.run(open_loop(system, pairs, rate, arguments.seconds))
                    report(system, f"{percent} % of its own rate, {rate:.0f}/s", load)
        if arguments.overload_seconds:
            rate = 10 * max(sustained["peephole"])
            load = asyncio.run(open_loop(systems[0], pairs, rate, arguments.overload_seconds))
            report(systems[0], f"ten times for {arguments.overload_seconds:g} s", load)
    finally:
        for system in systems:
            system.process.send_signal(signal.SIGTERM)
        for system in systems:
            try:
                system.process.wait(20)
            except subprocess.TimeoutExpired:
                system.process.kill()


if __name__ == "__main__":
    main()
