"""What the teacher of a run gave for each training pair, (69): asked once, stored in a column of the corpus' form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peephole.data import Batch, Prepared
from peephole.data.batch import Taught
from peephole.data.columns import Column, ColumnWriter, file_names
from peephole.data.stamp import file_digest
from peephole.errors import plural
from peephole.model import load
from peephole.model.forced import most_probable
from peephole.storage.replace_file import replace_file, replace_files
from peephole.training.teacher import FOLDER, Teacher
from peephole.training.waiting import counting

NUM_TAUGHT = 8
"""How many symbols of each step are kept, the most probable ones."""
ASKED_TOGETHER = 1024  # pairs
STAMP = "taught.json"
COLUMN = "taught"


class TaughtCorpus:
    """What a teacher gave for each pair of a corpus.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._column = Column(folder / FOLDER, COLUMN)

    def add_to(self, batch: Batch) -> Batch:
        """Return a batch with what the teacher gave for its targets.

        Raises:
            RunError: a file has changed its size since it was opened, or cannot be read.
        """
        rows = self._column.rows(self._column.spans(batch.examples))
        size = rows[0].shape[1] // 2
        given = np.zeros((*batch.target.shape, 2 * size), np.int32)
        for place, row in zip(given, rows, strict=True):
            place[: len(row)] = row
        shares = np.ascontiguousarray(given[..., size:]).view(np.float32)
        return replace(batch, taught=Taught(np.ascontiguousarray(given[..., :size]), shares))


def ask(teacher: Teacher, folder: Path, prepared: Prepared, threads: int | None, *, quiet: bool = False) -> None:
    """Compute what the teacher holds most probable in each training pair, and store it; do nothing if it is stored.

    Args:
        teacher: its copies are in the run's folder.
        folder: the run's folder.
        prepared: the data.
        threads: CPU threads; None: as many as a prediction uses.
        quiet: show no progress.

    Raises:
        RunError: a copy is damaged, or a file cannot be written.
    """
    place = folder / FOLDER
    made_from = {"data": prepared.digest, "models": [model.digest for model in teacher.models]}
    files = [place / name for name in file_names(COLUMN)]
    if _stamp(place, made_from, files) == _read(place / STAMP):
        return
    text = f"asking the teacher about {plural(len(prepared.train), 'pair')}"
    with replace_files(files) as opened, counting(text, len(prepared.train), quiet=quiet) as done:
        writer: ColumnWriter | None = None
        for symbols, shares in _given(teacher.copies(folder), prepared, threads):
            writer = writer or ColumnWriter(opened[0], opened[1], np.int32, 2 * symbols.shape[1])
            writer.append(np.concatenate([symbols, shares.view(np.int32)], 1).tobytes(), len(symbols))
            done(1)
        assert writer is not None  # a corpus has pairs
        writer.finish()
    with replace_file(place / STAMP) as file:
        file.write(json.dumps(_stamp(place, made_from, files)).encode())


def _given(
    models: list[Path], prepared: Prepared, threads: int | None
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.float32]]]:
    """Yield the symbols and the shares of each target, (U, K), </s> included, in the order of the corpus."""
    model, corpus = load(*models), prepared.train
    count = min(NUM_TAUGHT, len(prepared.target_symbols))
    for first in range(0, len(corpus), ASKED_TOGETHER):
        sources, targets = corpus.pairs(np.arange(first, min(first + ASKED_TOGETHER, len(corpus))))
        by_length = sorted(range(len(targets)), key=lambda index: (len(targets[index]), len(sources[index])))
        pairs = [(_plain(sources[index]), targets[index].tolist()) for index in by_length]
        found = dict(zip(by_length, most_probable(model, pairs, count, threads), strict=True))
        for index in range(len(targets)):
            symbols, log_probs = found[index]
            shares = np.exp(log_probs)
            yield symbols, shares / shares.sum(1, keepdims=True)


def _plain(source: NDArray[Any]) -> Any:
    """Return a source as a search takes it: a list of ids, or an array of frames."""
    return source.tolist() if source.ndim == 1 else source


def _stamp(place: Path, made_from: dict[str, Any], files: list[Path]) -> dict[str, Any] | None:
    """Return what the stamp of complete files is; None where one is missing."""
    try:
        return {**made_from, "files": [file_digest(path) for path in files]}
    except OSError:
        return None


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
