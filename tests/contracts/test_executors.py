"""The contract of executors: both do the same updates from the same weights, and go on from each other's state.

PyTorch's executor runs the definition alone here. In float64 the two agree but for rounding: AdamW divides each
gradient by its size, so in float32 the rounding of the smallest gradients would be compared.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from peephole import engine
from peephole.config import Config
from peephole.data.batch import Batch, Taught, make_batch
from peephole.engine.trainer import declined
from peephole.nn import use_engine
from peephole.nn.initial import initial_weights
from peephole.symbols import SPECIALS
from peephole.training.engine_executor import EngineExecutor
from peephole.training.executor import MOMENTS, Executor, copy_weights
from peephole.training.together import start_fabric
from peephole.training.torch_executor import TorchExecutor, network_of

pytestmark = pytest.mark.skipif(not engine.available(), reason="built without the engine")

SYMBOLS = 11, 9
SMALL = {"hidden_size": 10, "embedding_size": 6, "train.threads": 1, "train.device": "cpu", "precision": "64-true"}
CONFIGS: list[dict[str, Any]] = [
    {"dropout": 0.3, "ema_decay": 0.9},
    {"peephole": "diagonal", "dropout": 0.3, "variational_dropout": True, "encoder_layers": 2, "decoder_layers": 2},
    {"peephole": "none", "encoder_size": 8, "attention": "general", "clip_norm": 0.0, "weight_decay": 0.0},
    {"context": "mean", "dropout": 0.0, "label_smoothing": 0.0, "ema_decay": 0.0},
    {"attention": "dot", "bidirectional": False, "clip_norm": 0.05, "residual": True, "encoder_layers": 2},
    {"attention": "location", "dropout": 0.2},
    {"attention": "coverage", "dropout": 0.2},
    {"attention": "multihead", "attention_heads": 2},
    {"output": "copy", "attention": "coverage", "coverage_loss": 0.5, "symbols.shared": True},
    {"ctc": True, "encoder_layers": 2, "encoder_pyramid": 1, "dropout": 0.2},
    {"ctc": True, "attention": "coverage", "coverage_loss": 0.5, "train.ctc_weight": 0.6},
    {"input": "none", "decoder_layers": 2, "dropout": 0.2},
    {"ctc": True, "attention_symbol": True, "consistency_loss": 2.0, "dropout": 0.3},
    {"zoneout_hidden": 0.2, "zoneout_cell": 0.1, "encoder_layers": 2, "decoder_layers": 2, "dropout": 0.2},
    {"cell": "gru", "peephole": "none", "zoneout_hidden": 0.3, "dropout": 0.0},
    {"layer_norm": True, "encoder_layers": 2, "decoder_layers": 2, "residual": True, "dropout": 0.2},
    {"cell": "gru", "peephole": "none", "layer_norm": True, "input": "none", "dropout": 0.0},
    {"peephole": "none", "loss_mean": "pair", "consistency_loss": 0.5, "dropout": 0.3},
    {"train.teacher": "a", "teacher_weight": 0.7, "dropout": 0.3, "ctc": True},
    {"train.teacher": "a", "input": "none", "consistency_loss": 0.5, "dropout": 0.3},
    {
        "input": "frames",
        "input_size": 5,
        "frame_stack": 2,
        "encoder_layers": 2,
        "encoder_pyramid": 1,
        "time_masks": 2,
        "feature_masks": 1,
        "feature_mask_size": 3,
        "ema_decay": 0.9,
        "dropout": 0.2,
    },
    {"input": "convolution", "input_size": 8, "input_planes": 2, "convolution_channels": 3, "dropout": 0.2},
    {"input": "frames", "input_size": 3, "output": "gaussian", "output_size": 2, "ema_decay": 0.9, "dropout": 0.2},
    {
        "input": "frames",
        "input_size": 2,
        "output": "quantile",
        "output_size": 2,
        "scaling": "constant",
        "feedback": False,
        "ema_decay": 0.9,
        "weight_decay": 0.1,
    },
]
EXECUTORS = ["engine", "torch"]
DIVISOR = 16  # a power of 2: PyTorch's executor divides the loss in float32, whose rounding would be in each gradient


def config_of(settings: dict[str, Any]) -> Config:
    return Config().with_values(SMALL | settings)


def batches(
    count: int = 6, *, copies: bool = False, frame_size: int = 0, vector_size: int | None = None
) -> list[Batch]:
    """Return batches of pairs of unequal lengths; for a model that copies, each target begins with its source's.

    With a `frame_size`, each source symbol is replaced by three frames; with a `vector_size`, each target symbol by a
    vector, of which some have a missing component.
    """
    rng = np.random.default_rng(5)
    found = []
    for number in range(count):
        sides = [
            [rng.integers(len(SPECIALS), size, rng.integers(1, 7)).astype(np.int32) for _ in range(4 + number % 3)]
            for size in SYMBOLS
        ]
        if copies:
            sides[1] = [np.append(source[:1] + 3, target) for source, target in zip(*sides, strict=True)]
            sides[0] = [np.stack([source, source + 3], 1) for source in sides[0]]
        if frame_size:
            sides[0] = [rng.normal(size=(3 * len(source), frame_size)).astype(np.float32) for source in sides[0]]
        if vector_size:
            sides[1] = [rng.normal(size=(len(target), vector_size)).astype(np.float32) for target in sides[1]]
            sides[1][0][-1, 0] = np.nan
        batch = make_batch(sides[0], sides[1], np.arange(10 * number, 10 * number + len(sides[0])))
        found.append(batch if vector_size else replace(batch, taught=some_taught(rng, batch)))  # read with a teacher
    return found


def some_taught(rng: np.random.Generator, batch: Batch) -> Taught:
    """Return what a teacher might give: two symbols with any shares."""
    first = rng.random((*batch.target.shape, 1), np.float32)
    symbols = rng.integers(len(SPECIALS), SYMBOLS[1], (*batch.target.shape, 2)).astype(np.int32)
    return Taught(symbols, np.concatenate([first, 1 - first], 2))


def make(kind: str, config: Config) -> Executor:
    weights = initial_weights(config.model, *SYMBOLS, config.train.seed)
    if kind == "engine":
        return EngineExecutor(config, *SYMBOLS, dict(weights))
    network = network_of(config, *SYMBOLS, weights)
    return TorchExecutor(start_fabric(config.train), network, config.train, config.model.dropout)


def train(executor: Executor, steps: range, *, sampling: float = 0.0) -> list[tuple[float, float]]:
    """Do some updates; return the loss and the norm of each."""
    found = []
    weights = executor.weights
    given = batches(
        copies="decoder.output.gate_weight" in weights,
        frame_size=len(weights.get("frontend.mean", ())),
        vector_size=weights["decoder.embedding.weight"].shape[1] if "decoder.embedding.bias" in weights else None,
    )
    with use_engine("off"):
        for step in steps:
            batch = given[step % 6]
            result = executor.step(
                batch,
                step=step,
                learning_rate=0.01 / (1 + step),
                divisor=DIVISOR,
                sampling_probability=sampling,
                interruptible=nullcontext,
            )
            assert result.updated
            found.append((result.loss, result.gradient_norm))
    return found


def state_of(executor: Executor) -> dict[str, np.ndarray]:
    """Return copies of everything that a checkpoint holds, by name."""
    moments = {
        f"{name} {key}": np.array(array, np.float64).reshape(array.shape or (1,))
        for name, state in executor.moments().items()
        for key, array in state.items()
    }
    averages = {f"average {name}": array for name, array in executor.average.items()}
    return copy_weights({**executor.weights, **averages, **moments})


def assert_close(got: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert got.keys() == wanted.keys()
    for name, array in wanted.items():
        assert got[name].shape == array.shape, name
        # In float64; AdamW divides by the root of the gradients, which enlarges the rounding of small ones
        np.testing.assert_allclose(got[name], array, rtol=1e-8, atol=1e-12, err_msg=name)


def assert_equal_reports(got: list[tuple[float, float]], wanted: list[tuple[float, float]]) -> None:
    """Compare losses, which PyTorch's executor returns in float32, and norms of gradients."""
    np.testing.assert_allclose([loss for loss, _ in got], [loss for loss, _ in wanted], rtol=1e-6)
    np.testing.assert_allclose([norm for _, norm in got], [norm for _, norm in wanted], rtol=1e-9)


def same(got: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> bool:
    return got.keys() == wanted.keys() and all(np.array_equal(got[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("settings", CONFIGS, ids=str)
def test_both_do_the_same_updates(settings: dict[str, Any]) -> None:
    config = config_of(settings)
    assert declined(config) is None
    executors = [make(kind, config) for kind in EXECUTORS]
    before = state_of(executors[0])
    assert_close(state_of(executors[1]), before)
    ours, theirs = (train(executor, range(6)) for executor in executors)
    assert_equal_reports(ours, theirs)
    got, wanted = map(state_of, executors)
    assert_close(got, wanted)
    changed = [name for name in before if not np.array_equal(before[name], wanted[name])]
    assert len(changed) >= len(before) / 2  # all weights, and their average where there is one


@pytest.mark.parametrize(
    "settings",
    [
        {"dropout": 0.2},
        {"attention": "general", "decoder_layers": 2},
        {"output": "copy", "symbols.shared": True, "dropout": 0.2},
        {"input": "none", "decoder_layers": 2, "dropout": 0.2},
    ],
    ids=str,
)
def test_both_do_the_same_updates_with_scheduled_sampling(settings: dict[str, Any]) -> None:
    config = config_of({"scheduled_sampling": "linear", **settings})
    assert declined(config) is None
    executors = [make(kind, config) for kind in EXECUTORS]
    ours, theirs = (train(executor, range(6), sampling=0.5) for executor in executors)
    assert_equal_reports(ours, theirs)
    assert ours != train(make("engine", config), range(6))
    assert_close(*map(state_of, executors))


@pytest.mark.parametrize("settings", CONFIGS, ids=str)
@pytest.mark.parametrize("then", EXECUTORS)
@pytest.mark.parametrize("first", EXECUTORS)
def test_each_goes_on_from_the_state_of_each(first: str, then: str, settings: dict[str, Any]) -> None:
    """On the same executor the bits are those of a training without an interruption."""
    config = config_of(settings)
    whole, before, after = make(then, config), make(first, config), make(then, config)
    train(after, range(2))  # leaves a state that is to be replaced
    losses = train(whole, range(6))[3:]
    train(before, range(3))
    moments = {name: copy_weights(state) for name, state in before.moments().items()}
    after.restore(copy_weights(before.weights), copy_weights(before.average), moments)
    found = train(after, range(3, 6))
    assert_equal_reports(found, losses)
    assert_close(state_of(after), state_of(whole))
    if first == then:
        assert found == losses
        assert same(state_of(after), state_of(whole))


@pytest.mark.parametrize("kind", EXECUTORS)
def test_a_state_before_the_first_update_is_restored(kind: str) -> None:
    config = config_of({})
    fresh, used = make(kind, config), make(kind, config)
    train(used, range(2))
    assert fresh.moments() == {}
    used.restore(copy_weights(fresh.weights), copy_weights(fresh.average), {})
    assert used.moments() == {}
    assert train(used, range(3)) == train(fresh, range(3))
    assert same(state_of(used), state_of(fresh))


@pytest.mark.parametrize("kind", EXECUTORS)
def test_a_state_without_a_moment_is_refused(kind: str) -> None:
    executor = make(kind, config_of({}))
    train(executor, range(1))
    for missing in MOMENTS:
        moments = {name: dict(state) for name, state in executor.moments().items()}
        del moments["decoder.output.bias"][missing]
        with pytest.raises(KeyError):
            executor.restore(executor.weights, executor.average, moments)


@pytest.mark.parametrize("kind", EXECUTORS)
def test_a_gradient_that_is_not_finite_changes_nothing(kind: str) -> None:
    executor = make(kind, config_of({"ema_decay": 0.9}))
    train(executor, range(2))
    weights = copy_weights(executor.weights)
    weights["decoder.output.bias"][5] = math.nan
    executor.restore(weights, copy_weights(executor.average), executor.moments())
    before = state_of(executor)
    batch = batches()[2]
    result = executor.step(
        batch, step=2, learning_rate=0.1, divisor=7, sampling_probability=0.0, interruptible=nullcontext
    )
    assert not result.updated
    assert not math.isfinite(result.loss)
    after = state_of(executor)
    assert all(np.array_equal(after[name], array, equal_nan=True) for name, array in before.items())


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_engine_computes_the_same_bits_on_any_number_of_threads(precision: str) -> None:
    states = []
    for threads in (1, 2, 3):
        executor = make("engine", config_of({"precision": precision, "train.threads": threads, "dropout": 0.2}))
        assert executor.threads == threads
        train(executor, range(6))
        states.append(state_of(executor))
    assert all(same(state, states[0]) for state in states)


@pytest.mark.parametrize(("precision", "tolerance"), [("32-true", 1e-5), ("bf16-mixed", 0.02)])
def test_lower_precisions_agree_but_for_their_rounding(precision: str, tolerance: float) -> None:
    """bfloat16 has 8 bits; PyTorch rounds more numbers to it under autocast than the engine does."""
    config = config_of({"precision": precision})
    [ours], [theirs] = (train(make(kind, config), range(1)) for kind in EXECUTORS)
    np.testing.assert_allclose(ours, theirs, rtol=tolerance)
