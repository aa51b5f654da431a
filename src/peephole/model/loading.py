"""Load a model from its files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from peephole.config import Config
from peephole.errors import ModelFileError, check_path
from peephole.model.handle import Model
from peephole.model.weights import LoadedFile


def load(path: str | Path, *more: str | Path) -> Model:
    """Load a model file; several files with the same symbols make an ensemble.

    The files are read once: the model stays what it was when they are replaced, changed or deleted.

    Raises:
        ModelFileError: a file is missing, damaged, of a newer format, or its symbols differ from the first one's.
        ArgumentError: an argument is not a file name.
    """
    for name in (path, *more):
        check_path("path", name)
    model = read_model([os.fspath(name) for name in (path, *more)])
    model.prepare()  # a damaged file is reported here
    return model


def read_model(names: Sequence[str]) -> Model:
    """Return the model, or ensemble, of some files before their weights are packed; errors as in `load`."""
    files = [LoadedFile.read(name) for name in names]
    first, *others = headers = [file.header() for file in files]
    for name, header in zip(names[1:], others, strict=True):
        if (ours := _reads_and_writes(first.config)) != (theirs := _reads_and_writes(header.config)):
            raise ModelFileError(f"{name}: {theirs}, {names[0]} {ours}; an ensemble needs models of one kind")
        for side in ("source_symbols", "target_symbols"):
            if getattr(header, side).to_json() != getattr(first, side).to_json():
                raise ModelFileError(f"{name}: its {side} differ from those of {names[0]}; an ensemble needs the same")
    notes = [note for header in headers for note in header.notes]
    tables = (first.source_symbols, first.target_symbols)
    return model_class(first.config)(first.config, *tables, files=files, made=first.made, notes=notes)


def _reads_and_writes(config: Config) -> str:
    """Return what models of an ensemble must have in common besides their symbols.

    >>> _reads_and_writes(Config().with_values({"model.input": "none"}))
    'is a language model'
    """
    if config.model.input == "none":
        return "is a language model"
    copies = "copies" if config.model.output == "copy" else "does not copy"
    return copies if config.model.input == "symbols" else f"reads {config.frames.kind}"


def model_class(config: Config) -> type[Model]:
    """Return the class of a model with these settings: that of its output."""
    if not config.model.predicts_vectors:
        return Model
    from peephole.model.series import SeriesModel  # imports NumPy, which texts do without

    return SeriesModel
