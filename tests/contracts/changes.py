"""Functions with one piece of their text replaced: how every list of wrong implementations here is made."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def change_text(function: Callable[..., Any], right: str, wrong: str) -> Callable[..., Any]:
    """Return the function as it would be with `wrong` in place of `right`, which its text holds once."""
    text = inspect.getsource(function)
    assert text.count(right) == 1, f"{right!r} stands {text.count(right)} times in {function.__name__}, wanted once"
    namespace: dict[str, Any] = {}
    exec(text.replace(right, wrong), function.__globals__, namespace)
    return namespace[function.__name__]
