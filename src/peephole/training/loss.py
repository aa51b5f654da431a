"""The training objective, (12), over padded batches."""

from __future__ import annotations

from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from peephole.nn import Seq2Seq


class Objective(nn.Module):
    """The summed loss of a network as a module, so that Fabric (precision, processes) wraps what is computed.

    Args:
        network: the network to train.
    """

    def __init__(self, network: Seq2Seq) -> None:
        super().__init__()
        self.network = network

    def forward(self, *arguments: Tensor, **settings: Any) -> Float[Tensor, ""]:
        """Return `Seq2Seq.loss_sum`; its arguments."""
        return self.network.loss_sum(*arguments, **settings)


def loss_divisor(num_pairs: int, num_symbols: int, mean: Literal["symbol", "pair"]) -> int:
    """Return what the summed loss of a batch, over all processes, is divided by.

    (12) averages over pairs. The default average over symbols keeps the size of an update the same for batches of
    short and of long targets.
    """
    return num_pairs if mean == "pair" else num_symbols
