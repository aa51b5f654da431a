"""Output layers of real vectors: from the readout r_t to a distribution of each component of y_t, and its loss."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from peephole.nn.linear import Linear, linear

SMALLEST_DEVIATION = 1e-3
"""Added to every σ of (53): the likelihood of a component that does not vary would have no bound."""


class VectorOutput(Linear, ABC):
    """W_p r_t + b_p, read as P numbers for each of D components, which describe its distribution.

    Args:
        in_features: size H of r_t.
        size: D, components of a vector.
        numbers: P.
        generator: draws the initial weights; None: PyTorch's global generator.
    """

    kind: ClassVar[str]
    """The name of the output kind, as `Architecture.output` has it."""
    copies: ClassVar[bool] = False

    def __init__(self, in_features: int, size: int, numbers: int, generator: torch.Generator | None = None) -> None:
        super().__init__(in_features, size * numbers, generator)
        self.size, self.numbers = size, numbers

    def forward(self, readouts: Float[Tensor, "*N H"]) -> Float[Tensor, "*N P D"]:
        """Return the numbers that describe the distribution of each component."""
        raw = linear(readouts, self.weight, self.bias)
        return self.described(raw.unflatten(-1, (self.numbers, self.size)))

    @abstractmethod
    def described(self, raw: Float[Tensor, "*N P D"]) -> Float[Tensor, "*N P D"]:
        """Return the description of each distribution, given W_p r_t + b_p."""

    @abstractmethod
    def loss(self, found: Float[Tensor, "*N P D"], target: Float[Tensor, "*N D"]) -> Float[Tensor, "*N D"]:
        """Return the loss of each component, given its distribution."""

    @abstractmethod
    def draw(self, found: Float[Tensor, "*N P D"], noise: Float[Tensor, "*N D"]) -> Float[Tensor, "*N D"]:
        """Return a draw from each distribution, as a function of random numbers; (56)."""

    @abstractmethod
    def rescaled(
        self, found: Float[Tensor, "*N P D"], shift: Float[Tensor, "*N D"], factor: Float[Tensor, "*N D"]
    ) -> Float[Tensor, "*N P D"]:
        """Return the distributions of factor · z + shift, given those of z; no factor is negative."""


class GaussianOutput(VectorOutput):
    """A normal distribution of each component: its mean and its standard deviation, (53).

    Arguments as in `VectorOutput`; P is 2. The random numbers of `draw` are standard normal.
    """

    kind = "gaussian"

    def __init__(self, in_features: int, size: int, generator: torch.Generator | None = None) -> None:
        super().__init__(in_features, size, 2, generator)

    def described(self, raw: Float[Tensor, "*N P D"]) -> Float[Tensor, "*N P D"]:
        """Return μ and σ."""
        mean, deviation = raw.unbind(-2)
        return torch.stack([mean, F.softplus(deviation) + SMALLEST_DEVIATION], -2)  # (53)

    def loss(self, found: Float[Tensor, "*N P D"], target: Float[Tensor, "*N D"]) -> Float[Tensor, "*N D"]:
        """Return -log N(z; μ, σ²), in natural logarithms."""
        mean, deviation = found.unbind(-2)
        return ((target - mean) / deviation) ** 2 / 2 + deviation.log() + math.log(2 * math.pi) / 2

    def draw(self, found: Float[Tensor, "*N P D"], noise: Float[Tensor, "*N D"]) -> Float[Tensor, "*N D"]:
        """Return μ + σ ε."""
        mean, deviation = found.unbind(-2)
        return mean + deviation * noise  # (56)

    def rescaled(
        self, found: Float[Tensor, "*N P D"], shift: Float[Tensor, "*N D"], factor: Float[Tensor, "*N D"]
    ) -> Float[Tensor, "*N P D"]:
        """Return factor · μ + shift and factor · σ."""
        mean, deviation = found.unbind(-2)
        return torch.stack([mean * factor + shift, deviation * factor], -2)


class QuantileOutput(VectorOutput):
    """Q quantiles of each component, at the levels k / (Q + 1), which never cross, (54).

    Args:
        in_features: size H of r_t.
        size: D, components of a vector.
        num_quantiles: Q, at least 2; it is P.
        generator: draws the initial weights; None: PyTorch's global generator.

    The random numbers of `draw` are uniform in [0, 1).
    """

    kind = "quantile"

    def __init__(
        self, in_features: int, size: int, num_quantiles: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(in_features, size, num_quantiles, generator)

    def described(self, raw: Float[Tensor, "*N P D"]) -> Float[Tensor, "*N P D"]:
        """Return the quantiles: the middle one, and upwards and downwards from it sums of steps above 0."""
        below, middle, above = raw.tensor_split([self.numbers // 2, self.numbers // 2 + 1], -2)
        down = F.softplus(below).flip(-2).cumsum(-2).flip(-2)
        return torch.cat([middle - down, middle, middle + F.softplus(above).cumsum(-2)], -2)  # (54)

    def levels(self) -> Float[Tensor, "P 1"]:
        """Return the levels of the quantiles."""
        levels = torch.arange(1, self.numbers + 1, dtype=self.weight.dtype, device=self.weight.device)
        return levels[:, None] / (self.numbers + 1)

    def loss(self, found: Float[Tensor, "*N P D"], target: Float[Tensor, "*N D"]) -> Float[Tensor, "*N D"]:
        """Return twice the mean pinball loss, which approximates the continuous ranked probability score."""
        error = target[..., None, :] - found
        return 2 * torch.maximum(self.levels() * error, (self.levels() - 1) * error).mean(-2)  # (55)

    def draw(self, found: Float[Tensor, "*N P D"], noise: Float[Tensor, "*N D"]) -> Float[Tensor, "*N D"]:
        """Return the quantile at each level u: linear between the quantiles, the outer lines drawn on."""
        position = noise * (self.numbers + 1) - 1  # among the quantiles, from 0
        left = position.floor().clamp(0, self.numbers - 2)
        index = left.long()[..., None, :]
        low, high = found.gather(-2, index)[..., 0, :], found.gather(-2, index + 1)[..., 0, :]
        return low + (position - left) * (high - low)  # (56)

    def rescaled(
        self, found: Float[Tensor, "*N P D"], shift: Float[Tensor, "*N D"], factor: Float[Tensor, "*N D"]
    ) -> Float[Tensor, "*N P D"]:
        """Return factor · q + shift for each quantile q."""
        return found * factor[..., None, :] + shift[..., None, :]
