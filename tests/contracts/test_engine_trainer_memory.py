"""Tests that a long training on the engine keeps its memory."""

from __future__ import annotations

import resource

import numpy as np
import pytest

from contracts.test_engine_trainer import CASES
from contracts.training_checks import arguments, some_batch
from peephole import engine
from peephole.data.batch import make_batch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not engine.available(), reason="without a compiler there is no engine"),
]
STEPS = 10_000


def largest_memory() -> int:
    """Return the largest memory that this process has had, in KB on Linux."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("name", ["sampling", "language model", "copying, coverage"])
def test_ten_thousand_steps_leak_nothing(name):
    """Memory grows in the first steps only: a leak of 100 bytes in each step would be found."""
    trainer = CASES[name].trainer()
    large = CASES[name].batch()
    small = make_batch([large.source[0]], [large.target[0, :3]], np.array([1]))
    given = [(arguments(batch), batch.num_symbols) for batch in (large, small)]
    losses = []
    for step in range(STEPS):
        batch, divisor = given[step % 2]
        result = trainer.step(*batch, step=step, learning_rate=0.001, divisor=divisor)
        losses.append(result.loss)
        if step == STEPS // 10:
            before = largest_memory()
    assert np.isfinite(losses).all()
    assert largest_memory() - before < 1000


@pytest.mark.parametrize("closes", [False, True])
def test_trainers_release_their_memory(closes):
    case = CASES["stacked"]
    for count in range(120):
        trainer = case.trainer()
        trainer.loss(*arguments(some_batch())[:3])
        if closes:
            trainer.close()
        if count == 40:
            before = largest_memory()
    assert largest_memory() - before < 2000
