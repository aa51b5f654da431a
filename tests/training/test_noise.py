"""Noise is a hash: is it as good as random, and a function of what it should be a function of, and of nothing else?

Each statistic below is the mean of n bits that should be fair (or 1 with probability p) and independent. It is
compared in units of its standard deviation, √(p (1 - p) / n), with `LIMIT` = 5: true random numbers would fail one
comparison with probability 5.7e-7, and any of the 1,700 or so made here with probability 1e-3. The numbers are the same
in each run, so a test that passes now passes always.
"""

from __future__ import annotations

import math

import pytest
import torch

from peephole.nn import Noise

LIMIT = 5
EXAMPLES, STEPS, UNITS = 24, 20, 128
PLACES = ("source embedding", "target embedding", "readout", "between layers 1", "between decoder layers 1")


def noise(seed=1, step=7, examples=None, rate=0.3):
    return Noise(seed, step, torch.arange(EXAMPLES) if examples is None else torch.tensor(examples), rate)


def bits(place="readout", **settings):
    return noise(**settings).bits(place, STEPS, UNITS)


def deviations(x, y):
    """Return for each of the 32 bits how far the share of places where x and y differ is from ½, in σ."""
    differ = x ^ y
    shares = torch.stack([(differ >> bit & 1).double().mean() for bit in range(32)])
    return (shares - 0.5).abs() * 2 * math.sqrt(differ.numel())


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.3, 0.5, 0.9, 0.95])
def test_units_are_dropped_at_the_rate_and_the_others_scaled(rate):
    for step in range(5):
        mask = noise(step=step, rate=rate).mask("readout", STEPS, UNITS)
        kept = mask != 0
        assert torch.equal(mask[kept], torch.full_like(mask[kept], 1) / (1 - rate))
        assert abs(kept.double().mean() - (1 - rate)) < LIMIT * math.sqrt(rate * (1 - rate) / mask.numel())
        assert abs(mask.double().mean() - 1) < LIMIT * math.sqrt(rate / (1 - rate) / mask.numel())


def test_each_bit_is_fair():
    for place in PLACES:
        assert deviations(bits(place), torch.zeros((), dtype=torch.int32)).max() < LIMIT


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_no_unit_step_or_example_is_dropped_more_often_than_others(rate):
    dropped = torch.stack(
        [noise(step=step, rate=rate).mask("readout", STEPS, UNITS) == 0 for step in range(20)]
    ).double()
    for axis in (0, 1, 2, 3):
        means = dropped.mean([other for other in range(4) if other != axis])
        sigma = math.sqrt(rate * (1 - rate) * len(means) / dropped.numel())
        assert (means - rate).abs().max() < LIMIT * sigma


@pytest.mark.parametrize("axis", [0, 1, 2], ids=["examples", "positions", "units"])
@pytest.mark.parametrize("distance", [1, 2, 3, 8, 16])
def test_neighbours_are_independent(axis, distance):
    x = bits()
    assert (
        deviations(
            x.narrow(axis, 0, x.shape[axis] - distance), x.narrow(axis, distance, x.shape[axis] - distance)
        ).max()
        < LIMIT
    )


@pytest.mark.parametrize(
    "other",
    [
        *({"seed": seed} for seed in (0, 2, 3, 11, 2**32 + 1)),
        *({"step": step} for step in (0, 6, 8, 17, 70)),
        *({"place": place} for place in PLACES if place != "readout"),
        {"seed": 7, "step": 1},
        {"seed": 17, "step": 0},
        {"examples": list(range(1000, 1000 + EXAMPLES))},
        {"examples": [2**32 + example for example in range(EXAMPLES)]},
    ],
    ids=str,
)
def test_other_seeds_steps_places_and_examples_are_independent(other):
    assert deviations(bits(), bits(**other)).max() < LIMIT


def test_noise_of_steps_does_not_repeat():
    """Among 1,000 steps no two begin alike; two 32-bit keys of 1,000 agree with probability 1e-4."""
    firsts = {noise(step=step, examples=[5]).bits("readout", 1, 128).numpy().tobytes() for step in range(1000)}
    assert len(firsts) == 1000


def test_masks_of_a_pair_of_places_agree_by_chance_only():
    keep = 1 - 0.3
    agree = keep**2 + 0.3**2
    masks = [noise().mask(place, STEPS, UNITS) > 0 for place in PLACES]
    for i, one in enumerate(masks):
        for other in masks[:i]:
            share = (one == other).double().mean()
            assert abs(share - agree) < LIMIT * math.sqrt(agree * (1 - agree) / one.numel())


def test_uniform_numbers_fill_the_interval_evenly():
    x = torch.cat([noise(step=step).uniform("scheduled sampling", STEPS) for step in range(40)])
    assert x.dtype == torch.float64
    assert 0 <= x.min() < x.max() < 1
    counts = torch.histc(x, 20, 0, 1) / x.numel()
    assert (counts - 1 / 20).abs().max() < LIMIT * math.sqrt(1 / 20 * 19 / 20 / x.numel())
    one, other = x[:, :-1].flatten(), x[:, 1:].flatten()
    assert abs(torch.corrcoef(torch.stack([one, other]))[0, 1]) < LIMIT / math.sqrt(one.numel())


def test_noise_of_an_example_depends_on_nothing_else_in_the_batch():
    whole = noise(examples=[3, 1, 4, 15, 9])
    alone = noise(examples=[15])
    other = noise(examples=[15, 3])
    for of in (lambda n: n.mask("readout", STEPS, UNITS), lambda n: n.uniform("scheduled sampling", STEPS)):
        assert torch.equal(of(whole)[3], of(alone)[0])
        assert torch.equal(of(whole)[3], of(other)[0])
        assert torch.equal(of(whole)[0], of(other)[1])
        assert not torch.equal(of(whole)[0], of(whole)[1])


def test_noise_does_not_depend_on_the_padding():
    short, long = noise().mask("readout", STEPS, UNITS), noise().mask("readout", STEPS + 9, UNITS)
    assert torch.equal(short, long[:, :STEPS])
    assert torch.equal(noise().uniform("x", STEPS), noise().uniform("x", STEPS + 9)[:, :STEPS])


def test_dropout_multiplies_with_the_mask_and_does_nothing_at_rate_0():
    x = torch.randn(EXAMPLES, STEPS, UNITS, generator=torch.Generator().manual_seed(0))
    assert torch.equal(noise().dropout(x, "readout"), x * noise().mask("readout", STEPS, UNITS))
    assert torch.equal(noise(rate=0.0).dropout(x, "readout"), x)
    assert torch.equal(noise(rate=0.0).mask("readout", STEPS, UNITS), torch.ones_like(x))


def test_noise_neither_reads_nor_moves_pytorchs_generator():
    before = torch.get_rng_state()
    first = bits()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(bits(), first)
