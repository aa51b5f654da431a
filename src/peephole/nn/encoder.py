"""Encoder, fixed contexts (8) and bridge (9): from the source's vectors to the decoder's first state."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from peephole.errors import ShapeError
from peephole.nn.cells import LSTMState
from peephole.nn.layers import GRU, LSTM
from peephole.nn.linear import Linear
from peephole.nn.noise import Noise
from peephole.nn.schema import find_kind

LayerState = LSTMState | Tensor
"""State of one decoder layer: h and c for an LSTM, h alone, (B, H), for a GRU."""


class Encoder(nn.Module):
    """Read a source's vectors with a recurrent network, (7), or (18)-(20) if it is bidirectional.

    Args:
        recurrent: the layers that read the vectors; its `input_size` is the frontend's `output_size`.
    """

    def __init__(self, recurrent: LSTM | GRU) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.output_size = recurrent.hidden_size * recurrent.num_directions

    def forward(
        self, x: Float[Tensor, "B T I"], lengths: Int[Tensor, "B"], noise: Noise | None = None
    ) -> tuple[Float[Tensor, "B T M"], list[LayerState]]:
        """Return the outputs h_1 … h_T and the last state of each layer, both directions side by side.

        Args:
            x: the frontend's vectors, padded.
            lengths: real steps of each source.
            noise: dropout between the layers.
        """
        outputs, last = self.recurrent(x, lengths, noise=noise)
        return outputs, split_layers(last, len(self.recurrent.layers))


def split_layers(state: LSTMState | Tensor, num_layers: int) -> list[LayerState]:
    """Split a stack's state (B, L·D, H) into one state (B, D·H) for each layer, directions side by side as in (20)."""
    if isinstance(state, LSTMState):
        hs, cs = (part.unflatten(1, (num_layers, -1)).flatten(2).unbind(1) for part in state)
        return [LSTMState(h, c) for h, c in zip(hs, cs, strict=True)]
    return list(state.unflatten(1, (num_layers, -1)).flatten(2).unbind(1))


def fixed_context(
    kind: str, outputs: Float[Tensor, "B T M"], last: LayerState, valid: Bool[Tensor, "B T"]
) -> Float[Tensor, "B M"]:
    """Return the context of (8), computed by the function that `FIXED_CONTEXTS` has for its kind.

    Args:
        kind: `"last"` or `"mean"`.
        outputs: the encoder's outputs h_j, 0 past each length.
        last: last state of the encoder's top layer.
        valid: True at real positions.

    Raises:
        ConfigError: there is no such kind.
    """
    return find_kind(FIXED_CONTEXTS, kind, "context")(outputs, last, valid)


def _last_state(outputs: Tensor, last: LayerState, valid: Tensor) -> Tensor:
    """Return h_T of the top layer ([→h_T ; ←h_1] if it is bidirectional)."""
    return last.h if isinstance(last, LSTMState) else last


def _mean_state(outputs: Tensor, last: LayerState, valid: Tensor) -> Tensor:
    """Return 1/T Σ_j h_j over the real positions."""
    return outputs.sum(1) / valid.sum(1, keepdim=True)


FIXED_CONTEXTS: Mapping[str, Callable[[Tensor, LayerState, Tensor], Tensor]] = {
    "last": _last_state,
    "mean": _mean_state,
}
"""Kind of a fixed context → function of the encoder's outputs, the top layer's last state and the real positions."""


class Bridge(nn.Module):
    """Turn the encoder's last states into the decoder's first, (9).

    Decoder layer l starts from the encoder layer at the same distance from the top, or from the lowest one if the
    encoder has fewer layers. States are copied if the sizes agree; else the first h is tanh(W h + b) and the first c is
    W c + b, with separate weights for each decoder layer.

    Args:
        encoder_layers, decoder_layers: number of layers.
        encoder_size: size of an encoder state, both directions together.
        decoder_size: size of a decoder state.
        has_cell: True for LSTMs, False for GRUs.
        generator: draws the initial weights; None: PyTorch's global generator.
    """

    def __init__(
        self,
        encoder_layers: int,
        decoder_layers: int,
        encoder_size: int,
        decoder_size: int,
        has_cell: bool,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if min(encoder_layers, decoder_layers) < 1:
            raise ShapeError(f"layers: wanted at least 1 on both sides, got {encoder_layers} and {decoder_layers}")
        self.encoder_layer = [max(0, layer + encoder_layers - decoder_layers) for layer in range(decoder_layers)]
        learned = decoder_layers if encoder_size != decoder_size else 0
        self.hidden = nn.ModuleList(Linear(encoder_size, decoder_size, generator) for _ in range(learned))
        learned_cells = learned if has_cell else 0
        self.cell = nn.ModuleList(Linear(encoder_size, decoder_size, generator) for _ in range(learned_cells))

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
