"""What a model file says of its model: format, config and symbols, read without its tensors.

This much is needed to predict where the engine reads the tensors; it does without NumPy, which takes longer to import
than all of this.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peephole.config import Config
from peephole.errors import ConfigError, ModelFileError
from peephole.nn.schema import Architecture
from peephole.storage.settings import read_settings, section_keys
from peephole.symbols import Symbols, symbols_from_json

FORMAT_VERSION = 2  # the newest


@dataclass(frozen=True)
class Header:
    """The description of a model in its file's metadata."""

    config: Config
    source_symbols: Symbols
    target_symbols: Symbols
    notes: tuple[str, ...] = ()
    """Settings in the file that are not used, one line each."""

    @property
    def architecture(self) -> Architecture:
        """Return the architecture that the config describes."""
        return Architecture.of(self.config.model)


def read_header(path: str | Path) -> Header:
    """Read what a model file says of its model, not its tensors.

    Raises:
        ModelFileError: it is missing, not a peephole model, or of a newer format. Its tensors are not looked at.
    """
    check_exists(path)
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size - 8
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= size:
                raise ValueError(f"its header would have {length:,} bytes")
            entries = json.loads(file.read(length))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: not a whole safetensors file: {error}") from error
    metadata = entries.get("__metadata__", {}) if isinstance(entries, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ModelFileError(f"{path}: not a whole safetensors file: wanted texts as metadata, got something else")
    return parse_header(path, metadata)


def check_exists(path: str | Path) -> None:
    """Raise ModelFileError unless there is a file."""
    if not str(path):
        raise ModelFileError("wanted the name of a model file, got an empty one")
    if not Path(path).exists():
        raise ModelFileError(f"{path}: no such file")
    if Path(path).is_dir():
        raise ModelFileError(f"{path}: wanted a model file, got a directory")


def parse_header(path: str | Path, metadata: Mapping[str, str]) -> Header:
    """Return what the metadata of a model file describe.

    The settings that decide the architecture must be right. All others are information: those that are unknown or do
    not fit become notes.

    Raises:
        ModelFileError: they are not a peephole model's, of a newer format, or damaged.
    """
    check_format(path, metadata)
    try:
        config, notes = _read_config(_read_table(metadata, "config"))
        source, target = (symbols_from_json(_read_table(metadata, f"{side}_symbols")) for side in ("source", "target"))
    except (ConfigError, ModelFileError) as error:
        raise ModelFileError(f"{path}: damaged metadata: {error}") from error
    return Header(config, source, target, tuple(f"{path}: {note}" for note in notes))


def _read_config(tree: Mapping[str, Any]) -> tuple[Config, list[str]]:
    """Return the config and the notes of a file of format version 1 or 2."""
    base = Config.from_dict({key: tree[key] for key in tree if key == "model"}, "config")
    rest = {key: tree[key] for key in tree if key != "model"}
    config, notes = read_settings(rest, base, section_keys("model"))
    return config, [f"config: {note}" for note in notes]


def check_format(path: str | Path, metadata: Mapping[str, str]) -> int:
    """Return the format version.

    Raises:
        ModelFileError: it is a newer one, or the file is another program's.
    """
    if metadata.get("format") != "peephole":
        raise ModelFileError(f"{path}: wanted a model saved by peephole, got another program's safetensors file")
    version = metadata.get("format_version", "")
    if version not in map(str, range(1, FORMAT_VERSION + 1)):
        raise ModelFileError(
            f"{path}: wanted format version {FORMAT_VERSION} or older, got {version!r}; a newer peephole reads it"
        )
    return int(version)


def _read_table(metadata: Mapping[str, str], key: str) -> dict[str, Any]:
    """Return one entry of the metadata, a JSON object."""
    if key not in metadata:
        raise ModelFileError(f"there is no {key}")
    try:
        tree = json.loads(metadata[key])
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{key}: {error}") from error
    if not isinstance(tree, dict):
        raise ModelFileError(f"{key}: wanted a JSON object, got {type(tree).__name__}")
    return tree
