"""Read the settings of a model file; unknown and invalid ones are ignored and noted, never an error."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from typing import Any

from peephole.config import SECTIONS, Config, read_section
from peephole.errors import ConfigError


def section_keys(*left_out: str) -> dict[str, list[str]]:
    """Return the keys of each section of a config, except the named sections."""
    return {name: [f.name for f in fields(kind)] for name, kind in SECTIONS.items() if name not in left_out}


def read_settings(
    tree: Mapping[str, Any], base: Config, known: Mapping[str, Collection[str]]
) -> tuple[Config, list[str]]:
    """Return a config with the settings of a model file, and a note on each that is not used.

    Args:
        tree: section → key → value, as in the file.
        base: the config whose values are kept where the file has no valid value.
        known: the keys of each section that are read.
    """
    config, notes = base, []
    for name, values in tree.items():
        if name not in known:
            notes.append(f"unknown section {_printable(name)} is ignored")
            continue
        if not isinstance(values, Mapping):
            notes.append(f"{name}: wanted a table of keys, got {values!r}; the defaults are used")
            continue
        section, found = _read_keys(name, values, getattr(base, name), known[name])
        notes += found
        try:
            config = replace(config, **{name: section})
        except ConfigError as error:  # the values contradict each other
            notes.append(f"{error}; the defaults of {name} are used")
    return config, notes


def _read_keys(name: str, values: Mapping[str, Any], section: Any, known: Collection[str]) -> tuple[Any, list[str]]:
    notes = []
    for key, value in values.items():
        if key not in known:
            notes.append(f"unknown key {name}.{_printable(key)} is ignored")
            continue
        try:
            section = read_section(type(section), {key: value}, name, base=section)
        except ConfigError as error:
            notes.append(f"{error}; the default is used")
    return section, notes


def _printable(name: str) -> str:
    """Return a name as it is, or escaped if a terminal could not show it on one line."""
    return name if name.isprintable() else ascii(name)
