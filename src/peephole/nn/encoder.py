"""Encoder, context (8) and bridge (9): from source symbols to what the decoder starts from."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from peephole.errors import ShapeError
from peephole.nn.cells import LSTMState
from peephole.nn.layers import GRU, LSTM
from peephole.nn.noise import Noise

LayerState = LSTMState | Tensor
"""State of one decoder layer: h and c for an LSTM, h alone, (B, H), for a GRU."""


class Encoder(nn.Module):
    """Read the source symbols with a recurrent network, (7), or (18)-(20) if it is bidirectional.

    Args:
        num_symbols: size of the source vocabulary.
        embedding_size: size of a source symbol's vector.
        recurrent: the layers that read the vectors, with `input_size` = embedding_size.
        embedding_std: standard deviation of the vectors' first numbers.
    """

    def __init__(
        self, num_symbols: int, embedding_size: int, recurrent: LSTM | GRU, embedding_std: float = 1.0
    ) -> None:
        super().__init__()
        self.embedding = symbol_embedding(num_symbols, embedding_size, embedding_std)
        self.recurrent = recurrent
        self.output_size = recurrent.hidden_size * recurrent.num_directions

    def forward(
        self, source: Int[Tensor, "B T"], lengths: Int[Tensor, "B"], noise: Noise | None = None
    ) -> tuple[Float[Tensor, "B T M"], list[LayerState]]:
        """Return the outputs h_1 … h_T and the last state of each layer, both directions side by side.

        Args:
            source: source symbols, padded.
            lengths: real symbols of each source.
            noise: dropout on the embeddings and between the layers.
        """
        x = self.embedding(source)
        if noise is not None:
            x = noise.dropout(x, "source embedding")
        outputs, last = self.recurrent(x, lengths, noise=noise)
        return outputs, split_layers(last, len(self.recurrent.layers))


def symbol_embedding(num_symbols: int, embedding_size: int, std: float) -> nn.Embedding:
    """Return an embedding with entries from N(0, std²).

    With std = 1 they are what Glorot-uniform input weights expect of their inputs, and a short training gets further.
    Smaller ones are learned rather than kept, as an optimiser like Adam changes all by steps of one size.
    """
    embedding = nn.Embedding(num_symbols, embedding_size)
    nn.init.normal_(embedding.weight, std=std)
    return embedding


def split_layers(state: LSTMState | Tensor, num_layers: int) -> list[LayerState]:
    """Cut a stack's state (B, L·D, H) into one (B, D·H) a layer, the directions side by side as in (20)."""
    if isinstance(state, LSTMState):
        hs, cs = (part.unflatten(1, (num_layers, -1)).flatten(2).unbind(1) for part in state)
        return [LSTMState(h, c) for h, c in zip(hs, cs, strict=True)]
    return list(state.unflatten(1, (num_layers, -1)).flatten(2).unbind(1))


def fixed_context(
    kind: Literal["last", "mean"],
    outputs: Float[Tensor, "B T M"],
    last: LayerState,
    valid: Bool[Tensor, "B T"],
) -> Float[Tensor, "B M"]:
    """Return the context of (8): the last hidden state, or the mean of the hidden states over the real positions.

    Args:
        kind: `"last"`: h_T of the top layer ([→h_T ; ←h_1] if it is bidirectional); `"mean"`: 1/T Σ_j h_j.
        outputs: the encoder's outputs h_j, 0 past each length.
        last: last state of the encoder's top layer.
        valid: True at real positions.
    """
    if kind == "last":
        return last.h if isinstance(last, LSTMState) else last
    return outputs.sum(1) / valid.sum(1, keepdim=True)


class Bridge(nn.Module):
    """Turn the encoder's last states into the decoder's first, (9).

    Decoder layer l starts from the encoder layer that lies equally far from the top (the lowest where the encoder has
    none so low). States are copied where the sizes agree; else h passes through tanh(W h + b) and c through W c + b,
    with weights of their own for each decoder layer.

    Args:
        encoder_layers, decoder_layers: number of layers.
        encoder_size: size of an encoder state, both directions together.
        decoder_size: size of a decoder state.
        has_cell: True for LSTMs, False for GRUs.
    """

    def __init__(
        self, encoder_layers: int, decoder_layers: int, encoder_size: int, decoder_size: int, has_cell: bool
    ) -> None:
        super().__init__()
        if min(encoder_layers, decoder_layers) < 1:
            raise ShapeError(f"layers: wanted at least 1 on both sides, got {encoder_layers} and {decoder_layers}")
        self.encoder_layer = [max(0, layer + encoder_layers - decoder_layers) for layer in range(decoder_layers)]
        learned = decoder_layers if encoder_size != decoder_size else 0
        self.hidden = nn.ModuleList(nn.Linear(encoder_size, decoder_size) for _ in range(learned))
        self.cell = nn.ModuleList(nn.Linear(encoder_size, decoder_size) for _ in range(learned if has_cell else 0))

    def forward(self, last: list[LayerState]) -> tuple[LayerState, ...]:
        """Return the first state of each decoder layer.

        Args:
            last: last state of each encoder layer, (B, encoder_size), from the lowest to the top.
        """
        states = [last[layer] for layer in self.encoder_layer]
        if not self.hidden:
            return tuple(states)
        first: list[LayerState] = []
        for layer, state in enumerate(states):
            if isinstance(state, LSTMState):
                first.append(LSTMState(torch.tanh(self.hidden[layer](state.h)), self.cell[layer](state.c)))
            else:
                first.append(torch.tanh(self.hidden[layer](state)))
        return tuple(first)
