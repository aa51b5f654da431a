"""Tests the CTC loss in whole training steps on the engine against the NumPy oracle, and pairs without a path."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from contracts.checks import assert_close
from contracts.network_checks import check_gradients, weights_of
from contracts.test_ctc import PAIRS, SETTINGS, V, batch, joint_oracle, loss_settings, make
from contracts.trainer_cases import CASES
from contracts.training_checks import Case, arguments, largest_error
from peephole import engine
from peephole.data.batch import make_batch
from peephole.engine.step_settings import StepSettings
from peephole.engine.trainer import EngineTrainer
from peephole.nn import Noise
from peephole.nn.schema import Architecture

pytestmark = pytest.mark.skipif(not engine.available(), reason="without a compiler there is no engine")
instruction_sets = pytest.mark.parametrize("instruction_set", engine.instruction_sets())


@instruction_sets
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_joint_loss_equals_the_oracle(settings, instruction_set):
    model, config = make(**settings)
    how, noise = loss_settings(config, 0.3), Noise(seed=1, step=1, examples=torch.arange(len(PAIRS)), rate=0.4)
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    shares = {"coverage_loss": how["coverage_weight"], "ctc_weight": how["ctc_weight"]}
    given = StepSettings(noise.rate, False, how["label_smoothing"], 0.0, 0.0, 0.0, 2, "64-true", 1, **shares)
    trainer = EngineTrainer(Architecture.of(config), 7, V, weights, given, instruction_set)
    source, lengths, target = (tensor.numpy() for tensor in batch())
    result, gradients = trainer.gradients(source, lengths, target, noise.examples.numpy(), step=1, divisor=1)
    total = joint_oracle(config, noise, how)
    assert_close(
        torch.tensor([result.loss], dtype=torch.float64), np.array([total(weights_of(model))]), "loss", torch.float64
    )
    found = {name: torch.from_numpy(gradient) for name, gradient in gradients.items()}
    check_gradients(total, weights_of(model), found, key=("joint loss", config, 0.3, 0.4))


def one_pair(length, target):
    """Return a batch of one source of some length and a target without </s>."""
    return make_batch([np.arange(3, 3 + length)], [np.array(target, np.int64)], np.array([1]))


@pytest.mark.parametrize(
    ("length", "target", "has_path"),
    [
        (1, [], True),
        (4, [], True),
        (1, [4], True),
        (3, [4, 5, 4], True),
        (3, [4, 4], True),
        (6, [4, 4, 4, 5], True),
        (2, [4, 4], False),
        (5, [4, 4, 4, 5], False),
        (1, [4, 5], False),
    ],
)
def test_a_pair_without_a_path_adds_nothing(length, target, has_path):
    trainer, given = CASES["ctc alone"].trainer(), arguments(one_pair(length, target))
    result, gradients = trainer.gradients(*given, step=0, divisor=1)
    largest = max(np.abs(gradient).max() for gradient in gradients.values())
    assert (result.loss > 0) == has_path
    assert (largest > 0) == has_path


def test_a_pair_without_a_path_learns_by_attention():
    """Its gradients are those of attention alone, by its share."""
    case, given = CASES["ctc"], arguments(one_pair(2, [4, 5, 6]))
    plain = Case({**case.model, "ctc": False}).trainer()
    joint = case.trainer()
    for name, weight in plain.weights.items():
        weight[...] = joint.weights[name]
    wanted, gradients = plain.gradients(*given, step=2, divisor=1)
    result, found = joint.gradients(*given, step=2, divisor=1)
    share = 1 - case.config.train.ctc_weight
    assert result.loss == pytest.approx(share * wanted.loss, rel=1e-12)
    ctc = {name: found.pop(name) for name in ("ctc.weight", "ctc.bias")}
    assert not any(gradient.any() for gradient in ctc.values())
    assert largest_error(found, {name: share * gradient for name, gradient in gradients.items()}) < 1e-12


@pytest.mark.parametrize("precision", ["64-true", "32-true"])
def test_improbable_targets_have_exact_losses(precision):
    """The probability of the paths is far below the smallest number."""
    length, low = 300, -40.0
    trainer = replace(CASES["ctc alone"], precision=precision, dropout=0).trainer()
    trainer.weights["ctc.weight"][...] = 0
    trainer.weights["ctc.bias"][...] = 0
    trainer.weights["ctc.bias"][[0, 4, 5]] = low  # blank and the target's symbols
    source = make_batch([np.full(length, 3)], [np.array([4, 5])], np.array([1]))
    paths = (
        (length + 2) * (length + 1) * length * (length - 1) // 24
    )  # the places of 5 states in a row, of which 3 are blank
    log_prob = np.log(paths) + length * (low - np.log(8 + 3 * np.exp(low)))
    assert trainer.loss(*arguments(source)[:3]) == pytest.approx(
        -log_prob, rel=1e-12 if precision == "64-true" else 1e-6
    )
    result, _ = trainer.gradients(*arguments(source), step=0, divisor=1)
    assert np.isfinite(result.gradient_norm)


@pytest.mark.parametrize("weight", [0.0, -0.1, 1.5, float("nan")])
def test_refused_shares(weight):
    def make_with(architecture, sources, targets, weights, settings, instruction_set):
        changed = settings._replace(ctc_weight=weight)
        return EngineTrainer(architecture, sources, targets, weights, changed, instruction_set)

    with pytest.raises(ValueError, match="ctc_weight: wanted a number above 0 and at most 1 with a CTC output, got"):
        CASES["ctc"].trainer(make_with)
    assert CASES["default"].trainer(make_with).weights  # which has no CTC output
