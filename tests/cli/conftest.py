"""Running the command line as another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Return the lines of stdout, each of which has an end."""
        assert self.out == "" or self.out.endswith("\n")
        return self.out.split("\n")[:-1]

    def succeeded(self) -> Done:
        assert self.code == 0, self.err
        assert "Traceback" not in self.err
        return self

    def failed(self, message: str) -> Done:
        """Check that the user was told in exactly one line, and got exit code 1."""
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
        **environment: str,
    ) -> Done:
        """Run a command to its end.

        Args:
            arguments: of the command line.
            stdin: all of its input.
            stdout: where its output goes; None returns it.
            limits: name in `resource` → limit.
            environment: variables to add.
        """
        streams = {name: self.streams / name for name in ("stdin", "stdout", "stderr")}
        streams["stdin"].write_bytes(stdin.encode() if isinstance(stdin, str) else stdin)
        streams["stdout"].write_bytes(b"")
        streams["stderr"].write_bytes(b"")
        request: dict[str, Any] = {
            "arguments": [str(argument) for argument in arguments],
            "folder": str(self.folder),
            "limits": limits or {},
            "environment": ENVIRONMENT | environment,
        }
        request |= {name: str(path) for name, path in streams.items()}
        request |= {} if stdout is None else {"stdout": str(stdout)}
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(request).encode() + b"\n")
        self.server.stdin.flush()
        code = int(self.server.stdout.readline())
        return Done(code, streams["stdout"].read_bytes().decode(), streams["stderr"].read_bytes().decode())

    def start(self, *arguments: object, **options: Any) -> subprocess.Popen[bytes]:
        """Start a command, imports and all, and leave it running."""
        command = [sys.executable, "-m", "peephole", *map(str, arguments)]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        environment = os.environ | ENVIRONMENT
        return subprocess.Popen(command, cwd=self.folder, env=environment, **(pipes | options))


@pytest.fixture(scope="session")
def server() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has imported the command line and runs it on request."""
    command = [sys.executable, str(Path(__file__).parent / "forks.py")]
    environment = os.environ | ENVIRONMENT
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def peephole(server: subprocess.Popen[bytes], tmp_path: Path) -> Peephole:
    """`peephole`, in a folder of this test's own."""
    return Peephole(server, tmp_path)
