"""Output layers: from the readout r_t to the distribution of y_t, (10), and its loss, (12)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from peephole.nn.backends import find_for, multiplies_bfloat16
from peephole.nn.linear import Linear
from peephole.nn.loss import Teacher, loss_sum


class Readouts(NamedTuple):
    """What an output layer computes the distribution of y_t from, for one step or for all."""

    readout: Tensor  # (B, H) or (B, U, H)  r_t, with dropout
    inputs: Tensor  # (…, H + M + E)  [s_t ; c_t ; E(y_{t-1})], from which r_t is computed
    weights: Tensor | None  # (…, T)  α_t; None for a fixed context, and where a backend does not return them
    copied: Tensor | None  # (B, T)  the id that a copy of each source symbol has; None for a model that does not copy


def stack_readouts(steps: Sequence[Readouts]) -> Readouts:
    """Return what was read in single steps, (B, …) each, as one for all, (B, U, …)."""
    r, inputs = torch.stack([read.readout for read in steps], 1), torch.stack([read.inputs for read in steps], 1)
    weights = [read.weights for read in steps if read.weights is not None]
    return Readouts(r, inputs, torch.stack(weights, 1) if weights else None, steps[-1].copied)


class SymbolOutput(Linear):
    """Scores of every target symbol, W_p r_t + b_p; softmax of them is p(y_t | y_1 … y_{t-1}, c), (10).

    Args:
        in_features: size H of r_t.
        out_features: number V of target symbols.
        generator: draws the initial weights; None: PyTorch's global generator.
    """

    kind = "symbols"
    copies = False

    def scores(self, read: Readouts) -> Float[Tensor, "*N V"]:
        """Return the scores W_p r_t + b_p, of which softmax is p."""
        scores: Tensor = self(read.readout)
        return scores

    def loss_sum(
        self,
        read: Readouts,
        target: Int[Tensor, "B U"],
        label_smoothing: float,
        consistency_weight: float = 0.0,
        teacher: Teacher | None = None,
    ) -> Float[Tensor, ""]:
        """Return `loss_sum` of the scores; see `output_loss_sum`."""
        how = label_smoothing, consistency_weight, teacher
        return output_loss_sum(read.readout, self.weight, self.bias, target, *how, kind=self.kind)


def output_loss_sum(
    readouts: Float[Tensor, "B U H"],
    weight: Float[Tensor, "V H"],
    bias: Float[Tensor, "V"],
    target: Int[Tensor, "B U"],
    label_smoothing: float,
    consistency_weight: float = 0.0,
    teacher: Teacher | None = None,
    *,
    kind: str = SymbolOutput.kind,
) -> Float[Tensor, ""]:
    """Return `loss_sum(W r + b, target, label_smoothing, consistency_weight, teacher)`, on the first backend that can.

    The engine never holds the logits of a whole batch. Under autocast to bfloat16 its products multiply bfloat16; sums,
    softmax, loss and gradients are float32.

    Args:
        readouts: r_t of each step.
        weight: W of the output layer.
        bias: b of the output layer.
        target: gold symbols, padded with <pad>.
        label_smoothing: share of the gold probability that is spread evenly over all V symbols.
        consistency_weight: that of the consistency loss, (68), for which the second half of the rows is of the same
            pairs as the first.
        teacher: as in `loss_sum`; with one PyTorch computes the loss.
        kind: kind of the output layer.

    Raises:
        IndexError: a target is no symbol; or, of the engine, with a consistency loss the second half of the targets is
            not the first.
    """
    given = readouts.float() if multiplies_bfloat16() else readouts  # autocast may have made them bfloat16
    run = find_for("output_loss", {"output": kind}, [given, weight, bias]).run
    if run is None or readouts.ndim < 2 or teacher is not None:
        return loss_sum(F.linear(readouts, weight, bias), target, label_smoothing, consistency_weight, teacher)
    loss: Tensor = run(given, weight, bias, target, label_smoothing, consistency_weight)
    return loss
