"""The tensors of a model file, each asked for by name and shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from peephole.config import ModelConfig
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

    @property
    def hidden_size(self) -> int:
        """Return H."""
        return int(self.weight_hidden.shape[1])


class Weights:
    """Gives out tensors, and knows which nobody asked for.

    Args:
        path: of the model file, for messages.
        tensors: its tensors.
    """

    def __init__(self, path: str | Path, tensors: Tensors) -> None:
        self._path = path
        self._tensors = tensors
        self._unused = set(tensors)

    def take(self, name: str, *shape: int) -> Array:
        """Return a tensor.

        Raises:
            ModelFileError: it is missing, or has another shape or type.
        """
        tensor = self._tensors.get(name)
        got = "no such tensor" if tensor is None else f"{tensor.dtype} {tensor.shape}"
        if tensor is None or tensor.dtype != np.float32 or tensor.shape != shape:
            raise ModelFileError(f"{self._path}: tensor {name!r}: wanted float32 {shape}, got {got}")
        self._unused.discard(name)
        return tensor

    def cell(self, name: str, config: ModelConfig, input_size: int, hidden_size: int) -> CellWeights:
        """Return the weights of one layer in one direction; errors as in `take`."""
        rows = (3 if config.cell == "gru" else 4) * hidden_size
        weight_input = self.take(f"{name}.weight_input", rows, input_size)
        weight_hidden = self.take(f"{name}.weight_hidden", rows, hidden_size)
        if config.cell == "gru":
            bias_input, bias_hidden = (self.take(f"{name}.bias_{part}", rows) for part in ("input", "hidden"))
            return CellWeights(name, weight_input, weight_hidden, bias_input, bias_hidden, None)
        bias = self.take(f"{name}.bias", rows)
        peephole = None
        if config.peephole != "none":
            blocks = 3 * hidden_size if config.peephole == "full" else 3
            peephole = self.take(f"{name}.weight_peephole", blocks, hidden_size)
        return CellWeights(name, weight_input, weight_hidden, bias, np.zeros_like(bias), peephole)

    def check_all_used(self) -> None:
        """Raise ModelFileError if there is a tensor that nobody took."""
        for name in sorted(self._unused):
            raise ModelFileError(f"{self._path}: tensor {name!r}: the model of this config has no such tensor")
