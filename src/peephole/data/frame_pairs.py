"""Read the files that the pairs of a manifest name, several at a time, and store them as the sources of a corpus."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from peephole.config import Config
from peephole.data.columns import Column, ColumnWriter, file_names
from peephole.data.corpus import Corpus
from peephole.data.files import named_file
from peephole.data.frames import Frames, frame_format, read_frames
from peephole.data.read import Pair, Report
from peephole.errors import DataError
from peephole.storage.replace_file import replace_files
from peephole.symbols import FrameSymbols, Symbols

DEV_FILES = file_names("dev")
READ_AHEAD = 4  # files for each thread
SPEEDS = {"one": (1.0,), "three": (0.9, 1.0, 1.1)}


class Statistics(NamedTuple):
    """Mean and standard deviation of each number of a frame, over all training frames; (F,) each."""

    mean: list[float]
    deviation: list[float]


class _Sums:
    """Sums over frames, in float64, from which `Statistics` are computed."""

    def __init__(self, size: int) -> None:
        self._count = 0
        self._sum, self._squares = np.zeros(size), np.zeros(size)
        self._origin: NDArray[Any] | None = None  # subtracted, so that the squares of a small deviation are not lost

    def add(self, frames: Frames) -> None:
        numbers = frames.astype(np.float64)
        if self._origin is None:
            self._origin = numbers.mean(0)
        numbers -= self._origin
        self._count += len(numbers)
        self._sum += numbers.sum(0)
        self._squares += np.square(numbers).sum(0)

    def statistics(self) -> Statistics:
        assert self._origin is not None
        mean = self._sum / self._count
        variance = np.maximum(self._squares / self._count - np.square(mean), 0)
        return Statistics((mean + self._origin).tolist(), np.sqrt(variance).tolist())


def build_frame_corpus(
    pairs: Iterable[Pair],
    manifest: str,
    how: FrameSymbols,
    target_symbols: Symbols,
    folder: str | Path,
    config: Config,
    report: Report,
) -> tuple[Corpus, Statistics | None]:
    """Write the frames and the target ids of pairs into a folder; None as statistics if no pair is left.

    Args:
        pairs: their sources name files.
        manifest: the file that they come from.
        how: how the files are read.
        target_symbols: the table of the targets.
        folder: where the corpus is written; if this is interrupted, it keeps its previous corpus.
        config: `frames.max_frames`, `frames.speeds`, `data.max_length` and `data.bad_lines` are used.
        report: counts pairs that are left out, skipped, or changed in reading.

    Raises:
        DataError: a file cannot be read, unless bad lines are skipped.
    """
    sums, found = _Sums(how.size), False

    def rows() -> Iterator[tuple[bytes, int, list[int]]]:
        nonlocal found
        kept = _encoded(pairs, target_symbols, config.data.max_length, report)
        for _, ids, frames in _read_all(kept, manifest, how, config, report, SPEEDS[config.frames.speeds]):
            found = True
            sums.add(frames)
            yield frames.tobytes(), len(frames), ids

    corpus = Corpus.write(rows(), folder, frame_format(how), how.size)
    return corpus, sums.statistics() if found else None


def write_dev_frames(
    pairs: Iterable[Pair],
    manifest: str,
    how: FrameSymbols,
    target_symbols: Symbols,
    folder: str | Path,
    config: Config,
    report: Report,
) -> list[Pair]:
    """Write the frames of each different source of dev pairs, in the order of their first appearance.

    Returns:
        The pairs whose frames are written; arguments and errors as in `build_frame_corpus`.
    """
    targets: dict[str, list[Pair]] = {}
    for pair, _ in _encoded(pairs, target_symbols, config.data.max_length, report):
        targets.setdefault(pair.source, []).append(pair)
    first: Iterator[tuple[Pair, list[int]]] = ((found[0], []) for found in targets.values())
    kept: list[Pair] = []
    with replace_files([Path(folder) / name for name in DEV_FILES]) as files:
        column = ColumnWriter(files[0], files[1], frame_format(how), how.size)
        for pair, _, frames in _read_all(first, manifest, how, config, report, (1.0,)):
            column.append(frames.tobytes(), len(frames))
            kept += targets[pair.source]
        column.finish()
    return kept


def read_dev_frames(folder: str | Path) -> list[Frames]:
    """Return the frames that `write_dev_frames` wrote."""
    column = Column(Path(folder), "dev")
    return list(column.rows(column.spans(np.arange(len(column)))))


def _encoded(
    pairs: Iterable[Pair], target_symbols: Symbols, max_length: int, report: Report
) -> Iterator[tuple[Pair, list[int]]]:
    """Yield the pairs whose targets are not too long, with their ids."""
    for pair in pairs:
        ids = target_symbols.encode(pair.target)
        if len(ids) > max_length:
            report.leave_out(f"longer than {max_length} symbols", pair.line)
        else:
            yield pair, ids


def _read_all(
    pairs: Iterable[tuple[Pair, list[int]]],
    manifest: str,
    how: FrameSymbols,
    config: Config,
    report: Report,
    speeds: Sequence[float],
) -> Iterator[tuple[Pair, list[int], Frames]]:
    """Yield the pairs, once for each speed, with the frames of their sources, read in threads, in their order."""
    most = config.frames.max_frames
    wanted = ((pair, ids, speed) for pair, ids in pairs for speed in speeds)
    threads = os.cpu_count() or 1
    pending: deque[tuple[Pair, list[int], Future[Any]]] = deque()
    executor = ThreadPoolExecutor(threads)
    try:
        while True:
            for pair, ids, speed in islice(wanted, threads * READ_AHEAD - len(pending)):
                path = named_file(pair.source, manifest)
                pending.append((pair, ids, executor.submit(read_frames, path, how, most, speed)))
            if not pending:
                return
            pair, ids, future = pending.popleft()
            try:
                frames, is_longer, changes = future.result()
            except DataError as error:
                if config.data.bad_lines == "error":
                    raise DataError(f"{manifest}, line {pair.line}: {error}") from None
                report.skip("source cannot be read", pair.line)
                continue
            if is_longer:
                report.leave_out(f"longer than {most} frames", pair.line)
                continue
            for change in changes:
                report.repair(change, pair.line)
            yield pair, ids, frames
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
