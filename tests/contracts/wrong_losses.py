"""Lists plausible losses that are wrong in one place each; the suite must reject all of them."""

from __future__ import annotations

import math  # noqa: F401  # used by replaced text
from dataclasses import dataclass

import torch
from torch.nn import functional as F

PAD, EOS = 0, 2


def right_loss(logits, target, label_smoothing):
    """Return -Σ log p(Y | X) over the real symbols of a batch, with labels smoothed over all V symbols."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    V = logits.shape[2]
    log_p = torch.log_softmax(logits, 2)
    gold = F.one_hot(target, V).to(logits.dtype)
    share = (1 - label_smoothing) * gold + label_smoothing / V
    real = target != PAD
    each = -(share * log_p).sum(2)
    return each.where(real, 0).sum()


@dataclass(frozen=True)
class Wrong:
    """Describes a replacement in the source of `right_loss` and the first quantity whose comparison fails."""

    name: str
    right: str
    wrong: str
    seen_in: str = "loss"


TOTAL = "each.where(real, 0).sum()"
SHARE = "+ label_smoothing / V"

WRONG_LOSSES = (
    # -- summation
    Wrong("padding counts", TOTAL, "each.sum()"),
    Wrong("a mean over all positions, padding too", TOTAL, "each.where(real, 0).mean()"),
    Wrong("a mean over padding, scaled by the number of real symbols", TOTAL, "each.mean() * real.sum()"),
    Wrong("a mean over real symbols", TOTAL, "each[real].mean()"),
    Wrong("a mean over pairs", TOTAL, "each.where(real, 0).sum() / len(target)"),
    Wrong("a mean over the symbols of each pair", TOTAL, "(each.where(real, 0).sum(1) / real.sum(1)).sum()"),
    Wrong("EOS does not count", "target != PAD", "(target != PAD) & (target != EOS)"),
    Wrong("the first symbol does not count", "target != PAD", "(target != PAD) & (torch.arange(target.shape[1]) > 0)"),
    Wrong("symbols up to the longest target count", "target != PAD", "(target != PAD).any(0).expand_as(target)"),
    Wrong("special symbols do not count", "target != PAD", "target > EOS"),
    Wrong("sign", "each = -(", "each = ("),
    # -- log-probabilities and targets
    Wrong("targets are one step late", "F.one_hot(target, V)", "F.one_hot(target.roll(1, 1), V)"),
    Wrong("probabilities in place of their logarithms", "log_softmax(logits, 2)", "softmax(logits, 2)"),
    Wrong("logits are taken for log-probabilities", "torch.log_softmax(logits, 2)", "logits"),
    Wrong("normalised over the steps", "log_softmax(logits, 2)", "log_softmax(logits, 1)"),
    Wrong("normalised over the batch", "log_softmax(logits, 2)", "log_softmax(logits, 0)"),
    Wrong("binary logarithm", "log_softmax(logits, 2)", "log_softmax(logits, 2) / math.log(2)"),
    Wrong("decimal logarithm", "log_softmax(logits, 2)", "log_softmax(logits, 2) / math.log(10)"),
    Wrong(
        "<pad> is left out of the softmax",
        "log_softmax(logits, 2)",
        "log_softmax(logits - 1e9 * F.one_hot(torch.tensor(PAD), V), 2).clamp(min=-99)",
    ),
    Wrong(
        "added up in the logits' own number format",
        "torch.promote_types(logits.dtype, torch.float32)",
        "logits.dtype",
        "type of the loss",
    ),
    Wrong(
        "float64 is rounded to float32",
        "torch.promote_types(logits.dtype, torch.float32)",
        "torch.float32",
        "type of the loss",
    ),
    # -- label smoothing
    Wrong("no label smoothing", SHARE, "+ label_smoothing * gold"),
    Wrong("labels smoothed over the other V - 1 symbols", SHARE, "+ label_smoothing / (V - 1) * (1 - gold)"),
    Wrong("labels smoothed by a share of V - 1 symbols", SHARE, "+ label_smoothing / (V - 1)"),
    Wrong("no smoothing mass on <pad>", SHARE, "+ label_smoothing / (V - 1) * (1 - F.one_hot(torch.tensor(PAD), V))"),
    Wrong("the gold symbol keeps its whole share", "(1 - label_smoothing) * gold", "gold"),
    Wrong("the share is that of the gold symbol", SHARE, "/ V + label_smoothing * (1 - 1 / V) * gold"),
    Wrong(
        "the divergence in place of the cross-entropy",
        "(share * log_p)",
        "(share * (log_p - share.clamp(min=1e-30).log()))",
    ),
    # -- gradients
    Wrong(
        "no gradient of the softmax's denominator",
        "log_p = torch.log_softmax(logits, 2)",
        "log_p = logits - logits.logsumexp(2, keepdim=True).detach()",
        "gradient",
    ),
    Wrong(
        "no gradient of the smoothing mass",
        "(share * log_p)",
        "((1 - label_smoothing) * gold * log_p + label_smoothing / V * log_p.detach())",
        "gradient",
    ),
    Wrong(
        "gradient of padding", "each.where(real, 0).sum()", "(each - each.where(~real, 0).detach()).sum()", "gradient"
    ),
)


def right_coverage_loss(weights, target):
    """Return Σ_i Σ_j min(α_ij, κ_ij) over the steps of real symbols, (23)."""
    total = weights.new_zeros(())
    for b in range(len(target)):
        coverage = weights.new_zeros(weights.shape[2])
        for i in range(int((target[b] != PAD).sum())):
            total = total + torch.minimum(weights[b, i], coverage).sum()
            coverage = coverage + weights[b, i]
    return total


WRONG_COVERAGE_LOSSES = (
    Wrong("padding counts", "int((target[b] != PAD).sum())", "target.shape[1]"),
    Wrong("</s> does not count", "int((target[b] != PAD).sum())", "int((target[b] > EOS).sum())"),
    Wrong("a maximum", "torch.minimum", "torch.maximum"),
    Wrong("a product", "torch.minimum(weights[b, i], coverage)", "(weights[b, i] * coverage)"),
    Wrong("the present step is covered, too", "weights[b, i], coverage)", "weights[b, i], coverage + weights[b, i])"),
    Wrong("coverage of the last step only", "coverage = coverage + weights[b, i]", "coverage = weights[b, i]"),
    Wrong("a mean over the source", "coverage).sum()", "coverage).mean()"),
    Wrong(
        "coverage over the batch",
        "        coverage = weights.new",
        "        coverage = weights[b - 1, 0] + weights.new",
    ),
    Wrong("no gradient by the coverage", "+ weights[b, i]\n", "+ weights[b, i].detach()\n", "gradient"),
    Wrong("no gradient by the weights", "minimum(weights[b, i],", "minimum(weights[b, i].detach(),", "gradient"),
)


def right_teacher_loss(logits, target, teacher):
    """Return -Σ_t Σ_k q_tk log p(y_tk) over the real steps, (69)."""
    total = logits.new_zeros(())
    for b, t in (target != PAD).nonzero().tolist():
        log_p = torch.log_softmax(logits[b, t], 0)
        for k in range(teacher.symbols.shape[2]):
            total = total - teacher.shares[b, t, k] * log_p[int(teacher.symbols[b, t, k])]
    return total


WRONG_TEACHER_LOSSES = (
    Wrong("padding counts", "(target != PAD)", "(target == target)"),
    Wrong("</s> does not count", "(target != PAD)", "(target > EOS)"),
    Wrong("the teacher of the step before", "teacher.symbols[b, t, k]", "teacher.symbols[b, t - 1, k]"),
    Wrong("shares of the next symbol", "teacher.shares[b, t, k]", "teacher.shares[b, t, k - 1]"),
    Wrong("the most probable symbol alone", "range(teacher.symbols.shape[2])", "range(1)"),
    Wrong("logarithms of the shares", "teacher.shares[b, t, k] *", "teacher.shares[b, t, k].clamp(min=1e-9).log() *"),
    Wrong("not normalised", "torch.log_softmax(logits[b, t], 0)", "logits[b, t]"),
    Wrong("a mean over the symbols", "    return total", "    return total / int((target != PAD).sum())"),
    Wrong("the divergence of the other direction", "- teacher.shares[b, t, k] *", "- logits[b, t].softmax(0)[k] *"),
    Wrong(
        "no gradient by the sum",
        "torch.log_softmax(logits[b, t], 0)",
        "logits[b, t] - logits[b, t].detach().logsumexp(0)",
        "gradient",
    ),
)


def right_consistency_loss(logits, target):
    """Return ½ Σ KL(p || q) + KL(q || p) over the real steps of both halves of the rows, (68)."""
    half = len(target) // 2
    log_p, log_q = (torch.log_softmax(rows, 2) for rows in (logits[:half], logits[half:]))
    p, q = log_p.exp(), log_q.exp()
    there = (p * (log_p - log_q)).sum(2)
    back = (q * (log_q - log_p)).sum(2)
    both = (there + back) / 2
    return both.where(target[:half] != PAD, 0).sum()


WRONG_CONSISTENCY_LOSSES = (
    Wrong("one direction alone", "(there + back) / 2", "there"),
    Wrong("the other direction alone", "(there + back) / 2", "back"),
    Wrong("no half", "(there + back) / 2", "there + back"),
    Wrong("their difference", "there + back", "there - back"),
    Wrong("padding counts", "both.where(target[:half] != PAD, 0).sum()", "both.sum()"),
    Wrong("</s> does not count", "!= PAD", "> EOS"),
    Wrong("a mean over the real symbols", "0).sum()", "0).sum() / (target[:half] != PAD).sum()"),
    Wrong("neighbouring rows are pairs", "(logits[:half], logits[half:])", "(logits[::2], logits[1::2])"),
    Wrong("another step of the second reading", "logits[half:])", "logits[half:].roll(1, 1))"),
    Wrong("another pair of the second reading", "logits[half:])", "logits[half:].roll(1, 0))"),
    Wrong("cross-entropy in place of the divergence", "p * (log_p - log_q)", "-p * log_q"),
    Wrong("squared differences", "(there + back) / 2", "((p - q) ** 2).sum(2)"),
    Wrong("binary logarithm", "(there + back) / 2", "(there + back) / 2 / math.log(2)"),
    Wrong("normalised over the steps", "log_softmax(rows, 2)", "log_softmax(rows, 1)"),
    Wrong("no gradient by the second reading", "log_q.exp()", "log_q.exp().detach()", "gradient"),
    Wrong("no gradient by the logarithms", "(log_p - log_q)", "(log_p - log_q).detach()", "gradient"),
    Wrong("no gradient by the probabilities", "p * (log_p", "p.detach() * (log_p", "gradient"),
)
