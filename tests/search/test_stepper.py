"""Tests of state selection, ensembles, and errors of the searches with one hypothesis."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from peephole.errors import ConfigError, ShapeError
from peephole.search import EnsembleStepper, force, greedy_search, sample, select_rows
from peephole.symbols import EOS

from .fakes import ScriptedStepper, log_of, pad, random_script


class Inner(NamedTuple):
    h: Tensor
    c: Tensor | None


def test_select_rows_of_a_tree():
    tree = (Inner(torch.arange(3), None), (torch.arange(6).view(3, 2),))
    selected = select_rows(tree, torch.tensor([2, 2, 0]))
    assert type(selected[0]) is Inner
    assert selected[0].h.tolist() == [2, 2, 0]
    assert selected[0].c is None
    assert selected[1][0].tolist() == [[4, 5], [4, 5], [0, 1]]


def test_select_rows_refuses_other_containers():
    with pytest.raises(TypeError, match="state of a stepper: wanted tuples, tensors and None, got list"):
        select_rows((torch.arange(3), [torch.arange(3)]), torch.tensor([0]))


def test_ensemble_of_none():
    with pytest.raises(ConfigError, match="ensemble: wanted at least one model, got none"):
        EnsembleStepper([])


def test_ensemble_of_different_vocabularies():
    ensemble = EnsembleStepper([ScriptedStepper(random_script(1, num_symbols=size)) for size in (7, 8)])
    with pytest.raises(ConfigError, match=r"ensemble: wanted models with the same symbols, got \[7, 8\] symbols"):
        greedy_search(ensemble, *pad([(4,)]), max_lengths=torch.tensor([3]))


def test_ensemble_of_certain_models_is_certain():
    """Rounding the mean gives no log-probability above 0, and symbols that no model predicts stay impossible."""
    for count in range(1, 20):
        steppers = [ScriptedStepper(lambda source, prefix: log_of({EOS: 1.0, 4: 0.0})) for _ in range(count)]
        [found] = greedy_search(EnsembleStepper(steppers), *pad([(4,)]), max_lengths=torch.tensor([3]))
        assert found.ids == ()
        assert -1e-6 < found.log_prob <= 0
        [wrong] = force(EnsembleStepper(steppers), *pad([(4,)]), [[4]])
        assert wrong.log_prob == -float("inf")


def test_ensemble_shows_the_attention_of_the_models_that_have_one():
    class WithoutAttention(ScriptedStepper):
        def step(self, state, previous):
            log_probs, state, _ = super().step(state, previous)
            return log_probs, state, None

    script = random_script(1, num_symbols=7)
    batch = pad([(4, 5, 6)])
    [mixed] = force(EnsembleStepper([WithoutAttention(script), ScriptedStepper(script)]), *batch, [[4, 5]])
    [single] = force(ScriptedStepper(script), *batch, [[4, 5]])
    assert (mixed.attention == single.attention).all()
    [without] = force(EnsembleStepper([WithoutAttention(script), WithoutAttention(script)]), *batch, [[4, 5]])
    assert without.attention is None


def test_bad_targets():
    stepper = ScriptedStepper(random_script(1, num_symbols=7))
    with pytest.raises(ShapeError, match="targets: wanted 1, one a source, got 2"):
        force(stepper, *pad([(4,)]), [[4], [5]])
    with pytest.raises(ShapeError, match=r"targets\[0\]: wanted symbols without EOS = 2, got \[4, 2, 5\]"):
        force(stepper, *pad([(4,)]), [[4, 2, 5]])


def test_empty_batch():
    none = torch.zeros(0, dtype=torch.long)
    stepper = ScriptedStepper(random_script(1, num_symbols=7))
    assert greedy_search(stepper, none.view(0, 3), none, max_lengths=none) == []
    assert sample(stepper, none.view(0, 3), none, max_lengths=none, seed=1) == []
    assert force(stepper, none.view(0, 3), none, []) == []
    assert stepper.sources_stepped == []
