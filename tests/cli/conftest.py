"""Fixtures that run the command line in another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .forks import SECONDS

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONUNBUFFERED": ""}


@dataclass(frozen=True)
class Done:
    """The exit code and output of a finished command."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Return the lines of stdout; check that each ends with a newline."""
        assert self.out == "" or self.out.endswith("\n")
        return self.out.split("\n")[:-1]

    def succeeded(self) -> Done:
        """Check that the exit code is 0 and that stderr holds no traceback."""
        assert self.code == 0, self.err
        assert "Traceback" not in self.err
        return self

    def failed(self, message: str) -> Done:
        """Check that stderr holds exactly this line and that the exit code is 1."""
        assert self.err == f"peephole: {message}\n"
        assert self.code == 1
        return self


class Peephole:
    """Runs `peephole` in a folder."""

    def __init__(self, server: subprocess.Popen[bytes], folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.streams = folder / ".streams"
        self.streams.mkdir()

    def write(self, name: str, content: str | bytes) -> str:
        """Write a file into the folder; return its name."""
        (self.folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return name

    def __call__(
        self,
        *arguments: object,
        stdin: str | bytes = b"",
        stdout: Path | None = None,
        limits: dict[str, int] | None = None,
        encoding: str = "utf-8",
    ) -> Done:
        """Run a command until it exits.

        Args:
            arguments: command line arguments.
            stdin: its whole input.
            stdout: file that receives its output; None returns the output.
            limits: resource limit by its name in `resource`.
            encoding: text encoding of the user's locale.
        """
        streams = {name: self.streams / name for name in ("stdin", "stdout", "stderr")}
        streams["stdin"].write_bytes(stdin.encode() if isinstance(stdin, str) else stdin)
        streams["stdout"].write_bytes(b"")
        streams["stderr"].write_bytes(b"")
        request: dict[str, Any] = {
            "arguments": [str(argument) for argument in arguments],
            "folder": str(self.folder),
            "limits": limits or {},
            "encoding": encoding,
        }
        request |= {name: str(path) for name, path in streams.items()}
        request |= {} if stdout is None else {"stdout": str(stdout)}
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(request).encode() + b"\n")
        self.server.stdin.flush()
        code = int(self.server.stdout.readline())
        return Done(code, streams["stdout"].read_bytes().decode(), streams["stderr"].read_bytes().decode())

    @contextmanager
    def start(self, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
        """Start a command in a new interpreter; kill it if the test fails or runs longer than SECONDS."""
        command = [sys.executable, "-m", "peephole", *map(str, arguments)]
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with subprocess.Popen(command, cwd=self.folder, env=os.environ | ENVIRONMENT, **pipes) as process:
            watchdog = threading.Timer(SECONDS, process.kill)
            watchdog.start()
            try:
                yield process
            except BaseException:
                process.kill()
                raise
            finally:
                watchdog.cancel()


@pytest.fixture(scope="session")
def server() -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that imports the command line once and forks for each command."""
    command = [sys.executable, str(Path(__file__).parent / "forks.py")]
    environment = os.environ | ENVIRONMENT
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def peephole(server: subprocess.Popen[bytes], tmp_path: Path) -> Peephole:
    """Return a runner for `peephole` in the test's temporary folder."""
    return Peephole(server, tmp_path)
