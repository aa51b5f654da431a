"""Tests of prefixes: errors for invalid ones, impossible prefixes, empty batches."""

from __future__ import annotations

import functools

import pytest
import torch

from peephole.errors import ShapeError
from peephole.search import beam_search, greedy_search, sample
from peephole.symbols import BOS, EOS, PAD

from .fakes import ScriptedStepper, log_of, pad, random_script

SEARCHES = [functools.partial(beam_search, beam_size=2, nbest=1), greedy_search, functools.partial(sample, seed=1)]
NAMES = ["beam", "greedy", "sample"]


@pytest.mark.parametrize("search", SEARCHES, ids=NAMES)
@pytest.mark.parametrize(
    ("prefixes", "message"),
    [
        ([[4]], "prefixes: wanted 2, one a source, got 1"),
        ([[4], [5, PAD]], r"prefixes\[1\]: wanted 3 = UNK or ordinary symbols, got \[5, 0\]"),
        ([[4], [BOS, 5]], r"prefixes\[1\]: wanted 3 = UNK or ordinary symbols, got \[1, 5\]"),
        ([[EOS], []], r"prefixes\[0\]: wanted 3 = UNK or ordinary symbols, got \[2\]"),
        ([[4], [-1]], r"prefixes\[1\]: wanted 3 = UNK or ordinary symbols, got \[-1\]"),
        ([[4], [4, 4, 4]], r"prefixes\[1\]: wanted fewer symbols than its maximal length, 3, got 3"),
        ([[4] * 9, []], r"prefixes\[0\]: wanted fewer symbols than its maximal length, 4, got 9"),
    ],
)
def test_bad_prefixes(search, prefixes, message):
    stepper = ScriptedStepper(random_script(1, num_symbols=7))
    with pytest.raises(ShapeError, match=message):
        search(stepper, *pad([(4, 5), (6,)]), max_lengths=torch.tensor([4, 3]), prefixes=prefixes)
    assert stepper.sources_stepped == []


def test_a_prefix_without_probability():
    """Greedy search continues after the prefix, scored as by `force`; a beam has no hypothesis left."""
    stepper = ScriptedStepper(lambda source, prefix: log_of({EOS: 0.5, 4: 0.5, 5: 0.0}))
    batch = {"max_lengths": torch.tensor([3]), "prefixes": [[5]]}
    [found] = greedy_search(stepper, *pad([(4,)]), **batch)
    assert (found.ids, found.finished, found.log_prob) == ((5,), True, -float("inf"))
    with pytest.raises(ValueError, match="source 0 of the batch"):
        beam_search(stepper, *pad([(4,)]), beam_size=2, nbest=1, **batch)


def test_no_sources():
    none = torch.zeros(0, dtype=torch.long)
    stepper = ScriptedStepper(random_script(1, num_symbols=7))
    for search in SEARCHES:
        assert search(stepper, none.view(0, 3), none, max_lengths=none, prefixes=[]) == []
