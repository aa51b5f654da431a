"""Numbers of the sites of randomness in training, without PyTorch; `peephole.nn.noise` draws there."""

from __future__ import annotations

import hashlib


def site_number(seed: int, step: int, site: str) -> int:
    """Return 64 bits, as a signed number, for the run, the training step and the site.

    >>> site_number(1, 0, "readout") == site_number(1, 1, "readout")
    False
    """
    run = hashlib.blake2b(f"{seed} {step} {site}".encode(), digest_size=8).digest()
    return int.from_bytes(run, "little", signed=True)
