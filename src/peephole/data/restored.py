"""Open prepared data again, and prepare them again where they are damaged, missing, or of an older version."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from peephole.config import Config
from peephole.data.known import KnownSymbols
from peephole.data.prepared import Prepared, from_stamp, has_content, prepare
from peephole.data.stamp import (
    Stamp,
    content_of,
    data_digest,
    is_older_content,
    read_older_stamp,
    read_stamp,
    settings_of,
    sources_content,
)
from peephole.errors import DataError, RunError


def open_prepared(folder: str | Path) -> Prepared:
    """Open the data that `prepare` or `reopen` has just returned in another process, without checking them again.

    Raises:
        RunError: there are none.
    """
    stamp = read_stamp(Path(folder), check_files=False)
    if stamp is None:
        raise RunError(f"{folder}: holds no prepared data")
    return from_stamp(Path(folder), stamp)


def reopen(
    train_path: str | Path,
    dev_path: str | Path | None,
    config: Config,
    folder: str | Path,
    known: KnownSymbols | None = None,
) -> Prepared | None:
    """Return the data that an equal call of `prepare` wrote.

    Files that are missing now are not needed: the last lines of the report name them.

    Returns:
        The data; None if files or settings have changed since, or if a byte of the prepared data has.
    """
    folder = Path(folder)
    stamp = read_stamp(folder)
    if stamp is None or stamp["made_from"]["settings"] != settings_of(config, known):
        return None
    missing = []
    for name, path in (("train", train_path), ("dev", dev_path)):
        try:
            if content_of(path) != stamp["made_from"][name]:
                return None
            digest, gone = sources_content(path, stamp["made_from"]["settings"])
            if digest != stamp["made_from"].get("sources", {}).get(name):
                if not gone:
                    return None
                are = "is" if len(gone) == 1 else "are"
                raise DataError(f"{path}: {len(gone)} of the files that it names {are} missing, the first {gone[0]}")
        except DataError as error:
            missing.append(f"{error}; the prepared data in {folder} are whole and are used")
    prepared = from_stamp(folder, stamp)
    return replace(prepared, report=prepared.report + missing)


def prepare_again(
    train_path: str | Path,
    dev_path: str | Path | None,
    config: Config,
    folder: str | Path,
    known: KnownSymbols | None = None,
    digest: str | None = None,
) -> Prepared | None:
    """Restore the prepared data of a folder whose files are damaged, missing, or of an older version.

    Args:
        train_path: as in `prepare`.
        dev_path: likewise.
        config: likewise.
        folder: likewise.
        known: likewise.
        digest: that of the data to restore; None takes it from the folder's stamp.

    Returns:
        The data, with a line in their report; None if the files have changed since. Data of version 0.1 have no digest:
        they are the same if the files have the same sizes and times and the symbols and dev pairs are equal.

    Raises:
        DataError: a file is missing or cannot be read, or as in `prepare`.
        RunError: the folder cannot be written.
    """
    folder = Path(folder)
    stamp, older = read_stamp(folder), read_older_stamp(folder)
    if stamp is not None and digest in (None, data_digest(stamp)):
        if not has_content(stamp["made_from"], train_path, dev_path):
            return None  # the folder's files are whole: they stay, so that the right files can be put back
        digest, was = data_digest(stamp), "made with other settings"
    elif digest is not None:
        was = "damaged or missing"
    elif older is not None and is_older_content(older, train_path, dev_path):
        was = "of an older version"
    else:
        return None
    prepared = prepare(train_path, dev_path, config, folder, known)
    same = prepared.digest == digest if older is None else _equals_older(prepared, older)
    line = f"{folder}: its data were {was}, and are prepared again from the same pairs"
    return replace(prepared, report=[*prepared.report, line]) if same else None


def _equals_older(prepared: Prepared, older: Stamp) -> bool:
    """Return whether symbols and dev pairs are those of a stamp of version 0.1."""
    tables = {side: getattr(prepared, side).to_json() for side in ("source_symbols", "target_symbols")}
    dev_pairs = [[source, list(references)] for source, references in prepared.dev_pairs]
    content: dict[str, Any] = {**tables, "dev_pairs": dev_pairs}
    return all(older.get(name) == value for name, value in content.items())
