"""Tests Model.score and teacher_forced against step-by-step loops and against predict."""

from __future__ import annotations

import math
import random

import pytest

from model.stepwise import TOLERANCE, by_hand, half_trained, words
from models.make import SOUNDS
from peephole.errors import PeepholeError
from peephole.model import Model, Notices
from peephole.symbols import EOS


def test_log_prob_equals_the_score_of_the_text(any_model: Model) -> None:
    sources = words(10, seed=4)
    flat = [(s, p) for s, found in zip(sources, any_model.predict(sources, nbest=5), strict=True) for p in found]
    random.Random(1).shuffle(flat)
    scores = any_model.score([s for s, _ in flat], [p.text for _, p in flat])
    for score, (_, p) in zip(scores, flat, strict=True):
        assert score == pytest.approx(p.log_prob, abs=TOLERANCE * len(p.symbol_log_probs))


def test_score_refuses_unequal_numbers_and_empty_sources(toy: Model) -> None:
    with pytest.raises(PeepholeError, match="wanted as many targets as sources, got 1 and 2"):
        toy.score(["a", "b"], ["AH"])
    with pytest.raises(PeepholeError, match=r"^teacher_forced: source 2 is empty; wanted at least one symbol$"):
        toy.teacher_forced(["a", "a", ""], ["B", "B", "B"])
    with pytest.raises(PeepholeError, match="source 1 is empty"):
        toy.score(["a", ""], ["AH", "B"])
    assert toy.score([], []) == []
    [empty] = toy.score(["ab"], [""])
    assert empty == pytest.approx(float(by_hand(toy, "ab", [])[0][0][EOS]), abs=TOLERANCE)


def test_the_probabilities_of_all_targets_sum_to_one() -> None:
    model = half_trained("mean")
    assert sum(math.exp(score) for score in model.score(["ab"] * 8, ["", *SOUNDS.values()])) < 1
    rows, _ = by_hand(model, "ab", [])
    assert float(rows[0].exp().sum()) == pytest.approx(1)
    # The score of a one-symbol target is log p(y) + log p(</s> | y), so scores use the same normalised probabilities.
    first = {symbol: float(rows[0][model.target_symbols.encode(symbol)[0]]) for symbol in SOUNDS.values()}
    for symbol, log_prob in first.items():
        then, _ = by_hand(model, "ab", model.target_symbols.encode(symbol))
        assert model.score(["ab"], [symbol])[0] == pytest.approx(log_prob + float(then[1][EOS]), abs=TOLERANCE)


def test_teacher_forced_returns_the_most_probable_symbol_after_each_gold_prefix(any_model: Model) -> None:
    sources = words(9, seed=9)
    targets = [" ".join(SOUNDS[letter] for letter in word) for word in words(9, seed=10, shortest=0)]
    targets[3] = "AH never_seen B"
    found = any_model.teacher_forced(sources, targets, notices=Notices())
    for source, target, best in zip(sources, targets, found, strict=True):
        rows, _ = by_hand(any_model, source, any_model.target_symbols.encode(target))
        assert best == any_model.target_symbols.tokens(rows[:-1].argmax(1).tolist())
        assert len(best) == len(target.split())
    assert any_model.teacher_forced(sources[:1], targets[:1]) == found[:1]
