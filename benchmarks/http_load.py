"""Servers to measure, and clients that load them and compare every answer with that of `Model.predict`."""

from __future__ import annotations

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
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peephole
from peephole.model import Notices

WORKER = Path(__file__).with_name("serve_worker.py")
SEED = 1
LARGEST_POOL = 800  # connections of an open loop; a request that finds none free waits, which counts as its time

Best = tuple[str, float]
"""The text of a prediction and its log p."""


@dataclass(frozen=True)
class Work:
    """The sources of a request and what is predicted for them."""

    sources: list[str]
    wanted: list[Best]
    kind: str = ""

    @classmethod
    def of(cls, model: peephole.Model, sources: Sequence[str], batch: int = 1, kind: str = "") -> list[Work]:
        """Predict sources; return a request for each `batch` of them."""
        found = model.predict(sources, attention=False, notices=Notices())
        best = [(one[0].text, one[0].log_prob) for one in found]
        return [
            cls(list(sources[first : first + batch]), best[first : first + batch], kind)
            for first in range(0, len(sources) - batch + 1, batch)
        ]


@dataclass
class System:
    """A server under test; only peephole's takes several sources in a request."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path | None = None

    @property
    def path(self) -> str:
        """Return where requests are sent to."""
        return "/predict" if self.name in ("plain", "litserve") else "/v1/predict"

    def body(self, sources: list[str]) -> bytes:
        """Return a request for the best targets of sources."""
        return json.dumps({"sources": sources} if self.path == "/v1/predict" else {"source": sources[0]}).encode()

    def best(self, body: bytes) -> list[Best]:
        """Return the targets of an answer, each with its log p."""
        tree = json.loads(body)
        found = [one["predictions"][0] for one in tree["results"]] if self.path == "/v1/predict" else [tree]
        return [(one["text"], one["log_prob"]) for one in found]

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
    times: dict[str, list[float]] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    untold: int = 0
    rss: float = 0.0

    @property
    def rate(self) -> float:
        """Return the answered requests of a second."""
        return sum(map(len, self.times.values())) / self.seconds

    def row(self) -> dict[str, Any]:
        """Return rates and quantiles."""
        quantiles = {}
        for kind, times in self.times.items():
            ordered = sorted(times)
            for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99)):
                quantiles[f"{kind}_{name}" if kind else name] = round(1000 * ordered[int(len(ordered) * share)], 1)
        return {
            "answers_per_second": round(self.rate, 1),
            **quantiles,
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
        answer = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self.close()
        return int(lines[0].split()[1]), headers, answer

    def close(self) -> None:
        """Close the connection."""
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


async def send(connection: Connection, work: Work, load: Load, started: float) -> None:
    """Send a request and count what became of it; `started` is when it should have been sent."""
    system = connection.system
    try:
        status, headers, body = await asyncio.wait_for(connection.post(system.body(work.sources)), 60)
    except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
        load.statuses[type(error).__name__] += 1
        connection.close()
        return
    load.statuses[str(status)] += 1
    if status == 200:
        load.times.setdefault(work.kind, []).append(time.monotonic() - started)
        load.wrong += system.best(body) != work.wanted
    elif "retry-after" not in headers and status in (429, 503):
        load.untold += 1


async def closed_loop(system: System, work: Sequence[Work], clients: int, seconds: float) -> Load:
    """Load with clients that send the next request when they have their answer."""
    load, ends = Load(), time.monotonic() + seconds

    async def client(number: int) -> None:
        connection, draw = Connection(system), random.Random(SEED + number)
        while (now := time.monotonic()) < ends:
            await send(connection, draw.choice(work), load, now)
        connection.close()

    started = time.monotonic()
    await asyncio.gather(*map(client, range(clients)))
    load.seconds, load.rss = time.monotonic() - started, system.rss()
    return load


async def open_loop(
    system: System, work: Sequence[Work], rate: float, seconds: float, weights: Sequence[float] | None = None
) -> Load:
    """Load with requests that come at a rate, whatever becomes of those before; `weights` are their odds."""
    load, draw = Load(), random.Random(SEED)
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(LARGEST_POOL):
        free.put_nowait(Connection(system))

    async def request(due: float) -> None:
        connection = await free.get()
        try:
            await send(connection, draw.choices(work, weights)[0], load, due)
        finally:
            free.put_nowait(connection)

    started = due = time.monotonic()
    running: set[asyncio.Task[None]] = set()
    while due < started + seconds and system.process.poll() is None:
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


def start(name: str, model: str, python: str = sys.executable, log: Path | None = None) -> System:
    """Start a server and wait until it listens.

    Args:
        name: peephole, processes (`peephole serve` with two), or a kind of `serve_worker.py`.
        model: a model file.
        python: of the environment that has what the server needs.
        log: a file for what it writes to stderr.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [python, str(WORKER), name, model, str(port)]
    if name in ("peephole", "processes"):
        command = [python, "-m", "peephole", "serve", model, "--port", str(port)]
    if name == "processes":
        command += ["--processes", "2"]
    with open(log or os.devnull, "wb") as errors:
        process = subprocess.Popen(command, stderr=errors, stdout=subprocess.DEVNULL, start_new_session=True)
    ends = time.monotonic() + 120
    while time.monotonic() < ends:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return System(name, port, process, log)
    raise SystemExit(f"{name} did not start")


def stop(systems: Iterable[System]) -> None:
    """Send SIGTERM to the servers and wait; kill what is left of them, since LitServe leaves its workers running."""
    for system in systems:
        system.process.send_signal(signal.SIGTERM)
    for system in systems:
        try:
            system.process.wait(20)
        except subprocess.TimeoutExpired:
            system.process.kill()
        with suppress(ProcessLookupError):
            os.killpg(system.process.pid, signal.SIGKILL)


def report(system: System, what: str, load: Load) -> None:
    """Print a line of JSON."""
    print(json.dumps({"system": system.name, "load": what, **load.row()}), flush=True)
