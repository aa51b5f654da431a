"""One model = one file: tensors, and as metadata the format version, the config and the symbol tables as JSON.

The container is safetensors: loading it executes nothing. Files are replaced atomically: whoever reads sees the old
file or the new one, whole, also if the machine stops or the disk fills up in between.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from peephole.config import Config
from peephole.errors import ConfigError, ModelFileError, RunError
from peephole.symbols import Symbols, symbols_from_json

FORMAT_VERSION = 1

Tensors = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class ModelFile:
    """What a model file holds."""

    tensors: Tensors
    config: Config
    source_symbols: Symbols
    target_symbols: Symbols


def save_model(path: str | Path, model: ModelFile) -> None:
    """Write a model file, replacing an older one atomically.

    Raises:
        RunError: the file cannot be written (no such folder, disk full, …); an older file is left as it was.
    """
    metadata = {
        "format": "peephole",
        "format_version": str(FORMAT_VERSION),
        "config": json.dumps(model.config.to_dict()),
        "source_symbols": json.dumps(model.source_symbols.to_json(), ensure_ascii=False),
        "target_symbols": json.dumps(model.target_symbols.to_json(), ensure_ascii=False),
    }
    write_tensors(path, model.tensors, metadata)


def load_model(path: str | Path) -> ModelFile:
    """Read a model file.

    Raises:
        ModelFileError: the file is missing, is not a peephole model, is damaged, or is of a newer format.
    """
    tensors, metadata = read_tensors(path)
    if metadata.get("format") != "peephole":
        raise ModelFileError(f"{path}: wanted a model saved by peephole, got another program's safetensors file")
    version = metadata.get("format_version", "")
    if not version.isdecimal() or int(version) > FORMAT_VERSION:
        raise ModelFileError(
            f"{path}: wanted format version {FORMAT_VERSION} or older, got {version!r}; a newer peephole reads it"
        )
    try:
        return ModelFile(
            tensors,
            Config.from_dict(json.loads(metadata["config"]), where=f"{path}, config"),
            symbols_from_json(json.loads(metadata["source_symbols"])),
            symbols_from_json(json.loads(metadata["target_symbols"])),
        )
    except (KeyError, json.JSONDecodeError, ConfigError) as error:
        raise ModelFileError(f"{path}: damaged metadata: {error}") from error


def write_tensors(path: str | Path, tensors: Tensors, metadata: Mapping[str, str]) -> None:
    """Write a safetensors file atomically: a temporary file in the same folder, flushed to disk, then renamed.

    Raises:
        RunError: it cannot be written; an older file of that name is left as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            file.write(save({name: np.ascontiguousarray(t) for name, t in tensors.items()}, dict(metadata)))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from error


def read_tensors(path: str | Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Read a safetensors file: its tensors and its metadata.

    Raises:
        ModelFileError: the file is missing, truncated, or not a safetensors file.
    """
    if not Path(path).exists():
        raise ModelFileError(f"{path}: no such file")
    if Path(path).is_dir():
        raise ModelFileError(f"{path}: wanted a model file, got a directory")
    try:
        with safe_open(path, framework="np") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise ModelFileError(f"{path}: not a whole safetensors file: {error}") from error
