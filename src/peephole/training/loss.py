"""The number that divides the loss of a batch, (12)."""

from __future__ import annotations

from typing import Literal


def loss_divisor(num_pairs: int, num_symbols: int, mean: Literal["symbol", "pair"]) -> int:
    """Return the number that divides the summed loss of a batch over all processes.

    (12) averages over pairs. The default, an average over symbols, keeps the size of an update the same for batches
    of short and of long targets.
    """
    return num_pairs if mean == "pair" else num_symbols
