"""A model as a search drives it, (14): start, one step for all hypotheses, and a new order of the hypotheses."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from peephole.nn.cells import LSTMState
from peephole.nn.decoder_recurrence import DecoderRecurrence
from peephole.nn.decoder_state import DecoderState, Memory
from peephole.nn.encoder import LayerState
from peephole.nn.seq2seq import Seq2Seq


class SearchState(NamedTuple):
    """The state of one search."""

    decoder: DecoderState
    recurrence: DecoderRecurrence  # the weights as they were when the search started


class Seq2SeqStepper:
    """A Seq2Seq as a `peephole.search.Stepper`, without gradients.

    Args:
        model: its weights may change between searches.
    """

    def __init__(self, model: Seq2Seq) -> None:
        self.model = model

    @torch.no_grad()
    def start(self, source: Tensor, source_lengths: Int[Tensor, "B"]) -> SearchState:
        """Read the sources and return the state before the first symbol, one row a source."""
        return SearchState(self.model.start(source, source_lengths), self.model.decoder.recurrence())

    def places(self, source_lengths: Int[Tensor, "B"]) -> Int[Tensor, "B"]:
        """Return the number of encoder outputs of each source."""
        return self.model.places(source_lengths)

    @torch.no_grad()
    def step(
        self, state: SearchState, previous: Int[Tensor, "N"]
    ) -> tuple[Float[Tensor, "N V"], SearchState, Float[Tensor, "N T"] | None]:
        """Return log p of every next symbol, the next state, and the attention weights (None: fixed context)."""
        logits, decoder, weights = state.recurrence.step(previous, state.decoder)
        return torch.log_softmax(logits, 1), SearchState(decoder, state.recurrence), weights

    @torch.no_grad()
    def reorder(self, state: SearchState, rows: Int[Tensor, "M"]) -> SearchState:
        """Return the state whose row m is row rows[m] of this one."""
        layers, source, attention, readout = state.decoder
        decoder = DecoderState(
            tuple(_select_rows(layer, rows) for layer in layers),
            _select_places(source, rows) if isinstance(source, Memory) else source[rows],
            tuple(part[rows] for part in attention),
            None if readout is None else readout[rows],
        )
        return SearchState(decoder, state.recurrence)


def _select_places(memory: Memory, rows: Tensor) -> Memory:
    return Memory(*(None if part is None else part[rows] for part in memory))  # type: ignore[arg-type]


def _select_rows(layer: LayerState, rows: Tensor) -> LayerState:
    return LSTMState(layer.h[rows], layer.c[rows]) if isinstance(layer, LSTMState) else layer[rows]
