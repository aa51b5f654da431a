"""Tests whole training steps on the engine against the definition: `peephole.engine.trainer`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contracts.ctc_oracle import ctc_loss
from contracts.training_checks import (
    NUM_TARGET_SYMBOLS,
    Case,
    arguments,
    check_gradients,
    check_steps,
    largest_error,
    some_batch,
)
from contracts.vector_checks import oracle_of
from contracts.wrong_trainers import WRONG_COPYING, WRONG_CTC, WRONG_FRAMES, WRONG_GRADIENTS, WRONG_STEPS, WRONG_VECTORS
from peephole import engine
from peephole.data.batch import make_batch
from peephole.nn.schema import Architecture, num_places
from peephole.symbols import PAD

pytestmark = pytest.mark.skipif(not engine.available(), reason="without a compiler there is no engine")
instruction_sets = pytest.mark.parametrize("instruction_set", engine.instruction_sets())

# Every pair of values of two settings occurs in some case
CASES = {
    "default": Case({}),
    "stacked": Case({"encoder_layers": 2, "decoder_layers": 3, "encoder_size": 6, "residual": True}),
    "one direction": Case(
        {"bidirectional": False, "peephole": "diagonal", "attention": "general", "decoder_layers": 2}
    ),
    "dot": Case({"attention": "dot", "peephole": "none", "encoder_layers": 3, "residual": True}),
    "last": Case({"context": "last", "decoder_layers": 2, "encoder_layers": 2}),
    "last, bridge": Case({"context": "last", "encoder_size": 8, "peephole": "none", "decoder_layers": 2}),
    "mean": Case({"context": "mean", "encoder_size": 7, "bidirectional": False, "peephole": "diagonal"}),
    "pyramid": Case({"encoder_layers": 3, "encoder_pyramid": 2, "residual": True, "encoder_size": 6}),
    "pyramid, mean": Case({"encoder_layers": 2, "encoder_pyramid": 1, "context": "mean", "peephole": "none"}),
    "general, bridge": Case({"attention": "general", "encoder_size": 4, "encoder_layers": 3, "decoder_layers": 2}),
    "location": Case({"attention": "location", "location_channels": 3, "location_width": 5, "decoder_layers": 2}),
    "coverage": Case({"attention": "coverage", "encoder_size": 6, "peephole": "diagonal"}, sampling_probability=0.3),
    "multihead": Case({"attention": "multihead", "attention_heads": 2, "encoder_size": 6, "encoder_layers": 2}),
    "trigrams": Case({"ngram_rows": 11, "encoder_layers": 2}),
    "trigrams, variational": Case({"ngram_rows": 3, "cell": "gru"}, {"variational_dropout": True}),
    "trigrams, copying": Case({"ngram_rows": 500, "output": "copy", "attention": "coverage"}),
    "copying": Case({"output": "copy", "encoder_layers": 2, "peephole": "diagonal"}),
    "copying, coverage": Case(
        {"output": "copy", "attention": "coverage", "decoder_layers": 2, "encoder_size": 6}, {"coverage_loss": 0.7}
    ),
    "coverage loss": Case({"attention": "coverage", "encoder_layers": 2, "encoder_pyramid": 1}, {"coverage_loss": 1.5}),
    "copying, multihead": Case({"output": "copy", "attention": "multihead", "attention_heads": 2, "cell": "gru"}),
    "copying, sampling": Case(
        {"output": "copy", "attention": "location", "decoder_layers": 2}, {"coverage_loss": 0}, sampling_probability=0.7
    ),
    "copying, sampling, always": Case(
        {"output": "copy", "attention": "general", "cell": "gru"}, {"label_smoothing": 0}, sampling_probability=1
    ),
    "copying, dot": Case({"output": "copy", "attention": "dot", "peephole": "none"}, {"label_smoothing": 0}),
    "gru": Case({"cell": "gru", "encoder_layers": 2, "decoder_layers": 2, "residual": True}),
    "gru, bridge": Case({"cell": "gru", "encoder_size": 6, "attention": "coverage"}, sampling_probability=0.5),
    "gru language model": Case({"input": "none", "cell": "gru", "decoder_layers": 2}),
    "variational": Case({"encoder_layers": 2, "decoder_layers": 2}, {"variational_dropout": True}),
    "no dropout": Case({"encoder_layers": 2, "decoder_layers": 2, "residual": True}, {"label_smoothing": 0}, dropout=0),
    "sampling": Case({"decoder_layers": 2, "residual": True}, sampling_probability=0.6),
    "sampling, always": Case(
        {"context": "mean", "peephole": "none"}, {"variational_dropout": True}, sampling_probability=1
    ),
    "frames": Case(
        {"input": "frames", "peephole": "none"}, {"time_masks": 3, "feature_masks": 1, "feature_mask_size": 2}
    ),
    "frames joined, pyramid": Case(
        {"input": "frames", "frame_stack": 3, "encoder_layers": 2, "encoder_pyramid": 1, "decoder_layers": 2},
        {"time_masks": 2, "time_mask_size": 3, "variational_dropout": True},
    ),
    "convolution": Case(
        {"input": "convolution", "convolution_layers": 1, "convolution_channels": 4, "context": "mean"}
    ),
    "convolutions of planes": Case(
        {"input": "convolution", "convolution_channels": 3, "input_planes": 2, "cell": "gru", "encoder_layers": 2},
        {"time_masks": 1, "feature_masks": 2, "feature_mask_size": 4},
        sampling_probability=0.4,
    ),
    "three convolutions": Case(
        {"input": "convolution", "convolution_layers": 3, "convolution_channels": 5, "attention": "location"}
    ),
    "ctc": Case({"ctc": True, "encoder_layers": 2, "decoder_layers": 2, "encoder_size": 6}, {"ctc_weight": 0.4}),
    "ctc, pyramid": Case(
        {"ctc": True, "encoder_layers": 2, "encoder_pyramid": 1, "bidirectional": False, "peephole": "diagonal"},
        {"variational_dropout": True},
    ),
    "ctc, coverage loss": Case(
        {"ctc": True, "attention": "coverage", "cell": "gru"}, {"coverage_loss": 0.7}, sampling_probability=0.3
    ),
    "ctc, frames": Case(
        {"ctc": True, "input": "frames", "frame_stack": 3, "peephole": "none"}, {"time_masks": 1, "feature_masks": 1}
    ),
    "ctc, last": Case({"ctc": True, "context": "last", "peephole": "none"}, {"ctc_weight": 0.9}),
    "ctc alone": Case({"ctc": True, "attention": "multihead", "attention_heads": 2}, {"ctc_weight": 1.0}),
    "vectors": Case(
        {"input": "frames", "output": "gaussian", "scaling": "source", "encoder_layers": 2, "decoder_layers": 2},
        {"time_masks": 2, "feature_masks": 1, "feature_mask_size": 2},
    ),
    "vectors in constant units": Case(
        {"input": "frames", "output": "gaussian", "scaling": "constant", "frame_stack": 3, "peephole": "diagonal"}
    ),
    "vectors, not continued": Case(
        {"input": "frames", "output": "quantile", "scaling": "constant", "continues": False, "attention": "coverage"},
        {"variational_dropout": True},
    ),
    "vectors, no feedback": Case(
        {"input": "frames", "output": "quantile", "quantiles": 4, "feedback": False, "context": "last", "cell": "gru"}
    ),
    "many quantiles": Case(
        {
            "input": "frames",
            "output": "quantile",
            "quantiles": 21,
            "output_size": 6,
            "encoder_size": 6,
            "residual": True,
        }
    ),
    "vectors of convolutions": Case(
        {"input": "convolution", "input_planes": 2, "convolution_channels": 3, "output": "quantile", "output_size": 5}
    ),
    "vectors, multihead": Case(
        {"input": "frames", "output": "gaussian", "attention": "multihead", "attention_heads": 2, "peephole": "none"}
    ),
    "language model": Case({"input": "none", "decoder_layers": 3, "residual": True}),
    "language model, one layer": Case({"input": "none", "peephole": "diagonal"}, {"variational_dropout": True}),
    "language model, sampling": Case(
        {"input": "none", "decoder_layers": 2, "residual": True}, sampling_probability=0.6
    ),
    "language model, sampling, always": Case(
        {"input": "none", "peephole": "diagonal"},
        {"variational_dropout": True, "label_smoothing": 0},
        sampling_probability=1,
    ),
    "gru language model, sampling": Case(
        {"input": "none", "cell": "gru", "decoder_layers": 3}, sampling_probability=0.4
    ),
}
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
    "name", ["default", "stacked", "mean", "no dropout", "copying", "frames", "ctc", "vectors, no feedback"]
)
def test_bfloat16_products_are_close_to_float32(name, instruction_set):
    """bfloat16 has 8 bits of mantissa, and errors of several products add up."""
    (loss, gradients), (wanted_loss, wanted) = in_both_precisions(CASES[name], instruction_set)
    assert 0 < abs(loss - wanted_loss) < 0.005 * wanted_loss
    assert 0 < largest_error(gradients, wanted) < 0.1


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
        *("copying", "trigrams", "ctc"),
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
    return replace(batch, source=source, target=target)


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


def loss_of_zero_weights(case, batch):
    """Return the loss of even probabilities: of all symbols; of a model that copies half of it of the source's."""
    if case.predicts_vectors:
        return vector_loss_of_zero_weights(case, batch)
    if case.config.model.ctc:
        share = case.config.train.ctc_weight
        return (1 - share) * np.log(NUM_TARGET_SYMBOLS) * batch.num_symbols + share * ctc_loss_of_zero_weights(
            case, batch
        )
    if batch.source.ndim == 2 or batch.source.dtype.kind == "f":
        return np.log(NUM_TARGET_SYMBOLS) * batch.num_symbols
    loss = 0.0
    for source, length, target in zip(batch.source, batch.source_lengths, batch.target, strict=True):
        for symbol in target[target != PAD]:
            generated = (symbol < NUM_TARGET_SYMBOLS) / NUM_TARGET_SYMBOLS
            loss -= np.log(0.5 * generated + 0.5 * np.mean(source[:length, 1] == symbol))
    return loss


def vector_loss_of_zero_weights(case, batch):
    """Return the loss of vectors whose distributions are all the same, by the oracle; only the deviations are not 0."""
    constants = {name: np.zeros(case.config.model.output_size) for name in ("decoder.mean", "decoder.deviation")}
    if "decoder.deviation" in case.trainer().weights:
        constants["decoder.deviation"] = case.trainer().weights["decoder.deviation"]
    oracle, loss = oracle_of(case.config.model, constants), 0.0
    for source, length, target in zip(batch.source, batch.source_lengths, batch.target, strict=True):
        mean, deviation = oracle.units(source[:length].astype(float))
        z = (target - mean) / deviation
        numbers = oracle.describe(np.zeros(case.trainer().weights["decoder.output.bias"].shape))
        loss += sum(oracle.component_loss(numbers[:, d], z[t, d]) for t, d in np.argwhere(np.isfinite(z)))
    return loss


def ctc_loss_of_zero_weights(case, batch):
    """Return the loss of CTC of even probabilities, by the oracle."""
    loss = 0.0
    for length, target in zip(batch.source_lengths, batch.target, strict=True):
        outputs = num_places(Architecture.of(case.config.model), length)
        loss += ctc_loss(np.full((outputs, NUM_TARGET_SYMBOLS), 1 / NUM_TARGET_SYMBOLS), target[target != PAD][:-1])
    return loss


@cases
def test_loss_is_that_of_plain_gradients(name):
    plain = {"label_smoothing": 0, "coverage_loss": 0, "time_masks": 0, "feature_masks": 0}
    case = replace(CASES[name], dropout=0, train={**CASES[name].train, **plain})
    batch, trainer = case.batch(), CASES[name].trainer()
    result, _ = case.trainer().gradients(*arguments(batch), step=0, divisor=1)
    assert trainer.loss(*arguments(batch)[:3]) == pytest.approx(result.loss, rel=1e-12)
    for weight in (weight for name, weight in trainer.weights.items() if name != "decoder.deviation"):
        weight[...] = 0
    assert trainer.loss(*arguments(batch)[:3]) == pytest.approx(loss_of_zero_weights(case, batch))
    assert trainer.loss(*arguments(batch)[:3], averaged=True) == pytest.approx(result.loss, rel=1e-12)


@pytest.mark.parametrize("wrong", WRONG_GRADIENTS)
def test_wrong_gradients_are_found(wrong):
    with pytest.raises(AssertionError):
        check_gradients(CASES["stacked"], 1e-10, WRONG_GRADIENTS[wrong])


@pytest.mark.parametrize("wrong", WRONG_COPYING)
def test_wrong_copying_is_found(wrong):
    with pytest.raises(AssertionError):
        check_gradients(CASES["copying, coverage"], 1e-10, WRONG_COPYING[wrong])


@pytest.mark.parametrize("wrong", WRONG_FRAMES)
def test_wrong_frames_are_found(wrong):
    with pytest.raises(AssertionError):
        check_gradients(CASES["convolutions of planes"], 1e-10, WRONG_FRAMES[wrong])


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


@pytest.mark.parametrize("wrong", WRONG_CTC)
def test_wrong_ctc_is_found(wrong):
    with pytest.raises(AssertionError):
        check_gradients(CASES["ctc"], 1e-10, WRONG_CTC[wrong])


@pytest.mark.parametrize("wrong", WRONG_VECTORS)
def test_wrong_vectors_are_found(wrong):
    with pytest.raises(AssertionError):
        check_gradients(CASES["vectors in constant units"], 1e-10, WRONG_VECTORS[wrong])


@pytest.mark.parametrize("wrong", WRONG_STEPS)
def test_wrong_steps_are_found(wrong):
    with pytest.raises(AssertionError):
        check_steps(CASES["stacked"], 1e-10, WRONG_STEPS[wrong])


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
