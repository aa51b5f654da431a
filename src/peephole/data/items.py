"""Take pairs of texts from Python objects: tuples, lists, named tuples, dictionaries, rows of arrays."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from peephole.config import DataConfig
from peephole.data.files import kind_of_file
from peephole.data.formats import SURROGATE
from peephole.data.read import Pair
from peephole.errors import ArgumentError, DataError, check_type, shorten
from peephole.storage.replace_file import replace_file

Items = Iterable[Any]
"""Pairs of texts; see `pairs_of`."""


def pairs_of(name: str, items: Items, config: DataConfig) -> Iterator[Pair]:
    """Yield the pairs of an iterable, numbered from 1, without outer whitespace.

    Args:
        name: the argument's name, for messages.
        items: each is two texts in a tuple, list or array, or a dictionary or named tuple with the configured columns
            (other fields are ignored). Texts may hold tabs and line breaks.
        config: the names of the columns.

    Raises:
        ArgumentError: an item is something else.
        DataError: a text is empty, or holds half of a surrogate pair.

    >>> rows = [("a", "b"), {"id": 7, "source": "c", "target": "d"}]
    >>> [tuple(pair) for pair in pairs_of("pairs", rows, DataConfig())]
    [('a', 'b', 1), ('c', 'd', 2)]
    """
    for number, item in enumerate(items, start=1):
        source, target = (text.strip() for text in _two_texts(name, item, number, config))
        if not source or not target:
            raise DataError(f"{name}, number {number}: wanted two texts that are not empty, got {shorten(repr(item))}")
        if SURROGATE.search(source + target):
            raise DataError(f"{name}, number {number}: half of a surrogate pair in {shorten(repr(item))}")
        yield Pair(source, target, number)


def write_pairs(name: str, items: Items, path: Path, config: DataConfig) -> None:
    """Write pairs to a JSONL file, one at a time, so that they can be read more than once.

    Args:
        name: the argument's name, for messages.
        items: as in `pairs_of`.
        path: the file to write.
        config: the names of the columns; if it skips bad lines, pairs with an empty side are written, too, to be
            counted by the reader.

    Raises:
        ArgumentError: an item is no pair, or the first source is the name of a file of sound, an image or numbers.
        DataError: a pair cannot be used, or there is none.
        RunError: the file cannot be written.
    """
    if config.bad_lines == "error":
        pairs: Iterator[tuple[str, ...]] = (pair[:2] for pair in pairs_of(name, items, config))
    else:
        pairs = (_two_texts(name, item, number, config) for number, item in enumerate(items, start=1))
    with replace_file(path) as file:
        for source, target in pairs:
            if not file.tell():
                _check_is_text(name, source)
            line = json.dumps({config.source: source, config.target: target}, ensure_ascii=False) + "\n"
            file.write(line.encode(errors="surrogatepass"))
        if not file.tell():
            raise DataError(f"{name}: wanted at least one pair, got none")


def _check_is_text(name: str, source: str) -> None:
    kind = kind_of_file(source)
    if kind is not None and os.path.isfile(source):
        raise ArgumentError(
            f"{name}: wanted pairs of texts, got {source!r}, a file of {kind}: write names of files and their targets "
            "to a TSV or JSONL file, and pass its name"
        )


def file_of(name: str, items: Items) -> str:
    """Return the name of the file that `write_items` writes.

    >>> file_of("train", [("a", "b")])
    'train.jsonl'
    """
    return f"{name}.npy" if is_array(items) else f"{name}.jsonl"


def write_items(name: str, items: Items, folder: Path, config: DataConfig) -> None:
    """Write pairs, or an array of numbers, to a file of a folder; arguments and errors as in `write_pairs`."""
    path = folder / file_of(name, items)
    if not is_array(items):
        write_pairs(name, items, path, config)
        return
    import numpy as np  # not needed for pairs

    from peephole.data.series import series_of

    with replace_file(path) as file:
        np.save(file, series_of(name, items).values)


def is_array(given: object) -> bool:
    """Return whether data are an array of numbers, not pairs of texts."""
    if not hasattr(given, "__array__"):
        return False
    import numpy as np

    return np.asarray(given).dtype.kind in "fiub"


def check_items(name: str, items: object) -> None:
    """Raise ArgumentError unless an argument can be read as pairs; a single text or dictionary cannot."""
    wanted = "the name of a file or pairs of texts"
    check_type(name, items, Iterable, wanted)
    if isinstance(items, (str, bytes, Mapping)):
        raise ArgumentError(f"{name}: wanted {wanted}, got {shorten(repr(items))}")


def _two_texts(name: str, item: Any, number: int, config: DataConfig) -> tuple[str, str]:
    fields: Sequence[Any] = ()
    named = item._asdict() if hasattr(item, "_asdict") else item
    if isinstance(named, Mapping) and config.source in named and config.target in named:
        fields = (named[config.source], named[config.target])
    elif isinstance(item, (tuple, list)) or hasattr(item, "tolist"):  # an array's row has it
        fields = list(item)
    if len(fields) != 2 or not all(isinstance(text, str) for text in fields):
        raise ArgumentError(f"{name}: wanted two texts, got {shorten(repr(item))} as number {number}")
    return fields[0], fields[1]
