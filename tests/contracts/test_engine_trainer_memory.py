"""Tests that a long training on the engine keeps its memory."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.trainer_cases import CASES
from contracts.training_checks import NUM_TARGET_SYMBOLS, Case, arguments, some_batch
from peephole import engine
from peephole.data.batch import make_batch
from peephole.training.memory import WHOLE_STEP, BatchShape, step_numbers_engine
from process_memory import peak_bytes, reads_proc, reset_peak, resident_bytes

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


@pytest.mark.parametrize(
    "model",
    [
        {"input": "frames", "input_size": 80, "frame_stack": 3},
        {"input": "convolution", "input_size": 96, "input_planes": 3, "convolution_channels": 64},
        {"input": "convolution", "input_size": 80, "convolution_layers": 3, "convolution_channels": 32},
    ],
    ids=str,
)
def test_the_estimate_of_a_step_on_frames_is_near_what_it_takes(model):
    """Of long sources and short targets, so that the frontend decides."""
    case = Case({"hidden_size": 32, "embedding_size": 32, "peephole": "none", **model}, precision="32-true")
    frames = np.ones((300, model["input_size"]), np.float32)
    batch = make_batch([frames] * 100, [np.array([4])] * 100, np.arange(100))
    trainer = case.trainer(threads=1)
    before = resident_bytes()
    trainer.loss(*arguments(batch)[:3])
    trainer.gradients(*arguments(batch), step=0, divisor=1)
    found = resident_bytes() - before
    wanted = 4 * WHOLE_STEP * step_numbers_engine(case.config, NUM_TARGET_SYMBOLS, BatchShape(100, 300, 2))
    assert 0.75 * found < wanted < 1.6 * found


@pytest.mark.parametrize("dropout", [0, 0.1])
@pytest.mark.parametrize("model", [{"output": "gaussian"}, {"output": "quantile", "output_size": 8}], ids=str)
def test_the_estimate_of_a_step_on_vectors_is_near_what_it_takes(model, dropout):
    """Of short sources and long targets, so that the output decides."""
    sizes = {"hidden_size": 32, "embedding_size": 64, "input_size": 8, "peephole": "none", "context": "last"}
    case = Case({"input": "frames", **sizes, **model}, precision="32-true", dropout=dropout)
    vectors = np.ones((300, case.config.model.output_size), np.float32)
    batch = make_batch([np.ones((2, 8), np.float32)] * 100, [vectors] * 100, np.arange(100))
    trainer = case.trainer(threads=1)
    before = resident_bytes()
    trainer.gradients(*arguments(batch), step=0, divisor=1)
    found = resident_bytes() - before
    wanted = 4 * WHOLE_STEP * step_numbers_engine(case.config, 4, BatchShape(100, 2, 300))
    assert 0.75 * found < wanted < 1.6 * found


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
