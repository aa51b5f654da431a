"""Lists plausible CTC losses that are wrong in one place each; the suite must reject all of them."""

from __future__ import annotations

import torch

from .wrong_losses import Wrong

PAD, EOS, BLANK = 0, 2, 0
IMPOSSIBLE = -1e30  # in place of -inf, whose gradients are NaN


def right_ctc_loss(log_probs, lengths, target):
    """Return -Σ log p_ctc(Y | X), (32), of the pairs that have a path, state by state."""
    total = log_probs.new_zeros(())
    for b in range(len(target)):
        symbols = target[b, : int((target[b] != PAD).sum()) - 1].tolist()
        y = log_probs[b, : int(lengths[b])]
        extended = [BLANK]
        for symbol in symbols:
            extended += [symbol, BLANK]
        alpha = [y[0, symbol] if s < 2 else y[0, 0] * 0 + IMPOSSIBLE for s, symbol in enumerate(extended)]
        for t in range(1, len(y)):
            before, alpha = alpha, []
            for s, symbol in enumerate(extended):
                reached = [before[s]]
                if s >= 1:
                    reached.append(before[s - 1])
                if s >= 2 and symbol != BLANK and symbol != extended[s - 2]:
                    reached.append(before[s - 2])
                alpha.append(torch.logsumexp(torch.stack(reached), 0) + y[t, symbol])
        log_prob = torch.logsumexp(torch.stack(alpha[-2:]), 0)
        if log_prob > IMPOSSIBLE / 2:
            total = total - log_prob
    return total


SKIP = "if s >= 2 and symbol != BLANK and symbol != extended[s - 2]:"
SYMBOLS = "target[b, : int((target[b] != PAD).sum()) - 1]"

WRONG_CTC_LOSSES = (
    # -- paths
    Wrong("no blank between equal neighbours", SKIP, "if s >= 2 and symbol != BLANK:"),
    Wrong("a blank between all neighbours", SKIP, "if False:"),
    Wrong("symbols may be left out", SKIP, "if s >= 2 and (symbol == BLANK or symbol != extended[s - 2]):"),
    Wrong(
        "a symbol may not be repeated",
        "reached = [before[s]]",
        "reached = [before[s] if symbol == BLANK else before[s] * 0 - 1e30]",
    ),
    Wrong("paths begin with blank", "if s < 2 else", "if s < 1 else"),
    Wrong("paths begin anywhere", "if s < 2 else", "if s < 4 else"),
    Wrong("paths end with blank", "alpha[-2:]", "alpha[-1:]"),
    Wrong("paths end with the last symbol", "alpha[-2:]", "alpha[-2:][:1]"),
    Wrong("the best path only", "torch.logsumexp(torch.stack(reached), 0)", "torch.stack(reached).amax(0)"),
    Wrong("the first output counts twice", "range(1, len(y))", "range(len(y))"),
    Wrong("the output before", "y[t, symbol])", "y[t - 1, symbol])"),
    # -- blank
    Wrong("blank is the last symbol", "extended = [BLANK]", "BLANK = log_probs.shape[2] - 1; extended = [BLANK]"),
    Wrong("blank is </s>", "extended = [BLANK]", "BLANK = EOS; extended = [BLANK]"),
    # -- lengths and targets
    Wrong("padded outputs count", "y = log_probs[b, : int(lengths[b])]", "y = log_probs[b].nan_to_num(-1.5)"),
    Wrong("the last output is left out", ": int(lengths[b])]", ": max(1, int(lengths[b]) - 1)]"),
    Wrong("</s> is part of the target", SYMBOLS, "target[b, : int((target[b] != PAD).sum())]"),
    Wrong("the last symbol is left out", SYMBOLS, "target[b, : max(0, int((target[b] != PAD).sum()) - 2)]"),
    Wrong("the longest target's length for all", SYMBOLS, "target[b, : int((target != PAD).sum(1).max()) - 1]"),
    Wrong("the target is read backwards", ".tolist()", ".flip(0).tolist()"),
    # -- sum
    Wrong("sign", "total - log_prob", "total + log_prob"),
    Wrong("targets without a path count", "if log_prob > IMPOSSIBLE / 2:", "if True:"),
    Wrong("long targets are left out", "if log_prob > IMPOSSIBLE / 2:", "if 2 * len(symbols) < len(y):"),
    Wrong("divided by the length of the target", "total - log_prob", "total - log_prob / max(1, len(symbols))"),
    Wrong("a mean over pairs", "return total", "return total / len(target)"),
    # -- gradients
    Wrong(
        "no gradient of blank",
        "y[t, symbol])",
        "(y[t, symbol] if symbol != BLANK else y[t, symbol].detach()))",
        "gradient",
    ),
    Wrong(
        "no gradient of the past",
        "before, alpha = alpha, []",
        "before, alpha = [a.detach() for a in alpha], []",
        "gradient",
    ),
)

JOINT = "(1 - ctc_weight) * loss + ctc_weight * self.ctc.loss_sum(outputs, encoded.lengths, target)"
SWAPPED = JOINT.replace("(1 - ctc_weight) * loss + ctc_weight", "ctc_weight * loss + (1 - ctc_weight)")
DROPPED = 'noise.dropout(encoded.outputs, "ctc")'

WRONG_JOINT_LOSSES = (
    Wrong(
        "weights swapped",
        JOINT,
        JOINT.replace("(1 - ctc_weight)", "ctc_weight", 1).replace("+ ctc_weight", "+ (1 - ctc_weight)"),
    ),
    Wrong("added to the whole attention loss", "(1 - ctc_weight) * loss", "loss"),
    Wrong("no weight", "+ ctc_weight * self.ctc", "+ self.ctc"),
    Wrong("attention alone", "if encoded is None or self.ctc is None or not ctc_weight:", "if True:"),
    Wrong("a mean", JOINT, f"({JOINT}) / len(target)"),
    Wrong("the source's lengths", "encoded.lengths, target)", "source_lengths.clamp(max=outputs.shape[1]), target)"),
    Wrong("no dropout", DROPPED, "encoded.outputs"),
    Wrong(
        "dropout of another site",
        'noise.dropout(encoded.outputs, "ctc")',
        'noise.dropout(encoded.outputs, "between layers 1")',
    ),
    Wrong(
        "no gradient to the encoder", "self.ctc.loss_sum(outputs,", "self.ctc.loss_sum(outputs.detach(),", "gradient"
    ),
)
"""In `Seq2Seq.loss_sum`."""
