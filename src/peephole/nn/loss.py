"""The loss of a batch: (12), (68) and (69), from scores of symbols, and (23), from attention weights of the steps."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from peephole.symbols import PAD


class Teacher(NamedTuple):
    """The symbols that a teacher holds most probable at each step, and the share of the gold distribution they have."""

    symbols: Int[Tensor, "B U K"]
    shares: Float[Tensor, "B U K"]  # with sum 1 at each real step
    weight: float  # from 0 to 1


def loss_sum(
    logits: Float[Tensor, "B U V"],
    target: Int[Tensor, "B U"],
    label_smoothing: float,
    consistency_weight: float = 0.0,
    teacher: Teacher | None = None,
) -> Float[Tensor, ""]:
    """Return -Σ log p(Y | X) over the batch's real symbols, </s> included; padding adds nothing.

    Args:
        logits: scores of every target symbol.
        target: gold symbols, padded with <pad>.
        label_smoothing: share of the gold probability that is spread evenly over all V symbols.
        consistency_weight: that of `consistency_loss_sum`, which is added.
        teacher: with `teacher_loss_sum`, of which its weight is the share in the cross-entropy, (69).

    Source: docs/equations.md (11), (12); label smoothing: Szegedy et al. 2016, arXiv:1512.00567, section 7.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    loss = F.cross_entropy(
        logits.flatten(0, 1),
        target.flatten(),
        ignore_index=PAD,
        reduction="sum",
        label_smoothing=label_smoothing,
    )
    if teacher is not None:
        loss = (1 - teacher.weight) * loss + teacher.weight * teacher_loss_sum(logits, target, teacher)
    return loss + consistency_weight * consistency_loss_sum(logits, target) if consistency_weight else loss


def teacher_loss_sum(logits: Float[Tensor, "B U V"], target: Int[Tensor, "B U"], teacher: Teacher) -> Float[Tensor, ""]:
    """Return -Σ_t Σ_k q_tk log p(y_tk) over the real symbols: the cross-entropy with the shares q that a teacher gives.

    Args:
        logits: scores of every target symbol.
        target: gold symbols, padded with <pad>.
        teacher: its symbols and shares.

    Source: docs/equations.md (69); Hinton et al. 2015, arXiv:1503.02531; for sequences Kim and Rush 2016,
    arXiv:1606.07947, 3.1.
    """
    found = torch.log_softmax(logits, 2).gather(2, teacher.symbols.long())
    return -(found * teacher.shares).sum(2).where(target != PAD, 0).sum()


def consistency_loss_sum(logits: Float[Tensor, "B U V"], target: Int[Tensor, "B U"]) -> Float[Tensor, ""]:
    """Return ½ Σ KL(p || p') + KL(p' || p) over the real symbols; p' is p of row b + B/2, of the same pair as row b.

    Args:
        logits: scores of every target symbol.
        target: gold symbols, padded with <pad>; those of the second half of the rows are those of the first.

    Source: docs/equations.md (68); Liang et al. 2021, arXiv:2106.14448, (2).
    """
    first, second = torch.log_softmax(logits, 2).chunk(2)
    divergence = ((first.exp() - second.exp()) * (first - second)).sum(2)
    return divergence.where(target.chunk(2)[0] != PAD, 0).sum() / 2


def coverage_loss_sum(weights: Float[Tensor, "B U T"], target: Int[Tensor, "B U"]) -> Float[Tensor, ""]:
    """Return Σ_i Σ_j min(α_ij, κ_ij) over the steps of real symbols; κ_i = α_1 + … + α_{i-1}.

    Args:
        weights: α_ij of every step.
        target: gold symbols, padded with <pad>.

    Source: docs/equations.md (23); See et al. 2017, arXiv:1704.04368, (12).
    """
    coverage = weights.cumsum(1) - weights
    return (torch.minimum(weights, coverage).sum(2) * (target != PAD)).sum()
