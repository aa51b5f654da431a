"""Tests whole models with location-aware attention, coverage and several heads; and the coverage loss.

The other kinds are in `test_seq2seq.py`.
"""

from __future__ import annotations

import pytest
import torch

from peephole import engine
from peephole.nn import Noise, use_engine
from peephole.nn.backends import Request, find
from peephole.nn.loss import coverage_loss_sum
from rejection import rejected_by_comparison

from . import oracle, wrong_losses
from .changes import change_text
from .checks import assert_close
from .network_checks import (
    EOS,
    PAIRS,
    batch,
    check,
    check_mixed_precision,
    check_sampling_of_gold_symbols,
    check_steps,
    make,
    oracle_of,
    weights_of,
)

KINDS = ("location", "coverage", "multihead")
kinds = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(params=["off", *engine.instruction_sets()], autouse=True, scope="module")
def implementation(request):
    """Run every test of this file with the definition and with the engine on each instruction set."""
    with use_engine(request.param):
        yield request.param


@kinds
@pytest.mark.parametrize(("cell", "peephole"), [("lstm", "full"), ("gru", "none")])
def test_model_equals_the_oracle(cell, peephole, kind):
    check(*make(cell, peephole, attention=kind, decoder_layers=2))


@kinds
def test_single_precision_equals_the_oracle(kind):
    """The seed's gradients of attention are large enough to be exact to 1e-5 in float32, unlike those of some seeds."""
    check(*make(attention=kind, bidirectional=False, dtype=torch.float32, seed=8), torch.float32)


@kinds
def test_gradients_in_mixed_precision_are_close_to_single_precision(kind):
    check_mixed_precision(make(attention=kind, dtype=torch.float32)[0])


@kinds
def test_single_steps_equal_the_oracle(kind):
    check_steps(*make(attention=kind, decoder_layers=2))


@kinds
def test_scheduled_sampling_with_probability_near_0_is_teacher_forcing_with_the_same_dropout(kind):
    check_sampling_of_gold_symbols(make(attention=kind, decoder_layers=2)[0])


@kinds
def test_results_of_a_pair_do_not_depend_on_its_batch(kind):
    model, _ = make(attention=kind)
    together = model.log_prob(*batch())
    longer = [*PAIRS, ([4, 5, 6] * 5, [*[3, 4, 5] * 4, EOS])]
    torch.testing.assert_close(model.log_prob(*batch(longer))[:3], together, rtol=0, atol=1e-12)
    for row, pair in enumerate(PAIRS):
        torch.testing.assert_close(model.log_prob(*batch([pair]))[0], together[row], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("cell", "peephole"), [("lstm", "diagonal"), ("gru", "none")])
@kinds
def test_deeper_models_equal_the_oracle(cell, peephole, kind):
    check(*make(cell, peephole, attention=kind, encoder_layers=2, decoder_layers=3, residual=True, encoder_size=4))


@pytest.mark.skipif(not engine.available(), reason="without a compiler there is no engine")
@kinds
def test_the_engine_trains_it(kind, implementation):
    request = Request("decoder", make(attention=kind)[0].decoder.kinds(), "cpu", "float32")
    assert find(request).reason == ("turned off" if implementation == "off" else None)


# The coverage loss


def losses(model, weight, **settings):
    """Return the loss of the batch with a weight of the coverage loss, less that without it."""
    source, lengths, target, target_lengths = batch()
    target = target.where(torch.arange(target.shape[1]) < target_lengths[:, None], 0)  # <pad>
    with_coverage = model.loss_sum(source, lengths, target, coverage_weight=weight, **settings)
    return with_coverage - model.loss_sum(source, lengths, target, **settings)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_the_coverage_loss_is_added_with_its_weight(label_smoothing):
    model, config = make(attention="coverage")
    reference = oracle_of(config, weights_of(model))
    wanted = sum(reference.coverage_loss(*pair) for pair in PAIRS)
    assert wanted > 1
    got = losses(model, 0.7, label_smoothing=label_smoothing)
    assert got.item() == pytest.approx(0.7 * float(wanted), rel=1e-10)


def test_the_coverage_loss_is_added_to_that_of_scheduled_sampling():
    model, _ = make(attention="coverage")
    noise = Noise(seed=1, step=1, examples=torch.arange(len(PAIRS)), rate=0.0)
    sampled = losses(model, 0.7, noise=noise, sampling_probability=1e-12)
    torch.testing.assert_close(sampled, losses(model, 0.7))


STEPS = torch.softmax(2 * torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64), 2)
TARGET = torch.tensor([[5, 4, 6, EOS], [4, EOS, 0, 0]])


def check_coverage_loss(loss):
    """Compare the value and the gradient of a function (weights, target) -> loss with the oracle."""
    weights = STEPS.clone().requires_grad_()
    rows = [(0, 4), (1, 2)]  # real steps of each pair

    def total(values):
        return sum(oracle.coverage_loss(values["weights"][b, :length]) for b, length in rows)

    found = loss(weights, TARGET)
    assert_close(found, total({"weights": STEPS.numpy()}), "coverage loss", torch.float64)
    [gradient] = torch.autograd.grad(found, [weights])
    wanted = oracle.gradients(total, {"weights": STEPS.numpy()})["weights"]
    assert_close(gradient, wanted, "gradient of the weights", torch.float64)


def test_the_coverage_loss_equals_the_oracle():
    check_coverage_loss(coverage_loss_sum)
    check_coverage_loss(wrong_losses.right_coverage_loss)


@pytest.mark.parametrize("change", wrong_losses.WRONG_COVERAGE_LOSSES, ids=lambda change: change.name)
def test_a_wrong_coverage_loss_is_rejected(change):
    seen_in = "gradient" if change.seen_in == "gradient" else "coverage loss"
    with rejected_by_comparison(rf"^{seen_in}"):
        check_coverage_loss(change_text(wrong_losses.right_coverage_loss, change.right, change.wrong))
