"""The module of `peephole export --to web` in Node, and in Chromium."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import playwright
import pytest

from peephole.export import browser

NODE = Path(playwright.__file__).parent / "driver/node"
"""The Node that Playwright brings."""
WEB = Path(str(browser.WEB))
Ask = Callable[..., Any]


class Refused(Exception):
    """The module raised an error; its text is `NAME: MESSAGE`."""


@pytest.fixture(scope="session")
def ask() -> Iterator[Ask]:
    """Return a function that sends a request to the module in Node, and returns its answer; see driver.mjs."""
    with asking(WEB) as call:
        yield call


@contextmanager
def asking(folder: Path) -> Iterator[Ask]:
    """Start the module of a folder in Node; see `ask`."""
    command = [NODE, Path(__file__).with_name("driver.mjs"), folder]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def call(op: str, **request: Any) -> Any:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps({"op": op, **request}, default=str) + "\n")
            process.stdin.flush()
            reply = json.loads(process.stdout.readline())
            if "message" in reply:
                raise Refused(f"{reply['name']}: {reply['message']}")
            return reply.get("value")

        yield call
        process.stdin and process.stdin.close()
