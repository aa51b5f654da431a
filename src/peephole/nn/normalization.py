"""Layer normalisation inside recurrent cells, (44)-(46)."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from peephole.nn.schema import EPSILON


class CellNorm(NamedTuple):
    """The gains and biases of layer normalisation in one layer and direction; gates' biases are the layer's own.

    Source: Ba, Kiros and Hinton 2016, arXiv:1607.06450, equation (4), with each gate as a layer of H units.
    Differs: their LSTM, equations (20)-(22), normalises W_h h and W_x x apart, each over all gates together.
    """

    gain: Tensor  # (4H,) in the order of `GATES`; GRU: (3H,) in that of its weights
    cell_gain: Tensor | None = None  # (H,), of c before the output; None for a GRU
    cell_bias: Tensor | None = None  # (H,)


def normalize(z: Float[Tensor, "B G"], gain: Float[Tensor, "G"], bias: Float[Tensor, "G"], count: int = 1) -> Tensor:
    """Return (z - μ) / √(σ² + ε) ⊙ gain + bias, (44).

    Args:
        z: the pre-activations of `count` gates side by side; μ and σ² are taken over the H units of each.
        gain: γ of all of them.
        bias: b of all of them.
        count: number of gates.
    """
    blocks = z.unflatten(1, (count, -1))
    return F.layer_norm(blocks, blocks.shape[2:], eps=EPSILON).flatten(1) * gain + bias
