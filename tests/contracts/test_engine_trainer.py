"""Tests whole training steps on the engine against the definition: `peephole.engine.trainer`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from contracts.trainer_cases import CASES
from contracts.training_checks import (
    Case,
    arguments,
    check_gradients,
    check_steps,
    largest_error,
    some_batch,
)
from peephole import engine
from peephole.data.batch import Taught, make_batch
from peephole.nn import use_engine
from peephole.symbols import PAD

pytestmark = pytest.mark.skipif(not engine.available(), reason="without a compiler there is no engine")
instruction_sets = pytest.mark.parametrize("instruction_set", engine.instruction_sets())

cases = pytest.mark.parametrize("name", CASES)


@cases
def test_gradients(name):
    check_gradients(CASES[name], 1e-10)


@cases
def test_steps(name):
    check_steps(CASES[name], 1e-10)


@cases
def test_gradients_without_dropout(name):
    """Products with embeddings are computed once for each symbol, and their gradients summed by symbol."""
    check_gradients(replace(CASES[name], dropout=0), 1e-10)


@pytest.mark.parametrize("train", [{"clip_norm": 0}, {"ema_decay": 0}, {"clip_norm": 1e6, "weight_decay": 0}])
def test_settings_of_the_update(train):
    check_steps(Case({}, train), 1e-10)


@instruction_sets
@pytest.mark.parametrize("dropout", [0, 0.3])
@pytest.mark.parametrize(
    "name",
    [
        *(
            "default",
            "stacked",
            "dot",
            "location",
            "multihead",
            "gru",
            "last, bridge",
            "language model",
            "copying",
            "trigrams",
            "ctc",
            "zoneout",
            "zoneout, diagonal",
            "zoneout, gru",
            "norm",
            "norm, diagonal",
            "norm of whole vectors",
            "norm, gru",
            "teacher",
            "teacher, consistency",
        ),
        *("frames joined, pyramid", "convolutions of planes", "three convolutions"),
        *("vectors", "vectors in constant units", "vectors, no feedback", "many quantiles"),
    ],
)
def test_gradients_in_float32(name, dropout, instruction_set):
    case = replace(CASES[name], precision="32-true", dropout=dropout)
    check_gradients(case, 1e-5, instruction_set=instruction_set)


@instruction_sets
@pytest.mark.parametrize(
    "name",
    [
        "default",
        "stacked",
        "mean",
        "no dropout",
        "copying",
        "frames",
        "ctc",
        "vectors, no feedback",
        "zoneout",
        "norm",
        "teacher",
    ],
)
def test_bfloat16_products_are_close_to_float32(name, instruction_set):
    """bfloat16 has 8 bits of mantissa, and errors of several products add up."""
    (loss, gradients), (wanted_loss, wanted) = in_both_precisions(CASES[name], instruction_set)
    assert 0 < abs(loss - wanted_loss) < 0.005 * wanted_loss
    assert 0 < largest_error(gradients, wanted) < 0.1


@pytest.mark.parametrize("name", [name for name in CASES if "zoneout" in name])
def test_losses_with_zoneout_are_those_of_its_mean(name):
    """Not of drawn masks, as on dev; the average's weights are the first ones before any step."""
    case = CASES[name]
    batch, trainer, network = case.batch(), case.trainer(), case.network().eval()
    source, lengths, target = map(torch.from_numpy, arguments(batch)[:3])
    with torch.no_grad(), use_engine("off"):
        wanted = float(network.loss_sum(source, lengths, target, ctc_weight=case.config.train.ctc_weight))
    for averaged in (False, True):
        assert trainer.loss(*arguments(batch)[:3], averaged=averaged) == pytest.approx(wanted, rel=1e-12)


@instruction_sets
@pytest.mark.parametrize("name", ["convolution", "three convolutions"])
def test_bfloat16_convolutions_are_close_to_float32(name, instruction_set):
    """Gradients as a whole: that of a unit near 0 may be there or not, since its sign depends on the rounding."""
    (loss, gradients), (wanted_loss, wanted) = in_both_precisions(CASES[name], instruction_set)
    assert 0 < abs(loss - wanted_loss) < 0.005 * wanted_loss
    errors = {key: gradients[key] - wanted[key] for key in wanted}
    assert 0 < length_of(errors) < 0.03 * length_of(wanted)


def in_both_precisions(case, instruction_set):
    """Return loss and gradients with products of bfloat16, and of float32."""
    found = []
    for precision in ("bf16-mixed", "32-true"):
        trainer = replace(case, precision=precision).trainer(instruction_set=instruction_set)
        result, gradients = trainer.gradients(*arguments(case.batch()), step=1, divisor=1)
        found.append((result.loss, gradients))
    return found


def length_of(arrays):
    """Return the root of the sum of the squares of all numbers."""
    return np.sqrt(sum((array.astype(np.float64) ** 2).sum() for array in arrays.values()))


def trained(case, threads, instruction_set, batches):
    """Return all numbers of a trainer after steps on some batches."""
    trainer = case.trainer(threads=threads, instruction_set=instruction_set)
    results = []
    for step, batch in enumerate(batches):
        results.append(trainer.step(*arguments(batch), step=step, learning_rate=0.01, divisor=batch.num_symbols))
    return results, [trainer.weights, trainer.first_moments, trainer.second_moments, trainer.average]


def assert_same_bits(one, other):
    """Assert that two results of `trained` are equal."""
    assert one[0] == other[0]
    for arrays, others in zip(one[1], other[1], strict=True):
        for name in arrays:
            np.testing.assert_array_equal(arrays[name], others[name], name)


@instruction_sets
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("dropout", [0, 0.3])
@pytest.mark.parametrize(
    "name",
    [
        *("default", "stacked", "dot", "mean", "gru, bridge", "language model", "language model, sampling"),
        *("copying", "trigrams", "ctc", "zoneout", "zoneout, gru, sampling", "norm", "norm, zoneout, gru"),
        *("frames joined, pyramid", "convolutions of planes", "vectors", "vectors, not continued"),
    ],
)
def test_the_same_bits_for_any_number_of_threads(name, dropout, precision, instruction_set):
    case = replace(CASES[name], precision=precision, dropout=dropout)
    batches = [case.batch(seed) for seed in range(2)]
    one = trained(case, 1, instruction_set, batches)
    for threads in (2, 3):
        assert_same_bits(trained(case, threads, instruction_set, batches), one)


def padded(batch):
    """Return a batch with more padding."""
    source = np.pad(batch.source, ((0, 0), (0, 11), (0, 0))[: batch.source.ndim], constant_values=9)
    missing = np.nan if batch.target.ndim == 3 else PAD
    target = np.pad(batch.target, ((0, 0), (0, 2), (0, 0))[: batch.target.ndim], constant_values=missing)
    taught = None
    if batch.taught is not None:
        taught = Taught(*(np.pad(array, ((0, 0), (0, 2), (0, 0))) for array in batch.taught))
    return replace(batch, source=source, target=target, taught=taught)


@pytest.mark.parametrize("dropout", [0, 0.3])
@pytest.mark.parametrize("name", CASES)
def test_padding_changes_nothing(name, dropout):
    case = replace(CASES[name], dropout=dropout)
    batches = [case.batch(seed) for seed in range(2)]
    assert_same_bits(trained(case, 2, None, map(padded, batches)), trained(case, 2, None, batches))


def test_memory_of_a_larger_batch_changes_nothing():
    large = some_batch()
    small = replace(
        large,
        **{
            name: getattr(large, name)[:2]
            for name in ("source", "source_lengths", "target", "target_lengths", "examples")
        },
    )
    trainer = CASES["stacked"].trainer()
    how = {"step": 2, "divisor": 3.0}
    _, first = trainer.gradients(*arguments(small), **how)
    trainer.gradients(*arguments(large), **how)
    _, again = trainer.gradients(*arguments(small), **how)
    assert largest_error(again, first) == 0


def test_masks_of_long_sources():
    """The share of a source that a mask may cover is rounded as in the definition, whatever the length."""
    train = {"time_masks": 1, "time_mask_size": 1000, "label_smoothing": 0}
    case = Case({"input": "frames", "input_size": 1, "hidden_size": 2, "peephole": "none", "context": "mean"}, train)
    sources = [np.ones((length, 1), np.float32) for length in range(1, 260)]
    batch = make_batch(sources, [np.array([4])] * len(sources), np.arange(len(sources)))
    check_gradients(case, 1e-10, batch=batch)


def test_sources_that_need_several_products():
    """The points around the outputs of convolutions are copied for some steps of the batch at a time."""
    sizes = {"input_size": 60, "convolution_channels": 24, "convolution_layers": 3, "hidden_size": 2, "context": "mean"}
    case = Case({"input": "convolution", "peephole": "none", "bidirectional": False, **sizes})
    draw = np.random.default_rng(0)
    sources = [draw.normal(size=(length, 60)).astype(np.float32) for length in (900, 7, 1, 401, 900)]
    batch = make_batch(sources, [np.array([4, 5])] * len(sources), np.arange(len(sources)))
    check_gradients(case, 1e-10, batch=batch)
    found = [case.trainer(threads=threads).gradients(*arguments(batch), step=4, divisor=1) for threads in (1, 2, 3)]
    for result, gradients in found[1:]:
        assert result == found[0][0]
        assert largest_error(gradients, found[0][1]) == 0


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_frame_that_is_not_finite_changes_nothing(number):
    case = CASES["three convolutions"]
    batch, trainer = case.batch(), case.trainer()
    before = {name: weight.copy() for name, weight in trainer.weights.items()}
    frames = batch.source.copy()
    frames[1, 4, 2] = number
    result = trainer.step(*arguments(replace(batch, source=frames)), step=0, learning_rate=0.1, divisor=1)
    assert not result.updated
    assert not np.isfinite(result.loss)
    assert largest_error(trainer.weights, before) == 0


@pytest.mark.parametrize(
    ("name", "constants"),
    [
        ("frames", ["frontend.mean", "frontend.scale"]),
        ("vectors", ["frontend.mean", "frontend.scale"]),
        (
            "vectors in constant units",
            ["frontend.mean", "frontend.scale", "decoder.mean", "decoder.deviation"],
        ),
    ],
)
def test_constants_have_no_moments_and_do_not_decay(name, constants):
    case = CASES[name]
    trainer = case.trainer()
    before = {name: trainer.weights[name].copy() for name in constants}
    trainer.step(*arguments(case.batch()), step=0, learning_rate=0.1, divisor=1)
    assert trainer.weights.keys() - trainer.first_moments.keys() == before.keys()
    assert trainer.average.keys() == trainer.weights.keys()
    for name, constant in before.items():
        np.testing.assert_array_equal(trainer.weights[name], constant)
        np.testing.assert_array_equal(trainer.average[name], constant)


@pytest.mark.parametrize("name", ["decoder.output.bias", "encoder.recurrent.layers.0.0.weight_hidden", "ctc.bias"])
def test_nothing_changes_if_the_loss_is_not_finite(name):
    case = CASES["ctc"]
    batch = case.batch()
    trainer = case.trainer()
    trainer.step(*arguments(batch), step=0, learning_rate=0.1, divisor=1)
    trainer.weights[name].flat[0] = np.nan
    state = [trainer.weights, trainer.first_moments, trainer.second_moments, trainer.average]
    before = [{name: array.copy() for name, array in arrays.items()} for arrays in state]
    result = trainer.step(*arguments(batch), step=1, learning_rate=0.1, divisor=1)
    assert not result.updated
    assert not np.isfinite(result.loss)
    for arrays, others in zip(state, before, strict=True):
        for key, array in arrays.items():
            np.testing.assert_array_equal(array, others[key])


def test_a_gradient_that_is_not_finite_changes_nothing():
    case, batch = replace(CASES["default"], precision="32-true"), some_batch()
    trainer = case.trainer()
    before = {name: weight.copy() for name, weight in trainer.weights.items()}
    result = trainer.step(*arguments(batch), step=0, learning_rate=0.1, divisor=1e-310)
    assert np.isfinite(result.loss)
    assert not np.isfinite(result.gradient_norm)
    assert not result.updated
    assert largest_error(trainer.weights, before) == 0
