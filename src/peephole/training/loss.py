"""The training objective, (12), over padded batches."""

from __future__ import annotations

from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from peephole.nn import Seq2Seq


class Objective(nn.Module):
    """Compute the summed loss of a network as a module, which Fabric wraps for precision and processes.

    Args:
        network: the network to train.
    """

    def __init__(self, network: Seq2Seq) -> None:
        super().__init__()
        self.network = network

    def forward(self, *arguments: Tensor, **settings: Any) -> Float[Tensor, ""]:
        """Return the summed loss; arguments as those of `Seq2Seq.loss_sum`."""
        return self.network.loss_sum(*arguments, **settings)


def loss_divisor(num_pairs: int, num_symbols: int, mean: Literal["symbol", "pair"]) -> int:
    """Return the number that divides the summed loss of a batch over all processes.

    (12) averages over pairs. The default, an average over symbols, keeps the size of an update the same for batches
    of short and of long targets.
    """
    return num_pairs if mean == "pair" else num_symbols
