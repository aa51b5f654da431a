"""Copying: the distribution of y_t as a mixture of the target's vocabulary and the source's symbols, (26), (27).

A source of a model that copies is (B, T, 2): for each symbol the id that the encoder reads, and the id on the target
side that a copy of the symbol has. Symbols that the target's vocabulary lacks have the ids V, V + 1, … in the order in
which they first appear in their source; the decoder reads <unk> where it is fed one of them.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from peephole.errors import ConfigError
from peephole.nn.backends import find_for, multiplies_bfloat16
from peephole.nn.linear import Linear, linear
from peephole.nn.loss import Teacher
from peephole.nn.outputs import Readouts
from peephole.symbols import PAD


class CopyOutput(Linear):
    """A pointer-generator: it predicts a symbol of the vocabulary, or copies the symbol at an attended position.

        g_t = σ(w_gᵀ [s_t ; c_t ; E(y_{t-1})] + b_g)      (26)
        p(y) = g_t p_vocab(y) + (1 - g_t) Σ_{j: x_j = y} α_tj,   p_vocab = softmax(W_p r_t + b_p)      (27)

    Weights: `weight` (W_p), `bias` (b_p), `gate_weight` (w_g), `gate_bias` (b_g). The gate starts at 1/2.

    Args:
        in_features: size H of r_t.
        out_features: number V of target symbols.
        gate_features: size H + M + E of what the gate reads.
        generator: draws the initial weights; None: PyTorch's global generator.

    Source: docs/equations.md (26), (27); See et al. 2017, arXiv:1704.04368, (8), (9).
    """

    kind = "copy"
    copies = True

    def __init__(
        self, in_features: int, out_features: int, gate_features: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(in_features, out_features, generator)
        self.gate_weight = nn.Parameter(torch.zeros(gate_features))
        self.gate_bias = nn.Parameter(torch.zeros(1))

    def scores(self, read: Readouts) -> Float[Tensor, "*N VX"]:
        """Return log p of every symbol of the vocabulary, then of the ids above it that occur in the batch, (27)."""
        weights, copied = _copied(read)
        return mixture(_wide(self(read.readout)), self.gate(read.inputs), weights, copied)

    def loss_sum(
        self,
        read: Readouts,
        target: Int[Tensor, "B U"],
        label_smoothing: float,
        consistency_weight: float = 0.0,
        teacher: Teacher | None = None,
    ) -> Float[Tensor, ""]:
        """Return `copy_loss_sum` of what `scores` would be computed from, on the first backend that can.

        Raises:
            ConfigError: with a consistency loss or a teacher, which are defined for the symbols of a vocabulary.
        """
        if teacher is not None:
            raise ConfigError("teacher: wanted none for a model that copies, got one")
        if consistency_weight:
            raise ConfigError(f"consistency_weight: wanted 0 for a model that copies, got {consistency_weight:g}")
        given = read.readout.float() if multiplies_bfloat16() else read.readout  # autocast may have made it bfloat16
        run = find_for("output_loss", {"output": self.kind}, [given, *self.parameters()]).run
        if run is not None:
            loss: Tensor = run(self, read, target, label_smoothing)
            return loss
        weights, copied = _copied(read)
        logits = linear(read.readout, self.weight, self.bias)
        return copy_loss_sum(_wide(logits), self.gate(read.inputs), weights, copied, target, label_smoothing)

    def gate(self, inputs: Float[Tensor, "*N F"]) -> Float[Tensor, "*N"]:
        """Return the logit of g_t."""
        return _wide(inputs @ self.gate_weight + self.gate_bias)


def mixture(
    logits: Float[Tensor, "*N V"],
    gate: Float[Tensor, "*N"],
    weights: Float[Tensor, "*N T"],
    copied: Int[Tensor, "B T"],
) -> Float[Tensor, "*N VX"]:
    """Return log p of every symbol, (27); -inf for an id above the vocabulary that does not occur in the source.

    The sum of the attention weights is at least the smallest normal number where the symbol occurs, so that no gradient
    is NaN when all its weights are 0.

    Args:
        logits: W_p r_t + b_p; (B, V), or (B, U, V) for U steps of each source.
        gate: logit of g_t.
        weights: α_tj, 0 at padding.
        copied: the id that a copy of each source symbol has, <pad> at padding.
    """
    size = logits.shape[-1]
    total = max(size, int(copied.max()) + 1)
    rows = copied[:, None] if logits.ndim == 3 else copied
    sums = weights.new_zeros(*weights.shape[:-1], total).scatter_add(-1, rows.expand(weights.shape), weights)
    occurs = torch.zeros(*rows.shape[:-1], total, dtype=torch.bool, device=copied.device)
    occurs = occurs.scatter(-1, rows, True).index_fill(-1, torch.tensor(PAD, device=copied.device), False)
    copy = _log_of(sums) + F.logsigmoid(-gate)[..., None]
    generate = torch.log_softmax(logits, -1) + F.logsigmoid(gate)[..., None]
    known = torch.logaddexp(generate, copy[..., :size]).where(occurs[..., :size], generate)
    return torch.cat([known, copy[..., size:].where(occurs[..., size:], -torch.inf)], -1)


def copy_loss_sum(
    logits: Float[Tensor, "B U V"],
    gate: Float[Tensor, "B U"],
    weights: Float[Tensor, "B U T"],
    copied: Int[Tensor, "B T"],
    target: Int[Tensor, "B U"],
    label_smoothing: float,
) -> Float[Tensor, ""]:
    """Return -Σ log p over the batch's real symbols, (27), without computing p of the other symbols.

    With label smoothing s a symbol adds -(1 - s) log p(y) - s/V Σ_v log p_vocab(v): the share that is spread evenly
    goes to the vocabulary alone, so it does not weigh generating against copying.

    Args:
        logits: as in `mixture`, like the next three.
        gate: likewise.
        weights: likewise.
        copied: likewise.
        target: gold symbols, padded with <pad>; an id above the vocabulary must occur in its source.
        label_smoothing: s.
    """
    size = logits.shape[2]
    norm = logits.logsumexp(2)
    known = target < size
    gold = logits.gather(2, target.where(known, 0)[:, :, None])[..., 0]
    generate = (gold - norm + F.logsigmoid(gate)).where(known, -torch.inf)
    places = (copied[:, None] == target[:, :, None]) & (target != PAD)[:, :, None]  # (B, U, T)
    copy = _log_of((weights * places).sum(2)) + F.logsigmoid(-gate)
    log_p = _log_sum(generate, copy, known, places.any(2))
    each = (1 - label_smoothing) * log_p
    if label_smoothing:
        each = each + label_smoothing * (logits.mean(2) - norm)
    return -each.where(target != PAD, 0).sum()


def _log_sum(generate: Tensor, copy: Tensor, known: Bool[Tensor, "B U"], occurs: Bool[Tensor, "B U"]) -> Tensor:
    """Return log(e^generate + e^copy), or one of the two where the symbol cannot be generated or copied."""
    both = torch.logaddexp(generate.where(known, 0), copy)
    return both.where(known, copy).where(occurs, generate)


def _log_of(sums: Tensor) -> Tensor:
    """Return the logarithm of sums of attention weights; see `mixture`."""
    return sums.clamp(min=torch.finfo(sums.dtype).tiny).log()


def _copied(read: Readouts) -> tuple[Tensor, Tensor]:
    """Return the attention weights, at least in float32, and what they copy."""
    assert read.weights is not None
    assert read.copied is not None
    return _wide(read.weights), read.copied


def _wide(x: Tensor) -> Tensor:
    """Return numbers at least in float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
