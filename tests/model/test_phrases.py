"""Tests of the texts that predictions must contain, and of constrained searches through a model."""

from __future__ import annotations

from typing import Any

import pytest

import peephole
from models.make import MODEL
from peephole.errors import ArgumentError, ConfigError, PeepholeError

SOURCES = ["cab", "", "bad", "abba"]


def texts(found: list[list[Any]]) -> list[list[str]]:
    return [[prediction.text for prediction in predictions] for predictions in found]


@pytest.mark.parametrize("engine", ["auto", "off"])
def test_predictions_contain_their_texts(engine: str) -> None:
    model = peephole.load(MODEL)
    names = model.target_symbols.tokens(range(4, len(model.target_symbols)))
    required = [[f"{names[1]} {names[0]}"], [names[0]], [], [names[2], f"{names[3]} {names[3]}"]]
    plain = texts(model.predict(SOURCES, nbest=3, engine=engine))
    found = texts(model.predict(SOURCES, nbest=3, must_contain=required, engine=engine))
    assert found[1] == [""]  # the only target of an empty source
    assert found[2] == plain[2]
    for index in (0, 3):
        for text in found[index]:
            assert all(f" {phrase} " in f" {text} " for phrase in required[index])
        assert not all(f" {phrase} " in f" {plain[index][0]} " for phrase in required[index])


def test_texts_go_with_prefixes_and_a_beam_of_one() -> None:
    model = peephole.load(MODEL)
    first, second, *_ = model.target_symbols.tokens(range(4, len(model.target_symbols)))
    for beam_size in (1, 5):
        [[found]] = model.predict(["cab"], prefixes=[first], must_contain=[[second]], beam_size=beam_size)
        assert found.tokens[0] == first
        assert second in found.tokens[1:]


@pytest.mark.parametrize(
    ("given", "settings", "kind", "message"),
    [
        ("K", {}, ArgumentError, "must_contain: wanted a list of texts, got one text, 'K'; write ['K']"),
        (["K"], {}, ArgumentError, "must_contain[0]: wanted a list of texts, got one text, 'K'; write ['K']"),
        ([[3]], {}, ArgumentError, "must_contain[0]: wanted texts, got 3 at index 0"),
        ([], {}, PeepholeError, "must_contain: wanted a list of 1, one a source, got 0"),
        ([["K", " "]], {}, PeepholeError, "must_contain[0]: wanted texts of at least one symbol, got ' '"),
        (
            [["K Q"]],
            {},
            PeepholeError,
            "must_contain[0]: wanted texts of symbols seen in training, got 'K Q' with 'Q'",
        ),
        (
            [["K K", "K"]],
            {"max_length_factor": 0, "max_length_extra": 2},
            PeepholeError,
            "must_contain[0]: wanted at most 2 symbols in all, those that the target may have "
            "(search.max_length_factor, search.max_length_extra), got 3",
        ),
        ([["K"]], {"temperature": 1}, ConfigError, "must_contain: wanted search.temperature=none with it, got 1"),
        ([["K"]], {"no_repeat_ngram": 2}, ConfigError, "must_contain: wanted search.no_repeat_ngram=0 with it, got 2"),
        (
            [["K"]],
            {"beam_size": 4, "diverse_groups": 2, "diversity": 1},
            ConfigError,
            "must_contain: wanted search.diverse_groups=1 with it, got 2",
        ),
    ],
)
@pytest.mark.usefixtures("annotations_unchecked")
def test_impossible_texts_are_refused(given: Any, settings: Any, kind: type[Exception], message: str) -> None:
    model = peephole.load(MODEL)
    assert "K" in model.target_symbols.tokens(range(4, len(model.target_symbols)))
    with pytest.raises(kind) as caught:
        model.predict(["cab"], must_contain=given, **settings)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"diverse_groups": 2, "diversity": 1}, "search.diverse_groups: wanted a divisor of beam_size = 5, got 2"),
        (
            {"beam_size": 4, "diverse_groups": 2, "temperature": 2},
            "search.diverse_groups is for beam search: wanted search.temperature=none with it, got 2",
        ),
        (
            {"coverage_penalty": 1, "temperature": 2},
            "search.coverage_penalty is for beam search: wanted search.temperature=none with it, got 2",
        ),
    ],
)
def test_contradicting_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        peephole.load(MODEL).predict(["cab"], **settings)
    assert str(caught.value) == message
    with pytest.raises(ConfigError, match=r"coverage_penalty: wanted .*, or 0; got 1 with 'last'"):
        peephole.config.Config().with_values({"model.context": "last", "search.coverage_penalty": 1})


def test_settings_of_the_search_reach_it() -> None:
    model = peephole.load(MODEL)
    for engine in ("auto", "off"):
        [[plain]] = model.predict(["abba"], engine=engine)
        [[long]] = model.predict(["abba"], min_length=len(plain.tokens) + 3, engine=engine)
        assert len(long.tokens) >= len(plain.tokens) + 3
        [[long]] = model.predict(["abba"], min_length=50, max_length_factor=0.0, max_length_extra=4, engine=engine)
        assert len(long.tokens) >= 50  # the longest prediction follows the shortest
        [[once]] = model.predict(["abba"], min_length=12, no_repeat_ngram=2, engine=engine)
        bigrams = list(zip(once.tokens, once.tokens[1:], strict=False))
        assert len(set(bigrams)) == len(bigrams) >= 11
        [found] = model.predict(["abba"], beam_size=4, nbest=4, diverse_groups=4, diversity=1e6, engine=engine)
        assert len({prediction.tokens[0] for prediction in found if prediction.tokens}) > 1
