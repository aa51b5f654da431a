"""Configures beartype as the run-time type checker of the tests; like mypy, it accepts an int as a float.

The first calls of each function in a test are checked, not all: a function that is called thousands of times hardly
meets a new type after them, and the checks took more than half of the time of most tests.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype

CHECKED_CALLS = 20  # of each function in a test

with_beartype = beartype(conf=BeartypeConf(is_pep484_tower=True))
calls: Counter[Callable[..., Any]] = Counter()
unchecked: set[Any] = set()  # functions that have been called so often in this test


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with its annotations checked.

    Args:
        function: one of the two functions that jaxtyping makes of each function of the package, with its module, name
            and annotations, and calls before and after it.
    """
    checked: Callable[..., Any] | None = None  # made at the first call: most functions are never called with checks

    @functools.wraps(function)
    def counted(*args: Any, **settings: Any) -> Any:
        nonlocal checked
        calls[function] += 1
        checked = checked or with_beartype(function)
        if calls[function] == CHECKED_CALLS:
            stop_checking(function.__module__, function.__qualname__)
        return checked(*args, **settings)

    return counted


def stop_checking(module: str, name: str) -> None:
    """Make jaxtyping call a function or method directly until `check_all`; others, such as properties, stay checked."""
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = inspect.getattr_static(found, part, None)
    if inspect.isfunction(found):
        found.__no_type_check__ = True
        unchecked.add(found)


def check_all() -> None:
    """Check the first calls of all functions again."""
    calls.clear()
    while unchecked:
        del unchecked.pop().__no_type_check__
