"""Makes wrong implementations by replacing one piece of text in a correct function."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from typing import Any


def change_text(function: Callable[..., Any], right: str, wrong: str) -> Callable[..., Any]:
    """Return the function with `wrong` in place of `right`, which must occur exactly once in its source."""
    text = textwrap.dedent(inspect.getsource(function))  # of a method, too
    assert text.count(right) == 1, f"{right!r} occurs {text.count(right)} times in {function.__name__}, wanted once"
    namespace: dict[str, Any] = {}
    exec(text.replace(right, wrong), inspect.unwrap(function).__globals__, namespace)
    return namespace[function.__name__]
