"""Real servers in processes of their own, and clients of the standard library."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest

import peephole
from peephole.model import Model

Result = TypeVar("Result")

SECONDS = 300  # after which a server that does not stop is killed


class Answer(NamedTuple):
    """An answer: status, headers with names in small letters, body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """Return the message of a refusal."""
        assert self.json.keys() == {"error"}
        return self.json["error"]


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[str]
    port: int
    notes: list[str]
    logs: list[dict[str, Any]] = field(default_factory=list)

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """Send a request over a new connection; a body that is not bytes is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            content = body if body is None or isinstance(body, (bytes, str)) else json.dumps(body).encode()
            connection.request(method, path, content, headers or {})
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> Answer:
        """Send a POST."""
        return self.call("POST", path, body, headers)

    def stop(self) -> int:
        """Send SIGTERM and wait; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextmanager
def serving(*arguments: object, cwd: Path | None = None) -> Iterator[Server]:
    """Start a server at a free port; stop it afterwards."""
    command = [sys.executable, "-m", "peephole", "serve", "--port", "0", *map(str, arguments)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=cwd, env=os.environ.copy()) as process:
        watchdog = threading.Timer(SECONDS, process.kill)
        watchdog.start()
        assert process.stderr is not None
        server = Server(process, 0, [])
        try:
            for line in process.stderr:
                if line.startswith("{"):
                    server.logs.append(json.loads(line))
                    if server.logs[-1]["event"] == "listening":
                        break
                else:
                    server.notes.append(line.strip())
            found = [re.search(r"http://\S*?:(\d+)/", note) for note in server.notes]
            [server.port] = [int(match[1]) for match in found if match]
            reader = threading.Thread(target=_read_logs, args=(server,), daemon=True)
            reader.start()
            yield server
            if process.poll() is None:
                server.stop()
            reader.join(10)
        finally:
            watchdog.cancel()
            process.kill()
            process.wait()


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until a condition is true."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not become true in time"
        time.sleep(0.02)


def finish(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end, in a thread: a browser of other tests leaves its event loop running in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(work)).result()


def is_open(port: int) -> bool:
    """Return whether a server listens at a port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _read_logs(server: Server) -> None:
    assert server.process.stderr is not None
    for line in server.process.stderr:
        if line.startswith("{"):
            server.logs.append(json.loads(line))
        else:
            server.notes.append(line.strip())


@pytest.fixture(scope="session")
def toy(toy_file: Path) -> Model:
    """Return the toy model, which predicts in the test's process."""
    return peephole.load(toy_file)


@pytest.fixture(scope="module")
def server(toy_file: Path) -> Iterator[Server]:
    """Start a server of the toy model, under two names; one for a file, since other files may run before the next."""
    with serving(f"toy={toy_file}", f"other={toy_file}", "--max-batch", 100, "--max-body", 200_000) as started:
        yield started
