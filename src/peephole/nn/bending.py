"""Given attention weights in the place of computed ones, in one step of a search."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from peephole.nn.attention import (
    Attended,
    Attention,
    AttentionState,
    CoverageAttention,
    LocationAttention,
    MultiheadAttention,
)
from peephole.nn.stepper import SearchState, Seq2SeqStepper


class Bend(NamedTuple):
    """One step with given attention weights."""

    step: int  # from 0
    weights: Tensor  # (T,) α of the step, of sum 1


def bend_attention(
    attention: Attention,
    weights: Float[Tensor, "T"],
    keys: Float[Tensor, "N T A"],
    memory: Float[Tensor, "N T M"],
    state: AttentionState,
) -> Attended:
    """Return the context and the state after a step that has the given weights α in the place of (16).

    With several heads each has the given weights. What the next step reads of this one, the weights of location-aware
    attention and the coverage, follows the given weights, too.
    """
    alpha = weights.to(memory.dtype).expand(len(memory), -1)
    if isinstance(attention, MultiheadAttention):
        values = keys[..., len(attention.vector) :]
        context = F.linear(torch.bmm(alpha[:, None], values)[:, 0], attention.weight_output)  # (25)
        return Attended(context, alpha, state)
    context = torch.bmm(alpha[:, None], memory)[:, 0]  # (17)
    if isinstance(attention, LocationAttention):
        state = (alpha,)
    elif isinstance(attention, CoverageAttention):
        state = (state[0] + alpha,)
    return Attended(context, alpha, state)


class _BentAttention:
    """An attention that has given weights in one step; a `DecoderRecurrence` calls it in the place of the attention."""

    def __init__(self, attention: Attention, bend: Bend) -> None:
        self.attention, self.bend = attention, bend
        self.step = 0

    def __call__(
        self, query: Tensor, keys: Tensor, memory: Tensor, valid: Bool[Tensor, "N T"], state: AttentionState
    ) -> Attended:
        self.step += 1
        if self.step - 1 == self.bend.step:
            return bend_attention(self.attention, self.bend.weights, keys, memory, state)
        found: Attended = self.attention(query, keys, memory, valid, state)
        return found


class BentStepper:
    """A model as `Seq2SeqStepper` has it, with given attention weights in one step of all hypotheses."""

    def __init__(self, stepper: Seq2SeqStepper, bend: Bend) -> None:
        self.stepper, self.bend = stepper, bend
        self.places, self.step, self.reorder = stepper.places, stepper.step, stepper.reorder

    def start(self, source: Tensor, source_lengths: Int[Tensor, "B"]) -> SearchState:
        """Read the sources and return the state before the first symbol, one row a source."""
        state = self.stepper.start(source, source_lengths)
        attention = state.recurrence.attention
        assert attention is not None
        state.recurrence.attention = _BentAttention(attention, self.bend)  # type: ignore[assignment]  # called alike
        return state
