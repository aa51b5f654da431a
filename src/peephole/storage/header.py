"""The header of a model file: format, architecture, settings and symbols, read without the tensors.

Prediction needs no more in Python, because the engine reads the tensors. This module does not import NumPy, which takes
longer than all other imports together.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peephole.config import Config, ModelConfig
from peephole.errors import ConfigError, ModelFileError, shorten
from peephole.nn.schema import Architecture, making_of_settings
from peephole.storage.read_file import open_file
from peephole.storage.settings import read_settings, section_keys
from peephole.symbols import Symbols, symbols_from_json

FORMAT_VERSION = 3  # the newest version, which is written
FORMAT_VERSIONS = tuple(map(str, range(1, FORMAT_VERSION + 1)))
TRAINING = "training"  # key of a table in `made`
MOST_LEVELS = 10  # of nested values in `made`


@dataclass(frozen=True)
class Header:
    """The description of a model in its file's metadata."""

    config: Config
    source_symbols: Symbols
    target_symbols: Symbols
    made: Mapping[str, Any] = field(default_factory=dict)
    """Versions of the libraries that made the model, by name, and the table `training` (see
    `peephole.storage.model_file`); {} in files of format versions 1 and 2."""
    notes: tuple[str, ...] = ()
    """Information in the file that is not used, one line each."""
    format_version: int = FORMAT_VERSION

    @property
    def architecture(self) -> Architecture:
        """Return the architecture that the config describes."""
        return Architecture.of(self.config.model)


def read_header(path: str | Path) -> Header:
    """Read the description of a model from its file.

    Raises:
        ModelFileError: the file is missing, not a peephole model, or of a newer format. Its tensors are not checked.
    """
    with open_file(path) as file:
        return parse_header(path, _read_metadata(path, file))


def read_content(path: str | Path) -> bytes:
    """Read a whole model file; a file of another program is refused before its tensors are read.

    Raises:
        ModelFileError: as `read_header`; settings and symbols are not checked either.
    """
    with open_file(path) as file:
        check_format(path, _read_metadata(path, file))
        file.seek(0)
        return file.read()


def header_of(name: str | Path, content: bytes) -> Header:
    """Return the description of a model from the content of its file; `name` and errors as in `read_header`."""
    return parse_header(name, metadata_of(name, content))


def metadata_of(name: str | Path, content: bytes) -> dict[str, str]:
    """Return the metadata of a safetensors file from its content; its tensors are not checked.

    Raises:
        ModelFileError: it is not a safetensors file.
    """
    return _read_metadata(name, io.BytesIO(content))


def _read_metadata(path: str | Path, file: io.FileIO | io.BytesIO) -> dict[str, str]:
    try:
        size = file.seek(0, os.SEEK_END) - 8
        file.seek(0)
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= size:
            raise ValueError("it is empty" if size == -8 else f"its header would have {length:,} bytes")
        entries = json.loads(file.read(length))
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: not a whole safetensors file: {error}") from error
    metadata = entries.get("__metadata__", {}) if isinstance(entries, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ModelFileError(f"{path}: not a whole safetensors file: wanted texts as metadata, got something else")
    return metadata


def parse_header(path: str | Path, metadata: Mapping[str, str]) -> Header:
    """Return the description in the metadata of a model file.

    The architecture must be valid. Settings and versions are optional: unknown or invalid ones become notes.

    Raises:
        ModelFileError: the file is not a peephole model, or the metadata have a newer format or are damaged.
    """
    version = check_format(path, metadata)
    try:
        config, notes = _read_old_config(metadata) if version < 3 else _read_config(metadata)
        source, target = (symbols_from_json(_read_table(metadata, f"{side}_symbols")) for side in ("source", "target"))
    except (ConfigError, ModelFileError) as error:
        raise ModelFileError(f"{path}: metadata: {error}") from error
    made, more = ({}, []) if version < 3 else _read_made(metadata)
    return Header(config, source, target, made, tuple(f"{path}: {note}" for note in notes + more), version)


def _read_old_config(metadata: Mapping[str, str]) -> tuple[Config, list[str]]:
    """Return the config and the notes of a file of format version 1 or 2."""
    tree = _read_table(metadata, "config")
    model = tree.get("model", {})
    if isinstance(model, Mapping):  # the default of those versions for any cell
        model = {"peephole": "full", **model}
    base = Config.from_dict({"model": model}, "config")
    rest = {key: tree[key] for key in tree if key != "model"}
    config, notes = read_settings(rest, base, section_keys("model"))
    return config, [f"config: {note}" for note in notes]


def _read_config(metadata: Mapping[str, str]) -> tuple[Config, list[str]]:
    """Return the config and the notes of a file of format version 3."""
    architecture = Architecture.from_dict(_read_table(metadata, "architecture"))
    base = Config(model=ModelConfig(**architecture.model_settings()))
    tree, notes = _read_information(metadata, "settings")
    config, more = read_settings(tree, base, section_keys("model") | {"model": making_of_settings()})
    return config, [f"settings: {note}" for note in notes + more]


def _read_made(metadata: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Return the versions of the libraries that made the model and the table of its training, and the notes."""
    made, notes = _read_information(metadata, "made")
    if _num_levels(made) > MOST_LEVELS:  # copying and printing them would be recursive
        made, notes = {}, [f"wanted at most {MOST_LEVELS} levels, got more; it is ignored"]
    for name in list(made):
        kind, wanted = (dict, "a table as") if name == TRAINING else (str, "a version of")
        if not isinstance(made[name], kind):
            notes.append(f"wanted {wanted} {name!a}, got {shorten(repr(made.pop(name)))}")
    return made, [f"made: {note}" for note in notes]


def _num_levels(tree: Any) -> int:
    """Return the number of levels of nested JSON values, at most one more than are allowed."""
    level, count = [tree], 0
    while level and count <= MOST_LEVELS:
        nested = [value for value in level if isinstance(value, (dict, list))]
        level = [inner for value in nested for inner in (value.values() if isinstance(value, dict) else value)]
        count += bool(nested)
    return count


def _read_information(metadata: Mapping[str, str], key: str) -> tuple[dict[str, Any], list[str]]:
    """Return an optional entry, or {} and a note if it cannot be read."""
    try:
        return _read_table(metadata, key), []
    except ModelFileError as error:
        return {}, [f"{str(error).removeprefix(f'{key}: ')}; it is ignored"]


def check_format(path: str | Path, metadata: Mapping[str, str]) -> int:
    """Return the format version.

    Raises:
        ModelFileError: it is a newer version, or none, or the file was written by another program.
    """
    if metadata.get("format") != "peephole":
        raise ModelFileError(f"{path}: wanted a model saved by peephole, got another program's safetensors file")
    version = metadata.get("format_version", "")
    if version not in FORMAT_VERSIONS:
        newer = re.fullmatch("[1-9][0-9]*", version)
        wanted = (
            f"{FORMAT_VERSION} or older" if newer else f"{', '.join(FORMAT_VERSIONS[:-1])} or {FORMAT_VERSIONS[-1]}"
        )
        hint = "; a newer peephole reads it" if newer else ""
        raise ModelFileError(f"{path}: wanted format version {wanted}, got {shorten(repr(version))}{hint}")
    return int(version)


def _read_table(metadata: Mapping[str, str], key: str) -> dict[str, Any]:
    """Return one entry of the metadata, a JSON object."""
    if key not in metadata:
        raise ModelFileError(f"there is no {key}")
    try:
        # NaN and Infinity are no JSON; as information, which is printed as JSON again, they become texts
        tree = json.loads(metadata[key], parse_constant=str if key == "made" else None)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{key}: {error}") from error
    if not isinstance(tree, dict):
        raise ModelFileError(f"{key}: wanted a JSON object, got {type(tree).__name__}")
    return tree
