"""Tests of sampling: its parts, and errors for invalid settings."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from peephole.errors import ConfigError, ShapeError
from peephole.search import sample
from peephole.search.sampling import draw, truncate

from .fakes import ScriptedStepper, pad, random_script

distributions = st.lists(st.floats(0.01, 1.0), min_size=2, max_size=8).map(
    lambda weights: torch.tensor([weights], dtype=torch.double) / sum(weights)
)


@settings(deadline=None)
@given(distributions)
def test_draw_hits_each_symbol_as_often_as_its_probability(probs):
    """Of n numbers evenly spread over [0, 1), np select a symbol of probability p, up to one at each boundary."""
    n = 1000
    drawn = draw(probs.expand(n, -1), (torch.arange(n) + 0.5).double() / n)
    counts = torch.bincount(drawn, minlength=probs.shape[1])
    assert ((counts - n * probs[0]).abs() <= 1).all()


def test_draw_never_takes_a_symbol_without_weight():
    below_one = np.nextafter(1.0, 0.0)
    weights = torch.tensor([[0.0, 0.1, 0.0, 0.7, 0.1, 0.0]], dtype=torch.double)
    for uniform, wanted in [(0.0, 1), (below_one, 4)]:
        assert draw(weights, torch.tensor([uniform], dtype=torch.double)).tolist() == [wanted]
    # the sum is so small that u times the sum rounds up to the sum
    tiny = torch.tensor([[0.0, 5e-324, 0.0]], dtype=torch.double)
    assert draw(tiny, torch.tensor([below_one], dtype=torch.double)).tolist() == [1]


@settings(deadline=None)
@given(distributions, st.floats(0.01, 1.0), st.integers(1, 9) | st.none())
def test_top_p_keeps_the_fewest_that_hold_p(probs, top_p, top_k):
    kept = truncate(probs, top_k, top_p)[0]
    held = truncate(probs, top_k, None)[0]  # the probabilities that top_k keeps
    is_kept = kept > 0
    assert torch.equal(kept[is_kept], probs[0][is_kept])
    share = kept.sum() / held.sum()
    assert share >= top_p - 1e-12
    assert (kept[is_kept].min() >= held[~is_kept]).all()  # the most probable ones
    assert (kept.sum() - kept[is_kept].min()) / held.sum() < top_p + 1e-12  # with one symbol fewer the sum is below p


@settings(deadline=None)
@given(distributions, st.integers(1, 9))
def test_top_k_keeps_k(probs, top_k):
    kept = truncate(probs, top_k, None)[0]
    assert (kept > 0).sum() == min(top_k, probs.shape[1])
    assert torch.equal(kept.sort(descending=True).values[:top_k], probs[0].sort(descending=True).values[:top_k])


def test_top_k_keeps_the_lower_ids_of_equal_probabilities():
    probs = torch.full((1, 512), 2.0**-9, dtype=torch.double)  # many, since unstable sorts keep the order of a few
    assert truncate(probs, 2, None)[0].nonzero().flatten().tolist() == [0, 1]
    assert truncate(probs, None, 0.005)[0].nonzero().flatten().tolist() == [0, 1, 2]


def test_sampling_leaves_the_global_generators_unchanged():
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    sample(ScriptedStepper(random_script(1, num_symbols=7)), *pad([(4,)]), max_lengths=torch.tensor([5]), seed=1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"seed": -1}, ConfigError, "seed: wanted at least 0, got -1"),
        ({"num_samples": 0}, ConfigError, "num_samples: wanted at least 1, got 0"),
        ({"temperature": 0.0}, ConfigError, "temperature: wanted a number above 0, got 0.0"),
        ({"temperature": math.inf}, ConfigError, "temperature: wanted a number above 0, got inf"),
        ({"top_k": 0}, ConfigError, "top_k: wanted at least 1, got 0"),
        ({"top_p": 0.0}, ConfigError, "top_p: wanted a number above 0 and at most 1, got 0.0"),
        ({"top_p": 1.5}, ConfigError, "top_p: wanted a number above 0 and at most 1, got 1.5"),
        ({"examples": [1, 2]}, ShapeError, "examples: wanted 1, one a source, got 2"),
        ({"max_lengths": torch.tensor([0])}, ShapeError, "max_lengths: wanted at least 1, got 0"),
    ],
)
def test_bad_settings(change, error, message):
    good = {"max_lengths": torch.tensor([4]), "seed": 1}
    with pytest.raises(error, match=message):
        sample(ScriptedStepper(random_script(1, num_symbols=7)), *pad([(4,)]), **{**good, **change})
