"""Guides: weighted scores that a search adds to the log-probabilities of its model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from peephole.errors import ConfigError
from peephole.search.stepper import Stepper


class Guide(NamedTuple):
    """A second opinion on the next symbol, such as a language model's.

    Its stepper gives numbers (N, V) ≤ 0 for the next symbols of each row, above -inf for at least one that may be
    predicted. They need not be log-probabilities of a distribution. Its attention is not used.
    """

    stepper: Stepper[Any]
    weight: float  # β, above 0
    interpolates: bool = False  # the weight is taken from the model's, else 1: CTC beside attention


class Scored(NamedTuple):
    """A step of a model and its guides."""

    log_probs: Tensor  # (N, V) of the model alone, which hypotheses report
    scores: Tensor  # (N, V) ≤ 0, by which a search chooses; the same tensor as `log_probs` without guides
    state: tuple[Any, ...]
    attention: Tensor | None  # (N, S) of the model


class GuidedStepper:
    """A model and its guides, stepped together. Every search drives one; without guides it is the model alone.

        score(y_t) = β · log p(y_t | y_1 … y_{t-1}, c) + Σ_g β_g · score_g(y_t | y_1 … y_{t-1}, X)

    β is 1 less the weights of the guides that interpolate. A state is a tuple of the model's state and those of the
    guides.

    Source: Gulcehre et al. 2015, On Using Monolingual Corpora in Neural Machine Translation, section 4.1 (shallow
        fusion).
    """

    def __init__(self, model: Stepper[Any], guides: Sequence[Guide] = ()) -> None:
        """Store the steppers.

        Raises:
            ConfigError: a weight is not above 0, or those that interpolate are together above 1.
        """
        for guide in guides:
            if not guide.weight > 0:
                raise ConfigError(f"guide: wanted a weight above 0, got {guide.weight}")
        self.model = model
        self.guides = tuple(guides)
        self.weight = 1 - sum(guide.weight for guide in guides if guide.interpolates)
        if self.weight < 0:
            raise ConfigError(f"guides: wanted weights that interpolate of at most 1, got {1 - self.weight:g}")

    def start(self, source: Tensor, source_lengths: Tensor) -> tuple[Any, ...]:
        """Return the states before the first symbol."""
        steppers = (self.model, *(guide.stepper for guide in self.guides))
        return tuple(stepper.start(source, source_lengths) for stepper in steppers)

    def places(self, source_lengths: Tensor) -> Tensor:
        """Return the number of places that the model attends to in each source."""
        return self.model.places(source_lengths)

    def step(self, state: tuple[Any, ...], previous: Tensor) -> Scored:
        """Feed the same symbols to the model and all guides.

        Raises:
            ConfigError: a guide has another number of symbols than the model.
        """
        log_probs, after, attention = self.model.step(state[0], previous)
        scores = log_probs if self.weight == 1 else log_probs.new_zeros(log_probs.shape)
        if 0 < self.weight < 1:
            scores = self.weight * log_probs
        states = [after]
        for guide, part in zip(self.guides, state[1:], strict=True):
            added, after, _ = guide.stepper.step(part, previous)
            if added.shape != log_probs.shape:
                raise ConfigError(
                    f"guide: wanted the {log_probs.shape[1]} symbols of the model, got {added.shape[1]} symbols"
                )
            scores = scores + guide.weight * added  # (N, V)
            states.append(after)
        return Scored(log_probs, scores, tuple(states), attention)

    def reorder(self, state: tuple[Any, ...], rows: Tensor) -> tuple[Any, ...]:
        """Reorder the rows of the model and of all guides."""
        steppers = (self.model, *(guide.stepper for guide in self.guides))
        return tuple(stepper.reorder(part, rows) for stepper, part in zip(steppers, state, strict=True))
