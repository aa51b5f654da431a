"""Check that writing a file destroys nothing: one rule for every command that writes files.

A file that the command reads is never written. An existing file is replaced only by one of its own kind: an HTML page
by a page, a calibrated or quantized model by such a model, a model by `Model.save`. An empty file is replaced by any.
What training writes, models and their runs, is replaced by `--overwrite` alone, which `peephole.training` checks.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from peephole.errors import ConfigError, ModelFileError, RunError
from peephole.storage.model_file import load_model
from peephole.storage.replace_file import check_replaceable

PAGE_STARTS = (b"<!doctype html", b"<html")
READ_OF_PAGE = 1024  # bytes in which its first tag stands, after a byte order mark and spaces

Input = tuple[str, "str | Path"]
"""A file that a command reads: whose it is, as error messages end, and its name."""


def check_output(out: str | Path, kind: Literal["page", "model", "any model", "file"], inputs: Iterable[Input]) -> None:
    """Check that a file can be written without destroying an input, or a file of another kind.

    Args:
        out: the file to write.
        kind: what is written: an HTML page; a calibrated or quantized model; a model, in place of any older one; or a
            file, which may replace any other.
        inputs: the files that are read; those that do not exist are left out.

    Raises:
        ConfigError: `out` is an input, under any of its names, or a file of another kind.
        RunError: it is no file, there is no such folder, or its kind cannot be read.
    """
    if kind != "file" and not (folder := Path(out).parent).is_dir():  # the writer of a "file" may create its folder
        raise RunError(f"{out}: no such folder: {folder}")
    check_replaceable(out)
    if not os.path.exists(out):
        return
    for owner, name in inputs:
        if os.path.exists(name) and os.path.samefile(name, out):
            raise ConfigError(f"{out}: wanted another file to write than {owner}")
    if kind == "file" or not os.path.getsize(out):
        return
    if kind == "page":
        _check_is_page(out)
    elif kind == "any model":
        if not looks_like_model(out):
            raise ConfigError(f"{out}: wanted a model or no file to replace by one, got another file")
    else:
        _check_is_derived_model(out)


def looks_like_model(path: str | Path) -> bool:
    """Return whether a file begins as a .safetensors file does; its content may be damaged.

    Raises:
        RunError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(9)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from error
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= size


def _check_is_page(out: str | Path) -> None:
    try:
        with open(out, "rb") as file:
            start = file.read(READ_OF_PAGE)
    except OSError as error:
        raise RunError(f"{out}: cannot be written: {error.strerror or error}") from error
    if not start.removeprefix(codecs.BOM_UTF8).lstrip().lower().startswith(PAGE_STARTS):
        raise ConfigError(f"{out}: wanted an HTML page or no file to replace by a page, got another file")


def _check_is_derived_model(out: str | Path) -> None:
    wanted = "wanted a calibrated or quantized model or no file to replace by one"
    try:
        model = load_model(out)
    except ModelFileError:
        raise ConfigError(f"{out}: {wanted}, got another file") from None
    if model.stored == "float32" and model.config.search.calibration == 1:
        raise ConfigError(f"{out}: {wanted}, got a model as training wrote it")
