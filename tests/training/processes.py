"""Starts `peephole` commands as new processes in milliseconds: a server imports everything once, then forks.

Importing PyTorch takes seconds, and the tests kill and restart trainings dozens of times. Each child is a separate
process with its own id, exit code and signals, and runs `peephole.cli.main` as the `peephole` command does.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
TIMEOUT = 600  # seconds after which a process counts as hanging, also on a busy machine


def environment():
    """Return the environment variables of a child: the package of this checkout, one thread."""
    return {**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"}


class Launcher:
    """Runs the server as a context manager and starts processes through it."""

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
        assert self._receive() == "ready"
        return self

    def __exit__(self, *_):
        self.server.stdin.close()
        assert self.server.wait(TIMEOUT) == 0
        self.server.stdout.close()

    def start(self, *arguments, cwd, output="output", variables=None, **trap):
        """Start `peephole ARGUMENTS`.

        Args:
            arguments: of the command line.
            cwd: the working directory.
            output: the file in `cwd` that receives stdout and stderr.
            variables: environment variables to add.
            trap: arguments of `set_trap`, which ends the process early.
        """
        request = {"arguments": arguments, "cwd": str(cwd), "output": output, "variables": variables or {}}
        self._send(request | {"trap": trap})
        return Child(self, self._receive()["pid"], Path(cwd) / output)

    def run(self, *arguments, cwd, **trap):
        """Run `peephole ARGUMENTS` to its end; return (exit code, output)."""
        return self.start(*arguments, cwd=cwd, **trap).wait()

    def _send(self, message):
        print(json.dumps(message), file=self.server.stdin, flush=True)

    def _receive(self):
        return json.loads(self.server.stdout.readline())


class Child:
    """Represents a process started by the server."""

    def __init__(self, launcher, pid, output):
        self.launcher, self.pid, self.output = launcher, pid, output
        self.ended = None

    def send(self, number):
        """Send a signal to the process unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)  # not yet reaped by the server, so the id is still valid

    def poll(self):
        """Return the exit code (negative for a signal), or None while the process runs."""
        if self.ended is None:
            self.launcher._send({"poll": self.pid})
            self.ended = self.launcher._receive()["exit"]
        return self.ended

    def wait_for(self, condition, interval=0.002):
        """Wait until the condition holds (True) or the process has ended (False)."""
        deadline = time.monotonic() + TIMEOUT
        while not condition():
            if self.poll() is not None:
                return False
            if time.monotonic() > deadline:
                self.send(signal.SIGKILL)
                raise TimeoutError(f"process {self.pid} hangs; it wrote:\n{self.output.read_text()}")
            time.sleep(interval)
        return True

    def wait(self):
        """Wait for the end of the process; return (exit code, output)."""
        self.wait_for(lambda: False, interval=0.01)
        return self.ended, self.output.read_text()


def serve():
    """Handle the requests on stdin, one JSON object a line, until it is closed."""
    import torch.utils.tensorboard  # noqa: F401

    import peephole.cli.train
    import peephole.training  # noqa: F401

    gc.freeze()  # a child's garbage collector skips what is imported here: a child ends in 0.2 instead of 0.7 s
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            reply = {"exit": os.waitstatus_to_exitcode(status) if pid else None}
        else:
            pid = os.fork()
            if not pid:
                _run_command(request)
            reply = {"pid": pid}
        print(json.dumps(reply), flush=True)


def _run_command(request):
    """Run the requested command in the forked process; does not return."""
    os.chdir(request["cwd"])
    os.environ.update(request["variables"])
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # where the tests run under nohup, it is ignored
    set_trap(**request["trap"])
    from peephole.cli import main

    main(request["arguments"])


def set_trap(replaced=None, count=1, moment="", evaluation=None, largest_file=None):
    """Make this process end or fail at a certain point of its work.

    Args:
        replaced: the name of a file. Important files are written under a temporary name, then renamed by
            `os.replace`. The process is killed at the `count`-th such renaming to this name.
        count: the number of that renaming, from 1.
        moment: when to kill: "half written" (truncated, not renamed), "before" the renaming, or "after" it.
        evaluation: the number of an evaluation on dev, from 1, in the middle of which the process is killed.
        largest_file: the maximal size of any file in bytes, to simulate a full disk.
    """
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    if evaluation is not None:
        _kill_in_evaluation(evaluation)
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


def _kill_in_evaluation(evaluation):
    """Kill this process in an evaluation, after its predictions and before its loss."""
    from peephole.training import dev

    mean_loss, calls = dev.mean_loss, 0

    def trapped(*arguments, **settings):
        nonlocal calls
        calls += 1
        if calls == evaluation:
            os.kill(os.getpid(), signal.SIGKILL)
        return mean_loss(*arguments, **settings)

    dev.mean_loss = trapped


if __name__ == "__main__":
    serve()
