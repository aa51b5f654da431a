"""Manifests: files of pairs whose sources are names of files of sound, images or numbers.

The names are relative to the manifest's folder, or absolute.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from itertools import islice
from pathlib import Path

from peephole.config import Config, DataConfig, ModelConfig
from peephole.data.files import FrameKind, kind_of_file, named_file, shown_name
from peephole.data.read import Pair, Report, read_pairs
from peephole.errors import ConfigError, DataError
from peephole.symbols import FrameSymbols

LOOKED_AT = 100  # pairs from which the kind of the sources is recognised
FRONTENDS = {"sound": "convolution", "image": "convolution", "numbers": "frames"}
"""The kind of sources → the `model.input` that reads them unless another is chosen."""


def recognise_sources(train_path: str | Path, config: Config) -> Config:
    """Return the settings with what the sources of a training file are, unless they are text.

    Sources are files if the first lines name files of one kind. Then `frames.kind`, `model.input` and
    `model.input_size` are set. For a language model, `model.input=none`, there are only targets; it is measured by its
    loss. With `data.horizon` the training file is a table; see `recognise_series`.

    Args:
        train_path: as in `prepare`.
        config: all settings; if it sets `frames.kind`, the file is read only for the size of numbers.

    Raises:
        DataError: the file, or the first file that it names, cannot be read; or the first lines name files of several
            kinds.
        ConfigError: `model.input_size` is not that of the files, or settings of frames are given for texts.
    """
    if config.data.horizon is not None:
        from peephole.data.windows import recognise_series  # imports NumPy

        return recognise_series(train_path, config)
    if config.model.input == "none":
        data, train = replace(config.data, targets_only=True), replace(config.train, dev_metric="loss")
        return replace(config, data=data, train=train)
    kind = config.frames.kind
    if kind == "auto":
        kind = _recognise(train_path, config) or "text"
    if kind == "text":
        replace(config, frames=replace(config.frames, kind="text"))  # refuses settings of frames
        return config
    if config.frames.kind != "auto" and config.data.bad_lines == "error":
        _check_files(train_path, config)
    size = _frame_size(train_path, kind, config)
    if config.model.input_size not in (None, size):
        raise ConfigError(
            f"model.input_size: wanted {size}, the numbers in a frame of {train_path}, got {config.model.input_size}"
        )
    chosen = FRONTENDS[kind] if config.model.input == "symbols" else config.model.input
    planes = 3 if kind == "image" and config.frames.colours and chosen == "convolution" else config.model.input_planes
    model: ModelConfig = replace(config.model, input=chosen, input_size=size, input_planes=planes)  # type: ignore[arg-type]  # by FRONTENDS
    return replace(config, frames=replace(config.frames, kind=kind), model=model)


def frame_symbols(config: Config) -> FrameSymbols:
    """Return how the sources of recognised files are read."""
    frames, size = config.frames, config.model.input_size or 1
    return FrameSymbols(
        frames.kind,
        sample_rate=frames.sample_rate,
        mel_bins=frames.mel_bins,
        height=frames.height,
        colours=frames.colours,
        size=size,
    )


def _recognise(train_path: str | Path, config: Config) -> FrameKind | None:
    """Return the kind of the files that the sources of the first pairs name; None if they are text."""
    found: Counter[FrameKind] = Counter()
    lines: dict[FrameKind, Pair] = {}
    looked_at, exists = 0, False
    report = Report(shown_name(train_path))
    for pair in islice(read_pairs(train_path, config.data, report, must_name=config.names_columns), LOOKED_AT):
        looked_at += 1
        kind = kind_of_file(pair.source)
        if kind is not None:
            found[kind] += 1
            lines.setdefault(kind, pair)
            exists = exists or os.path.exists(named_file(pair.source, train_path))
    if sum(found.values()) <= looked_at / 2:
        return None
    if not exists:
        raise _missing_file(train_path, next(iter(lines.values())))
    if len(found) > 1:
        named = " and ".join(f"{kind} (line {pair.line}: {pair.source})" for kind, pair in lines.items())
        raise DataError(f"{train_path}: wanted files of one kind as sources, got {named}")
    return next(iter(found))


def _check_files(train_path: str | Path, config: Config) -> None:
    """Raise DataError about the first pair if none of the first ones names a file, as in a file of texts."""
    first: Pair | None = None
    for pair in islice(read_pairs(train_path, config.data, Report(shown_name(train_path))), LOOKED_AT):
        if os.path.exists(named_file(pair.source, train_path)):
            return
        first = first or pair
    assert first is not None  # a file without pairs is an error of read_pairs
    raise _missing_file(train_path, first)


def _missing_file(train_path: str | Path, pair: Pair) -> DataError:
    return DataError(
        f"{train_path}, line {pair.line}: {named_file(pair.source, train_path)}: no such file; the names of files are "
        "relative to the folder of the file that lists them (--set frames.kind=text reads them as text)"
    )


def _frame_size(train_path: str | Path, kind: str, config: Config) -> int:
    """Return F; that of numbers is read from the first file that can be read."""
    if kind != "numbers":
        return frame_symbols(replace(config, frames=replace(config.frames, kind=kind))).size  # type: ignore[arg-type]  # from the setting
    error: DataError | None = None
    for pair in islice(read_pairs(train_path, config.data, Report(shown_name(train_path))), LOOKED_AT):
        from peephole.data.frames import table_width  # imports NumPy, which manifests of text do without

        try:
            return table_width(named_file(pair.source, train_path))
        except DataError as found:
            error = error or DataError(f"{train_path}, line {pair.line}: {found}")
    assert error is not None  # a file without pairs is an error of read_pairs
    raise error


def sources_digest(manifest: str | Path, config: DataConfig) -> tuple[str, list[str]]:
    """Return a digest of the names and the sizes of the files that a manifest names, and the missing ones."""
    found = sha256()
    missing = []
    for pair in read_pairs(manifest, replace(config, bad_lines="skip"), Report("")):
        path = named_file(pair.source, manifest)
        size = os.path.getsize(path) if os.path.exists(path) else None
        if size is None:
            missing.append(path)
        found.update(json.dumps([pair.source, size]).encode())
    return found.hexdigest(), missing
