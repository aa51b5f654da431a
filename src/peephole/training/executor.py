"""What executes the updates of a training: the interface that the loop, checkpoints and evaluations use.

Two modules implement it: `engine_executor`, the C++ engine on a CPU without PyTorch, and `torch_executor`, PyTorch on
any device and in several processes. Arrays are NumPy's in the precision of the training, with the names of
`peephole.nn.schema.tensors`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from peephole.config import Config
from peephole.data import Batch, Prepared
from peephole.model import Model

T = TypeVar("T")
Weights = dict[str, NDArray[Any]]
Moments = dict[str, NDArray[Any]]
MOMENTS = ("exp_avg", "exp_avg_sq", "step")
"""AdamW's state of one weight: two moments in its shape, and the number of its updates."""


class StepResult(NamedTuple):
    """What one update reports."""

    loss: float  # summed over the symbols of the global batch; label smoothing, coverage and CTC loss included
    gradient_norm: float  # before clipping
    updated: bool  # False: the loss or the norm is not finite, and the weights are as they were


@runtime_checkable
class Executor(Protocol):
    """The weights of a training with the state of their optimiser, and the update of both."""

    @property
    def weights(self) -> Weights:
        """The weights as they are now; later updates may change the arrays."""

    @property
    def average(self) -> Weights:
        """Their exponential moving average, likewise; the initial weights without one."""

    @property
    def threads(self) -> int:
        """The number of CPU threads that compute."""

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
        """Update the weights and their average on one global batch.

        Args:
            batch: the pairs of all processes.
            step: updates done before, which decides the noise.
            learning_rate: of this update.
            divisor: the number that divides the summed loss.
            sampling_probability: of scheduled sampling, (14).
            interruptible: returns a block that raises Stopping on a stop request. An executor may work in it until the
                weights change; without it a stop waits for the end of the update.
        """

    def moments(self) -> dict[str, Moments]:
        """Return the optimiser's state by weight, for a checkpoint; empty before the first update."""

    def restore(self, weights: Weights, average: Weights, moments: Mapping[str, Moments]) -> None:
        """Put back what `weights`, `average` and `moments` returned, here or in another executor.

        Raises:
            KeyError: a moment is missing.
        """

    def build_model(self, config: Config, prepared: Prepared, weights: Weights, made: Mapping[str, Any]) -> Model:
        """Return a model with these weights, which later updates do not change.

        Args:
            config: all settings.
            prepared: its symbol tables are the model's.
            weights: names and shapes as in `weights`.
            made: how the model was made.
        """

    def made_with(self) -> dict[str, str | None]:
        """Return what computes, by words for the user: two executors that differ compute other last digits."""

    def versions(self) -> dict[str, str | None]:
        """Return the programs that a model's file names."""

    def close(self) -> None:
        """Free the memory."""


@runtime_checkable
class Processes(Protocol):
    """The processes that train one model together."""

    rank: int
    count: int

    def broadcast(self, value: T) -> T:
        """Return the value of the first process, in all processes."""

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process."""


class OneProcess:
    """A training in this process alone."""

    rank = 0
    count = 1

    def broadcast(self, value: T) -> T:
        """Return the value."""
        return value

    def any(self, flag: bool) -> bool:
        """Return the flag."""
        return flag


@runtime_checkable
class Platform(Protocol):
    """The device and the processes of a training, on which an executor is made."""

    @property
    def device(self) -> str:
        """The kind of device: cpu, cuda or mps."""

    @property
    def processes(self) -> Processes:
        """The processes that train together."""

    def settings(self, config: Config) -> AbstractContextManager[None]:
        """Return a block in which the training's threads and backends are set for this thread."""

    def executor(self, config: Config, prepared: Prepared, weights: Weights) -> Executor:
        """Return an executor that starts from these weights; inside the block of `settings`."""

    def notice(self, config: Config) -> str | None:
        """Return a notice of one line about what trains slower than the engine, and why; None when none is needed."""


def copy_weights(weights: Weights) -> Weights:
    """Return copies, which later updates do not change."""
    return {name: np.array(array) for name, array in weights.items()}
