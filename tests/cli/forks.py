"""Run commands in processes forked from one that has imported all modules.

Each command is a separate process with its own stdin, stdout, stderr, folder and exit code; forking saves the seconds
that importing and unloading PyTorch take. The server reads requests from stdin, one JSON object a line, and writes the
exit code of each finished process to stdout.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import runpy
import signal
import sys
import traceback
import warnings
from typing import Any

SECONDS = 300  # time limit of a command; generous, since the machine may be busy

MODULES = (
    "peephole.training",
    *(f"peephole.cli.{verb}" for verb in ("train", "predict", "score", "evaluate", "export", "info")),
)


def serve() -> dict[str, Any]:
    """Fork a child for each request; return the request in that child, which runs it."""
    warnings.simplefilter("ignore", DeprecationWarning)  # Python warns when a process with threads forks
    for line in sys.stdin.buffer:
        child = os.fork()
        if not child:
            warnings.resetwarnings()
            return dict(json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    sys.exit()


def run(request: dict[str, Any]) -> int:
    """Run `python -m peephole ARGUMENTS` in this process; return its exit code."""
    signal.alarm(SECONDS)
    os.chdir(request["folder"])
    streams = {"stdin": os.O_RDONLY, "stdout": os.O_WRONLY, "stderr": os.O_WRONLY}
    for number, (name, flags) in enumerate(streams.items()):
        os.dup2(os.open(request[name], flags), number)
    for name, limit in request["limits"].items():
        resource.setrlimit(getattr(resource, name), (limit, limit))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding=request["encoding"])
    sys.argv = ["peephole", *request["arguments"]]
    try:
        runpy.run_module("peephole", run_name="__main__")
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 1
    try:
        sys.stdout.flush()
    except OSError:
        traceback.print_exc()
        code = 120  # Python's own exit code when flushing stdout fails at exit
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    for name in MODULES:
        importlib.import_module(name)
    gc.freeze()  # otherwise each child's garbage collector would copy all pages
    os._exit(run(serve()))
