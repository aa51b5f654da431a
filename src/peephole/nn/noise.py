"""Randomness in training as a pure function: nothing here has a state, and nothing seeds a generator.

Whether a unit is dropped depends only on (seed, step, example, site in the model, position, unit), through an
integer hash. So the noise of an example does not depend on its batch mates, on padding, on the number of
processes, or on whether the run was killed and resumed in between: none of these has to be saved or synchronised.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from peephole.nn.backends import Request, find
from peephole.nn.sites import site_number


class Noise(NamedTuple):
    """The noise of one training step on one batch."""

    seed: int  # the run's seed
    step: int  # the training step
    examples: Tensor  # index of each row's pair in the corpus, (B,) int64
    rate: float  # the share of units that `dropout` drops, 0 ≤ rate < 1
    variational: bool = False  # a unit is dropped at all steps of a sequence or at none, (42)

    def dropout(self, x: Float[Tensor, "B T F"], site: str) -> Float[Tensor, "B T F"]:
        """Zero each unit with probability `rate` and scale the others by 1 / (1 - rate).

        Args:
            x: activations, batch first.
            site: name of the dropout site in the model; each has a mask of its own.

        Source: Srivastava et al. 2014. Differs: the mask is a hash of the unit's coordinates, not the next numbers of a
            generator; see the module's docstring.
        """
        return x * self.mask(site, x.shape[1], x.shape[2]) if self.rate else x

    def mask(self, site: str, num_steps: int, num_units: int) -> Float[Tensor, "B T F"]:
        """Return the factors of `dropout`: 0 with probability `rate`, else 1 / (1 - rate).

        Variational ones are the same at every step, and stored once for all.

        Source: Gal and Ghahramani 2016, arXiv:1512.05287, for variational dropout. Differs: h_{t-1} is not dropped in
            the recurrence, and a symbol that occurs twice is dropped in the same units, not as a whole.
        """
        if self.variational and num_steps > 1:
            return self.mask(site, 1, num_units).expand(-1, num_steps, -1)
        return self._kept(site, num_steps, num_units, self.rate, 1 - self.rate)

    def chosen(self, site: str, num_steps: int, num_units: int, rate: float) -> Float[Tensor, "B T F"]:
        """Return 1 with probability `rate`, else 0, for each example, position and unit."""
        return 1 - self._kept(site, num_steps, num_units, rate, 1.0)

    def _kept(self, site: str, num_steps: int, num_units: int, rate: float, divisor: float) -> Float[Tensor, "B T F"]:
        """Return 0 with probability `rate`, else 1 / divisor."""
        threshold = round(rate * 2**32) - 2**31
        device = self.examples.device
        run = find(Request("dropout_mask", {}, device.type, "float32")).run
        if run is not None:
            keys = _unit_keys(num_units, device)
            mask: Tensor = run(self.examples, keys, num_steps, self._site_number(site), threshold, divisor)
            return mask
        keep = self.bits(site, num_steps, num_units).ge_(threshold)  # 0 or 1 in int32: bools take PyTorch far longer
        return keep.float().div_(divisor)

    def uniform(self, site: str, num_steps: int) -> Float[Tensor, "B T"]:
        """Return numbers uniform on [0, 1), one for each example and position."""
        return (self.bits(site, num_steps, 1)[..., 0].double() + 2**31) / 2**32

    def bits(self, site: str, num_steps: int, num_units: int) -> Int[Tensor, "B T F"]:
        """Return 32 random bits (int32) for each example, position and unit."""
        device = self.examples.device
        rows = _mix(self.examples ^ self._site_number(site))[:, None]
        keys = _mix(rows + 0x9E3779B9 * torch.arange(1, num_steps + 1, device=device))
        # In int32 from here: this tensor is as large as the activations.
        return _mix32(_low_half(keys)[:, :, None] ^ _unit_keys(num_units, device))

    def _site_number(self, site: str) -> int:
        """Return 64 bits, as a signed number, for the run, the step and the site."""
        return site_number(self.seed, self.step, site)


@cache
def _unit_keys(num_units: int, device: torch.device) -> Tensor:
    """Return an int32 for each unit; cached, since a model uses two or three sizes in every step."""
    return _low_half(_mix(torch.arange(1, num_units + 1, device=device) * 0x9E3779B9)).contiguous()


def _low_half(x: Tensor) -> Tensor:
    """Return the low 32 bits of int64 numbers."""
    return x.view(torch.int32)[..., ::2]


def _mix(x: Tensor) -> Tensor:
    """Scramble int64 numbers so that every bit depends on every lower and higher one (as splitmix64 does)."""
    x = (x ^ ((x >> 30) & (2**34 - 1))) * -0x40A7B892E31B1A47
    x = (x ^ ((x >> 27) & (2**37 - 1))) * -0x6B2FB644ECCEEE15
    return x ^ ((x >> 31) & (2**33 - 1))


def _mix32(x: Tensor) -> Tensor:
    """Scramble well-mixed int32 numbers in place so that their high bits, which dropout compares, depend on all bits.

    Two rounds of MurmurHash3's finaliser less its last shift; the mask makes the shift a logical one.
    """
    x.mul_(-0x7A143595)
    x.bitwise_xor_((x >> 15).bitwise_and_(0x1FFFF))
    return x.mul_(-0x3D4D51CB)
