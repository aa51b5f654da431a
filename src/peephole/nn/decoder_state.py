"""What the decoder carries from step to step: the states of its layers, and the source."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from peephole.nn.attention import AttentionState
from peephole.nn.cells import LSTMState
from peephole.nn.encoder import LayerState


class Memory(NamedTuple):
    """The source for attention; it does not change while a target is decoded."""

    outputs: Tensor  # (B, T, M) encoder outputs h_j
    keys: Tensor  # (B, T, A) their projections by the attention module
    valid: Tensor  # (B, T) True at real positions
    copied: Tensor | None = None  # (B, T) the id that a copy of each symbol has; None for a model that does not copy


class DecoderState(NamedTuple):
    """The decoder's input besides the previous symbol; every tensor has one row per hypothesis."""

    layers: tuple[LayerState, ...]  # s_t, from the lowest layer to the top
    source: Memory | Tensor  # for attention, or the fixed context (B, M) of (8)
    attention: AttentionState = ()  # tensors that the attention carries from step to step
    readout: Tensor | None = None  # (B, H) r_{t-1} of (62), as the output read it; None without input feeding


def copied_of(state: DecoderState) -> Tensor | None:
    """Return the id that a copy of each source symbol has, (B, T); None for a model that does not copy."""
    return state.source.copied if isinstance(state.source, Memory) else None


def hidden(state: LayerState) -> Tensor:
    """Return h of a layer's state."""
    return state.h if isinstance(state, LSTMState) else state


def top(state: DecoderState) -> Tensor:
    """Return s_t, the hidden state of the top layer."""
    return hidden(state.layers[-1])
