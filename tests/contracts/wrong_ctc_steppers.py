"""Lists prefix probabilities of CTC that are wrong in one place each; the suite must reject all of them."""

from __future__ import annotations

from typing import NamedTuple


class Wrong(NamedTuple):
    """Describes a replacement in the source of a function, or method, of `peephole.nn.ctc_stepper`."""

    name: str
    function: str
    right: str
    wrong: str


EITHER = "either)[:, :-1]"
SCAN = "(total + (started - before).logcumsumexp(1))"
PREFIX = "(before + emitted).logsumexp(1)"
ENDS = "torch.logaddexp(state.symbol.gather(1, ends), state.blank.gather(1, ends))"
PADDING = "valid_steps(lengths, log_probs.shape[1])"

WRONG_CTC_STEPPERS = (
    Wrong("an equal symbol needs no blank", "_paths_before", "(fed == state.last)[:, None]", "(fed < 0)[:, None]"),
    Wrong("every symbol needs a blank", "_paths_before", "(fed == state.last)[:, None]", "(fed > 0)[:, None]"),
    Wrong("paths before are one output late", "_paths_before", EITHER, "either)[:, 1:]"),
    Wrong("symbol and blank last one output", "_continue_paths", SCAN, "(started + log_probs)"),
    Wrong("paths continue after the end", "_continue_paths", ".where(real, -torch.inf)", ""),
    Wrong("the best path only", "_continue_paths", ".logcumsumexp(1)", ".cummax(1).values"),
    Wrong("started paths have one output less", "_continue_paths", "started - before", "started - total"),
    Wrong("no blank after a symbol", "extend", "blank=_continue_paths(", "blank=-torch.inf + _continue_paths("),
    Wrong("a blank stands beside its symbol", "extend", "symbol[:, :-1], log", "symbol[:, 1:], log"),
    Wrong("the last symbol is not kept", "extend", "last=fed", "last=state.last"),
    Wrong("the prefix's probability is not kept", "extend", f"prefix={PREFIX}", "prefix=state.prefix"),
    Wrong("the best place of a symbol only", "extend", PREFIX, "(before + emitted).amax(1)"),
    Wrong("a prefix's probability is that of the target", "extend", PREFIX, "symbol[:, -1]"),
    Wrong("an equal next needs no blank", "next_log_probs", "prefix.scatter(1,", "prefix; _ = prefix.scatter(1,"),
    Wrong("not divided by the prefix's probability", "next_log_probs", "(prefix - state.prefix[:, None])", "prefix"),
    Wrong("</s> as a symbol", "next_log_probs", "prefix[:, EOS] =", "_ ="),
    Wrong("blank as a symbol", "next_log_probs", "prefix[:, BLANK] =", "_ ="),
    Wrong("targets end with their last symbol", "next_log_probs", ENDS, "state.symbol.gather(1, ends)"),
    Wrong("targets end with blank", "next_log_probs", ENDS, "state.blank.gather(1, ends)"),
    Wrong("ends of the longest source", "next_log_probs", "lengths[state.source]", "lengths.max() + 0 * state.source"),
    Wrong("probabilities of another source", "next_log_probs", "probs[source]", "probs[source - 1]"),
    Wrong("paths ending with blank", "next_log_probs", "torch.logaddexp(state.symbol, state.blank)", "state.blank"),
    Wrong("padding is read", "CTCStepper.start", PADDING, "valid_steps(lengths + 1, log_probs.shape[1])"),
    Wrong("<s> is a symbol of the target", "CTCStepper.step", "if state.begun:", "if True:"),
    Wrong("the first symbol is left out", "CTCStepper.step", "begun=True", "begun=bool((state.last != 0).any())"),
    Wrong("rows keep their order", "CTCStepper.reorder", "name)[rows]", "name)[rows.sort().values]"),
)
