"""Tests variational dropout, (42): one mask for all steps of a sequence, in the definition and on the engine."""

from __future__ import annotations

import math

import pytest
import torch

from peephole import engine
from peephole.nn import Noise, use_engine
from rejection import rejected_by_comparison

from .changes import change_text
from .network_checks import PAIRS, batch, check_dropout, check_sampling_of_gold_symbols, make

EXAMPLES, STEPS, UNITS, RATE = 40, 9, 64, 0.3


@pytest.fixture(params=["off", *engine.instruction_sets()], scope="module")
def implementation(request):
    """Run a test with the definition and with the engine on each instruction set."""
    with use_engine(request.param):
        yield request.param


def noise_of(examples, variational=True, step=1):
    return Noise(1, step, torch.as_tensor(examples), RATE, variational)


def library_mask(examples, site, num_steps, num_units):
    """Return the mask of the library."""
    return noise_of(examples).mask(site, num_steps, num_units)


def right_mask(examples, site, num_steps, num_units):
    """Return the mask of the first step for all steps."""
    mask = noise_of(examples, variational=False).mask(site, 1, num_units)
    return mask.expand(len(examples), num_steps, num_units)


def check_mask(function):
    """Check what (42) says of a mask, and that it depends neither on the padding nor on the batch."""
    examples = torch.arange(EXAMPLES)
    mask = function(examples, "readout", STEPS, UNITS)
    assert mask.shape == (EXAMPLES, STEPS, UNITS)
    assert torch.equal(mask, mask[:, :1].expand_as(mask)), "a unit is dropped at some steps only"
    kept = mask[:, 0] != 0
    assert torch.equal(mask[:, 0][kept], torch.full_like(mask[:, 0][kept], 1) / (1 - RATE)), "kept units are not scaled"
    deviation = abs(kept.double().mean() - (1 - RATE))
    assert deviation < 5 * math.sqrt(RATE * (1 - RATE) / kept.numel()), "not dropped at the rate"
    assert torch.equal(function(examples, "readout", STEPS + 7, UNITS)[:, :STEPS], mask), "depends on the padding"
    rows = torch.tensor([7, 3])
    assert torch.equal(function(rows, "readout", STEPS, UNITS), mask[rows]), "depends on the batch"
    others = [mask[1:, 0] == mask[:-1, 0], mask == function(examples, "target embedding", STEPS, UNITS)]
    agreeing = RATE**2 + (1 - RATE) ** 2  # as often as two independent masks agree
    assert all(abs(other.double().mean() - agreeing) < 0.05 for other in others), "shared by examples or sites"


def test_the_mask_of_a_sequence_is_the_same_at_every_step(implementation):
    check_mask(library_mask)


def test_right_mask_is_accepted_and_that_of_the_library():
    check_mask(right_mask)
    for examples in (torch.arange(5), torch.tensor([2**40, 3])):
        assert torch.equal(library_mask(examples, "x", STEPS, UNITS), right_mask(examples, "x", STEPS, UNITS))


WRONG = {
    "a mask for each step": ("mask(site, 1, num_units)", "mask(site, num_steps, num_units)"),
    "the mask of the last step": ("mask(site, 1, num_units)", "mask(site, num_steps, num_units)[:, -1:]"),
    "one mask for the batch": ("mask(site, 1, num_units)", "mask(site, 1, num_units)[:1]"),
    "the row's place in the batch": ("noise_of(examples", "noise_of(torch.arange(len(examples))"),
    "one mask for all sites": ("mask(site, 1", 'mask("dropout", 1'),
    "kept units are not scaled": ("mask(site, 1, num_units)", "mask(site, 1, num_units).gt(0).float()"),
    "scaled for the steps": ("mask(site, 1, num_units)", "mask(site, 1, num_units) * num_steps"),
    "the rate of the dropped units is that of the kept": (
        "return mask",
        "return (mask == 0) / (1 - RATE) * mask.gt(-1)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_mask_is_rejected(name):
    with rejected_by_comparison():
        check_mask(change_text(right_mask, *WRONG[name]))


@pytest.mark.parametrize(("cell", "residual"), [("lstm", False), ("lstm", True), ("gru", False)])
def test_dropout_has_the_sites_of_the_oracle(implementation, cell, residual):
    peephole = "full" if cell == "lstm" else "none"
    check_dropout(*make(cell, peephole, encoder_layers=3, decoder_layers=3, residual=residual), variational=True)


def test_scheduled_sampling_near_0_is_teacher_forcing_with_the_same_dropout(implementation):
    check_sampling_of_gold_symbols(make(encoder_layers=2, decoder_layers=2)[0], variational=True)


def test_results_of_a_pair_do_not_depend_on_its_batch(implementation):
    model, _ = make(encoder_layers=2, decoder_layers=2)
    longer = [*PAIRS, ([4, 5, 6] * 5, [*[3, 4, 5] * 4, 2])]

    def losses(pairs, examples):
        source, lengths, target, target_lengths = batch(pairs)
        logits = model(source, lengths, target, noise=noise_of(examples)).log_softmax(-1)
        gold = logits.gather(2, target[:, :, None])[..., 0]
        return [row[:length].sum() for row, length in zip(gold, target_lengths, strict=True)]

    together = losses(longer, [5, 8, 2, 9])
    for row, example in enumerate([5, 8, 2]):
        torch.testing.assert_close(losses([PAIRS[row]], [example])[0], together[row], rtol=0, atol=1e-12)


@pytest.mark.skipif(not engine.available(), reason="without a compiler there is no engine")
def test_the_engine_trains_with_variational_dropout():
    model, _ = make(dtype=torch.float32, encoder_layers=2, decoder_layers=2)
    source, lengths, target, _ = batch()
    with torch.profiler.profile() as profile:
        model.loss_sum(source, lengths, target, noise=noise_of(range(len(source)))).backward()
    called = {event.key for event in profile.key_averages()}
    assert {
        "peephole::dropout_mask",
        "peephole::recurrent_layer",
        "peephole::decoder",
        "peephole::decoder_backward",
    } <= called
