"""The stamp of prepared data: what they were made from, and a digest of every byte of them.

The stamp is a JSON file. Its first line holds the SHA-256 of all that follows, so that a flipped bit in the stamp
itself is noticed, too. SHA-256 is faster than BLAKE2 on processors with instructions for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from peephole.config import Config, DataConfig
from peephole.data.corpus import FILE_NAMES
from peephole.data.files import data_files
from peephole.data.frame_pairs import DEV_FILES
from peephole.data.known import KnownSymbols
from peephole.data.manifest import sources_digest
from peephole.data.prepared_series import SERIES_FILES
from peephole.errors import DataError
from peephole.storage.replace_file import replace_file
from peephole.symbols import FRAME_KINDS

STAMP = "prepared.json"
STAMP_VERSION = 2
SERIES_SETTINGS = ("horizon", "history", "columns", "time")
HASHED_AT_A_TIME = 1 << 20  # bytes

Stamp = dict[str, Any]


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content, as `sha256sum` prints it."""
    found = sha256()
    with open(path, "rb", buffering=0) as file:
        while part := file.read(HASHED_AT_A_TIME):
            found.update(part)
    return found.hexdigest()


def content_of(path: str | Path | None) -> list[list[Any]] | None:
    """Return size and digest of the files of a path, wherever they are and whenever they were written.

    Raises:
        DataError: one is missing or cannot be read.
    """
    return None if path is None else [_content(file) for file in data_files(path)]


def _content(file: Path) -> list[Any]:
    try:
        return [file.stat().st_size, file_digest(file)]
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from error


def settings_of(config: Config, known: KnownSymbols | None) -> dict[str, Any]:
    """Return the settings, and the model's symbols, that determine the prepared data, as plain JSON values."""
    # Left out where unused, as in data prepared before there were any
    later = {"targets_only": False, "of": None, "shared": False}
    data, symbols = (
        {name: value for name, value in asdict(section).items() if name not in later or value != later[name]}
        for section in (config.data, config.symbols)
    )
    del data["batch_symbols"]
    for name in SERIES_SETTINGS if config.data.horizon is None else ():
        del data[name]
    settings = {"version": STAMP_VERSION, "data": data, "symbols": symbols}
    if config.model.output == "copy":
        settings |= {"output": "copy"}  # sources and targets have ids of copied symbols
    if config.frames.kind in FRAME_KINDS:
        frames = {name: value for name, value in asdict(config.frames).items() if name != "batch_frames"}
        settings |= {"frames": frames | {"input_size": config.model.input_size}}
    if config.data.horizon is not None:
        settings |= {"scaling": config.model.scaling}
    return settings if known is None else settings | {"known_symbols": known.digest()}


def sources_content(path: str | Path | None, settings: dict[str, Any]) -> tuple[str | None, list[str]]:
    """Return a digest of the names and sizes of the files that a manifest names, and which of them are missing.

    Args:
        path: the manifest, or None.
        settings: as `settings_of` returns them; if the sources are text, there are no such files.
    """
    if path is None or "frames" not in settings or "horizon" in settings["data"]:
        return None, []
    return sources_digest(path, DataConfig(**settings["data"]))


def write_stamp(folder: Path, content: Mapping[str, Any]) -> Stamp:
    """Write a stamp with this content and the digests of the corpus files of the folder; return it.

    Raises:
        RunError: it cannot be written.
    """
    names: tuple[str, ...] = FILE_NAMES if "statistics" not in content else (*FILE_NAMES, *DEV_FILES)
    names = SERIES_FILES if "series" in content else names
    stamp = {"files": {name: file_digest(folder / name) for name in names}, **content}
    # The rest of the object follows the digest; names of files may hold any bytes
    rest = json.dumps(stamp, ensure_ascii=False).encode(errors="surrogateescape")[1:]
    with replace_file(folder / STAMP) as file:
        file.write(b'{"digest": "' + sha256(rest).hexdigest().encode() + b'",\n' + rest)
    return stamp


def data_digest(stamp: Stamp) -> str:
    """Return a digest of all that training depends on: ids, symbol tables and dev pairs."""
    parts = [stamp[name] for name in ("files", "source_symbols", "target_symbols", "dev_pairs")]
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def read_stamp(folder: Path, *, check_files: bool = True) -> Stamp | None:
    """Return the stamp of prepared data; None if a byte of it or, with `check_files`, of the corpus has changed."""
    try:
        first, rest = (folder / STAMP).read_bytes().split(b"\n", 1)
        if first != b'{"digest": "' + sha256(rest).hexdigest().encode() + b'",':
            return None
        stamp: Stamp = json.loads("{" + rest.decode(errors="surrogateescape"))
        if check_files and stamp["files"] != {name: file_digest(folder / name) for name in stamp["files"]}:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return stamp


def read_older_stamp(folder: Path) -> Stamp | None:
    """Return the stamp that version 0.1 wrote beside an Arrow file; None if there is none."""
    try:
        stamp: Stamp = json.loads((folder / STAMP).read_text(encoding="utf-8", errors="surrogateescape"))
        return stamp if stamp["made_from"]["version"] == 1 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_older_content(stamp: Stamp, train_path: str | Path, dev_path: str | Path | None) -> bool:
    """Return whether the files have the sizes and times of modification that an older stamp names.

    Raises:
        DataError: one is missing.
    """
    for name, path in (("train", train_path), ("dev", dev_path)):
        found = None if path is None else [[file.stat().st_size, file.stat().st_mtime_ns] for file in data_files(path)]
        named = stamp["made_from"][name]
        if found != (named if named is None else [entry[1:] for entry in named]):
            return False
    return True
