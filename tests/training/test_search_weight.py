"""Tests that a trained model searches with CTC only where dev is better with it."""

from __future__ import annotations

import random

import pytest

import peephole
from peephole.config import Config
from peephole.training.search_weight import better_without_ctc, without_ctc

from .toy import TINY

CTC = {"ctc": True}


@pytest.mark.parametrize("settings", [{}, {**CTC, "search.ctc_weight": 0.3}, {**CTC, "search.ctc_weight": 0}], ids=str)
def test_a_weight_that_was_given_and_networks_without_ctc_have_no_choice(settings):
    assert without_ctc(Config().with_values(settings)) is None


@pytest.mark.parametrize(
    ("metric", "with_ctc", "without", "is_better"),
    [
        ("symbol_error_rate", 5.0, 4.9, True),
        ("symbol_error_rate", 5.0, 5.0, False),
        ("symbol_error_rate", 5.0, 5.1, False),
        ("exact_match", 50.0, 50.1, True),
        ("exact_match", 50.0, 50.0, False),
        ("exact_match", 50.0, 49.9, False),
        ("loss", 5.0, 4.9, True),  # compared by the symbol error rate
    ],
)
def test_the_better_search_is_chosen(metric, with_ctc, without, is_better):
    config = Config().with_values({**CTC, "dev_metric": metric})
    name = "symbol_error_rate" if metric == "loss" else metric
    asked = []

    def measure(other):
        asked.append(other)
        return {name: without}

    line = better_without_ctc(config, {name: with_ctc}, measure)
    assert [other.search.ctc_weight for other in asked] == [0.0]
    wanted = f"search.ctc_weight=0: dev {name.replace('_', ' ')} {without:.3f} without CTC in the search, 5"
    assert (line is not None and line.startswith(wanted)) == is_better
    assert is_better or line is None


@pytest.mark.parametrize("order", [1, -1])
def test_a_model_of_reversed_words_searches_without_ctc(tmp_path, monkeypatch, capsys, order):
    monkeypatch.chdir(tmp_path)
    draw = random.Random(1)
    sources = sorted({"".join(draw.choices("abcdefgh", k=draw.randint(3, 5))) for _ in range(200)})
    pairs = [(word, word[::order]) for word in sources]
    settings = {**TINY, "hidden_size": 24, "embedding_size": 12, "precision": "32-true", "dev_metric": "loss"}
    settings |= {"steps": 300, "evaluations": 2, "learning_rate": 0.01, "dev_fraction": 0.3, "train.ctc_weight": 0.5}
    model = peephole.train(pairs, out="m.safetensors", ctc=True, **settings)
    said = "search.ctc_weight=0: dev symbol error rate" in capsys.readouterr().err
    assert (model.config.search.ctc_weight, said) == ((0.0, True) if order < 0 else (None, False))
    assert peephole.resume("m.run", quiet=True).config.search.ctc_weight == model.config.search.ctc_weight
