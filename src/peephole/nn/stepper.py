"""What search asks of a model, (14): start, one step for all hypotheses, and a new order of the hypotheses."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from peephole.nn.cells import LSTMState
from peephole.nn.decoder import DecoderState, Memory
from peephole.nn.encoder import LayerState
from peephole.nn.seq2seq import Seq2Seq


class Seq2SeqStepper:
    """Let a search drive a Seq2Seq; it has the three verbs of `peephole.search.Stepper` and computes no gradients."""

    def __init__(self, model: Seq2Seq) -> None:
        self.model = model

    @torch.no_grad()
    def start(self, source: Int[Tensor, "B T"], source_lengths: Int[Tensor, "B"]) -> DecoderState:
        """Read the sources and return the state before the first symbol, one row a source."""
        return self.model.start(source, source_lengths)

    @torch.no_grad()
    def step(
        self, state: DecoderState, previous: Int[Tensor, "N"]
    ) -> tuple[Float[Tensor, "N V"], DecoderState, Float[Tensor, "N T"] | None]:
        """Return log p of every next symbol, the next state, and the attention weights (None: fixed context)."""
        logits, state, weights = self.model.step(previous, state)
        return torch.log_softmax(logits, 1), state, weights

    @torch.no_grad()
    def reorder(self, state: DecoderState, rows: Int[Tensor, "M"]) -> DecoderState:
        """Return the state whose row m is row rows[m] of this one."""
        old = state.source
        source = Memory(*(part[rows] for part in old)) if isinstance(old, Memory) else old[rows]
        return DecoderState(tuple(_take(layer, rows) for layer in state.layers), source)


def _take(layer: LayerState, rows: Tensor) -> LayerState:
    return LSTMState(layer.h[rows], layer.c[rows]) if isinstance(layer, LSTMState) else layer[rows]
