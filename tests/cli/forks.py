"""Run commands in processes that are forked from one that has imported everything already.

Each command is a process of its own, with its own stdin, stdout, stderr, folder and exit code; only the seconds that
importing PyTorch and taking it down take are saved. Reads requests from stdin, one JSON object a line, and answers each
with the exit code of the finished process.
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

SECONDS = 300  # that a command may take, on a machine that is busy with other things

MODULES = (
    "peephole.training",
    *(f"peephole.cli.{verb}" for verb in ("train", "predict", "score", "evaluate", "export")),
)


def serve() -> dict[str, Any]:
    """Answer requests; return one, in the child that is to run it."""
    warnings.simplefilter("ignore", DeprecationWarning)  # of forking a process that may have threads
    for line in sys.stdin.buffer:
        child = os.fork()
        if not child:
            warnings.resetwarnings()
            return dict(json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    sys.exit()


def become(request: dict[str, Any]) -> int:
    """Turn this process into `python -m peephole ARGUMENTS`; return its exit code."""
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
        code = 120  # as Python exits when it cannot write what is left
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    for name in MODULES:
        importlib.import_module(name)
    gc.freeze()  # or each child's collector would copy all of it
    os._exit(become(serve()))
