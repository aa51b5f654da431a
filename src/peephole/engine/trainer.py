"""Training on the engine alone: whole steps in one call each, without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from peephole.config import Config
from peephole.nn.architecture import Architecture

Ids = NDArray[np.int64]
Arrays = dict[str, NDArray[Any]]
Precision = Literal["32-true", "64-true", "bf16-mixed"]


class StepSettings(NamedTuple):
    """The settings of a training that are the same for all steps; each is the setting of that name in `Config`."""

    dropout: float
    variational_dropout: bool
    label_smoothing: float
    clip_norm: float  # 0: never
    weight_decay: float
    ema_decay: float  # 0: no moving average
    threads: int
    precision: Precision
    seed: int


class StepResult(NamedTuple):
    """The numbers of one step."""

    loss: float  # summed over the batch's symbols, label smoothing included
    gradient_norm: float  # of the gradients of loss / divisor, before clipping
    updated: bool  # False: loss or norm is not finite, and nothing has changed


class EngineTrainer:
    """A network in training, with its optimiser's state, in the engine's memory.

    Args:
        architecture: the network.
        num_source_symbols: number of source symbols, the specials included; not read for a language model.
        num_target_symbols: likewise.
        weights: the first weights, by the names of `Seq2Seq.state_dict`.
        settings: the settings of the training.
        instruction_set: one of `peephole.engine.instruction_sets()`; None: the best one.

    Attributes:
        weights: views of the weights by name, in float32, or float64 for `64-true`. All four are always current;
            writing into them restores a checkpoint.
        first_moments, second_moments: AdamW's, likewise; 0 at first.
        average: the moving average of the weights; the first weights at first.

    Raises:
        EngineError: the library is missing, or it does not train such a network.
        ValueError: a weight is missing, unknown, of another shape or not finite; or a setting is out of range.
    """

    weights: Arrays
    first_moments: Arrays
    second_moments: Arrays
    average: Arrays

    def __init__(
        self,
        architecture: Architecture,
        num_source_symbols: int,
        num_target_symbols: int,
        weights: Mapping[str, NDArray[Any]],
        settings: StepSettings,
        instruction_set: str | None = None,
    ) -> None:
        raise NotImplementedError

    def step(
        self,
        source: Ids,
        source_lengths: Ids,
        target: Ids,
        examples: Ids,
        *,
        step: int,
        learning_rate: float,
        divisor: float,
        sampling_probability: float = 0.0,
    ) -> StepResult:
        """Do one update: gradients of loss / divisor, clipping, AdamW and the moving average.

        Args:
            source: (B, T) symbols; not read for a language model.
            source_lengths: (B,) real symbols, 1 ≤ length ≤ T; not read for a language model.
            target: (B, U) symbols, padded with PAD after at least one symbol.
            examples: (B,) index of each pair in the corpus, from which dropout draws.
            step: updates done before.
            learning_rate: AdamW's.
            divisor: number that divides the summed loss, from `loss_divisor`.
            sampling_probability: that of feeding the model's own symbol, (14).

        Raises:
            ValueError: an array has another shape, an empty batch, a length out of range, or a symbol that is none.
        """
        raise NotImplementedError

    def gradients(
        self,
        source: Ids,
        source_lengths: Ids,
        target: Ids,
        examples: Ids,
        *,
        step: int,
        divisor: float,
        sampling_probability: float = 0.0,
    ) -> tuple[StepResult, Arrays]:
        """Return the result of a step without an update, and copies of its gradients, not clipped; see `step`."""
        raise NotImplementedError

    def loss(self, source: Ids, source_lengths: Ids, target: Ids, *, averaged: bool = False) -> float:
        """Return the summed loss without dropout and label smoothing, with gold symbols fed, (12), (13).

        Args:
            source, source_lengths, target: as in `step`.
            averaged: compute it with the moving average instead of the weights.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Release the memory; the views must not be used any more."""
        raise NotImplementedError


def declined(config: Config) -> str | None:
    """Return the reason why the engine does not train a config by itself; None if it does."""
    raise NotImplementedError
