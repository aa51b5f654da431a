"""Run a system in a process of its own that uses no processor time between its rounds.

A shared process would not do: PyTorch's idle threads spin for a while after their work, and slow the next system.
"""

import json
import os
import subprocess
from typing import Any


class Worker:
    """Start a process that prints a JSON line when it is ready, and one for each line on its stdin.

    Args:
        command: the program to start; `--threads` is appended.
        threads: threads that the system may use.
    """

    def __init__(self, command: list[str], threads: int) -> None:
        self.process = subprocess.Popen(
            [*command, "--threads", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        )
        self.facts = self.read()

    def read(self) -> dict[str, Any]:
        """Wait for the next answer."""
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(self.process.args)}: ended with exit code {self.process.wait()}")
        return json.loads(line)

    def measure(self, request: Any) -> dict[str, Any]:
        """Send the process a request to measure a turn, and return its answer."""
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self.read()

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()
