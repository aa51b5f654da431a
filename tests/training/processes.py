"""Command lines in processes of their own, started in milliseconds: a server imports everything once, then forks.

Importing PyTorch takes seconds; the tests kill and restart a training dozens of times. Each child is a real process
with an id, an exit code and signals of its own, and runs `peephole.cli.main` as the `peephole` command does.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PATIENCE = 120  # seconds after which a process counts as hanging


def environment():
    """Return the environment of a child: this checkout's package, and one thread."""
    return {**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"}


class Launcher:
    """The server's handle; a context manager."""

    def __enter__(self):
        command = [sys.executable, "-m", "tests.training.processes"]
        self.server = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env=environment() | {"PYTHONPATH": f"{REPOSITORY / 'src'}{os.pathsep}{REPOSITORY}"},
        )
        assert self._listen() == "ready"
        return self

    def __exit__(self, *_):
        self.server.stdin.close()
        assert self.server.wait(PATIENCE) == 0
        self.server.stdout.close()

    def start(self, *arguments, cwd, output="output", variables=None, **trap):
        """Start `peephole ARGUMENTS`.

        Args:
            arguments: of the command line.
            cwd: where it runs.
            output: file there for what it prints.
            variables: environment variables to add.
            trap: how it is to end early, see `set_trap`.
        """
        request = {"arguments": arguments, "cwd": str(cwd), "output": output, "variables": variables or {}}
        self._tell(request | {"trap": trap})
        return Child(self, self._listen()["pid"], Path(cwd) / output)

    def run(self, *arguments, cwd, **trap):
        """Start `peephole ARGUMENTS` and wait for its end; return (exit code, output)."""
        return self.start(*arguments, cwd=cwd, **trap).wait()

    def _tell(self, message):
        print(json.dumps(message), file=self.server.stdin, flush=True)

    def _listen(self):
        return json.loads(self.server.stdout.readline())


class Child:
    """A process that the server has started."""

    def __init__(self, launcher, pid, output):
        self.launcher, self.pid, self.output = launcher, pid, output
        self.ended = None

    def send(self, number):
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)  # the server has not buried it yet: the id is still its own

    def poll(self):
        """Return its exit code, negative for a signal's number; None while it runs."""
        if self.ended is None:
            self.launcher._tell({"poll": self.pid})
            self.ended = self.launcher._listen()["exit"]
        return self.ended

    def wait_for(self, condition, interval=0.002):
        """Wait until the condition holds (True) or the process has ended (False)."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if self.poll() is not None:
                return False
            if time.monotonic() > deadline:
                self.send(signal.SIGKILL)
                raise TimeoutError(f"process {self.pid} hangs; it wrote:\n{self.output.read_text()}")
            time.sleep(interval)
        return True

    def wait(self):
        """Wait for its end; return (exit code, output)."""
        self.wait_for(lambda: False, interval=0.01)
        return self.ended, self.output.read_text()


def serve():
    """Start what stdin asks for, one JSON object a line, until it is closed."""
    import torch.utils.tensorboard  # noqa: F401

    import peephole.cli.train
    import peephole.training  # noqa: F401

    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = {"exit": os.waitstatus_to_exitcode(status) if pid else None}
        else:
            pid = os.fork()
            if not pid:
                _become(request)
            answer = {"pid": pid}
        print(json.dumps(answer), flush=True)


def _become(request):
    """Turn the forked process into the command; does not return."""
    os.chdir(request["cwd"])
    os.environ.update(request["variables"])
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    set_trap(**request["trap"])
    from peephole.cli import main

    main(request["arguments"])


def set_trap(replaced=None, count=1, moment="", largest_file=None):
    """Let this process end, or fail, at a certain point of its work.

    Args:
        replaced: a file's name. Every important file is written under another name, then put in place by
            `os.replace`. The process is killed when that happens to this one for the `count`-th time.
        count: which time.
        moment: "half written", "before" it is put in place, or "after".
        largest_file: bytes above which no file may grow, as if the disk were full.
    """
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    if replaced is None:
        return
    replace, calls = os.replace, 0

    def trapped(source, target):
        nonlocal calls
        calls += Path(target).name == replaced
        hit = Path(target).name == replaced and calls == count
        if hit and moment == "half written":
            os.truncate(source, os.path.getsize(source) // 2)
        if hit and moment != "after":
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if hit:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = trapped


if __name__ == "__main__":
    serve()
