"""Pairs of source and target, from a file or from Python, for scoring and evaluating a model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from peephole.data import Items, Pair, Report, check_items, pairs_of, read_pairs
from peephole.data.files import data_files, named_file, shown_name
from peephole.errors import ConfigError, DataError
from peephole.model.frame_sources import read_frame_source
from peephole.model.handle import Model
from peephole.model.reading import Notice, Notices
from peephole.storage.outputs import Input
from peephole.symbols import FrameSymbols

PairsArgument = str | Path | Items
PAIRS_PER_CALL = 1024


class ScoredPart(NamedTuple):
    """One part of the scored pairs.

    Attributes:
        pairs: source, target and line (or number, from 1) of each.
        log_probs: log p(target | source), (11), of each.
        notices: unknown symbols and truncated sources; their indices are those of `pairs`.
    """

    pairs: list[Pair]
    log_probs: list[float]
    notices: Notices


class SourcesWithReferences(NamedTuple):
    """Pairs grouped by source, in the order of their first appearance.

    Attributes:
        sources: each source once.
        references: its different targets.
        lines: the line, or the number from 1, of its first pair.
    """

    sources: list[str]
    references: list[tuple[str, ...]]
    lines: list[int]


def score_pairs(
    model: Model, pairs: PairsArgument, *, tokens: bool = False, report: Report | None = None, **search: Any
) -> Iterator[ScoredPart]:
    """Yield the pairs in parts with log p(target | source), holding one part in memory at a time.

    Args:
        model: the model.
        pairs: a file as `peephole.train` reads, stdin (`-`) or another pipe, or pairs of texts.
        tokens: targets are tokens separated by spaces, such as those of `Prediction.tokens`, instead of texts.
        report: counts skipped and repaired lines.
        search: threads, batch_size or engine, as in `Model.score`.

    Raises:
        DataError: a pair or its file cannot be read; names it.
        ConfigError: an unknown or impossible setting.
    """
    reader = _SourceReader(model, pairs, report)
    with_sources = ((pair, reader.read(pair)) for pair in iterate_pairs(pairs, model, report))
    readable = ((pair, source) for pair, source in with_sources if source is not None)
    while part := list(islice(readable, PAIRS_PER_CALL)):
        targets: list[str | Sequence[str]] = [pair.target.split() if tokens else pair.target for pair, _ in part]
        notices = Notices()
        scores = model.score([source.content for _, source in part], targets, notices=notices, **search)
        for index, (_, source) in enumerate(part):
            if source.changes:
                length = len(source.content)
                notices.texts.append(Notice("source", index, (), length, length, "frames", source.changes))
        yield ScoredPart([pair for pair, _ in part], scores, notices)


def group_by_source(pairs: PairsArgument, model: Model, report: Report | None = None) -> SourcesWithReferences:
    """Return each source of some pairs once, with all its targets.

    The files of a model of sound, images or numbers are read once to find those that cannot be read; their frames are
    not kept.

    Args:
        pairs: a file as `peephole.train` reads, stdin (`-`) or another pipe, or pairs of texts.
        model: its settings say how files are read, and whether unreadable ones are skipped.
        report: counts skipped and repaired lines.

    Raises:
        DataError: a pair or its file cannot be read, or there is none.
    """
    report = report or _report_of(pairs)
    targets: dict[str, dict[str, None]] = {}
    lines: list[int] = []
    reader = _SourceReader(model, pairs, report)
    for pair in iterate_pairs(pairs, model, report):
        if pair.source not in targets:
            if reader.read(pair) is None:
                continue
            targets[pair.source] = {}
            lines.append(pair.line)
        targets[pair.source][pair.target] = None
    if not targets:
        raise DataError("; ".join(["pairs: wanted at least one pair, got none", *report.lines()]))
    return SourcesWithReferences(list(targets), [tuple(found) for found in targets.values()], lines)


class _Readable(NamedTuple):
    """A source as `Model.score` takes it: a text, or the frames of a file with the conversions that reading needed."""

    content: Any
    changes: tuple[str, ...] = ()


class _SourceReader:
    """Reads the sources of pairs for a model; refuses or counts the files that cannot be read.

    Args:
        model: its settings say how files are read, and whether unreadable ones are skipped.
        pairs: the pairs that the sources are of.
        report: counts those that are skipped.
    """

    def __init__(self, model: Model, pairs: PairsArgument, report: Report | None) -> None:
        self._symbols, self._config = model.source_symbols, model.config
        self._report = report or _report_of(pairs)
        is_file = isinstance(pairs, (str, os.PathLike))
        self._where = f"{shown_name(os.fspath(pairs))}, line" if is_file else "pairs, number"  # type: ignore[arg-type]  # is_file
        self._unreadable: set[str] = set()

    def read(self, pair: Pair) -> _Readable | None:
        """Return the source of a pair; None for a file that cannot be read and is skipped.

        One frame more than the model reads is kept, so that the model notices a file that is too long.

        Raises:
            DataError: the file cannot be read; names the pair's line.
        """
        if not isinstance(self._symbols, FrameSymbols):
            return _Readable(pair.source)
        if pair.source not in self._unreadable:
            try:
                most = self._config.frames.max_frames + 1
                frames, _, changes = read_frame_source(self._symbols, pair.source, most)
                return _Readable(frames, changes)
            except DataError as error:
                if self._config.data.bad_lines == "error":
                    raise DataError(f"{self._where} {pair.line}: {error}") from None
                self._unreadable.add(pair.source)
        self._report.skip("source cannot be read", pair.line)
        return None


def _report_of(pairs: PairsArgument) -> Report:
    return Report(shown_name(os.fspath(pairs)) if isinstance(pairs, (str, os.PathLike)) else "pairs")


def iterate_pairs(pairs: PairsArgument, model: Model, report: Report | None = None) -> Iterator[Pair]:
    """Return an iterator over the pairs of a file, of stdin (`-`) or another pipe, or over the given pairs.

    For a model of sound, images or numbers the sources are names of files, in a file of pairs relative to its folder.

    Raises:
        ArgumentError: the argument `pairs` is neither a file name nor an iterable.
        DataError: there is no such file.
        ConfigError: the model's targets are no texts.
    """
    check_has_texts(model)
    if isinstance(pairs, (str, os.PathLike)):
        path = os.fspath(pairs)
        found = read_pairs(path, model.config.data, report or _report_of(path), once=True)
        if isinstance(model.source_symbols, FrameSymbols):
            return (pair._replace(source=named_file(pair.source, path)) for pair in found)
        return found
    check_items("pairs", pairs)
    return pairs_of("pairs", pairs, model.config.data)


def files_read(
    model: Model, pairs: PairsArgument | None, search: Mapping[str, Any], against: Model | None = None
) -> list[Input]:
    """Return the files that measuring a model on some pairs reads, for `peephole.storage.outputs.check_output`.

    Args:
        model: the model.
        pairs: as in `iterate_pairs`, or None.
        search: settings of the search, which may name a language model.
        against: a second model.

    Raises:
        DataError: a file of pairs is missing.
    """
    found: list[Input] = [("the model's own", file) for file in model.files]
    found += [("the second model's", file) for file in ([] if against is None else against.files)]
    if isinstance(pairs, (str, os.PathLike)):
        found += [("that of the pairs", file) for file in data_files(os.fspath(pairs), once=True)]
    guide = search.get("language_model", model.config.search.language_model)
    return found if guide is None else [*found, ("the language model's", guide)]


def check_has_texts(model: Model) -> None:
    """Raise ConfigError unless a model's targets are texts."""
    if model.config.model.predicts_vectors:
        raise ConfigError(f"{model.name or 'model'}: wanted a model whose targets are texts, got one of series")
