"""Tests that wrong training steps on the engine are found, and that the loss is that of even probabilities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contracts.ctc_oracle import ctc_loss
from contracts.trainer_cases import CASES
from contracts.training_checks import NUM_TARGET_SYMBOLS, arguments, check_gradients, check_steps
from contracts.vector_checks import oracle_of
from contracts.wrong_trainers import (
    WRONG_CONSISTENCY,
    WRONG_COPYING,
    WRONG_CTC,
    WRONG_FRAMES,
    WRONG_GRADIENTS,
    WRONG_NORM,
    WRONG_STEPS,
    WRONG_TEACHER,
    WRONG_VECTORS,
    WRONG_ZONEOUT,
)
from peephole import engine
from peephole.nn.schema import Architecture, num_places
from peephole.symbols import PAD

pytestmark = pytest.mark.skipif(not engine.available(), reason="without a compiler there is no engine")


def loss_of_zero_weights(case, batch):
    """Return the loss of even probabilities: of all symbols; of a model that copies half of it of the source's."""
    if case.predicts_vectors:
        return vector_loss_of_zero_weights(case, batch)
    if case.config.model.ctc:
        share = case.config.train.ctc_weight
        return (1 - share) * np.log(NUM_TARGET_SYMBOLS) * batch.num_symbols + share * ctc_loss_of_zero_weights(
            case, batch
        )
    if batch.source.ndim == 2 or batch.source.dtype.kind == "f":
        return np.log(NUM_TARGET_SYMBOLS) * batch.num_symbols
    loss = 0.0
    for source, length, target in zip(batch.source, batch.source_lengths, batch.target, strict=True):
        for symbol in target[target != PAD]:
            generated = (symbol < NUM_TARGET_SYMBOLS) / NUM_TARGET_SYMBOLS
            loss -= np.log(0.5 * generated + 0.5 * np.mean(source[:length, 1] == symbol))
    return loss


def vector_loss_of_zero_weights(case, batch):
    """Return the loss of vectors whose distributions are all the same, by the oracle; only the deviations are not 0."""
    constants = {name: np.zeros(case.config.model.output_size) for name in ("decoder.mean", "decoder.deviation")}
    if "decoder.deviation" in case.trainer().weights:
        constants["decoder.deviation"] = case.trainer().weights["decoder.deviation"]
    oracle, loss = oracle_of(case.config.model, constants), 0.0
    for source, length, target in zip(batch.source, batch.source_lengths, batch.target, strict=True):
        mean, deviation = oracle.units(source[:length].astype(float))
        z = (target - mean) / deviation
        numbers = oracle.describe(np.zeros(case.trainer().weights["decoder.output.bias"].shape))
        loss += sum(oracle.component_loss(numbers[:, d], z[t, d]) for t, d in np.argwhere(np.isfinite(z)))
    return loss


def ctc_loss_of_zero_weights(case, batch):
    """Return the loss of CTC of even probabilities, by the oracle."""
    loss = 0.0
    for length, target in zip(batch.source_lengths, batch.target, strict=True):
        outputs = num_places(Architecture.of(case.config.model), length)
        loss += ctc_loss(np.full((outputs, NUM_TARGET_SYMBOLS), 1 / NUM_TARGET_SYMBOLS), target[target != PAD][:-1])
    return loss


@pytest.mark.parametrize("name", [name for name in CASES if "zoneout" not in name])
def test_loss_is_that_of_plain_gradients(name):
    plain = dict.fromkeys(("label_smoothing", "coverage_loss", "consistency_loss", "time_masks", "feature_masks"), 0)
    plain["teacher_weight"] = 0
    case = replace(CASES[name], dropout=0, train={**CASES[name].train, **plain})
    batch, trainer = CASES[name].batch(), CASES[name].trainer()
    result, _ = case.trainer().gradients(*arguments(batch), step=0, divisor=1)
    assert trainer.loss(*arguments(batch)[:3]) == pytest.approx(result.loss, rel=1e-12)
    for weight in (weight for name, weight in trainer.weights.items() if name != "decoder.deviation"):
        weight[...] = 0
    assert trainer.loss(*arguments(batch)[:3]) == pytest.approx(loss_of_zero_weights(case, batch))
    assert trainer.loss(*arguments(batch)[:3], averaged=True) == pytest.approx(result.loss, rel=1e-12)


FOUND_BY = {  # the case whose gradients differ, for each list
    "stacked": WRONG_GRADIENTS,
    "copying, coverage": WRONG_COPYING,
    "convolutions of planes": WRONG_FRAMES,
    "ctc": WRONG_CTC,
    "consistency": WRONG_CONSISTENCY,
    "teacher": WRONG_TEACHER,
    "vectors in constant units": WRONG_VECTORS,
    "zoneout": WRONG_ZONEOUT,
    "norm": WRONG_NORM,
}


@pytest.mark.parametrize(("name", "wrong"), [(name, wrong) for name, listed in FOUND_BY.items() for wrong in listed])
def test_wrong_gradients_are_found(name, wrong):
    with pytest.raises(AssertionError):
        check_gradients(CASES[name], 1e-10, FOUND_BY[name][wrong])


@pytest.mark.parametrize("wrong", WRONG_STEPS)
def test_wrong_steps_are_found(wrong):
    with pytest.raises(AssertionError):
        check_steps(CASES["stacked"], 1e-10, WRONG_STEPS[wrong])
