"""Read texts as symbol ids, and record unknown symbols and truncated, changed or empty sources.

A model replaces a symbol that it did not see in training by <unk>, and reads a source of more than `data.max_length`
symbols up to that length. Of some files it changes what it reads, such as sound of another sample rate. Each call
records these cases in its own `Notices`, so calls in other threads do not affect them.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from peephole.config import SearchConfig
from peephole.errors import ArgumentError, PeepholeError, PrefixError, check_type, shorten
from peephole.model.frame_sources import check_frame_sources, read_frame_source
from peephole.symbols import UNK, FrameSymbols, Symbols, find_copies, with_copied

Side = Literal["source", "target"]
SLOW_SEARCH = "prediction runs in PyTorch, many times slower"


class UnknownSymbolWarning(UserWarning):
    """Some symbols were not seen in training; the model reads <unk> in their place."""


class TruncatedSourceWarning(UserWarning):
    """Some sources were longer than `data.max_length`; the model reads their beginning."""


class ChangedSourceWarning(UserWarning):
    """Some files were converted when they were read: sound resampled, channels mixed, a row of names left out."""


class SlowSearchWarning(UserWarning):
    """The engine is missing or lacks a kind; PyTorch predicts instead."""


class Notice(NamedTuple):
    """One text with unknown symbols, or a truncated, changed or empty source.

    Attributes:
        side: "source", or "target" for a target or a prefix.
        source_index: the index of the source in the call, counted from `first_index` where the call has one; a target
            or a prefix has that of its source.
        unknown: the symbols read as <unk>, in their order.
        length: symbols of the whole text; 0 for an empty source, whose target is empty.
        num_read: symbols read, fewer than `length` for a truncated source.
        unit: symbols, or frames; the length of a longer file of frames is not known.
        changes: the conversions that reading a file needed, each as one clause.
    """

    side: Side
    source_index: int
    unknown: tuple[str, ...]
    length: int
    num_read: int
    unit: Literal["symbols", "frames"] = "symbols"
    changes: tuple[str, ...] = ()


@dataclass
class Notices:
    """The notices of a call; pass a new object as `notices=`, and read it afterwards.

    A call that receives one issues no Python warnings.

    >>> notices = Notices()
    >>> notices.texts.append(Notice("source", 0, unknown=("x", "x"), length=5, num_read=4))
    >>> notices.unknown, notices.num_truncated, notices.num_empty
    (Counter({'x': 2}), 1, 0)
    """

    texts: list[Notice] = field(default_factory=list)
    """One notice for each text with unknown symbols and each truncated, changed or empty source."""
    slow_search: str | None = None
    """Why PyTorch searched although the engine was on; None if the engine searched, or was off."""

    @property
    def unknown(self) -> Counter[str]:
        """Return the number of times that each symbol was read as <unk>."""
        return Counter(symbol for notice in self.texts for symbol in notice.unknown)

    @property
    def num_truncated(self) -> int:
        """Return the number of sources of which only the beginning was read."""
        return sum(notice.num_read < notice.length for notice in self.texts)

    @property
    def num_empty(self) -> int:
        """Return the number of empty sources."""
        return sum(notice.side == "source" and not notice.length for notice in self.texts)


def new_notices(given: Notices | None) -> Notices:
    """Return the notices given to a call, or new ones."""
    check_type("notices", given, (type(None), Notices), "a Notices")
    return Notices() if given is None else given


class Source(NamedTuple):
    """A source as a model reads it."""

    ids: Any
    """Its symbol ids, for a model that copies with the id of each one's copy; or its frames as a NumPy array (T, F)."""
    tokens: list[str]
    """The symbols as written, one an id; none for frames."""
    unknown: tuple[str, ...]
    """The symbols whose id is UNK."""
    truncated: bool
    copied: tuple[str, ...] = ()
    """Of a model that copies, the symbols that the target's table lacks; see `peephole.symbols.Copies.texts`."""


def read_sources(
    symbols: Symbols,
    sources: Sequence[Any],
    notices: Notices,
    *,
    longest: int,
    first_index: int = 0,
    target: Symbols | None = None,
) -> list[Source]:
    """Split sources into symbols, or read their frames; record unknown symbols and truncated, changed or empty sources.

    Args:
        symbols: the symbol table, or how frames are read.
        sources: the texts; for frames names of files, or arrays (T, F).
        notices: the object that records them.
        longest: maximal number of symbols or frames read of a source.
        first_index: the index of the first source in the notices.
        target: the target's symbol table, for a model that copies.

    Raises:
        DataError: a file cannot be read; none are read for texts.
    """
    found = []
    for index, text in enumerate(sources, start=first_index):
        if isinstance(symbols, FrameSymbols):
            frames, length, changes = read_frame_source(symbols, text, longest)
            found.append(Source(frames, [], (), len(frames) < length))
            if len(frames) < length or changes:
                notices.texts.append(Notice("source", index, (), length, len(frames), "frames", changes))
            continue
        all_ids, all_tokens = symbols.segment(text)
        ids, tokens = all_ids[:longest], all_tokens[:longest]
        unknown = list_unknown(ids, tokens)
        source = Source(ids, tokens, unknown, len(ids) < len(all_ids))
        found.append(source if target is None else _with_copies(source, target))
        if unknown or not ids or len(ids) < len(all_ids):
            notices.texts.append(Notice("source", index, unknown, len(all_ids), len(ids)))
    return found


def _with_copies(source: Source, target: Symbols) -> Source:
    copies = find_copies(source.tokens, target)
    return source._replace(ids=list(zip(source.ids, copies.ids, strict=True)), copied=copies.texts)


def read_targets(
    symbols: Symbols,
    targets: Sequence[str | Sequence[str]],
    sources: Sequence[Source],
    notices: Notices,
    *,
    first_index: int = 0,
) -> list[list[int]]:
    """Return the ids of targets or prefixes, texts or lists of tokens, and record those with unknown symbols.

    There is one a source; an unknown symbol that is copied from it has an id above the table.
    """
    found = []
    for index, (target, source) in enumerate(zip(targets, sources, strict=True), start=first_index):
        ids, tokens = symbols.segment(target) if isinstance(target, str) else (symbols.token_ids(target), target)
        ids = with_copied(ids, tokens, source.copied, symbols)
        found.append(ids)
        unknown = list_unknown(ids, tokens)
        if unknown:
            notices.texts.append(Notice("target", index, unknown, len(ids), len(ids)))
    return found


def read_prefixes(
    symbols: Symbols,
    prefixes: Sequence[str],
    sources: Sequence[Source],
    config: SearchConfig,
    notices: Notices,
    *,
    first_index: int,
    places: Callable[[Source], int],
) -> list[list[int]]:
    """Return the ids of prefixes, one a source, and record those with unknown symbols.

    `places` returns the number of encoder outputs of a source.

    Raises:
        PeepholeError: not as many prefixes as sources.
        PrefixError: a prefix is as long as its target may be.
    """
    if len(prefixes) != len(sources):
        raise PeepholeError(f"prefixes: wanted a list of {len(sources)}, one a source, got {len(prefixes)}")
    found = read_targets(symbols, prefixes, sources, notices, first_index=first_index)
    for index, (ids, source) in enumerate(zip(found, sources, strict=True)):
        most = longest_target(places(source), config)
        if len(source.ids) and len(ids) >= most:
            reason = (
                f"wanted a prefix of fewer than {most} symbols, the most of its target (search.max_length_factor, "
                f"search.max_length_extra), got {len(ids)}"
            )
            raise PrefixError(index, reason)
    return found


def longest_target(num_places: int, config: SearchConfig) -> int:
    """Return the most symbols, </s> included, of the target of a source with this many encoder outputs.

    >>> longest_target(4, SearchConfig(max_length_factor=1.5, max_length_extra=2))
    8
    >>> longest_target(4, SearchConfig(max_length_factor=1.5, max_length_extra=2, min_length=9))
    10
    """
    longest = int(num_places * config.max_length_factor) + config.max_length_extra
    return max(longest, config.min_length + 1)


def count_unknown(symbols: Symbols, texts: Iterable[str]) -> Counter[str]:
    """Count the tokens of whole texts whose id is UNK; frames have none."""
    if isinstance(symbols, FrameSymbols):
        return Counter()
    return Counter(token for text in texts for token in list_unknown(*symbols.segment(text)))


def list_unknown(ids: Sequence[int], tokens: Sequence[str]) -> tuple[str, ...]:
    """Return the tokens whose id is UNK."""
    return tuple(token for token, i in zip(tokens, ids, strict=True) if i == UNK) if UNK in ids else ()


def issue_warnings(notices: Notices, num_sources: int, stacklevel: int) -> None:
    """Issue Python warnings for the notices of a call without `notices=`.

    Args:
        notices: the notices of the call.
        num_sources: sources of the call.
        stacklevel: as of `warnings.warn`, seen from the caller of this function.
    """
    cut = [notice for notice in notices.texts if notice.num_read < notice.length]
    if cut:
        text = f"sources longer than {cut[0].num_read} {cut[0].unit}: {len(cut)} of {num_sources}"
        warnings.warn(TruncatedSourceWarning(f"{text}; only their beginning is read"), stacklevel=stacklevel + 1)
    changed = [notice for notice in notices.texts if notice.changes]
    if changed:
        text = f"sources changed when they are read: {len(changed)} of {num_sources}"
        warnings.warn(ChangedSourceWarning(f"{text}; the first: {changed[0].changes[0]}"), stacklevel=stacklevel + 1)
    for side in ("source", "target"):
        unknown = [symbol for notice in notices.texts if notice.side == side for symbol in notice.unknown]
        if unknown:
            text = f"{side} symbols not seen in training, read as <unk>: {len(unknown)}"
            warnings.warn(UnknownSymbolWarning(f"{text}, the first of them {unknown[0]!r}"), stacklevel=stacklevel + 1)
    if notices.slow_search:
        warnings.warn(SlowSearchWarning(f"{notices.slow_search}: {SLOW_SEARCH}"), stacklevel=stacklevel + 1)


def check_sources(symbols: Symbols, given: object) -> list[Any]:
    """Return a list of texts, or for a model that reads frames of names of files and arrays.

    Raises:
        ArgumentError: the argument `sources` is something else.
    """
    if isinstance(symbols, FrameSymbols):
        return check_frame_sources(symbols, check_list("sources", given))
    return check_texts("sources", given)


def check_texts(name: str, given: object) -> list[str]:
    """Return a list of texts.

    Raises:
        ArgumentError: the argument of that name is something else.
    """
    texts = check_list(name, given)
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise ArgumentError(f"{name}: wanted texts, got {shorten(repr(text))} at index {index}")
    return texts


def check_targets(given: object) -> list[str | list[str]]:
    """Return a list of targets, each a text or a list of tokens.

    Raises:
        ArgumentError: the argument `targets` is something else.
    """
    targets: list[str | list[str]] = []
    for index, target in enumerate(check_list("targets", given)):
        tokens = [target] if isinstance(target, str) else target
        if not isinstance(tokens, Sequence) or not all(isinstance(token, str) for token in tokens):
            wanted = "wanted texts or lists of tokens"
            raise ArgumentError(f"targets: {wanted}, got {shorten(repr(target))} at index {index}")
        targets.append(target if isinstance(target, str) else list(target))
    return targets


def check_list(name: str, given: object) -> list[Any]:
    """Return the items of an iterable argument; a single text is refused, not read as an iterable of characters.

    Raises:
        ArgumentError: the argument of that name is something else.
    """
    if isinstance(given, str):
        raise ArgumentError(f"{name}: wanted a list of texts, got one text, {given!r}; write [{given!r}]")
    if not isinstance(given, Iterable):
        raise ArgumentError(f"{name}: wanted a list of texts, got {shorten(repr(given))}")
    return list(given)
