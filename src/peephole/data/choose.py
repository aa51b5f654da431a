"""Choose the kind of symbols (characters, whitespace, bpe) from a sample of the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from peephole.config import SymbolsConfig
from peephole.errors import ConfigError

MAX_ALPHABET_SIZE = 512  # more distinct tokens are words, not an alphabet (phones, letters, digits)
MIN_MEAN_COUNT = 4  # mean number of occurrences of each token of an alphabet, at least
MIN_RUNNING_TOKENS = 2.0  # lines with a lower mean number of tokens are single words or unspaced text


def choose_kind(texts: Sequence[str]) -> tuple[str, str]:
    """Return the kind of symbols that fits a sample of one side, and the reason as a text for the user.

    >>> choose_kind(["hello", "world"])
    ('characters', 'single words or unspaced text: 1.0 tokens a line')
    >>> choose_kind(["HH AH L OW", "OW HH", "L AH L"] * 2)
    ('whitespace', '3.0 tokens a line, only 4 different ones')
    >>> choose_kind(["the cat sat on a mat", "an old dog barked"])
    ('bpe', 'running text: 5.0 tokens a line, 10 different ones')
    """
    tokens = Counter[str]()
    for text in texts:
        tokens.update(text.split())
    total, distinct = tokens.total(), len(tokens)
    tokens_a_line = f"{total / len(texts):.1f} tokens a line"
    if total < MIN_RUNNING_TOKENS * len(texts):
        return "characters", f"single words or unspaced text: {tokens_a_line}"
    if distinct <= MAX_ALPHABET_SIZE and total >= MIN_MEAN_COUNT * distinct:
        return "whitespace", f"{tokens_a_line}, only {distinct} different ones"
    return "bpe", f"running text: {tokens_a_line}, {distinct} different ones"


def kind_of(samples: Mapping[str, Sequence[str]], config: SymbolsConfig) -> tuple[str, str]:
    """Return the kind of symbols of a table, as configured or by `choose_kind`, and the reason.

    Args:
        samples: texts of each side of which the table is: source, target, or both.
        config: its source and target are used; a side that is auto has the kind of the other in a table of both.

    Raises:
        ConfigError: the sides of one table have texts for which different kinds fit.
    """
    for side in samples:
        if getattr(config, side) != "auto":
            return getattr(config, side), "as configured"
    chosen = {side: choose_kind(texts) for side, texts in samples.items()}
    if len({kind for kind, _ in chosen.values()}) > 1:
        found = " and ".join(f"{kind} for the {side} ({reason})" for side, (kind, reason) in chosen.items())
        raise ConfigError(
            f"symbols.shared: wanted one kind of symbols on both sides, or symbols.source to set it; got {found}"
        )
    if len(chosen) == 1:
        [only] = chosen.values()
        return only
    reasons = "; ".join(f"{side}: {reason}" for side, (_, reason) in chosen.items())
    return chosen["source"][0], reasons
