"""Tests that a long training on the engine keeps its memory."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.trainer_cases import CASES
from contracts.training_checks import NUM_SOURCE_SYMBOLS, NUM_TARGET_SYMBOLS, Case, arguments, some_batch
from peephole import engine
from peephole.data.batch import make_batch
from peephole.engine.step_settings import step_bytes
from peephole.nn.architecture import Architecture
from process_memory import peak_bytes, reads_proc, reset_peak

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not engine.available(), reason="without a compiler there is no engine"),
    reads_proc,
]
STEPS = 10_000


@pytest.mark.parametrize(
    "name", ["sampling", "language model", "copying, coverage", "three convolutions", "ctc, pyramid", "many quantiles"]
)
def test_ten_thousand_steps_leak_nothing(name):
    """Memory grows in the first steps only: a leak of 100 bytes in each step would be found."""
    trainer = CASES[name].trainer()
    large = CASES[name].batch()
    small = make_batch([large.source[0, :3]], [large.target[0, :3]], np.array([1]))
    given = [(arguments(batch), batch.num_symbols) for batch in (large, small)]
    losses = []
    reset_peak()
    for step in range(STEPS):
        batch, divisor = given[step % 2]
        result = trainer.step(*batch, step=step, learning_rate=0.001, divisor=divisor)
        losses.append(result.loss)
        if step == STEPS // 10:
            before = peak_bytes()
    assert np.isfinite(losses).all()
    assert peak_bytes() - before < 900_000


LARGE_CASES = [
    *("default", "stacked", "pyramid", "location", "multihead", "trigrams", "copying, coverage", "gru", "no dropout"),
    *("sampling", "frames", "three convolutions", "ctc", "vectors", "many quantiles", "language model"),
]
LARGE = (200, 100, 100)  # B, T, U: arrays of more than 32 MB, which malloc takes from the system and returns to it


def largest_batch(case: Case):
    """Return a batch of LARGE without padding."""
    draw = np.random.default_rng(0)
    if case.reads_frames:
        sources = draw.normal(size=(LARGE[0], LARGE[1], case.config.model.input_size)).astype(np.float32)
    else:
        sources = draw.integers(3, NUM_SOURCE_SYMBOLS, LARGE[:2])
    if case.model.get("output") == "copy":
        sources = np.stack([sources, np.minimum(sources, NUM_TARGET_SYMBOLS)], 2)
    if case.predicts_vectors:
        targets = draw.normal(size=(LARGE[0], LARGE[2], case.config.model.output_size)).astype(np.float32)
    else:
        targets = draw.integers(3, NUM_TARGET_SYMBOLS, (LARGE[0], LARGE[2] - 1))  # and </s>
    return make_batch([*sources], [*targets], np.arange(LARGE[0]))


@pytest.mark.parametrize("learns", [True, False])
@pytest.mark.parametrize("name", LARGE_CASES)
def test_a_step_takes_the_memory_that_the_engine_tells(name, learns):
    case = CASES[name]
    batch = largest_batch(case)
    trainer = case.trainer(threads=1)
    sizes = Architecture.of(case.config.model), NUM_SOURCE_SYMBOLS, NUM_TARGET_SYMBOLS
    wanted = step_bytes(*sizes, trainer.settings, [(1, 1, 1), LARGE, (2, 3, 4)], learns=learns)
    assert wanted > 32e6
    reset_peak()
    before = peak_bytes()
    if learns:
        how = {"step": 0, "divisor": 1, "sampling_probability": case.sampling_probability}
        trainer.gradients(*arguments(batch), **how)
    else:
        trainer.loss(*arguments(batch)[:3])
    found = peak_bytes() - before
    # Scratch for both directions of an encoder is there, though one thread fills them one after the other
    assert (0.7 if learns else 0.95) * wanted < found < wanted + 3e6


def test_sizes_of_no_batch_are_refused():
    case = CASES["default"]
    settings = case.trainer(threads=1).settings
    architecture = Architecture.of(case.config.model)
    with pytest.raises(ValueError, match=r"^num_target_symbols: wanted a number from 4"):
        step_bytes(architecture, 5, 0, settings, [LARGE], learns=True)
    assert step_bytes(architecture, 5, 9, settings, [], learns=True) == 0
    # Larger than any memory, of which nothing is allocated
    huge = Architecture.of(case.config.with_values({"model.hidden_size": 65_536}).model)
    assert step_bytes(huge, 5, 9, settings, [(1, 100, 100)], learns=True) > 10**11


@pytest.mark.parametrize("closes", [False, True])
def test_trainers_release_their_memory(closes):
    case = CASES["stacked"]
    reset_peak()
    for count in range(120):
        trainer = case.trainer()
        trainer.loss(*arguments(some_batch())[:3])
        if closes:
            trainer.close()
        if count == 40:
            before = peak_bytes()
    assert peak_bytes() - before < 2_000_000
