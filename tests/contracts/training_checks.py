"""Compares a trainer of whole steps with the definition: loss, every gradient, and all state after some steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from peephole.config import Config
from peephole.data.batch import Batch, Taught, make_batch
from peephole.engine.step_settings import MASKS, StepSettings
from peephole.engine.trainer import EngineTrainer
from peephole.nn import Noise, Seq2Seq, build_seq2seq, use_engine
from peephole.nn.frontends import NormalizedFrames
from peephole.nn.loss import Teacher
from peephole.nn.masking import Masking
from peephole.nn.schema import Architecture
from peephole.nn.vectors import VectorSeq2Seq

NUM_SOURCE_SYMBOLS, NUM_TARGET_SYMBOLS = 13, 11
FRAME_SIZE, VECTOR_SIZE = 6, 2
SOURCE_LENGTHS, TARGET_LENGTHS = (3, 7, 1, 6, 2), (4, 1, 5, 2, 5)
Arrays = dict[str, NDArray[Any]]
Make = Callable[..., EngineTrainer]


@dataclass(frozen=True)
class Case:
    """A network and the settings of its training."""

    model: Mapping[str, Any]
    train: Mapping[str, Any] = field(default_factory=dict)
    dropout: float = 0.3
    precision: str = "64-true"
    sampling_probability: float = 0.0
    learning_rate: float = 0.01

    @property
    def config(self) -> Config:
        """Return all settings."""
        sizes = {"hidden_size": 10, "embedding_size": 5} | (
            {"peephole": "none"} if self.model.get("cell") == "gru" else {}
        )
        train = {"clip_norm": 0.5, "weight_decay": 0.2, "ema_decay": 0.9, "seed": 3}
        if self.reads_frames:
            sizes["input_size"] = FRAME_SIZE
        if self.predicts_vectors:
            sizes["output_size"] = VECTOR_SIZE
        settings = {f"model.{name}": value for name, value in (sizes | dict(self.model)).items()}
        settings |= {f"train.{name}": value for name, value in (train | dict(self.train)).items()}
        return Config().with_values(settings | {"model.dropout": self.dropout})

    @property
    def reads_frames(self) -> bool:
        """Return whether sources are frames."""
        return self.model.get("input") in ("frames", "convolution")

    @property
    def predicts_vectors(self) -> bool:
        """Return whether targets are vectors."""
        return self.model.get("output") in ("gaussian", "quantile")

    def batch(self, seed: int = 1) -> Batch:
        """Return a batch that the network can be trained with."""
        if self.predicts_vectors:
            return vector_batch(seed, self.config.model.output_size)
        if self.model.get("ctc"):
            batch = ctc_batch(seed, frames=self.reads_frames)
        else:
            batch = some_batch(seed, copies=self.model.get("output") == "copy", frames=self.reads_frames)
        if self.config.train.teacher:
            batch = replace(batch, taught=some_taught(seed, batch))
        return batch.twice() if self.config.train.consistency_loss else batch

    def network(self) -> Seq2Seq:
        """Return the network with weights that leave no gate near 0."""
        network = build_seq2seq(self.config.model, NUM_SOURCE_SYMBOLS, NUM_TARGET_SYMBOLS)
        draw = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.copy_(0.4 * torch.randn(parameter.shape, generator=draw))
            if isinstance(network.frontend, NormalizedFrames):
                train = self.config.train
                network.frontend.masking = Masking(*(getattr(train, name) for name in MASKS))
                size = network.frontend.input_size
                network.frontend.mean.copy_(torch.randn(size, generator=draw))
                network.frontend.scale.copy_(0.5 + torch.rand(size, generator=draw))
            if isinstance(network, VectorSeq2Seq) and self.config.model.scaling == "constant":
                size = network.decoder.size
                network.decoder.set_statistics(
                    torch.randn(size, generator=draw), 0.5 + torch.rand(size, generator=draw)
                )
        return network.double() if self.precision == "64-true" else network

    def trainer(
        self, make: Make = EngineTrainer, threads: int = 2, instruction_set: str | None = None
    ) -> EngineTrainer:
        """Return a trainer of the network."""
        config = self.config
        train = config.train
        settings = StepSettings(
            config.model.dropout,
            train.variational_dropout,
            train.label_smoothing,
            train.clip_norm,
            train.weight_decay,
            train.ema_decay,
            threads,
            self.precision,  # type: ignore[arg-type]  # a literal
            train.seed,
            train.coverage_loss,
            train.consistency_loss,
            train.teacher_weight if train.teacher else 0.0,
            *(getattr(train, name) for name in MASKS),
            train.ctc_weight,
        )
        sizes = NUM_SOURCE_SYMBOLS, NUM_TARGET_SYMBOLS
        weights = arrays_of(self.network().state_dict())
        return make(Architecture.of(config.model), *sizes, weights, settings, instruction_set)


def some_batch(seed: int = 1, *, copies: bool = False, frames: bool = False) -> Batch:
    """Return a batch with unequal lengths on both sides; its sources may hold every symbol.

    With `copies` it is for a model that copies: sources have symbols that the vocabulary has, or lacks, and twice the
    same one; targets have symbols that can be generated, copied, or both. With `frames` sources are three times longer.
    """
    draw = np.random.default_rng(seed)
    sources = [draw.integers(0, NUM_SOURCE_SYMBOLS, length) for length in SOURCE_LENGTHS]
    if frames:
        sources = [1 + draw.normal(size=(3 * length - 1, FRAME_SIZE)).astype(np.float32) for length in SOURCE_LENGTHS]
    targets = [draw.integers(3, NUM_TARGET_SYMBOLS, length - 1) for length in TARGET_LENGTHS]
    examples = draw.integers(0, 2**40, len(sources))
    if copies:
        copied = [draw.integers(3, NUM_TARGET_SYMBOLS + 3, length) for length in SOURCE_LENGTHS]
        sources = [np.stack(pair, 1) for pair in zip(sources, copied, strict=True)]
        for target, ids in zip(targets, copied, strict=True):
            target[::2] = draw.choice(ids, len(target[::2]))
    return make_batch(sources, targets, examples)


def ctc_batch(seed: int = 1, *, frames: bool = False) -> Batch:
    """Return a batch of pairs that CTC treats in different ways.

    Targets have as many symbols as outputs, none, too many, equal neighbours that need all outputs and some that need
    one more; other pairs are of these kinds if each output reads two symbols. With `frames` sources are three times
    longer.
    """
    draw = np.random.default_rng(seed)
    targets, lengths = [], []
    for target, length in (("abc", 3), ("", 7), ("abcd", 1), ("aab", 7), ("aa", 2), ("aa", 3), ("abca", 7), ("a", 5)):
        chosen = dict(zip("abcd", draw.permutation(np.arange(3, NUM_TARGET_SYMBOLS)), strict=False))
        targets.append(np.array([chosen[letter] for letter in target], np.int64))
        lengths.append(length)
    sources = [draw.integers(0, NUM_SOURCE_SYMBOLS, length) for length in lengths]
    if frames:
        sources = [1 + draw.normal(size=(3 * length - 1, FRAME_SIZE)).astype(np.float32) for length in lengths]
    return make_batch(sources, targets, draw.integers(0, 2**40, len(sources)))


def vector_batch(seed: int = 1, size: int | None = VECTOR_SIZE) -> Batch:
    """Return a batch of frames and vectors of D components, far from 0.

    Components are missing in the middle and at the end, one is infinite, one target has none at all, and a component of
    one source does not vary.
    """
    assert size is not None
    draw = np.random.default_rng(seed)
    sources = [3 + 2 * draw.normal(size=(3 * length - 1, FRAME_SIZE)).astype(np.float32) for length in SOURCE_LENGTHS]
    sources[0][:, size - 1] = 2.5
    targets = [2 + 3 * draw.normal(size=(length, size)).astype(np.float32) for length in TARGET_LENGTHS]
    targets[0][1, 0] = np.nan
    targets[1][...] = np.nan
    targets[2][[2, 4]] = np.nan
    targets[3][0, size - 1] = np.inf
    return make_batch(sources, targets, draw.integers(0, 2**40, len(sources)))


def some_taught(seed: int, batch: Batch, count: int = 4) -> Taught:
    """Return what a teacher might give: any different symbols with shares that often are tiny, for padding, too."""
    draw = np.random.default_rng((seed, 7))
    shape = batch.target.shape
    symbols = draw.permuted(np.tile(np.arange(NUM_TARGET_SYMBOLS, dtype=np.int32), (*shape, 1)), axis=2)[..., :count]
    return Taught(symbols, exact_shares(draw, count, shape))


def exact_shares(draw: np.random.Generator, count: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return shares, (*shape, count), whose sum is 1 without rounding; many are 0."""
    return (draw.multinomial(1024, draw.dirichlet(np.full(count, 0.3), shape)) / 1024).astype(np.float32)


def arguments(batch: Batch) -> tuple[Any, ...]:
    """Return a batch as a trainer takes it."""
    return batch.source, batch.source_lengths, batch.target, batch.examples, batch.taught


def arrays_of(tensors: Mapping[str, torch.Tensor]) -> Arrays:
    """Return copies of tensors as arrays."""
    return {name: tensor.detach().numpy().copy() for name, tensor in tensors.items()}


def definition_loss(case: Case, network: Seq2Seq, batch: Batch, step: int) -> torch.Tensor:
    """Return the summed loss of a training step by the definition."""
    source, lengths, target, examples = map(torch.from_numpy, arguments(batch)[:4])
    train = case.config.train
    noise = Noise(train.seed, step, examples, case.config.model.dropout, train.variational_dropout)
    how = {"noise": noise, "label_smoothing": train.label_smoothing, "coverage_weight": train.coverage_loss}
    how |= {"consistency_weight": train.consistency_loss, "ctc_weight": train.ctc_weight}
    if train.teacher:
        assert batch.taught is not None
        how["teacher"] = Teacher(*map(torch.from_numpy, batch.taught), train.teacher_weight)
    with use_engine("off"):
        return network.loss_sum(source, lengths, target, sampling_probability=case.sampling_probability, **how)


def definition_gradients(case: Case, batch: Batch, step: int) -> tuple[float, Arrays]:
    """Return the loss and the gradients of loss / symbols by the definition."""
    network = case.network()
    loss = definition_loss(case, network, batch, step)
    (loss / batch.num_symbols).backward()
    return float(loss.detach()), {
        name: weight.grad.numpy() for name, weight in network.named_parameters() if weight.grad is not None
    }


def largest_error(
    got: Mapping[str, NDArray[Any]], wanted: Mapping[str, NDArray[Any]], least_unit: float = 1e-12
) -> float:
    """Return the largest difference of two sets of arrays, in units of the largest number of each array.

    A unit is at least `least_unit` times the largest number of all arrays.
    """
    assert got.keys() == wanted.keys()
    largest = max(np.abs(array).max() for array in wanted.values())
    units = {name: max(np.abs(array).max(), least_unit * largest) for name, array in wanted.items()}
    return float(max(np.abs(got[name] - wanted[name]).max() / units[name] for name in wanted))


def check_gradients(
    case: Case,
    tolerance: float,
    make: Make = EngineTrainer,
    instruction_set: str | None = None,
    batch: Batch | None = None,
) -> None:
    """Raise AssertionError unless loss, norm and every gradient are those of the definition."""
    batch, step = batch or case.batch(), 4
    loss, gradients = definition_gradients(case, batch, step)
    trainer = case.trainer(make, instruction_set=instruction_set)
    how = {"step": step, "divisor": batch.num_symbols, "sampling_probability": case.sampling_probability}
    result, got = trainer.gradients(*arguments(batch), **how)
    assert abs(result.loss - loss) <= tolerance * abs(loss)
    # Gradients of queries are small differences of large numbers, so in float32 they have fewer right digits
    assert largest_error(got, gradients, 1e-12 if case.precision == "64-true" else 1e-2) <= tolerance
    norm = np.sqrt(sum((gradient.astype(np.float64) ** 2).sum() for gradient in gradients.values()))
    assert abs(result.gradient_norm - norm) <= tolerance * norm


def check_steps(case: Case, tolerance: float, make: Make = EngineTrainer, steps: int = 3) -> None:
    """Raise AssertionError unless weights, moments and average after some steps are those of PyTorch's optimiser."""
    network, train = case.network(), case.config.train
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=train.weight_decay)
    average = arrays_of(network.state_dict())
    trainer = case.trainer(make)
    for step in range(steps):
        batch, rate = case.batch(step), case.learning_rate / (1 + step)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        (definition_loss(case, network, batch, step) / batch.num_symbols).backward()
        if train.clip_norm:
            torch.nn.utils.clip_grad_norm_(network.parameters(), train.clip_norm)
        optimizer.step()
        decay = min(train.ema_decay, (2 + step) / (11 + step))
        for name, weight in network.state_dict().items():
            average[name] += (1 - decay) * (weight.numpy() - average[name]) if train.ema_decay else 0
        how = {"step": step, "learning_rate": rate, "divisor": batch.num_symbols}
        result = trainer.step(*arguments(batch), **how, sampling_probability=case.sampling_probability)
        assert result.updated
    state = optimizer.state_dict()["state"]
    names = [name for name, _ in network.named_parameters()]
    assert largest_error(trainer.weights, arrays_of(network.state_dict())) <= tolerance
    assert largest_error(trainer.average, average) <= tolerance
    for moments, key in ((trainer.first_moments, "exp_avg"), (trainer.second_moments, "exp_avg_sq")):
        assert (
            largest_error(moments, {name: state[index][key].numpy() for index, name in enumerate(names)}) <= tolerance
        )
