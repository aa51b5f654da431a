"""Lists plausible ways to copy that are wrong in one place each; the suite must reject all of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wrong:
    """Describes a replacement in the source of a function of `peephole.nn.copying` and where it is noticed first."""

    name: str
    right: str
    wrong: str
    seen_in: str


MIXTURE, GRADIENT = "log p", "gradient of"

WRONG_MIXTURES = (
    Wrong("the gate is reversed", "F.logsigmoid(-gate)[..., None]", "F.logsigmoid(gate)[..., None]", MIXTURE),
    Wrong("the gate generates too little", "+ F.logsigmoid(gate)[..., None]", "", MIXTURE),
    Wrong(
        "attention copies without the gate", "_log_of(sums) + F.logsigmoid(-gate)[..., None]", "_log_of(sums)", MIXTURE
    ),
    Wrong(
        "copies by position, not by identity",
        "scatter_add(-1, rows.expand(weights.shape), weights)",
        "scatter_add(-1, torch.arange(weights.shape[-1]).clamp(max=total - 1).expand(weights.shape), weights)",
        MIXTURE,
    ),
    Wrong("a symbol that occurs twice is copied once", "scatter_add(-1,", "scatter(-1,", MIXTURE),
    Wrong(
        "a sum of logarithms", "torch.logaddexp(generate, copy[..., :size])", "(generate + copy[..., :size])", MIXTURE
    ),
    Wrong("the larger of the two", "torch.logaddexp(", "torch.maximum(", MIXTURE),
    Wrong(
        "ids above the vocabulary begin one too late",
        "copy[..., size:].where(",
        "copy[..., size:].roll(1, -1).where(",
        MIXTURE,
    ),
    Wrong("symbols of other sources are copied", "occurs[..., size:]", "occurs[..., size:] | True", MIXTURE),
    Wrong("the scores are not normalised", "torch.log_softmax(logits, -1)", "logits", MIXTURE),
    Wrong("copies are from the source before", "rows = copied[:, None]", "rows = copied.roll(1, 0)[:, None]", MIXTURE),
    Wrong("no gradient of the weights", "_log_of(sums)", "_log_of(sums.detach())", f"{GRADIENT} weights"),
    Wrong(
        "no gradient of the gate where it copies",
        "F.logsigmoid(-gate)",
        "F.logsigmoid(-gate.detach())",
        f"{GRADIENT} gate",
    ),
    Wrong(
        "no gradient of the gate where it generates",
        "F.logsigmoid(gate)",
        "F.logsigmoid(gate.detach())",
        f"{GRADIENT} gate",
    ),
)

WRONG_LOSSES = (
    Wrong("the gate is reversed", "F.logsigmoid(-gate)", "F.logsigmoid(gate)", "loss"),
    Wrong("generates without the gate", "gold - norm + F.logsigmoid(gate)", "gold - norm", "loss"),
    Wrong("copies without the gate", " + F.logsigmoid(-gate)", "", "loss"),
    Wrong(
        "copies by position, not by identity",
        "copied[:, None] == target[:, :, None]",
        "torch.arange(copied.shape[1]) == (target % copied.shape[1])[:, :, None]",
        "loss",
    ),
    Wrong(
        "a symbol that occurs twice is copied once", "(weights * places).sum(2)", "(weights * places).amax(2)", "loss"
    ),
    Wrong("attention to other symbols copies, too", "(weights * places).sum(2)", "weights.sum(2)", "loss"),
    Wrong("symbols of other sources", "(copied[:, None] ==", "(copied.roll(1, 0)[:, None] ==", "loss"),
    Wrong("padding counts", "-each.where(target != PAD, 0).sum()", "-each.sum()", "loss"),
    Wrong("</s> does not count", "-each.where(target != PAD, 0)", "-each.where(target > 2, 0)", "loss"),
    Wrong("a mean", "target != PAD, 0).sum()", "target != PAD, 0).mean()", "loss"),
    Wrong("the gold symbol keeps its whole share", "(1 - label_smoothing) * log_p", "log_p", "loss"),
    Wrong("labels smoothed over a sum", "logits.mean(2)", "logits.sum(2)", "loss"),
    Wrong("labels smoothed by scores", "(logits.mean(2) - norm)", "logits.mean(2)", "loss"),
    Wrong(
        "no gradient of the weights",
        "_log_of((weights * places)",
        "_log_of((weights.detach() * places)",
        f"{GRADIENT} weights",
    ),
    Wrong(
        "no gradient of the softmax's denominator",
        "norm = logits.logsumexp(2)",
        "norm = logits.logsumexp(2).detach()",
        f"{GRADIENT} logits",
    ),
    Wrong(
        "no gradient of the gate where it copies",
        "F.logsigmoid(-gate)",
        "F.logsigmoid(-gate.detach())",
        f"{GRADIENT} gate",
    ),
)

WRONG_SUMS = (
    Wrong("a sum of logarithms", "torch.logaddexp(generate.where(known, 0), copy)", "(generate + copy)", "loss"),
    Wrong(
        "the larger of the two",
        "torch.logaddexp(generate.where(known, 0), copy)",
        "torch.maximum(generate, copy)",
        "loss",
    ),
    Wrong("an id above the vocabulary is generated, too", "both.where(known, copy)", "both", "loss"),
    Wrong("a symbol that occurs is only copied", "both.where(known, copy)", "copy", "loss"),
    Wrong(
        "a symbol that can be generated is never copied",
        "both.where(known, copy).where(occurs, generate)",
        "copy.where(~known, generate)",
        "loss",
    ),
)
