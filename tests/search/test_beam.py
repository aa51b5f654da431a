"""Tests of beam search: its parts, numerical edge cases, and errors for invalid settings."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from peephole.errors import ConfigError, ShapeError
from peephole.search import beam_search, force
from peephole.search.extensions import largest
from peephole.search.ranking import length_factors
from peephole.symbols import EOS

from . import fakes
from .fakes import ScriptedStepper, pad, random_script

small = st.integers(1, 4)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 50),
    coarse=st.booleans(),
    num_symbols=st.integers(5, 9),
    max_length=st.integers(1, 6),
    beam_size=st.integers(1, 7),
    nbest=st.integers(1, 7),
    length_penalty=st.sampled_from([0.0, 0.3, 1.0, 2.5]),
)
def test_beam_equals_the_definition(seed, coarse, num_symbols, max_length, beam_size, nbest, length_penalty):
    make = fakes.coarse_script if coarse else fakes.random_script
    script = make(seed, num_symbols=num_symbols)
    choice = {"beam_size": beam_size, "nbest": min(nbest, beam_size), "length_penalty": length_penalty}
    [found] = beam_search(ScriptedStepper(script), *pad([(5, 6)]), max_lengths=torch.tensor([max_length]), **choice)
    wanted = fakes.beam(script, (5, 6), num_symbols, max_length, **choice)
    assert [(got.ids, got.log_prob) for got in found] == [(want.ids, want.log_prob) for want in wanted]


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from([-math.inf, -2.0, -1.0, 0.0]), min_size=6, max_size=6), min_size=1), small)
def test_largest_keeps_the_order_of_equal_values(rows, count):
    values, columns = largest(torch.tensor(rows), count)
    for row, got_values, got_columns in zip(rows, values.tolist(), columns.tolist(), strict=True):
        wanted = sorted(range(len(row)), key=lambda column: -row[column])[:count]
        assert got_values == [row[column] for column in wanted]
        possible = [(got, want) for got, want in zip(got_columns, wanted, strict=True) if row[want] > -math.inf]
        assert all(got == want for got, want in possible)


def test_largest_keeps_the_order_of_many_equal_values():
    """Use many equal values, since unstable sorts keep the order of a few."""
    x = torch.tensor([0.0, 1.0]).repeat(2, 500)
    assert largest(x, 300)[1].tolist() == [list(range(1, 600, 2))] * 2


def test_largest_of_fewer_returns_all():
    values, columns = largest(torch.tensor([[1.0, 2.0]]), 5)
    assert values.tolist() == [[2.0, 1.0]]
    assert columns.tolist() == [[1, 0]]


def test_a_huge_length_penalty_makes_no_nan():
    factors = length_factors(1000, 1000.0)
    assert (factors[1:] > 0).all()
    script = random_script(1, num_symbols=7)
    [found] = beam_search(
        ScriptedStepper(script), *pad([(4,)]), beam_size=3, nbest=3, max_lengths=torch.tensor([6]), length_penalty=1e3
    )
    assert all(math.isfinite(hypothesis.log_prob) for hypothesis in found)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_model_may_compute_in_any_precision(dtype):
    """Scores are the model's values in its own precision; sums are float64."""
    script = random_script(2, num_symbols=9)
    batch = pad([(4, 5), (6,)])
    found = beam_search(ScriptedStepper(script, dtype), *batch, beam_size=4, nbest=1, max_lengths=torch.tensor([8, 8]))
    best = [hypothesis for [hypothesis] in found]
    assert best == force(ScriptedStepper(script, dtype), *batch, [hypothesis.ids for hypothesis in best])
    for source, hypothesis in zip([(4, 5), (6,)], best, strict=True):
        exact = fakes.symbol_scores(script, source, (*hypothesis.ids, EOS))
        rounded = torch.tensor(exact).to(dtype).tolist()
        assert list(hypothesis.symbol_log_probs) == rounded


def test_a_model_without_attention():
    class WithoutAttention(ScriptedStepper):
        def step(self, state, previous):
            log_probs, state, _ = super().step(state, previous)
            return log_probs, state, None

    script = random_script(1, num_symbols=7)
    max_lengths = torch.tensor([4])
    [without] = beam_search(WithoutAttention(script), *pad([(4, 5)]), beam_size=3, nbest=3, max_lengths=max_lengths)
    [with_attention] = beam_search(
        ScriptedStepper(script), *pad([(4, 5)]), beam_size=3, nbest=3, max_lengths=max_lengths
    )
    assert without == with_attention
    assert [hypothesis.attention for hypothesis in without] == [None] * 3


def test_empty_batch():
    class Empty(ScriptedStepper):
        def step(self, state, previous):
            raise AssertionError("a step without rows")

    none = torch.zeros(0, dtype=torch.long)
    stepper = Empty(random_script(1, num_symbols=7))
    assert beam_search(stepper, none.view(0, 3), none, beam_size=2, nbest=1, max_lengths=none) == []


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_log_probabilities_without_a_finite_value_raise(value):
    good = random_script(1, num_symbols=7)

    def script(source, prefix):
        return good(source, prefix) if source == (4,) else np.full(7, value, dtype=np.float32)

    with pytest.raises(ValueError, match="source 1 of the batch: the stepper's log-probabilities are all -inf, or NaN"):
        beam_search(ScriptedStepper(script), *pad([(4,), (5,)]), beam_size=2, nbest=1, max_lengths=torch.tensor([3, 3]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beam_size": 0}, "beam_size: wanted at least 1, got 0"),
        ({"nbest": 0}, "nbest: wanted 1 to beam_size = 3, got 0"),
        ({"nbest": 4}, "nbest: wanted 1 to beam_size = 3, got 4"),
        ({"length_penalty": -0.5}, "length_penalty: wanted a number from 0, got -0.5"),
        ({"length_penalty": math.nan}, "length_penalty: wanted a number from 0, got nan"),
    ],
)
def test_bad_settings(change, message):
    good = {"beam_size": 3, "nbest": 2, "max_lengths": torch.tensor([4])}
    with pytest.raises(ConfigError, match=message):
        beam_search(ScriptedStepper(random_script(1, num_symbols=7)), *pad([(4,)]), **{**good, **change})


def test_bad_shapes():
    stepper = ScriptedStepper(random_script(1, num_symbols=7))
    source, lengths = pad([(4, 5), (6,)])
    for arguments, max_lengths, message in [
        ((source[0], lengths), lengths, r"source: wanted \(B, T\) or \(B, T, F\), got \(2,\)"),
        ((source, lengths[:1]), lengths, r"source_lengths: wanted \(B,\) = \(2,\), got \(1,\)"),
        ((source, lengths), lengths[:1], r"max_lengths: wanted \(B,\) = \(2,\), got \(1,\)"),
        ((source, lengths), torch.tensor([3, 0]), "max_lengths: wanted at least 1, got 0"),
    ]:
        with pytest.raises(ShapeError, match=message):
            beam_search(stepper, *arguments, beam_size=2, nbest=1, max_lengths=max_lengths)
