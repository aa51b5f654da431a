"""Tests that JavaScript splits and joins texts as Python does."""

from __future__ import annotations

import json
import random
import sys
import unicodedata
from functools import cache

import pytest

from peephole.symbols import CharacterSymbols, SubwordSymbols, Symbols, learn_symbols

from .conftest import Ask, Refused

WORDS = [
    "low",
    "lower",
    "newest",
    "widest",
    "pizza",
    "fuzzy",
    "한국어",
    "한국",
    "zzzzz",
    "izzy",
    "naïve",
    "e\u0301te\u0301",
    "👩‍👧",
    "▁x",
    "a▁b",
    "🇰🇷🇩🇪",
]
SPACES = [" ", "  ", "\t", "\u3000", "\x1c", "\x85", "\ufeff", "\u200b", "\n", "\r\n"]


def texts(count: int, seed: int) -> list[str]:
    """Return texts of known and unknown words, spaces of all kinds and random code points."""
    rng = random.Random(seed)
    assigned = [chr(c) for c in range(0x3000) if unicodedata.category(chr(c)) not in ("Cs", "Cn")]
    found = ["", " ", "▁", "▁▁", "\ufeffa\ufeff"]
    for _ in range(count):
        parts = rng.choices(WORDS, k=rng.randint(1, 5)) + rng.choices(assigned, k=rng.choice([0, 0, 2]))
        parts.append("".join(rng.choices("lowernstidz", k=rng.randint(0, 9))))  # pieces of words in other orders
        rng.shuffle(parts)
        found.append("".join(part + rng.choice(SPACES + [" "] * 10) for part in parts))
    return found


@cache
def table(kind: str, normalize: str) -> Symbols:
    learned = [" ".join(random.Random(i).choices(WORDS[:8], k=6)) for i in range(200)]
    return learn_symbols(kind, learned, vocabulary_size=60, min_count=1, normalize=normalize)


@pytest.mark.parametrize("normalize", ["NFC", "NFKC", "none"])
@pytest.mark.parametrize("kind", ["characters", "whitespace", "bpe", "unigram"])
def test_texts_have_the_symbols_of_python(ask: Ask, kind: str, normalize: str) -> None:
    symbols, given = table(kind, normalize), texts(400, seed=3)
    found = ask("segment", table=symbols.to_json(), texts=given)
    for text, one in zip(given, found, strict=True):
        assert (one["ids"], one["tokens"]) == symbols.segment(text), repr(text)
    tokens = [symbols.segment(text)[1] for text in given]
    assert ask("join", table=symbols.to_json(), texts=tokens) == [symbols.join(ones) for ones in tokens]


def test_clusters_of_every_script(ask: Ask) -> None:
    """Compare random neighbours from all of Unicode up to what Python's tables know."""
    rng = random.Random(11)
    assigned = [chr(c) for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c)) not in ("Cs", "Cn", "Co")]
    marks = [c for c in assigned if unicodedata.category(c) in ("Mn", "Mc", "Me", "Cf", "Sk")]
    given = ["".join(rng.choices(assigned, k=4) + rng.choices(marks, k=2)) for _ in range(3000)]
    symbols = CharacterSymbols(["a"], "none")
    found = ask("segment", table=symbols.to_json(), texts=given)
    different = [text for text, one in zip(given, found, strict=True) if one["tokens"] != symbols.split(text)]
    assert not different, [ascii(text) for text in different[:5]] + [str(len(different))]


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_segmenters_of_other_programs_take_lists_of_symbols(ask: Ask, kind: str) -> None:
    tree = table(kind, "NFC").to_json()
    description = json.loads(tree["segmenter"])
    description["normalizer"] = {"type": "Lowercase"}
    tree["segmenter"] = json.dumps(description)
    reason = f"cannot read the {kind} segmenter: it was not written by peephole; give sources as lists of symbols"
    with pytest.raises(Refused, match=reason):
        ask("segment", table=tree, texts=["low"])
    assert ask("segment", table=tree, texts=[["▁low"]])[0]["ids"] == SubwordSymbols(
        kind, **{name: table(kind, "NFC").to_json()[name] for name in ("segmenter", "normalize")}
    ).token_ids(["▁low"])
