"""Tests of the choice of a symbol kind and of its stated reason."""

from __future__ import annotations

import random

import pytest

from peephole.data import choose_kind

PHONES = [
    "AA",
    "AE",
    "AH",
    "AO",
    "AW",
    "AY",
    "B",
    "CH",
    "D",
    "DH",
    "EH",
    "ER",
    "EY",
    "F",
    "G",
    "HH",
    "IH",
    "IY",
    "JH",
    "K",
    "L",
    "M",
    "N",
    "NG",
    "OW",
    "OY",
    "P",
    "R",
    "S",
    "SH",
    "T",
    "TH",
    "UH",
    "UW",
    "V",
    "W",
    "Y",
    "Z",
]


def random_lines(tokens: list[str], shortest: int, longest: int, number: int = 300) -> list[str]:
    """Return random lines of shortest to longest tokens."""
    generator = random.Random(1)
    return [" ".join(generator.choices(tokens, k=generator.randint(shortest, longest))) for _ in range(number)]


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["hello", "world", "ice cream"], "characters"),
        (["안녕하세요", "한국어"], "characters"),
        (["我们今天去北京。", "他不来"], "characters"),
        (["漢字", "東京"], "characters"),
        (["CC(=O)Oc1ccccc1C(=O)O"], "characters"),
        (["New York", "Rome", "Oslo", "Bern"], "characters"),
        (random_lines(PHONES, 2, 9), "whitespace"),
        (random_lines(list("abcdefghijklmnopqrstuvwxyz"), 3, 9), "whitespace"),
        (random_lines([f"word{i}" for i in range(3000)], 5, 12), "bpe"),
        (random_lines([f"word{i}" for i in range(600)], 5, 12, number=600), "bpe"),
        (["the cat sat on the mat", "a dog barked at the old postman"], "bpe"),
        (["나는 오늘 학교에 갔다", "그는 내일 집에 온다"], "bpe"),
    ],
)
def test_the_kind_fits_the_data(texts: list[str], kind: str) -> None:
    found, reason = choose_kind(texts)
    assert found == kind
    tokens = [text.split() for text in texts]
    assert f"{sum(map(len, tokens)) / len(texts):.1f} tokens a line" in reason
    if kind != "characters":
        assert f"{len({token for line in tokens for token in line})} different ones" in reason
