"""Read the texts that targets must contain as symbol ids."""

from __future__ import annotations

from collections.abc import Sequence

from peephole.config import SearchConfig
from peephole.errors import ConfigError, PeepholeError, PhraseError, describe_value
from peephole.model.reading import check_list, check_texts, list_unknown
from peephole.symbols import Symbols

Phrases = list[list[list[int]]]
"""For each source the symbol ids of its phrases."""


def read_phrases(
    symbols: Symbols,
    given: object,
    config: SearchConfig,
    longest: Sequence[int],
    prefixes: Sequence[Sequence[int]] | None,
) -> Phrases:
    """Return the ids of the phrases that the targets of each source must contain.

    Args:
        symbols: the target's symbol table.
        given: the argument `must_contain`: a list of texts for each source.
        config: the search.
        longest: most symbols of each source's target; 0 for an empty source, whose phrases are left out.
        prefixes: ids that each target begins with; None: all are empty.

    Raises:
        ArgumentError: the argument is something else.
        ConfigError: the search cannot have phrases.
        PeepholeError: not as many lists as sources.
        PhraseError: a text without symbols or with one that is never predicted, or phrases longer than their target
            may be.
    """
    _check_search(config)
    lists = check_list("must_contain", given)
    if len(lists) != len(longest):
        raise PeepholeError(f"must_contain: wanted a list of {len(longest)}, one a source, got {len(lists)}")
    found: Phrases = []
    for index, texts in enumerate(lists):
        where = f"must_contain[{index}]"
        own = [_read_phrase(symbols, text, index) for text in check_texts(where, texts)]
        room = longest[index] - (len(prefixes[index]) if prefixes else 0)
        needed = sum(map(len, own))
        if needed > room and longest[index]:
            reason = (
                f"wanted at most {room} symbols in all, those that the target may have "
                f"(search.max_length_factor, search.max_length_extra), got {needed}"
            )
            raise PhraseError(index, reason)
        found.append(own if longest[index] else [])
    return found


def _read_phrase(symbols: Symbols, text: str, index: int) -> list[int]:
    ids, tokens = symbols.segment(text)
    unknown = list_unknown(ids, tokens)
    if unknown:
        reason = f"wanted texts of symbols seen in training, got {describe_value(text)} with {unknown[0]!r}"
        raise PhraseError(index, reason)
    if not ids:
        raise PhraseError(index, f"wanted texts of at least one symbol, got {describe_value(text)}")
    return ids


def _check_search(config: SearchConfig) -> None:
    """Raise ConfigError if a setting contradicts phrases."""
    for name, wanted in (("temperature", None), ("no_repeat_ngram", 0), ("diverse_groups", 1)):
        value = getattr(config, name)
        if value != wanted:
            shown = "none" if wanted is None else wanted
            raise ConfigError(f"must_contain: wanted search.{name}={shown} with it, got {value:g}")
