"""Tests the objective, (12): it is a sum over pairs and does not depend on padding or the batch."""

from __future__ import annotations

import math

import pytest
import torch

from peephole.nn import Noise
from peephole.nn.loss import loss_sum
from peephole.training.loss import loss_divisor

from .toy import CAPITALS, make_network

# (source, target with </s>) of unequal lengths; the longest source and target are in different pairs.
PAIRS = [([4, 6, 5, 7], [9, 4, 2]), ([5], [5, 4, 8, 5, 6, 2]), ([6, 4, 4, 8, 5, 9], [7, 2]), ([10, 11], [4, 4, 4, 2])]
EXAMPLES = [3, 70_000, 0, 12]  # numbers of these pairs in the corpus


def batch(rows, extra=0):
    """Return source, lengths, target and example numbers of some pairs, with `extra` columns of padding."""

    def pad(lists):
        padded = torch.zeros(len(lists), max(map(len, lists)) + extra, dtype=torch.int64)
        for row, ids in enumerate(lists):
            padded[row, : len(ids)] = torch.tensor(ids)
        return padded

    sources, targets = [PAIRS[row][0] for row in rows], [PAIRS[row][1] for row in rows]
    lengths = torch.tensor([len(source) for source in sources])
    return pad(sources), lengths, pad(targets), torch.tensor([EXAMPLES[row] for row in rows])


def loss_and_gradient(network, rows, *, extra=0, sampling_probability=0.0):
    source, lengths, target, examples = batch(rows, extra)
    noise = Noise(seed=5, step=11, examples=examples, rate=0.4)
    loss = network.loss_sum(
        source,
        lengths,
        target,
        noise=noise,
        sampling_probability=sampling_probability,
        label_smoothing=0.1,
        ctc_weight=0.3,
        coverage_weight=0.5 if network.decoder.kinds()["attention"] == "coverage" else 0.0,
    )
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    return loss.item(), torch.cat([gradient.flatten() for gradient in gradients])


LAYERS = {"encoder_layers": 2, "decoder_layers": 2}
MODELS = [{}, LAYERS, {"cell": "gru", "peephole": "none", "context": "mean", **LAYERS}, {"context": "last"}]
MODELS += [{"attention": "coverage"}, {"ctc": True}]


@pytest.mark.parametrize("sampling_probability", [0.0, 0.5], ids=["gold symbols fed", "own symbols fed"])
@pytest.mark.parametrize("settings", MODELS, ids=str)
def test_loss_and_gradient_with_noise_are_sums_over_single_pairs(settings, sampling_probability):
    network = make_network(**settings).double()
    together, gradient = loss_and_gradient(network, [0, 1, 2, 3], sampling_probability=sampling_probability)
    alone = [loss_and_gradient(network, [row], sampling_probability=sampling_probability) for row in range(4)]
    # Float64: only the order of additions differs.
    assert together == pytest.approx(sum(loss for loss, _ in alone), rel=1e-12)
    torch.testing.assert_close(gradient, torch.stack([g for _, g in alone]).sum(0), rtol=1e-9, atol=1e-12)
    for rows, extra in (([0, 1, 2, 3], 3), ([2, 0, 3, 1], 0)):
        other, other_gradient = loss_and_gradient(network, rows, extra=extra, sampling_probability=sampling_probability)
        assert other == pytest.approx(together, rel=1e-12)
        torch.testing.assert_close(other_gradient, gradient, rtol=1e-9, atol=1e-12)


def test_noise_changes_the_loss():
    """Without noise the test above would be void."""
    network = make_network().double()
    source, lengths, target, _ = batch([0, 1, 2, 3])
    quiet = loss_sum(network(source, lengths, target), target, 0.1).item()
    noisy, _ = loss_and_gradient(network, [0, 1, 2, 3])
    fed, _ = loss_and_gradient(network, [0, 1, 2, 3], sampling_probability=0.5)
    assert len({round(loss, 3) for loss in (quiet, noisy, fed)}) == 3


def test_loss_without_smoothing_is_the_negative_log_probability():
    network = make_network()
    source, lengths, target, _ = batch([0, 1, 2, 3])
    target_lengths = (target != 0).sum(1)
    log_prob = network.log_prob(source, lengths, target, target_lengths).sum().item()
    assert loss_sum(network(source, lengths, target), target, 0.0).item() == pytest.approx(-log_prob, rel=1e-6)
    assert -log_prob == pytest.approx(15 * math.log(len(CAPITALS)), rel=0.2)  # 15 symbols, untrained


def test_divisor_is_the_number_of_symbols_or_pairs():
    assert loss_divisor(4, 15, "symbol") == 15
    assert loss_divisor(4, 15, "pair") == 4  # (12)
