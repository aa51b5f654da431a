"""Ensembles: the mean of several models' probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from peephole.errors import ConfigError
from peephole.search.stepper import Stepper


class EnsembleStepper:
    """Predict with the mean of the probabilities of M models that share their symbols.

        p(y_t | y_1 … y_{t-1}, c) = (1/M) Σ_m p_m(y_t | y_1 … y_{t-1}, c_m)

    The attention is the mean over the models that have one, to as many places as the first model. A state is a tuple of
    the models' states.
    """

    def __init__(self, steppers: Sequence[Stepper[Any]]) -> None:
        """Store the models' steppers.

        Raises:
            ConfigError: there is no stepper.
        """
        if not steppers:
            raise ConfigError("ensemble: wanted at least one model, got none")
        self.steppers = tuple(steppers)

    def start(self, source: Tensor, source_lengths: Tensor) -> tuple[Any, ...]:
        """Return the state of every model before the first symbol."""
        return tuple(stepper.start(source, source_lengths) for stepper in self.steppers)

    def places(self, source_lengths: Tensor) -> Tensor:
        """Return the number of places that the first model attends to in each source."""
        return self.steppers[0].places(source_lengths)

    def step(self, state: tuple[Any, ...], previous: Tensor) -> tuple[Tensor, tuple[Any, ...], Tensor | None]:
        """Feed the same symbols to every model and return the mean of their probabilities.

        Raises:
            ConfigError: the models have vocabularies of different sizes.
        """
        steps = [stepper.step(part, previous) for stepper, part in zip(self.steppers, state, strict=True)]
        log_probs, states, attentions = zip(*steps, strict=True)
        sizes = [part.shape[1] for part in log_probs]
        if len(set(sizes)) > 1:
            raise ConfigError(f"ensemble: wanted models with the same symbols, got {sizes} symbols")
        mean = torch.stack(log_probs).logsumexp(0) - math.log(len(steps))  # (M, N, V) -> (N, V)
        maps = [attention for attention in attentions if attention is not None]
        maps = [attention for attention in maps if attention.shape == maps[0].shape]
        attention = torch.stack(maps).mean(0) if maps else None  # (M, N, T) -> (N, T)
        return mean.clamp(max=0), tuple(states), attention  # rounding may bring a probability of 1 above 1

    def reorder(self, state: tuple[Any, ...], rows: Tensor) -> tuple[Any, ...]:
        """Reorder every model's rows."""
        return tuple(stepper.reorder(part, rows) for stepper, part in zip(self.steppers, state, strict=True))
