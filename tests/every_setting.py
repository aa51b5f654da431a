"""Every setting by its full name: its type, its value in a config, and a value other than the default."""

from __future__ import annotations

import types
import typing
from dataclasses import fields
from typing import Any, Literal

from peephole.config import Config

FIELDS = {
    f"{section.name}.{field.name}": (typing.get_type_hints(kind)[field.name], field)
    for section in fields(Config)
    if section.name not in ("peephole_implied", "given")
    for kind in [typing.get_type_hints(Config)[section.name]]
    for field in fields(kind)
}
# Further settings that a non-default value requires
COMPANIONS = {
    "data.targets_only": {"model.input": "none"},
    "symbols.of": {"model.input": "none"},
    "model.cell": {"model.peephole": "none"},
    "model.hidden_size": {"model.bidirectional": False},
    "model.encoder_size": {"model.bidirectional": False},
    "model.encoder_pyramid": {"model.encoder_layers": 9},
    "search.nbest": {"search.beam_size": 10**6},
    "train.coverage_loss": {"model.attention": "coverage"},
    "search.diverse_groups": {"search.beam_size": 10**6},
    "search.top_k": {"search.temperature": 1.0},
    "search.top_p": {"search.temperature": 1.0},
    "search.ctc_weight": {"model.ctc": True},
}


def inner_type(hint: Any) -> Any:
    """Return the type of a setting, without None for an optional one."""
    if isinstance(hint, types.UnionType):
        return next(kind for kind in typing.get_args(hint) if kind is not type(None))
    return hint


def another_value(name: str) -> Any:
    """Return a valid value other than the default; the default of a kind that has only one name so far."""
    hint, field = FIELDS[name]
    hint, low, high = inner_type(hint), field.metadata["low"], field.metadata["high"]
    if typing.get_origin(hint) is Literal:
        return next((value for value in typing.get_args(hint) if value != field.default), field.default)
    if hint is bool:
        return not field.default
    if hint is str:
        return "a name, with 'quotes' and 한"
    if hint is int:
        return (field.default or low or 1) + 1
    return (low + high) / 2 + 0.001 if high is not None else (field.default or 0.0) + 1.25


def get(config: Config, name: str) -> Any:
    """Return the value of a setting given by its full name."""
    section, key = name.split(".")
    return getattr(getattr(config, section), key)


def as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
