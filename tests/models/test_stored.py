"""Models that were saved by earlier versions still load and predict what they did."""

from __future__ import annotations

import json

import pytest

import peephole
from models.make import EXPECTED, HERE, MODEL, pronounce, toy_words
from peephole.model import UnknownSymbolWarning
from peephole.model_file import FORMAT_VERSION

TOLERANCE = 1e-5  # on log-probabilities


def test_there_is_a_model_of_every_format_version() -> None:
    stored = {path.name for path in HERE.glob("*.safetensors")}
    assert stored == {f"lstm_v{version}.safetensors" for version in range(1, FORMAT_VERSION + 1)}


def test_predictions_and_scores_are_those_of_the_day_it_was_made() -> None:
    expected = json.loads(EXPECTED.read_text(encoding="utf-8"))
    model = peephole.load(MODEL)
    assert len(expected["predict"]) == 8
    with pytest.warns(UnknownSymbolWarning):
        found = model.predict(list(expected["predict"]), nbest=3)
    for predictions, wanted in zip(found, expected["predict"].values(), strict=True):
        assert [p.text for p in predictions] == [p["text"] for p in wanted]
        assert [p.log_prob for p in predictions] == pytest.approx([p["log_prob"] for p in wanted], abs=TOLERANCE)
    sources, targets, scores = zip(*expected["score"], strict=True)
    with pytest.warns(UnknownSymbolWarning):
        assert model.score(sources, targets) == pytest.approx(scores, abs=TOLERANCE)


def test_the_model_is_a_good_one() -> None:
    words = toy_words(200, seed=2)  # most of them not among the training words
    found = peephole.load(MODEL).predict(words)
    assert sum(best.text == pronounce(word) for word, [best] in zip(words, found, strict=True)) >= 190
