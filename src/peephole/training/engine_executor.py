"""Training by the C++ engine alone, on a CPU in this process; PyTorch is not imported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, cast

import numpy as np

from peephole import engine
from peephole.config import Config
from peephole.data import Batch, Prepared
from peephole.engine.packed import usable_cores
from peephole.engine.step_settings import MASKS, Precision, StepSettings
from peephole.engine.trainer import EngineTrainer
from peephole.model import Model
from peephole.model.loading import model_class
from peephole.model.weights import LoadedFile
from peephole.nn.architecture import Architecture
from peephole.storage.model_file import ModelFile, encode_model
from peephole.training.executor import MOMENTS, Executor, Moments, OneProcess, Processes, StepResult, Weights

UNTRAINED: Moments = {name: np.zeros(1, np.float32) for name in MOMENTS}


class EnginePlatform:
    """The CPU and this process."""

    device = "cpu"

    def __init__(self) -> None:
        self.processes: Processes = OneProcess()

    @contextmanager
    def settings(self, config: Config) -> Iterator[None]:
        """Set nothing: the engine's threads and instruction set belong to each executor."""
        yield

    def executor(self, config: Config, prepared: Prepared, weights: Weights) -> Executor:
        """Return an executor that starts from these weights."""
        return EngineExecutor(config, len(prepared.source_symbols), len(prepared.target_symbols), weights)

    def notice(self, config: Config) -> str | None:
        """Return None: the engine computes everything."""
        return None


def step_settings(config: Config, threads: int) -> StepSettings:
    """Return the settings of a training's steps; `config.train.precision` is not auto."""
    train = config.train
    return StepSettings(
        dropout=config.model.dropout,
        variational_dropout=train.variational_dropout,
        label_smoothing=train.label_smoothing,
        clip_norm=train.clip_norm,
        weight_decay=train.weight_decay,
        ema_decay=train.ema_decay,
        threads=threads,
        precision=cast("Precision", train.precision),
        seed=train.seed,
        coverage_loss=train.coverage_loss,
        consistency_loss=train.consistency_loss,
        teacher_weight=train.teacher_weight if train.teacher else 0.0,
        **{name: getattr(train, name) for name in MASKS},
        ctc_weight=train.ctc_weight,
    )


class EngineExecutor:
    """A network with AdamW, its moving average, and the update of both, in the engine's memory; see `Executor`.

    Args:
        config: all settings, with the precision resolved.
        num_source_symbols: number of source symbols, the specials included.
        num_target_symbols: likewise.
        weights: the first weights.
    """

    def __init__(self, config: Config, num_source_symbols: int, num_target_symbols: int, weights: Weights) -> None:
        self.threads = config.train.threads or usable_cores()
        self._trainer = EngineTrainer(
            Architecture.of(config.model),
            num_source_symbols,
            num_target_symbols,
            weights,
            step_settings(config, self.threads),
        )
        self._twice = bool(config.train.consistency_loss)
        self._updates = 0  # AdamW's count of steps

    @property
    def weights(self) -> Weights:
        """The weights in the engine's memory, which later updates change."""
        return self._trainer.weights

    @property
    def average(self) -> Weights:
        """Their exponential moving average, likewise."""
        return self._trainer.average

    def step(
        self,
        batch: Batch,
        *,
        step: int,
        learning_rate: float,
        divisor: int,
        sampling_probability: float,
        interruptible: Callable[[], AbstractContextManager[None]],
    ) -> StepResult:
        """Update the weights and their average on one batch; see `Executor.step`.

        One call of the engine does all of it, so a stop waits for its end.
        """
        batch, readings = (batch.twice(), 2) if self._twice else (batch, 1)
        found = self._trainer.step(
            batch.source,
            batch.source_lengths,
            batch.target,
            batch.examples,
            batch.taught,
            step=step,
            learning_rate=learning_rate,
            divisor=readings * divisor,
            sampling_probability=sampling_probability,
        )
        self._updates += found.updated
        return StepResult(found.loss / readings, *found[1:])

    def moments(self) -> dict[str, Moments]:
        """Return AdamW's state by weight; empty before the first update."""
        if not self._updates:
            return {}
        first, second = self._trainer.first_moments, self._trainer.second_moments
        count = np.array([self._updates], np.float32)  # as PyTorch counts
        return {name: {"exp_avg": first[name], "exp_avg_sq": second[name], "step": count} for name in first}

    def restore(self, weights: Weights, average: Weights, moments: Mapping[str, Moments]) -> None:
        """Put back what `weights`, `average` and `moments` returned; see `Executor.restore`."""
        trainer = self._trainer
        for here, given in ((trainer.weights, weights), (trainer.average, average)):
            for name, array in here.items():
                array[...] = given[name]
        for name in trainer.first_moments:
            state = moments[name] if moments else UNTRAINED
            trainer.first_moments[name][...] = state["exp_avg"]
            trainer.second_moments[name][...] = state["exp_avg_sq"]
            self._updates = int(np.max(state["step"]))

    def build_model(self, config: Config, prepared: Prepared, weights: Weights, made: Mapping[str, Any]) -> Model:
        """Return the model of a file with these weights, in float32."""
        tables = (prepared.source_symbols, prepared.target_symbols)
        tensors = {name: array.astype(np.float32, copy=False) for name, array in weights.items()}
        content = encode_model(ModelFile(tensors, config, *tables, made=made))
        return model_class(config)(config, *tables, files=[LoadedFile("model", content)], made=made)

    def made_with(self) -> dict[str, str | None]:
        """Return the instruction set, on which the last digits depend."""
        return {"the executor": "the engine", "the engine's instruction set": self.instruction_set}

    def versions(self) -> dict[str, str | None]:
        """Return the engine's instruction set."""
        return {"instruction_set": self.instruction_set}

    @property
    def instruction_set(self) -> str | None:
        """The instruction set that the engine computes with."""
        return engine.instruction_sets()[0]

    def close(self) -> None:
        """Free the engine's memory; weights that were returned must not be used any more."""
        self._trainer.close()
