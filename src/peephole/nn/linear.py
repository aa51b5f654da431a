"""Products of rows with a matrix, outside the recurrences."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
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
