"""Read the sources of a call, and search for them part by part, so that progress shows and Ctrl-C is noticed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from peephole.config import SearchConfig
from peephole.engine.packed import PackedSearch
from peephole.errors import PeepholeError
from peephole.model.calibrated import CalibratedSearch
from peephole.model.language import read_beginnings
from peephole.model.phrases import Phrases, read_phrases
from peephole.model.reading import Notices, Source
from peephole.search.hypothesis import Hypothesis

if TYPE_CHECKING:
    from peephole.model.handle import Model
    from peephole.search.torch import DefinitionSearch

BATCHES_PER_CALL = 4
"""Batches searched between two calls of `progress`, and between two checks for Ctrl-C."""


class Work(NamedTuple):
    """The sources of a call and what is wanted of their targets, each list with one item a source."""

    sources: Sequence[Source]
    longest: Sequence[int]
    """Most symbols of each target."""
    prefixes: Sequence[Sequence[int]] | None = None
    phrases: Phrases | None = None
    first_index: int = 0


def read_work(
    model: Model,
    sources: Iterable[Any],
    prefixes: Iterable[str] | None,
    must_contain: Iterable[Iterable[str]] | None,
    config: SearchConfig,
    notices: Notices,
    first_index: int,
) -> Work:
    """Return the sources of `Model.predict` and what is wanted of their targets; arguments and errors as there."""
    begin: list[list[int]] | None
    if model.is_language_model:
        if prefixes is not None:
            raise PeepholeError("prefixes: a language model continues its sources; wanted none, got some")
        read, begin, longest = read_beginnings(model.target_symbols, sources, config, notices, first_index)
    else:
        read, begin, longest = model._read_for_search(sources, prefixes, config, notices, first_index)
    phrases = None
    if must_contain is not None:
        phrases = read_phrases(model.target_symbols, must_contain, config, longest, begin)
    return Work(read, longest, begin, phrases, first_index)


def find_in_parts(
    searching: PackedSearch | DefinitionSearch | CalibratedSearch, work: Work, config: SearchConfig, *, attention: bool
) -> Iterator[list[tuple[int, list[Hypothesis]]]]:
    """Yield the hypotheses of some sources at a time, each with the index of its source; empty sources are left out.

    Sources of similar length share a batch; the results do not depend on the grouping.
    """

    def of(rows: list[int], given: Sequence[Any] | None) -> list[Any] | None:
        return None if given is None else [given[index] for index in rows]

    lengths = [len(source.ids) for source in work.sources]
    order = sorted((index for index, length in enumerate(lengths) if length), key=lambda index: lengths[index])
    size = config.batch_size * BATCHES_PER_CALL
    for first in range(0, len(order), size):
        rows = order[first : first + size]
        found = searching.find(
            [work.sources[index].ids for index in rows],
            [work.longest[index] for index in rows],
            config,
            prefixes=of(rows, work.prefixes),
            phrases=of(rows, work.phrases),
            examples=[work.first_index + index for index in rows],
            attention=attention,
        )
        yield list(zip(rows, found, strict=True))
