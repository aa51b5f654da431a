"""Tests of equality and hash of predictions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import peephole
from models.make import MODEL
from peephole.model import Prediction


def example(**changes: Any) -> Prediction:
    weights = np.array([[0.25, 0.75], [1, 0]], np.float32)
    return replace(Prediction("AH B", ["AH", "B"], -1.5, [-1.0, -0.25, -0.25], True, ["a", "b"], weights), **changes)


CHANGES: dict[str, Any] = {
    "text": "AHB",
    "tokens": ["AH", "C"],
    "log_prob": -1.25,
    "symbol_log_probs": [-1.0, -0.25, -0.5],
    "finished": False,
    "source_tokens": ["a", "c"],
    "attention": np.array([[0.25, 0.75], [0.5, 0.5]], np.float32),
    "unknown": ("b",),
    "truncated": True,
}


def test_predictions_of_equal_calls_are_equal() -> None:
    model = peephole.load(MODEL)
    first, second = (model.predict(["cab", "", "deadbe"], nbest=3) for _ in range(2))
    assert first == second
    assert first[0][0].attention is not second[0][0].attention
    assert {p for found in first for p in found} == {p for found in second for p in found}
    without = model.predict(["cab"], attention=False)[0][0]
    assert without == model.predict(["cab"], attention=False)[0][0]
    assert without != first[0][0]
    assert hash(without) == hash(replace(first[0][0], attention=None))


@pytest.mark.parametrize("field", CHANGES)
def test_every_field_is_compared(field: str) -> None:
    assert set(CHANGES) == set(vars(example()))
    assert example() == example()
    changed = example(**{field: CHANGES[field]})
    assert changed == example(**{field: CHANGES[field]})
    assert changed != example()
    assert not changed == example()  # noqa: SIM201  # the operator itself


@pytest.mark.parametrize("weights", [None, np.zeros((0, 0), np.float32), np.ones((2, 1), np.float32), np.ones((2, 2))])
def test_attention_of_another_shape_differs(weights: Any) -> None:
    assert example(attention=weights) != example()
    assert example() != example(attention=weights)


def test_a_prediction_differs_from_other_objects() -> None:
    for other in (None, "AH B", 3, example().to_dict()):
        assert (example() == other) is False


def test_equal_predictions_have_equal_hashes() -> None:
    assert hash(example()) == hash(example())
    assert len({example(), example(), example(text="AHB")}) == 2
