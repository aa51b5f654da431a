"""Products of rows with a matrix, outside the recurrences."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from peephole.nn.backends import find_for, multiplies_bfloat16


def linear(
    x: Float[Tensor, "*N K"], weight: Float[Tensor, "O K"], bias: Float[Tensor, "O"] | None = None
) -> Float[Tensor, "*N O"]:
    """Return W x + b for every row, as `torch.nn.functional.linear`, on the first backend that can.

    Under autocast to bfloat16 a backend multiplies bfloat16, with sums and results in float32.
    """
    given = x.float() if multiplies_bfloat16() else x  # autocast may have made it bfloat16
    run = find_for("linear", {}, [given, weight, *(() if bias is None else (bias,))]).run
    if run is None or x.ndim < 2:
        return F.linear(x, weight, bias)
    y: Tensor = run(given, weight, bias)
    return y


class Linear(nn.Linear):
    """`torch.nn.Linear` whose initial weights can come from a generator of the caller.

    Args:
        in_features: size of a row.
        out_features: size of a result.
        generator: draws the initial weights; None: PyTorch's global generator.
    """

    def __init__(self, in_features: int, out_features: int, generator: torch.Generator | None = None) -> None:
        nn.Module.__init__(self)  # nn.Linear's would draw from the global generator
        self.in_features, self.out_features = in_features, out_features
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.bias = nn.Parameter(torch.empty(out_features))
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw new weights and biases, all uniform within ±1/√in_features, as torch.nn.Linear does."""
        nn.init.kaiming_uniform_(self.weight, math.sqrt(5), generator=generator)
        bound = 1 / math.sqrt(self.in_features)
        nn.init.uniform_(self.bias, -bound, bound, generator)
