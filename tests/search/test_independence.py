"""Tests that results for a source do not depend on padding, order or the other sources of the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from peephole.search import EnsembleStepper, beam_search, force, greedy_search, sample

from .fakes import ScriptedStepper, coarse_script, pad, random_script

SCRIPTS = [random_script(1, num_symbols=9), random_script(2, num_symbols=9, eos=2), coarse_script(3, num_symbols=9)]


def beam(stepper, batch, max_lengths, examples):
    return beam_search(stepper, *batch, beam_size=4, nbest=3, max_lengths=max_lengths, length_penalty=0.5)


def greedy(stepper, batch, max_lengths, examples):
    return [[found] for found in greedy_search(stepper, *batch, max_lengths=max_lengths)]


def sampled(stepper, batch, max_lengths, examples):
    return sample(stepper, *batch, max_lengths=max_lengths, seed=4, num_samples=2, top_p=0.9, examples=examples)


def forced(stepper, batch, max_lengths, examples):
    targets = [[4 + example % 5] * int(length) for example, length in zip(examples, max_lengths, strict=True)]
    return [[found] for found in force(stepper, *batch, targets)]


def ensemble(stepper, batch, max_lengths, examples):
    return beam(EnsembleStepper([stepper, ScriptedStepper(SCRIPTS[0])]), batch, max_lengths, examples)


case = st.tuples(st.lists(st.integers(4, 8), min_size=1, max_size=6).map(tuple), st.integers(1, 6))


@pytest.mark.parametrize("search", [beam, greedy, sampled, forced, ensemble])
@settings(deadline=None, max_examples=25)
@given(data=st.data(), cases=st.lists(case, min_size=1, max_size=6), script=st.sampled_from(SCRIPTS))
def test_results_equal_those_of_each_source_alone(search, data, cases, script):
    order = data.draw(st.permutations(range(len(cases))))
    padding = data.draw(st.integers(0, 9))

    def run(examples, width=0):
        batch = pad([cases[example][0] for example in examples], width)
        max_lengths = torch.tensor([cases[example][1] for example in examples])
        return search(ScriptedStepper(script), batch, max_lengths, examples)

    alone = [run([example])[0] for example in range(len(cases))]
    together = run(order, padding)
    assert together == [alone[example] for example in order]
    for example, hypotheses in zip(order, together, strict=True):
        for found, wanted in zip(hypotheses, alone[example], strict=True):
            np.testing.assert_array_equal(found.attention, wanted.attention)
