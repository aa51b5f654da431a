"""The training objective, (12), over padded batches, and the loss of pairs without dropout, in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from peephole.nn import Seq2Seq
from peephole.search.torch import pad


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


@torch.no_grad()
def summed_loss(network: Seq2Seq, pairs: Sequence[tuple[Any, Any]], batch_size: int, ctc_weight: float = 0.0) -> float:
    """Return the summed loss over pairs, without dropout, on the network's device.

    Args:
        network: the network.
        pairs: source and target, as `pad` takes them; those of similar length together need less padding.
        batch_size: pairs in a batch.
        ctc_weight: as in `Seq2Seq.loss_sum`.
    """
    device, total = next(network.parameters()).device, 0.0
    for first in range(0, len(pairs), batch_size):
        sources, targets = zip(*pairs[first : first + batch_size], strict=True)
        (source, source_lengths), (target, _) = pad(sources), pad(targets)
        arguments = (tensor.to(device) for tensor in (source, source_lengths, target))
        total += float(network.loss_sum(*arguments, ctc_weight=ctc_weight))
    return total
