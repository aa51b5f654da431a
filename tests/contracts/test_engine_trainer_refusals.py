"""Tests what a trainer on the engine refuses: batches, numbers, settings, weights and kinds of networks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contracts.trainer_cases import CASES
from contracts.training_checks import (
    NUM_SOURCE_SYMBOLS,
    NUM_TARGET_SYMBOLS,
    arguments,
    largest_error,
    some_batch,
)
from peephole import engine
from peephole.config import Config
from peephole.data.batch import Taught
from peephole.engine.trainer import EngineTrainer, declined
from peephole.errors import EngineError

pytestmark = pytest.mark.skipif(not engine.available(), reason="without a compiler there is no engine")


def changed(**arrays):
    """Return the arguments of a step, some of them replaced."""
    batch = some_batch()
    return {name: arrays.get(name, getattr(batch, name)) for name in ("source", "source_lengths", "target", "examples")}


def with_number(array, where, number):
    """Return a copy with one number replaced."""
    copy = array.copy()
    copy[where] = number
    return copy


BATCH, COPIED = some_batch(), some_batch(copies=True)
REFUSED = {
    "source symbol": (changed(source=with_number(BATCH.source, (1, 6), NUM_SOURCE_SYMBOLS)), "source 1: .* got 13"),
    "negative source": (changed(source=with_number(BATCH.source, (0, 0), -1)), "source 0: .* got -1"),
    "target symbol": (changed(target=with_number(BATCH.target, (2, 3), NUM_TARGET_SYMBOLS)), "target 2: .* got 11"),
    "negative target": (changed(target=with_number(BATCH.target, (0, 0), -(2**62))), "target 0: .* got -"),
    "padding inside": (changed(target=with_number(BATCH.target, (2, 1), 0)), "target 2: wanted <pad> after"),
    "no target": (changed(target=with_number(BATCH.target, 3, 0)), "target 3: wanted at least one symbol"),
    "length 0": (changed(source_lengths=with_number(BATCH.source_lengths, 2, 0)), "source 2: .* from 1 to 7, got 0"),
    "long": (changed(source_lengths=with_number(BATCH.source_lengths, 2, 8)), "source 2: .* from 1 to 7, got 8"),
    "empty batch": ({name: array[:0] for name, array in changed().items()}, "batch: wanted a number from 1"),
    "no source steps": (changed(source=BATCH.source[:, :0]), "source_steps: wanted a number from 1"),
    "no target steps": (changed(target=BATCH.target[:, :0]), "target_steps: wanted a number from 1"),
    "fewer sources": (changed(source=BATCH.source[1:]), "source: wanted 5 rows, got 4"),
    "fewer lengths": (changed(source_lengths=BATCH.source_lengths[1:]), "source_lengths: wanted 5 rows, got 4"),
    "fewer examples": (changed(examples=BATCH.examples[1:]), "examples: wanted 5 rows, got 4"),
    "floats": (changed(source=BATCH.source * 1.0), "source: wanted integers of 2 dimensions, got float64"),
    "dimensions": (changed(source=BATCH.source[0]), "source: wanted integers of 2 dimensions"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_batches(name):
    given, message = REFUSED[name]
    trainer = CASES["default"].trainer()
    with pytest.raises(ValueError, match=message):
        trainer.step(**given, step=0, learning_rate=0.1, divisor=1)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"divisor": 0}, "divisor: wanted a number above 0, got 0"),
        ({"divisor": float("nan")}, "divisor: wanted a number above 0, got nan"),
        ({"learning_rate": -1}, "learning_rate: .* got -1"),
        ({"learning_rate": float("inf")}, "learning_rate: .* got inf"),
        ({"step": -1}, "step: .* got -1"),
        ({"sampling_probability": 1.5}, "sampling_probability: .* got 1.5"),
    ],
)
def test_refused_numbers(numbers, message):
    trainer = CASES["default"].trainer()
    with pytest.raises(ValueError, match=message):
        trainer.step(*arguments(BATCH), **{"step": 0, "learning_rate": 0.1, "divisor": 1} | numbers)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": BATCH.source}, "source: wanted integers of 3 dimensions"),
        ({"source": COPIED.source[..., :1]}, "source: wanted 2 symbols a step, read and copied, got 1"),
        ({"source": with_number(COPIED.source, (1, 2, 1), -1)}, "copied 1: .* got -1"),
        ({"source": with_number(COPIED.source, (1, 2, 0), 13)}, "source 1: .* got 13"),
        ({"target": with_number(COPIED.target, (0, 0), 2**41)}, "target 0: .* got 2199023255552"),
    ],
)
def test_refused_copying(changes, message):
    given = {name: getattr(COPIED, name) for name in ("source", "source_lengths", "target", "examples")}
    with pytest.raises(ValueError, match=message):
        CASES["copying"].trainer().step(**given | changes, step=0, learning_rate=0.1, divisor=1)


FRAMES = CASES["frames"].batch()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": BATCH.source}, "source: wanted frames, floats of 3 dimensions, got int64"),
        ({"source": FRAMES.source[..., 0]}, "source: wanted frames, floats of 3 dimensions, got float32"),
        ({"source": FRAMES.source[..., :5]}, "source: wanted 6 numbers in a frame, got 5"),
        ({"source": FRAMES.source[1:]}, "source: wanted 5 rows, got 4"),
        ({"source": FRAMES.source[:, :0]}, "source_steps: wanted a number from 1"),
        ({"source": FRAMES.source[:, :19]}, "source 1: wanted a length from 1 to 19, got 20"),
        ({"source_lengths": with_number(FRAMES.source_lengths, 2, 0)}, "source 2: .* got 0"),
    ],
)
@pytest.mark.parametrize("name", ["frames", "three convolutions"])
def test_refused_frames(name, changes, message):
    given = {name: getattr(FRAMES, name) for name in ("source", "source_lengths", "target", "examples")}
    with pytest.raises(ValueError, match=message):
        CASES[name].trainer().step(**given | changes, step=0, learning_rate=0.1, divisor=1)


VECTORS = CASES["vectors"].batch()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": BATCH.target}, "target: wanted vectors, floats of 3 dimensions, got int64"),
        ({"target": VECTORS.target[..., 0]}, "target: wanted vectors, floats of 3 dimensions, got float32"),
        ({"target": VECTORS.target[..., :1]}, "target: wanted 2 numbers in a vector, got 1"),
        ({"target": VECTORS.target[1:]}, "source: wanted 4 rows, got 5"),
        ({"target": VECTORS.target[:, :0]}, "target_steps: wanted a number from 1"),
        ({"source": VECTORS.source[..., :5]}, "source: wanted 6 numbers in a frame, got 5"),
        ({"source_lengths": with_number(VECTORS.source_lengths, 2, 0)}, "source 2: .* got 0"),
    ],
)
def test_refused_vectors(changes, message):
    given = {name: getattr(VECTORS, name) for name in ("source", "source_lengths", "target", "examples")}
    with pytest.raises(ValueError, match=message):
        CASES["vectors"].trainer().step(**given | changes, step=0, learning_rate=0.1, divisor=1)


def test_missing_vectors_are_refused():
    trainer = CASES["vectors"].trainer()
    trainer._vector_size = None
    with pytest.raises(ValueError, match="vectors: wanted numbers, got none"):
        trainer.loss(*arguments(replace(VECTORS, target=BATCH.target))[:3])


def test_sampling_of_vectors_is_refused():
    how = {"step": 0, "learning_rate": 0.1, "divisor": 1, "sampling_probability": 0.1}
    with pytest.raises(ValueError, match=r"sampling_probability: wanted 0 for targets of vectors, got 0\.1"):
        CASES["vectors"].trainer().step(*arguments(VECTORS), **how)


def test_a_coverage_loss_of_vectors_is_refused():
    def make(architecture, sources, targets, weights, settings, instruction_set):
        changed = settings._replace(coverage_loss=1.0)
        return EngineTrainer(architecture, sources, targets, weights, changed, instruction_set)

    with pytest.raises(ValueError, match="coverage_loss: wanted 0 for targets of vectors"):
        CASES["vectors, not continued"].trainer(make)


@pytest.mark.parametrize("name", ["many quantiles", "default"])
def test_targets_without_a_density(name):
    given = arguments(CASES[name].batch())[:3]
    with pytest.raises(ValueError, match="log_densities: wanted none for a network whose targets have no density"):
        CASES[name].trainer().log_densities(*given)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_series_that_is_not_finite_changes_nothing(number):
    trainer = CASES["vectors"].trainer()
    before = {name: weight.copy() for name, weight in trainer.weights.items()}
    given = arguments(replace(VECTORS, source=with_number(VECTORS.source, (0, 4, 1), number)))
    result = trainer.step(*given, step=0, learning_rate=0.1, divisor=1)
    assert not np.isfinite(result.loss)
    assert not result.updated
    assert largest_error(trainer.weights, before) == 0


def test_missing_frames_are_refused(monkeypatch):
    monkeypatch.setattr(EngineTrainer, "_sources", lambda self, source, length: {})
    with pytest.raises(ValueError, match="frames: wanted numbers and lengths, got none"):
        CASES["frames"].trainer().loss(*arguments(FRAMES)[:3])


@pytest.mark.parametrize("name", ["time_masks", "time_mask_size", "feature_masks", "feature_mask_size"])
def test_refused_masks(name):
    def make(architecture, sources, targets, weights, settings, instruction_set):
        return EngineTrainer(architecture, sources, targets, weights, settings._replace(**{name: -1}), instruction_set)

    with pytest.raises(ValueError, match=f"{name}: .* got -1"):
        CASES["frames"].trainer(make)


def test_a_target_that_can_be_neither_generated_nor_copied_changes_nothing():
    trainer = CASES["copying"].trainer()
    before = {name: weight.copy() for name, weight in trainer.weights.items()}
    given = arguments(replace(COPIED, target=with_number(COPIED.target, (0, 0), NUM_TARGET_SYMBOLS + 9)))
    result = trainer.step(*given, step=0, learning_rate=0.1, divisor=1)
    assert result.loss == np.inf
    assert not result.updated
    assert largest_error(trainer.weights, before) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dropout": 1.0}, "dropout: .* got 1"),
        ({"label_smoothing": -0.1}, "label_smoothing: .* got -0.1"),
        ({"clip_norm": float("nan")}, "clip_norm: .* got nan"),
        ({"coverage_loss": -1.0}, "coverage_loss: .* got -1"),
        ({"consistency_loss": -1.0}, "consistency_loss: .* got -1"),
        ({"teacher_weight": 1.5}, "teacher_weight: .* got 1.5"),
        ({"threads": 0}, "threads: .* got 0"),
        ({"precision": "16-mixed"}, "precision: wanted one of 32-true, 64-true, bf16-mixed, got '16-mixed'"),
    ],
)
def test_refused_settings(changes, message):
    case = CASES["default"]

    def make(architecture, sources, targets, weights, settings, instruction_set):
        return EngineTrainer(architecture, sources, targets, weights, settings._replace(**changes), instruction_set)

    with pytest.raises(ValueError, match=message):
        case.trainer(make)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("decoder.readout.bias"), "weight decoder.readout.bias: wanted shape .*, got none"),
        (lambda w: w.update({"more": np.zeros(2)}), "weight more: wanted shape none, got"),
        (
            lambda w: w.update({"decoder.readout.bias": np.zeros(9)}),
            r"decoder.readout.bias: wanted shape \(10,\), got \(9,\)",
        ),
        (
            lambda w: w.update({"decoder.readout.bias": np.full(10, np.nan)}),
            "decoder.readout.bias: wanted finite numbers",
        ),
    ],
)
def test_refused_weights(change, message):
    def make(architecture, sources, targets, weights, settings, instruction_set):
        change(weights)
        return EngineTrainer(architecture, sources, targets, weights, settings, instruction_set)

    with pytest.raises(ValueError, match=message):
        CASES["default"].trainer(make)


@pytest.mark.parametrize("name", ["copying", "vectors"])
@pytest.mark.parametrize("setting", ["consistency_loss", "teacher_weight"])
def test_some_losses_are_of_a_vocabulary(name, setting):
    def make(architecture, sources, targets, weights, settings, instruction_set):
        changed = settings._replace(**{setting: 1.0})
        return EngineTrainer(architecture, sources, targets, weights, changed, instruction_set)

    with pytest.raises(ValueError, match=f"{setting}: wanted 0 for targets other than symbols, and with copying"):
        CASES[name].trainer(make)


def test_a_consistency_loss_needs_every_pair_twice():
    case, how = CASES["consistency"], {"step": 0, "learning_rate": 0.1, "divisor": 1}
    batch = case.batch()
    odd = batch.rows(1, len(batch))
    with pytest.raises(ValueError, match="batch: wanted an even number with a consistency loss, got 1"):
        case.trainer().step(*arguments(odd), **how)
    half = len(batch) // 2
    changed = replace(batch, target=with_number(batch.target, (half, 0), 5 - (batch.target[0, 0] == 5)))
    with pytest.raises(ValueError, match=f"target {half}: wanted that of pair 0 with a consistency loss, got another"):
        case.trainer().step(*arguments(changed), **how)
    assert np.isfinite(case.trainer().loss(*arguments(odd)[:3]))  # of which it is no part


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda taught: None, "taught: wanted symbols and shares of a teacher, got none"),
        (lambda taught: Taught(taught.symbols[:, 1:], taught.shares[:, 1:]), r"taught symbols: wanted shape 5 x 5 x K"),
        (lambda taught: taught._replace(shares=taught.shares[..., 1:]), r"taught shares: wanted shape 5 x 5 x K"),
        (lambda taught: taught._replace(symbols=taught.shares), "taught symbols: wanted integers, got float32"),
        (lambda taught: taught._replace(shares=taught.symbols), "taught shares: wanted floats, got int32"),
        (lambda taught: Taught(*(array[..., :0] for array in taught)), "num_taught: wanted a number from 1"),
        (
            lambda taught: taught._replace(symbols=taught.symbols + 11),
            "taught symbols of target 0: wanted symbols from 0",
        ),
        (
            lambda taught: taught._replace(symbols=taught.symbols - 11),
            "taught symbols of target 0: wanted symbols from 0",
        ),
        (
            lambda taught: taught._replace(shares=taught.shares * 2),
            "taught_shares: wanted a sum of 1 for each symbol, got 2",
        ),
        (lambda taught: taught._replace(shares=-taught.shares), "taught_shares: wanted numbers from 0, got -"),
        (lambda taught: taught._replace(shares=taught.shares * np.nan), "taught_shares: wanted numbers from 0, got "),
    ],
)
def test_what_a_teacher_gives_is_checked(change, message):
    case, how = CASES["teacher"], {"step": 0, "learning_rate": 0.1, "divisor": 1}
    batch = case.batch()
    with pytest.raises(ValueError, match=message):
        case.trainer().step(*arguments(replace(batch, taught=change(batch.taught))), **how)
    assert np.isfinite(case.trainer().loss(*arguments(batch)[:3]))  # of which it is no part


@pytest.mark.parametrize("name", ["mean", "language model"])
def test_a_coverage_loss_needs_attention(name):
    def make(architecture, sources, targets, weights, settings, instruction_set):
        return EngineTrainer(
            architecture, sources, targets, weights, settings._replace(coverage_loss=1.0), instruction_set
        )

    with pytest.raises(ValueError, match="coverage_loss: wanted 0 without attention"):
        replace(CASES[name], precision="32-true").trainer(make)


def test_an_unknown_instruction_set_is_refused():
    with pytest.raises(ValueError, match="unknown instruction set"):
        CASES["default"].trainer(instruction_set="mmx")


def test_a_closed_trainer():
    trainer = CASES["default"].trainer()
    bias = trainer.weights["decoder.output.bias"]
    before = bias.copy()
    trainer.close()
    np.testing.assert_array_equal(bias, before)  # a view keeps the memory
    with pytest.raises(EngineError, match="closed"):
        trainer.loss(*arguments(BATCH)[:3])


def test_a_precision_that_the_engine_lacks_is_declined():
    assert declined(Config().with_values({"train.precision": "16-mixed"})) == "has no precision '16-mixed'"


@pytest.mark.parametrize("name", CASES)
def test_no_kind_of_network_is_declined(name):
    assert declined(CASES[name].config) is None
