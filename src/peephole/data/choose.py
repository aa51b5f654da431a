"""Choose the kind of symbols (characters, whitespace, bpe) from a sample of the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

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
