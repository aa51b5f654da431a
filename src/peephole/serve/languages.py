"""Languages of translation models: their codes, their names, and which one a text is in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from peephole.errors import ConfigError, describe_value
from peephole.symbols import UNK, Symbols

UNKNOWN_COST = 4  # symbols that a language costs for one that its model has never seen

_NAMES = """
    ar:Arabic az:Azerbaijani bg:Bulgarian bn:Bengali ca:Catalan cs:Czech da:Danish de:German el:Greek en:English
    eo:Esperanto es:Spanish et:Estonian eu:Basque fa:Persian fi:Finnish fr:French ga:Irish gl:Galician he:Hebrew
    hi:Hindi hr:Croatian hu:Hungarian id:Indonesian is:Icelandic it:Italian ja:Japanese ko:Korean la:Latin
    lt:Lithuanian lv:Latvian ms:Malay nb:Norwegian nl:Dutch pl:Polish pt:Portuguese ro:Romanian ru:Russian
    sk:Slovak sl:Slovenian sq:Albanian sr:Serbian sv:Swedish sw:Swahili th:Thai tl:Tagalog tr:Turkish
    uk:Ukrainian ur:Urdu vi:Vietnamese zh:Chinese
"""
NAMES = dict(pair.split(":") for pair in _NAMES.split())
"""The names of language codes; another code is its own name."""


def parse_languages(texts: Iterable[str], models: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Read declarations `NAME=SOURCE:TARGET`, or `SOURCE:TARGET` for the only model.

    Args:
        texts: the declarations.
        models: names of the models.

    Returns:
        Name of the model → source and target language.

    Raises:
        ConfigError: one is malformed, names no model, or two have the same languages.

    >>> parse_languages(["en:it"], ["opus"])
    {'opus': ('en', 'it')}
    """
    known = list(models)
    found: dict[str, tuple[str, str]] = {}
    for text in texts:
        name, equals, pair = text.partition("=")
        if not equals:
            name, pair = (known[0] if len(known) == 1 else ""), text
        source, colon, target = pair.partition(":")
        if not (colon and source and target):
            raise ConfigError(f"languages: wanted NAME=SOURCE:TARGET, such as en:it, got {describe_value(text)}")
        if name not in known:
            raise ConfigError(f"languages: wanted one of {', '.join(known)} before =, got {describe_value(text)}")
        if (source, target) in found.values():
            raise ConfigError(f"languages: wanted {source}:{target} once, got it twice")
        found[name] = (source, target)
    return found


def detect_language(text: str, tables: Mapping[str, Iterable[Symbols]]) -> list[tuple[str, float]]:
    """Return each language with the probability that a text is in it, the most probable first.

    A model's symbols were learned from texts of its source language, so they need few symbols for such a text and know
    each of them: the probability of a language with n symbols is proportional to exp(−n), an unknown symbol counting
    as several. Short texts, and languages whose models have characters as symbols, are told apart by unknown ones only.

    Args:
        text: the text.
        tables: language → the source symbols of the models that read it.
    """
    costs = {language: min(_cost(one, text) for one in own) for language, own in tables.items()}
    least = min(costs.values(), default=0)
    weights = {language: math.exp(least - cost) for language, cost in costs.items()}
    total = sum(weights.values())
    return sorted(((language, weight / total) for language, weight in weights.items()), key=lambda pair: -pair[1])


def _cost(symbols: Symbols, text: str) -> int:
    ids, _ = symbols.segment(text)
    return len(ids) + UNKNOWN_COST * ids.count(UNK)
