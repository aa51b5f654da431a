"""Values of settings: declaring one with help and range, and reading it from text, TOML or JSON."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import field
from numbers import Real
from typing import Any, Literal

from peephole.errors import ConfigError, describe_value, nearest


def option(default: Any, help: str, *, low: float | None = None, high: float | None = None) -> Any:
    """Declare a setting: default, help, and the closed range of a number; every number has one."""
    return field(default=default, metadata={"help": help, "low": low, "high": high})


def default_text(default: Any) -> str:
    """Return a default as it is written on the command line.

    >>> default_text(None), default_text(True), default_text("NFC")
    ('none', 'true', 'NFC')
    """
    return str(default).lower() if default is None or isinstance(default, bool) else str(default)


def read_value(hint: Any, value: Any, where: str, metadata: Mapping[str, Any]) -> Any:
    """Convert a value to its declared type; text is read as in TOML.

    Args:
        hint: the declared type.
        value: the value, or text as written on a command line.
        where: the beginning of an error message.
        metadata: what `option` declared.

    Raises:
        ConfigError: the value has another type, or is out of range.
    """
    if isinstance(hint, types.UnionType):
        if value is None or (isinstance(value, str) and value == "none"):
            return None
        inner = next(kind for kind in typing.get_args(hint) if kind is not type(None))
        return _read(inner, value, where, metadata, f"{WANTED[inner]} or none")
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        if not isinstance(value, str) or value not in choices:
            found = f"wanted {type_text(hint)}, got {describe_value(value)}"
            raise ConfigError(f"{where}: {found}{nearest(value, choices) if isinstance(value, str) else ''}")
        return value
    return _read(hint, value, where, metadata, WANTED[hint])


WANTED = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
"""The type of a setting → the words for it in an error message."""
_BOOLEANS = {"true": True, "on": True, "false": False, "off": False}


def _read(kind: type, value: Any, where: str, metadata: Mapping[str, Any], wanted: str) -> Any:
    try:
        found: Any = _read_number(kind, value) if kind in (int, float) else _read_word(kind, value)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"{where}: wanted {wanted}, got {describe_value(value)}") from None
    if kind in (int, float):
        _check_range(found, value, where, metadata["low"], metadata["high"])
    return found


def _read_word(kind: type, value: Any) -> bool | str:
    """Return a value of type bool or str."""
    if kind is bool and isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise TypeError
    value.encode()  # fails for undecodable bytes of the command line, which a model file cannot hold
    if kind is str:
        return value
    if value.lower() not in _BOOLEANS:
        raise ValueError
    return _BOOLEANS[value.lower()]


def _read_number(kind: type, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (str, Real)):
        raise TypeError
    number = kind(value)
    if kind is int and not isinstance(value, str) and number != value:
        raise ValueError
    return number


def _check_range(number: float, value: Any, where: str, low: float, high: float) -> None:
    got = f"got {describe_value(value)}"
    if isinstance(number, float) and not math.isfinite(number):
        raise ConfigError(f"{where}: wanted a finite number, {got}")
    if not low <= number <= high:
        raise ConfigError(f"{where}: wanted a number from {low} to {high}, {got}")


def type_text(hint: Any) -> str:
    """Return a declared type as help texts and errors name it."""
    if typing.get_origin(hint) is Literal:
        return "|".join(typing.get_args(hint))
    if isinstance(hint, types.UnionType):
        return "|".join("none" if kind is type(None) else kind.__name__ for kind in typing.get_args(hint))
    return str(hint.__name__)
