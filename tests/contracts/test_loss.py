"""Tests the loss of a batch, (12), against a loop over its symbols, and that wrong losses are rejected."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from peephole.nn.loss import loss_sum
from rejection import rejected_by_comparison

from .changes import change_text
from .checks import assert_close
from .wrong_losses import WRONG_LOSSES, right_loss

# Unequal lengths; all targets end with </s>, and the last column is padding in every row.
TARGET = np.array([[4, 7, 2, 0, 0], [5, 2, 0, 0, 0], [6, 6, 6, 2, 0]])
V = 9
SMOOTHINGS = [0.0, 0.1, 0.9]


def wanted_loss(logits, smoothing):
    """Return the loss Σ_n -Σ_v q_nv log p_nv and its gradient p_nv - q_nv, computed symbol by symbol."""
    loss, gradient = 0.0, np.zeros(logits.shape)
    for row, step in np.ndindex(TARGET.shape):
        gold = TARGET[row, step]
        if gold == 0:
            continue
        norm = math.log(sum(math.exp(z) for z in logits[row, step]))
        for symbol in range(V):
            share = smoothing / V + (1 - smoothing) * (symbol == gold)
            log_p = logits[row, step, symbol] - norm
            loss -= share * log_p
            gradient[row, step, symbol] = math.exp(log_p) - share
    return loss, gradient


def check_loss(loss_of, smoothing):
    """Compare value and gradient of a function like `peephole.nn.loss.loss_sum` with the loop, also for bfloat16."""
    numbers = np.random.default_rng(0).normal(size=(*TARGET.shape, V))
    loss, gradient = wanted_loss(numbers, smoothing)
    logits = torch.tensor(numbers, requires_grad=True)
    got = loss_of(logits, torch.tensor(TARGET), smoothing)
    assert got.dtype == torch.float64, f"type of the loss: wanted float64, got {got.dtype}"
    assert_close(got[None], np.array([loss]), "loss", torch.float64)
    assert_close(torch.autograd.grad(got, logits)[0], gradient, "gradient", torch.float64)
    half = loss_of(torch.tensor(numbers).bfloat16(), torch.tensor(TARGET), smoothing)
    assert half.dtype == torch.float32, f"type of the loss: wanted float32, got {half.dtype}"
    assert float(half) == pytest.approx(loss, rel=0.01)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("loss", [loss_sum, right_loss], ids=["definition", "right loss"])
def test_loss_equals_a_loop_over_symbols(loss, smoothing):
    check_loss(loss, smoothing)


@pytest.mark.parametrize("change", WRONG_LOSSES, ids=lambda change: change.name)
def test_wrong_loss_is_rejected(change):
    loss = change_text(right_loss, change.right, change.wrong)
    with rejected_by_comparison(rf"^{change.seen_in}\b"):
        check_loss(loss, 0.1)
