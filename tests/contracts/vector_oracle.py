"""Computes models of real vectors, (51)-(56), in NumPy: one series, one step and one component at a time.

Like `oracle`, it accepts complex weights and series.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi
from typing import Any

import numpy as np

from .model_oracle import ModelOracle
from .oracle import Array

SMALLEST_DEVIATION = 1e-3


def softplus(x: Array) -> Array:
    return np.log(1 + np.exp(x))


@dataclass(frozen=True)
class VectorOracle(ModelOracle):
    """Holds also what the output is."""

    output: str = "gaussian"  # quantile
    output_size: int = 1
    quantiles: int = 9
    scaling: str = "constant"  # source
    continues: bool = False
    feedback: bool = True

    def units(self, source: Array) -> tuple[Array, Array]:
        """Return the mean and the deviation of (51), (D,), for one source (T, F)."""
        if self.scaling == "constant":
            return self.weights["decoder.mean"], self.weights["decoder.deviation"]
        means, deviations = [], []
        for d in range(self.output_size):
            column = source[:, d]
            mean = sum(column) / len(column)
            variance = sum((value - mean) ** 2 for value in column) / len(column)
            means.append(mean)
            deviations.append(np.sqrt(variance) if variance.real > 0 else 1)
        return np.array(means), np.array(deviations)

    def read_source(self, source: Array) -> Array:
        """Return the frames that the frontend reads."""
        if self.scaling == "constant":
            return source
        mean, deviation = self.units(source)
        D = self.output_size
        return np.array([[*((frame[:D] - mean) / deviation), *frame[D:]] for frame in source])  # (51)

    def start(self, source: Array) -> Array:
        """Return z_0, (D,)."""
        mean, deviation = self.units(source)
        return (source[-1][: self.output_size] - mean) / deviation if self.continues else np.zeros(self.output_size)

    def fed(self, source: Array, z: Sequence[Array]) -> list[Array]:
        """Return what each step is fed, given z_1 … z_{U-1}."""
        return [self.start(source)] + [row if self.feedback else self.start(source) for row in z]

    def distributions(self, source: Array, fed: Sequence[Array]) -> list[Array]:
        """Feed z_0 … z_{U-1}: return the numbers (P, D) that describe z_1 … z_U."""
        embedded = np.array([self.linear("decoder.embedding", z) for z in fed])  # (52)
        raw, _, _ = self.unroll(self.read_source(source), embedded)
        return [self.describe(row) for row in raw]

    def describe(self, raw: Array) -> Array:
        """Return mean and deviation, or quantiles, of each component: (P, D)."""
        D = self.output_size
        if self.output == "gaussian":
            return np.array([raw[:D], softplus(raw[D:]) + SMALLEST_DEVIATION])  # (53)
        rows = [raw[k * D : (k + 1) * D] for k in range(self.quantiles)]
        middle = self.quantiles // 2
        found: list[Any] = [None] * self.quantiles
        found[middle] = rows[middle]
        for k in range(middle + 1, self.quantiles):
            found[k] = found[k - 1] + softplus(rows[k])  # (54)
        for k in range(middle - 1, -1, -1):
            found[k] = found[k + 1] - softplus(rows[k])
        return np.array(found)

    def component_loss(self, numbers: Array, z: Any) -> Any:
        """Return the loss of one component, given the numbers (P,) that describe it."""
        if self.output == "gaussian":
            mean, deviation = numbers
            return (z - mean) ** 2 / (2 * deviation**2) + np.log(deviation * np.sqrt(2 * pi))
        total = 0
        for k, q in enumerate(numbers, start=1):
            level = k / (self.quantiles + 1)
            total += level * (z - q) if z.real > q.real else (1 - level) * (q - z)
        return 2 * total / self.quantiles  # (55)

    def loss(self, source: Array, target: Array, *, in_units: bool = False) -> Any:
        """Return the loss of one target (U, D), NaN where it is missing; with in_units, that of y instead of z."""
        mean, deviation = self.units(source)
        z = [(y - mean) / deviation for y in target]
        fed = self.fed(source, [np.where(np.isnan(row.real), 0, row) for row in z[:-1]])
        total = 0
        for row, numbers in zip(z, self.distributions(source, fed), strict=True):
            for d in range(self.output_size):
                if not np.isnan(row[d].real):
                    total += self.component_loss(numbers[:, d], row[d])
                    total += np.log(deviation[d]) if in_units else 0
        return total

    def draw(self, numbers: Array, noise: float) -> Any:
        """Return one component's draw, (56), given the numbers (P,) that describe it."""
        if self.output == "gaussian":
            return numbers[0] + numbers[1] * noise
        levels = [k / (self.quantiles + 1) for k in range(1, self.quantiles + 1)]
        k = max(0, min(self.quantiles - 2, sum(level <= noise for level in levels) - 1))
        share = (noise - levels[k]) / (levels[k + 1] - levels[k])
        return numbers[k] + share * (numbers[k + 1] - numbers[k])

    def trajectory(self, source: Array, noise: Array) -> Array:
        """Return one target (U, D), each vector drawn with its random numbers and fed to the next step."""
        mean, deviation = self.units(source)
        z: list[Array] = []
        for row in noise:
            numbers = self.distributions(source, self.fed(source, z))[-1]
            z.append(np.array([self.draw(numbers[:, d], row[d]) for d in range(self.output_size)]))
        return np.array(z) * deviation + mean
