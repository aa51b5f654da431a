"""Choose the kind of symbols (characters, whitespace, bpe) from a sample of the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

FEW_TOKENS = 512  # so few distinct tokens are an alphabet (phones, letters, digits), not words
SEEN_OFTEN = 4  # times each token of an alphabet is seen, on average
SINGLE = 2.0  # lines of fewer tokens than this, on average, are words or unspaced text


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
    each_line = f"{total / len(texts):.1f} tokens a line"
    if total < SINGLE * len(texts):
        return "characters", f"single words or unspaced text: {each_line}"
    if distinct <= FEW_TOKENS and total >= SEEN_OFTEN * distinct:
        return "whitespace", f"{each_line}, only {distinct} different ones"
    return "bpe", f"running text: {each_line}, {distinct} different ones"
