"""Zoneout, (43): in training a unit of a state sometimes stays as it was; in prediction it moves part of the way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor

from peephole.errors import ConfigError
from peephole.nn.noise import Noise


class Zoneout(NamedTuple):
    """The share z of the state before that a step keeps, for h and for c: z ⊙ before + (1 - z) ⊙ new, (43).

    A share is a number, the same for all units, or a mask of zeros and ones for each unit, (B, T, H), or at one step
    (B, H).
    """

    hidden: Tensor | float
    cell: Tensor | float

    def at(self, t: int) -> Zoneout:
        """Return the shares at step t."""
        return Zoneout(*(part[:, t] if isinstance(part, Tensor) else part for part in self))

    def keep(self, new: Iterable[Tensor], before: Iterable[Tensor]) -> list[Tensor]:
        """Return the state after a step: h and, for an LSTM, c.

        Args:
            new: what the cell computes from the state before the step.
            before: the state before the step.
        """
        return [z * old + (1 - z) * one for one, old, z in zip(new, before, self, strict=False)]


def zoneout_rates(hidden: float, cell: float) -> Zoneout | None:
    """Return the rates of a stack of layers; None if both are 0.

    Raises:
        ConfigError: a rate is not from 0 to 1.
    """
    for name, rate in (("h", hidden), ("c", cell)):
        if not 0 <= rate <= 1:
            raise ConfigError(f"zoneout of {name}: wanted a number from 0 to 1, got {rate!r}")
    return Zoneout(hidden, cell) if hidden or cell else None


def zoneout_kind(rates: Zoneout | None) -> str:
    """Return the kind of zoneout of a stack of layers."""
    return "none" if rates is None else "states"


def draw_zoneout(
    rates: Zoneout | None, noise: Noise | None, site: str, num_steps: int, num_units: int
) -> Zoneout | None:
    """Return the shares for all steps of one layer in one direction.

    Args:
        rates: the probability that a unit of h and of c keeps its value; None: no zoneout.
        noise: draws masks (B, T, H) of zeros and ones; None: the shares are the rates, the masks' expected value.
        site: names the layer and direction; each has masks of its own.
        num_steps: T.
        num_units: H.

    Source: Krueger et al. 2016, arXiv:1606.01305.
    """
    if rates is None or noise is None:
        return rates
    parts = zip(("h", "c"), rates, strict=True)
    return Zoneout(*(noise.chosen(f"zoneout {site} {part}", num_steps, num_units, float(rate)) for part, rate in parts))
