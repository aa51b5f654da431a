"""Tests densities and losses of real vectors in whole training steps on the engine against the NumPy oracle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from contracts.network_checks import check_gradients
from contracts.trainer_cases import CASES
from contracts.training_checks import arguments, largest_error
from contracts.vector_checks import OUTPUTS, UNITS, batch, make, oracle_of, sources, targets, weights_of
from peephole import engine
from peephole.engine.step_settings import StepSettings
from peephole.engine.trainer import EngineTrainer
from peephole.nn.schema import Architecture

pytestmark = pytest.mark.skipif(not engine.available(), reason="without a compiler there is no engine")
instruction_sets = pytest.mark.parametrize("instruction_set", engine.instruction_sets())
GIVEN = tuple(tensor.numpy() for tensor in batch()[:3])
# The numbers that the engine reads, in float32
PAIRS = [[side.astype(np.float32).astype(float) for side in pair] for pair in zip(sources(), targets(), strict=True)]


def trainer_of(model, config, instruction_set=None):
    """Return a trainer of a model in float64, without dropout."""
    settings = StepSettings(0.0, False, 0.0, 0.0, 0.0, 0.0, 2, "64-true", 1)
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    return EngineTrainer(Architecture.of(config), 4, 4, weights, settings, instruction_set)


@instruction_sets
@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("output", OUTPUTS)
def test_losses_and_gradients_equal_the_oracle(output, units, instruction_set):
    model, config = make(**OUTPUTS[output], **UNITS[units])
    weights = weights_of(model)
    trainer = trainer_of(model, config, instruction_set)
    result, gradients = trainer.gradients(*GIVEN, np.arange(3), step=0, divisor=1)

    def total(values):
        own = oracle_of(config, values)
        return sum(own.loss(*pair) for pair in PAIRS)

    assert result.loss == pytest.approx(total(weights), rel=1e-10)
    found = {name: torch.from_numpy(gradient) for name, gradient in gradients.items()}
    check_gradients(total, weights, found, key=("loss of vectors in float32", config))


@instruction_sets
@pytest.mark.parametrize("units", UNITS)
def test_densities_equal_the_oracle(units, instruction_set):
    model, config = make(**OUTPUTS["gaussian"], **UNITS[units])
    found = trainer_of(model, config, instruction_set).log_densities(*GIVEN)
    own = oracle_of(config, weights_of(model))
    wanted = [-own.loss(*pair, in_units=True) for pair in PAIRS]
    np.testing.assert_allclose(found, wanted, rtol=1e-10)


def test_a_target_without_any_number_adds_nothing():
    case = replace(CASES["vectors"], dropout=0)
    whole, trainer = case.batch(), case.trainer()
    assert np.isnan(whole.target[1]).all()
    target = whole.target.copy()
    target[[0, 2, 3, 4]] = np.nan
    result, gradients = trainer.gradients(*arguments(replace(whole, target=target)), step=0, divisor=1)
    assert result.loss == 0
    assert not any(gradient.any() for gradient in gradients.values())
    assert (trainer.log_densities(*arguments(replace(whole, target=target))[:3]) == 0).all()


@pytest.mark.parametrize("name", ["vectors", "many quantiles"])
def test_losses_of_targets_far_from_their_distributions(name):
    """ρ of ±300, whose e^ρ has no float: the softplus is ρ or 0, and its derivative 1 or 0."""
    case = replace(CASES[name], precision="32-true", dropout=0)
    for number in (300.0, -300.0):
        trainer = case.trainer()
        trainer.weights["decoder.output.weight"][...] = 0
        trainer.weights["decoder.output.bias"][...] = number
        result, gradients = trainer.gradients(*arguments(case.batch()), step=0, divisor=1)
        assert np.isfinite(result.loss)
        assert all(np.isfinite(gradient).all() for gradient in gradients.values())


def test_weights_of_the_next_step_do_not_depend_on_missing_components():
    """What a missing component holds, NaN or an infinite number, has no effect on any bit."""
    case = CASES["vectors"]
    given, found = case.batch(), []
    for number in (np.nan, np.inf, -np.inf):
        target = np.where(np.isfinite(given.target), given.target, np.float32(number))
        _, gradients = case.trainer().gradients(*arguments(replace(given, target=target)), step=0, divisor=1)
        found.append(gradients)
    assert largest_error(found[0], found[1]) == largest_error(found[0], found[2]) == 0
