"""Lists plausible queries of attention that reads the symbol fed, (67), wrong in one place each."""

from __future__ import annotations

from .wrong_networks import GRU, LSTM, Wrong

ASKING = tuple({**kind, "attention_symbol": True} for kind in (LSTM, GRU))
ATTEND = "attend(states[-1][0], y)"

WRONG_QUERIES = (
    Wrong("reads 0", ATTEND, "attend(states[-1][0], 0 * y)", ASKING),
    Wrong("reads the symbol of the step before", ATTEND, "attend(states[-1][0], embedded[:, max(t - 1, 0)])", ASKING),
    Wrong(
        "reads the symbol to be predicted",
        ATTEND,
        "attend(states[-1][0], embedded[:, min(t + 1, len(embedded[0]) - 1)])",
        ASKING,
    ),
    Wrong("reads the first symbol in every step", ATTEND, "attend(states[-1][0], embedded[:, 0])", ASKING),
    Wrong("reads the symbol of the pair before it", ATTEND, "attend(states[-1][0], y.roll(1, 0))", ASKING),
    Wrong("no gradient by the symbol", ATTEND, "attend(states[-1][0], y.detach())", ASKING, seen_in="gradient of"),
    Wrong("the state a second time", ATTEND, "attend(2 * states[-1][0], y)", ASKING),
)
