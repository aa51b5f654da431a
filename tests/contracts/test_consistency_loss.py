"""Tests the consistency loss, (68): against NumPy, in the loss of a network, on the engine; wrong ones are rejected."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from peephole.errors import ConfigError
from peephole.nn import Noise, use_engine
from peephole.nn.copying import CopyOutput
from peephole.nn.loss import consistency_loss_sum, loss_sum
from peephole.nn.outputs import Readouts, output_loss_sum
from peephole.symbols import EOS
from rejection import rejected_by_comparison

from . import oracle
from .changes import change_text
from .checks import assert_close
from .network_checks import PAIRS, batch, make
from .output_problems import instruction_sets, needs_engine
from .wrong_losses import WRONG_CONSISTENCY_LOSSES, right_consistency_loss

HALF = [[4, 3, EOS, 0], [1, EOS, 0, 0], [3, 3, 1, EOS]]
TARGET = np.array(HALF + HALF)
V = 5
LOGITS = 2 * np.random.default_rng(0).normal(size=(*TARGET.shape, V))


def divergence(p, q):
    """Return KL(p || q) of two lists of probabilities."""
    return sum(a * np.log(a / b) for a, b in zip(p, q, strict=True))


def wanted_loss(logits):
    """Return (68) of scores, (6, 4, V), symbol by symbol."""
    total = 0.0
    for row, step in np.ndindex(3, 4):
        if TARGET[row, step]:
            p, q = (oracle.softmax(logits[b, step]) for b in (row, row + 3))
            total = total + (divergence(p, q) + divergence(q, p)) / 2
    return total


def check_loss(loss):
    """Compare the value and the gradient of a function like `consistency_loss_sum` with the loop."""
    logits = torch.tensor(LOGITS, requires_grad=True)
    found = loss(logits, torch.tensor(TARGET))
    assert_close(found, wanted_loss(LOGITS), "loss", torch.float64)
    wanted = oracle.gradients(lambda given: wanted_loss(given["logits"]), {"logits": LOGITS})["logits"]
    assert_close(torch.autograd.grad(found, logits)[0], wanted, "gradient", torch.float64)


@pytest.mark.parametrize("loss", [consistency_loss_sum, right_consistency_loss], ids=["definition", "right loss"])
def test_it_equals_a_loop_over_symbols(loss):
    check_loss(loss)


@pytest.mark.parametrize("change", WRONG_CONSISTENCY_LOSSES, ids=lambda change: change.name)
def test_a_wrong_one_is_rejected(change):
    with rejected_by_comparison(rf"^{change.seen_in}\b"):
        check_loss(change_text(right_consistency_loss, change.right, change.wrong))


@pytest.mark.parametrize("sampling", [0.0, 1e-12], ids=["gold symbols fed", "scheduled sampling"])
def test_a_network_adds_it_with_its_weight(sampling):
    """The two readings differ by their noise alone; equal noise makes it 0."""
    network, _ = make()
    source, lengths, target, target_lengths = (torch.cat([part, part]) for part in batch())
    target = target.where(torch.arange(target.shape[1]) < target_lengths[:, None], 0)  # <pad>

    def loss(weight, examples):
        noise = Noise(seed=1, step=1, examples=examples, rate=0.3)
        how = {"noise": noise, "sampling_probability": sampling, "label_smoothing": 0.1}
        return network.loss_sum(source, lengths, target, consistency_weight=weight, **how)

    pairs = torch.arange(len(PAIRS))
    others = torch.cat([pairs, pairs + len(PAIRS)])
    noise = Noise(seed=1, step=1, examples=others, rate=0.3)
    wanted = consistency_loss_sum(network(source, lengths, target, noise=noise), target)
    assert wanted > 0.1
    torch.testing.assert_close(loss(0.7, others) - loss(0.0, others), 0.7 * wanted)
    same = torch.cat([pairs, pairs])
    # Its terms are differences of the same numbers in float64, and the losses are below 100
    torch.testing.assert_close(loss(0.7, same), loss(0.0, same), rtol=0, atol=1e-12)


def test_a_model_that_copies_has_none():
    read = Readouts(
        torch.zeros(2, 1, 3), torch.zeros(2, 1, 4), torch.ones(2, 1, 1), torch.ones(2, 1, dtype=torch.int64)
    )
    with pytest.raises(ConfigError, match=r"consistency_weight: wanted 0 for a model that copies, got 0\.5"):
        CopyOutput(3, 5, 4).loss_sum(read, torch.full((2, 1), EOS), 0.1, 0.5)


def problem(rows, hidden_size, symbols, dtype):
    """Return r, weight, bias and targets of twice so many rows; every fifth row and the last are padding."""
    draw = torch.Generator().manual_seed(0)
    shapes = (2, rows, hidden_size), (symbols, hidden_size), (symbols,)
    r, weight, bias = (torch.randn(shape, generator=draw, dtype=dtype).requires_grad_() for shape in shapes)
    target = torch.randint(1, symbols, (1, rows), generator=draw)
    if rows > 1:
        target[0, ::5] = target[0, -1] = 0
    return r, weight, bias, target.expand(2, rows)


def run(setting, r, weight, bias, target, weights):
    with use_engine(setting):
        loss = output_loss_sum(r, weight, bias, target, *weights)
    return [loss.detach(), *torch.autograd.grad(0.7 * loss, (r, weight, bias))]


@needs_engine
@instruction_sets
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-12)], ids=str)
@pytest.mark.parametrize("weights", [(0.0, 1.0), (0.1, 4.0)], ids=str)
@pytest.mark.parametrize("sizes", [(1, 1, 2), (9, 5, 40), (35, 33, 83), (150, 48, 600)], ids=str)
def test_the_engine_computes_that_of_the_definition(instruction_set, dtype, tolerance, weights, sizes):
    """Compare with float64. The gradients of (68) are differences, so float32 has fewer right digits than of (12)."""
    *tensors, target = problem(*sizes, dtype)
    wide = [tensor.detach().double().requires_grad_() for tensor in tensors]
    found, wanted = run(instruction_set, *tensors, target, weights), run("off", *wide, target, weights)
    for got, want in zip(found, wanted, strict=True):
        assert float((got - want).abs().max()) <= tolerance * float(want.abs().max())
    assert not found[1][target == 0].any()
    with torch.no_grad(), use_engine(instruction_set):
        assert torch.equal(output_loss_sum(*tensors, target, *weights), found[0])


@needs_engine
@instruction_sets
def test_its_bits_do_not_depend_on_the_threads(instruction_set, threads):
    given = (*problem(300, 33, 83, torch.float32), (0.1, 3.0))
    found = []
    for number in (1, 3):
        threads(number)
        found.append(run(instruction_set, *given))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@needs_engine
@pytest.mark.parametrize("rows", [[[3, 1], [3, 2]], [[3, 1], [3, 0]], [[3, 1, 4]]], ids=str)
def test_rows_that_are_no_pairs_are_refused(rows):
    target = torch.tensor(rows)
    r, weight, bias = torch.zeros(*target.shape, 4), torch.zeros(6, 4), torch.zeros(6)
    with use_engine("auto"), pytest.raises(IndexError, match="symbols from 0 to 5, twice the same in two halves, got"):
        output_loss_sum(r, weight, bias, target, 0.1, 1.0)


def test_it_is_added_to_the_loss():
    logits, target = torch.tensor(LOGITS), torch.tensor(TARGET)
    added = loss_sum(logits, target, 0.1, 2.5) - loss_sum(logits, target, 0.1)
    torch.testing.assert_close(added, 2.5 * consistency_loss_sum(logits, target))
