"""Values of settings: declaring one with help and range, and reading it from text, TOML or JSON."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from peephole.errors import ConfigError, nearest


def option(default: Any, help: str, *, low: float | None = None, high: float | None = None) -> Any:
    """Declare a setting: default, help, and the closed range of a number; every number has a `low`."""
    return field(default=default, metadata={"help": help, "low": low, "high": high})


def default_text(default: Any) -> str:
    """Return a default as it is written on the command line.

    >>> default_text(None), default_text(True), default_text("NFC")
    ('none', 'true', 'NFC')
    """
    return str(default).lower() if default is None or isinstance(default, bool) else str(default)


def read_value(hint: Any, value: Any, where: str, metadata: Mapping[str, Any]) -> Any:
    """Convert a value to its declared type; text is read as in TOML."""
    got = f"wanted {type_text(hint)}, got {value!r}"
    if isinstance(hint, types.UnionType):
        inner = next(kind for kind in typing.get_args(hint) if kind is not type(None))
        return None if value in (None, "none") else read_value(inner, value, where, metadata)
    if typing.get_origin(hint) is Literal:
        if value not in typing.get_args(hint):
            raise ConfigError(f"{where}: {got}{nearest(str(value), typing.get_args(hint))}")
        return value
    if hint is bool:
        words = {"true": True, "on": True, "false": False, "off": False}
        if isinstance(value, str) and value.lower() in words:
            return words[value.lower()]
        if not isinstance(value, bool):
            raise ConfigError(f"{where}: {got}")
        return value
    if hint is str:
        if not isinstance(value, str):
            raise ConfigError(f"{where}: {got}")
        return value
    try:
        if isinstance(value, bool) or (hint is int and isinstance(value, float) and not value.is_integer()):
            raise ValueError
        number = hint(value)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"{where}: {got}") from None
    low, high = metadata["low"], metadata["high"]
    if hint is float and not math.isfinite(number):
        raise ConfigError(f"{where}: wanted a finite number, got {value!r}")
    if number < low or (high is not None and number > high):
        raise ConfigError(f"{where}: wanted a number {_range_text(low, high)}, got {value!r}")
    return number


def _range_text(low: float, high: float | None) -> str:
    return f"≥ {low}" if high is None else f"from {low} to {high}"


def type_text(hint: Any) -> str:
    """Return a declared type as help texts and errors name it."""
    if typing.get_origin(hint) is Literal:
        return "|".join(typing.get_args(hint))
    if isinstance(hint, types.UnionType):
        return "|".join("none" if kind is type(None) else kind.__name__ for kind in typing.get_args(hint))
    return str(hint.__name__)
