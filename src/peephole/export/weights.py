"""The tensors of a model file, by module."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from peephole.errors import ModelFileError
from peephole.storage.quantization import Tensors

Array = npt.NDArray[Any]


class CellWeights(NamedTuple):
    """One recurrent layer in one direction, in the model file's order of gates: i, f, g, o or r, z, n."""

    name: str
    weight_input: Array  # (G·H, I), G = 4 for an LSTM, 3 for a GRU
    weight_hidden: Array  # (G·H, H)
    bias_input: Array  # (G·H,)
    bias_hidden: Array  # (G·H,), zeros for an LSTM
    weight_peephole: Array | None  # (3H, H) full, (3, H) diagonal, in the order i, f, o
    gain: Array | None  # (G·H,), with layer normalisation
    cell_gain: Array | None  # (H,), an LSTM's
    cell_bias: Array | None  # (H,)

    @property
    def hidden_size(self) -> int:
        """Return H."""
        return int(self.weight_hidden.shape[1])


class Weights:
    """Return tensors by name, and record which were used.

    Args:
        tensors: the tensors of a loaded model, exactly those that `peephole.nn.schema` lists.
    """

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors
        self._unused = set(tensors)

    def take(self, name: str) -> Array:
        """Return a tensor."""
        self._unused.discard(name)
        return self._tensors[name]

    def find(self, name: str) -> Array | None:
        """Return a tensor if there is one of this name."""
        return self.take(name) if name in self._tensors else None

    def lstm(self, name: str) -> CellWeights:
        """Return the weights of one LSTM layer in one direction."""
        weight_input, weight_hidden, bias = (self.take(f"{name}.{part}") for part in _LSTM)
        optional = (self.find(f"{name}.{part}") for part in ("weight_peephole", "gain", "cell_gain", "cell_bias"))
        return CellWeights(name, weight_input, weight_hidden, bias, np.zeros_like(bias), *optional)

    def gru(self, name: str) -> CellWeights:
        """Return the weights of one GRU layer in one direction."""
        weight_input, weight_hidden, bias_input, bias_hidden = (self.take(f"{name}.{part}") for part in _GRU)
        gain = self.find(f"{name}.gain")
        return CellWeights(name, weight_input, weight_hidden, bias_input, bias_hidden, None, gain, None, None)

    def check_all_used(self) -> None:
        """Raise ModelFileError if the graphs leave out a tensor."""
        for name in sorted(self._unused):
            raise ModelFileError(f"tensor {name!r}: the exported graphs do not use it")


_LSTM = ("weight_input", "weight_hidden", "bias")
_GRU = ("weight_input", "weight_hidden", "bias_input", "bias_hidden")
