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
from peephole.model.handle import Model
from peephole.model.reading import Notices
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
        DataError: a pair cannot be read; names it.
        ConfigError: an unknown or impossible setting.
    """
    iterator = iterate_pairs(pairs, model, report)
    while part := list(islice(iterator, PAIRS_PER_CALL)):
        targets: list[str | Sequence[str]] = [pair.target.split() if tokens else pair.target for pair in part]
        notices = Notices()
        scores = model.score([pair.source for pair in part], targets, notices=notices, **search)
        yield ScoredPart(part, scores, notices)


def group_by_source(pairs: PairsArgument, model: Model, report: Report | None = None) -> SourcesWithReferences:
    """Return each source of some pairs once, with all its targets.

    Args:
        pairs: a file as `peephole.train` reads, stdin (`-`) or another pipe, or pairs of texts.
        model: its settings say how files are read.
        report: counts skipped and repaired lines.

    Raises:
        DataError: a pair cannot be read, or there is none.
    """
    targets: dict[str, dict[str, None]] = {}
    lines: list[int] = []
    for pair in iterate_pairs(pairs, model, report):
        if pair.source not in targets:
            targets[pair.source] = {}
            lines.append(pair.line)
        targets[pair.source][pair.target] = None
    if not targets:
        raise DataError("pairs: wanted at least one pair, got none")
    return SourcesWithReferences(list(targets), [tuple(found) for found in targets.values()], lines)


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
        found = read_pairs(path, model.config.data, report or Report(shown_name(path)), once=True)
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
