"""The weights of one recurrent layer in one direction: modules that own, name and initialise them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from peephole.nn.cells import GRUWeights, LSTMWeights
from peephole.nn.normalization import CellNorm

Peephole = Literal["full", "diagonal", "none"]


class LSTMDirection(nn.Module):
    """The weights of one LSTM layer in one direction: `weight_input`, `weight_hidden`, `bias`, `weight_peephole`.

    Initialised by `reset_parameters`: input weights Glorot-uniform per gate, recurrent and full peephole weights
    orthogonal per gate, full peepholes orthogonal per gate and scaled by 0.1, diagonal ones uniform within ±0.1 (small
    values, so that peepholes contribute little at initialisation), biases 0 but `forget_bias` for b_f (Jozefowicz et
    al. 2015). With layer normalisation also `gain` and `cell_gain`, 1, and `cell_bias`, 0.
    """

    kind = "lstm"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        peephole: Peephole,
        forget_bias: float,
        generator: torch.Generator | None = None,
        *,
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        self.forget_bias = forget_bias
        self.peephole = peephole
        self.weight_input = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.weight_hidden = nn.Parameter(torch.empty(4 * hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.empty(4 * hidden_size))
        rows = {"full": 3 * hidden_size, "diagonal": 3, "none": 0}[peephole]
        self.weight_peephole = nn.Parameter(torch.empty(rows, hidden_size)) if rows else None
        self.gain = nn.Parameter(torch.empty(4 * hidden_size)) if layer_norm else None
        self.cell_gain, self.cell_bias = (
            nn.Parameter(torch.empty(hidden_size)) if layer_norm else None for _ in range(2)
        )
        self.reset_parameters(generator)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw new weights, as the class docstring describes; None: from PyTorch's global generator."""
        hidden_size = self.weight_hidden.shape[1]
        init_gates(self.weight_input, self.weight_hidden, 4, generator)
        self.bias.zero_()
        self.bias[hidden_size : 2 * hidden_size] = self.forget_bias
        for vector, value in ((self.gain, 1), (self.cell_gain, 1), (self.cell_bias, 0)):
            if vector is not None:
                vector.fill_(value)
        if self.weight_peephole is None:
            return
        if self.weight_peephole.shape[0] == 3:
            nn.init.uniform_(self.weight_peephole, -0.1, 0.1, generator)
        else:
            for block in self.weight_peephole.chunk(3):
                nn.init.orthogonal_(block, 0.1, generator)

    def weights(self) -> LSTMWeights:
        """Return the weights as `lstm` takes them."""
        return LSTMWeights(self.weight_input, self.weight_hidden, self.bias, self.weight_peephole)

    def norm(self) -> CellNorm | None:
        """Return the gains and biases of layer normalisation; None without it."""
        return None if self.gain is None else CellNorm(self.gain, self.cell_gain, self.cell_bias)


class GRUDirection(nn.Module):
    """The weights of one GRU layer in one direction, initialised like those of `LSTMDirection`, biases 0, `gain` 1."""

    kind = "gru"
    peephole = "none"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        generator: torch.Generator | None = None,
        *,
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        self.weight_input = nn.Parameter(torch.empty(3 * hidden_size, input_size))
        self.weight_hidden = nn.Parameter(torch.empty(3 * hidden_size, hidden_size))
        self.bias_input = nn.Parameter(torch.empty(3 * hidden_size))
        self.bias_hidden = nn.Parameter(torch.empty(3 * hidden_size))
        self.gain = nn.Parameter(torch.empty(3 * hidden_size)) if layer_norm else None
        self.reset_parameters(generator)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw new weights, as the class docstring describes; None: from PyTorch's global generator."""
        init_gates(self.weight_input, self.weight_hidden, 3, generator)
        self.bias_input.zero_()
        self.bias_hidden.zero_()
        if self.gain is not None:
            self.gain.fill_(1)

    def weights(self) -> GRUWeights:
        """Return the weights as `gru` takes them."""
        return GRUWeights(self.weight_input, self.weight_hidden, self.bias_input, self.bias_hidden)

    def norm(self) -> CellNorm | None:
        """Return the gains of layer normalisation; None without it."""
        return None if self.gain is None else CellNorm(self.gain)


def init_gates(
    weight_input: Tensor, weight_hidden: Tensor, num_gates: int, generator: torch.Generator | None = None
) -> None:
    """Initialise each gate's input weights Glorot-uniform and its recurrent weights orthogonal."""
    for block in weight_input.chunk(num_gates):
        nn.init.xavier_uniform_(block, generator=generator)
    for block in weight_hidden.chunk(num_gates):
        nn.init.orthogonal_(block, generator=generator)
