"""CTC: a second output over the encoder, whose loss sums over all alignments of source and target, (31)-(33)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from peephole.nn.linear import Linear, linear
from peephole.symbols import PAD

BLANK = PAD
"""The id of CTC's blank. No target contains <pad>, so its row is free, and the symbol table needs no further id."""


class CTC(Linear):
    """One linear layer that scores every target symbol and blank at each output h_j of the encoder.

        p(k | j) = softmax_k(W_b h_j + b_b)      (31)

    A path π is one symbol or blank for each of the S outputs. 𝓑(π) merges equal neighbours and then removes blanks;
    the paths of Y without </s> are those with 𝓑(π) = Y.

    Args:
        in_features: size M of h_j.
        out_features: number V of target symbols; the row of <pad> is that of blank.
        generator: draws the initial weights: Glorot uniform, biases 0; None: PyTorch's global generator.

    Source: Graves et al. 2006, "Connectionist temporal classification"; beside attention: Watanabe et al. 2017,
        "Hybrid CTC/attention architecture for end-to-end speech recognition".
    """

    kind = "linear"

    def __init__(self, in_features: int, out_features: int, generator: torch.Generator | None = None) -> None:
        super().__init__(in_features, out_features, generator)
        nn.init.xavier_uniform_(self.weight, generator=generator)
        nn.init.zeros_(self.bias)

    def log_probs(self, outputs: Float[Tensor, "B S M"]) -> Float[Tensor, "B S V"]:
        """Return log p(k | j), (31), in float32 at least."""
        scores = linear(outputs, self.weight, self.bias)
        return torch.log_softmax(scores.to(torch.promote_types(scores.dtype, torch.float32)), -1)

    def loss_sum(
        self, outputs: Float[Tensor, "B S M"], lengths: Int[Tensor, "B"], target: Int[Tensor, "B U"]
    ) -> Float[Tensor, ""]:
        """Return `ctc_loss_sum` of the encoder's outputs, of which `lengths` are real."""
        return ctc_loss_sum(self.log_probs(outputs), lengths, target)


def ctc_loss_sum(
    log_probs: Float[Tensor, "B S V"], lengths: Int[Tensor, "B"], target: Int[Tensor, "B U"]
) -> Float[Tensor, ""]:
    """Return -Σ log p_ctc(Y | X) over the pairs of a batch; </s> is not part of Y here.

        p_ctc(Y | X) = Σ_{π: 𝓑(π) = Y} Π_j p(π_j | j)      (32)

    A target that needs more outputs than its source has, one for each symbol and one for each pair of equal neighbours,
    has no path. Such a pair adds 0 to the loss and to its gradient.

    Args:
        log_probs: log p(k | j); those past a source's length are not read.
        lengths: number of real outputs of each source.
        target: gold symbols y_1 … y_U, the last real one </s>, padded with <pad>.
    """
    num_symbols = (target != PAD).sum(1) - 1  # without </s>
    return F.ctc_loss(
        log_probs.transpose(0, 1),
        target,
        lengths,
        num_symbols.clamp(min=0),
        blank=BLANK,
        reduction="sum",
        zero_infinity=True,
    )
