"""Tests that the noise, a hash, has the statistics of random numbers and depends only on its stated inputs.

Each statistic below is the mean of n independent bits that are 1 with probability p. Its deviation is measured in units
of the standard deviation √(p (1 - p) / n) and compared with `LIMIT` = 5. Random numbers would fail one comparison with
probability 5.7e-7, and any of the 1,700 comparisons here with probability 1e-3. The noise is deterministic, so the
results are the same in every run.
"""

from __future__ import annotations

import math

import pytest
import torch

from peephole.nn import Noise

LIMIT = 5
EXAMPLES, STEPS, UNITS = 24, 20, 128
SITES = ("source embedding", "target embedding", "readout", "between layers 1", "between decoder layers 1")


def make_noise(seed=1, step=7, examples=None, rate=0.3):
    return Noise(seed, step, torch.arange(EXAMPLES) if examples is None else torch.tensor(examples), rate)


def bits(site="readout", **settings):
    return make_noise(**settings).bits(site, STEPS, UNITS)


def deviations(x, y):
    """Return for each of the 32 bits the deviation from ½ of the share of elements where x and y differ, in σ."""
    differ = x ^ y
    shares = torch.stack([(differ >> bit & 1).double().mean() for bit in range(32)])
    return (shares - 0.5).abs() * 2 * math.sqrt(differ.numel())


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.3, 0.5, 0.9, 0.95])
def test_units_are_dropped_at_the_rate_and_the_others_scaled(rate):
    for step in range(5):
        mask = make_noise(step=step, rate=rate).mask("readout", STEPS, UNITS)
        kept = mask != 0
        assert torch.equal(mask[kept], torch.full_like(mask[kept], 1) / (1 - rate))
        assert abs(kept.double().mean() - (1 - rate)) < LIMIT * math.sqrt(rate * (1 - rate) / mask.numel())
        assert abs(mask.double().mean() - 1) < LIMIT * math.sqrt(rate / (1 - rate) / mask.numel())


def test_each_bit_is_fair():
    for site in SITES:
        assert deviations(bits(site), torch.zeros((), dtype=torch.int32)).max() < LIMIT


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_no_unit_step_or_example_is_dropped_more_often_than_others(rate):
    dropped = torch.stack(
        [make_noise(step=step, rate=rate).mask("readout", STEPS, UNITS) == 0 for step in range(20)]
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
        *({"site": site} for site in SITES if site != "readout"),
        {"seed": 7, "step": 1},
        {"seed": 17, "step": 0},
        {"examples": list(range(1000, 1000 + EXAMPLES))},
        {"examples": [2**32 + example for example in range(EXAMPLES)]},
    ],
    ids=str,
)
def test_noise_of_other_seeds_steps_sites_and_examples_is_independent(other):
    assert deviations(bits(), bits(**other)).max() < LIMIT


def test_noise_differs_between_all_steps():
    """Compare the first 128 units of 1,000 steps; two of 1,000 random 32-bit keys agree with probability 1e-4."""
    firsts = {make_noise(step=step, examples=[5]).bits("readout", 1, 128).numpy().tobytes() for step in range(1000)}
    assert len(firsts) == 1000


def test_seed_and_step_are_hashed_separately():
    """Seed 1 with step 17 and seed 11 with step 7 have the same digits when concatenated."""
    assert deviations(bits(seed=1, step=17), bits(seed=11, step=7)).max() < LIMIT


@pytest.mark.parametrize("of", ["rows", "units"])
def test_any_two_rows_and_any_two_units_are_independent(of):
    """Compare the mean squared correlation of all pairs, scaled by n, with its expected value 1 ± √(2 / pairs)."""
    for step in range(5):
        signs = 2 * (make_noise(step=step, rate=0.5).mask("readout", STEPS, UNITS).flatten(0, 1) > 0).double() - 1
        signs = signs if of == "rows" else signs.T
        squares = (signs @ signs.T / math.sqrt(signs.shape[1])).square()
        pairs = len(signs) * (len(signs) - 1) / 2
        mean = (squares.sum() - squares.diagonal().sum()) / 2 / pairs
        assert abs(mean - 1) < LIMIT * math.sqrt(2 / pairs)


def test_masks_of_different_sites_agree_only_by_chance():
    keep = 1 - 0.3
    agree = keep**2 + 0.3**2
    masks = [make_noise().mask(site, STEPS, UNITS) > 0 for site in SITES]
    for i, one in enumerate(masks):
        for other in masks[:i]:
            share = (one == other).double().mean()
            assert abs(share - agree) < LIMIT * math.sqrt(agree * (1 - agree) / one.numel())


def test_uniform_numbers_fill_the_interval_evenly():
    x = torch.cat([make_noise(step=step).uniform("scheduled sampling", STEPS) for step in range(40)])
    assert x.dtype == torch.float64
    assert 0 <= x.min() < x.max() < 1
    counts = torch.histc(x, 20, 0, 1) / x.numel()
    assert (counts - 1 / 20).abs().max() < LIMIT * math.sqrt(1 / 20 * 19 / 20 / x.numel())
    one, other = x[:, :-1].flatten(), x[:, 1:].flatten()
    assert abs(torch.corrcoef(torch.stack([one, other]))[0, 1]) < LIMIT / math.sqrt(one.numel())


def test_noise_of_an_example_does_not_depend_on_its_batch():
    whole = make_noise(examples=[3, 1, 4, 15, 9])
    alone = make_noise(examples=[15])
    other = make_noise(examples=[15, 3])
    for draw in (lambda n: n.mask("readout", STEPS, UNITS), lambda n: n.uniform("scheduled sampling", STEPS)):
        assert torch.equal(draw(whole)[3], draw(alone)[0])
        assert torch.equal(draw(whole)[3], draw(other)[0])
        assert torch.equal(draw(whole)[0], draw(other)[1])
        assert not torch.equal(draw(whole)[0], draw(whole)[1])


def test_noise_does_not_depend_on_the_padding():
    short, long = make_noise().mask("readout", STEPS, UNITS), make_noise().mask("readout", STEPS + 9, UNITS)
    assert torch.equal(short, long[:, :STEPS])
    assert torch.equal(make_noise().uniform("x", STEPS), make_noise().uniform("x", STEPS + 9)[:, :STEPS])


def test_dropout_multiplies_by_the_mask_and_is_the_identity_at_rate_0():
    x = torch.randn(EXAMPLES, STEPS, UNITS, generator=torch.Generator().manual_seed(0))
    assert torch.equal(make_noise().dropout(x, "readout"), x * make_noise().mask("readout", STEPS, UNITS))
    assert torch.equal(make_noise(rate=0.0).dropout(x, "readout"), x)
    assert torch.equal(make_noise(rate=0.0).mask("readout", STEPS, UNITS), torch.ones_like(x))


def test_noise_does_not_use_the_random_generator_of_pytorch():
    before = torch.get_rng_state()
    first = bits()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(bits(), first)
