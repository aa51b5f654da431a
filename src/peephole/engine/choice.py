"""Which instruction set the engine computes with."""

from __future__ import annotations

from peephole.engine.abi import instruction_sets
from peephole.nn import backends


def engine_in_use() -> str | None:
    """Return the instruction set the engine computes with; None if it is turned off or missing."""
    setting = backends.current_setting()
    if setting == "auto":
        return next(iter(instruction_sets()), None)  # cached, unlike `available`, which looks for files
    return None if setting == "off" else setting


def instruction_set_in_use() -> str:
    """Return the instruction set that an operator computes with, once the engine has accepted its request."""
    found = engine_in_use()
    assert found is not None
    return found
