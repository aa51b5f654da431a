"""The loss of a batch, (12), from the scores of its symbols."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from peephole.symbols import PAD


def loss_sum(logits: Float[Tensor, "B U V"], target: Int[Tensor, "B U"], label_smoothing: float) -> Float[Tensor, ""]:
    """Return -Σ log p(Y | X) over the batch's real symbols, </s> included; padding adds nothing.

    Args:
        logits: scores of every target symbol.
        target: gold symbols, padded with <pad>.
        label_smoothing: share of the gold probability that is spread evenly over all V symbols.

    Source: docs/equations.md (11), (12); label smoothing: Szegedy et al. 2016, arXiv:1512.00567, section 7.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(
        logits.flatten(0, 1),
        target.flatten(),
        ignore_index=PAD,
        reduction="sum",
        label_smoothing=label_smoothing,
    )
