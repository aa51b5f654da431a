"""Lists plausible decoders with input feeding, (62), wrong in one place each; the suite must reject all."""

from __future__ import annotations

from .network_checks import check_dropout
from .wrong_networks import FIXED, GRU, LSTM, Wrong

FEEDING = tuple({**kind, "input_feeding": True} for kind in (LSTM, GRU, *FIXED))
JOINED = "x = torch.cat([x, r], 1)"

WRONG_FEEDINGS = (
    Wrong("0 is fed at every step", JOINED, "x = torch.cat([x, torch.zeros_like(r)], 1)", FEEDING),
    Wrong("r_0 is 1", 'len(weights["decoder.readout.bias"]))', 'len(weights["decoder.readout.bias"])) + 1', FEEDING),
    Wrong("feeds s_{t-1}", JOINED, "x = torch.cat([x, states[-1][0] if t else r], 1)", FEEDING),
    Wrong("feeds without tanh", JOINED, "x = torch.cat([x, r.atanh()], 1)", FEEDING),
    Wrong("fed before the context", JOINED, "x = torch.cat([y, r, context], 1)", FEEDING),
    Wrong("fed before the embedding", JOINED, "x = torch.cat([r, x], 1)", FEEDING),
    Wrong(
        "feeds the mean of all steps so far",
        JOINED,
        "total = total + r if t else r; x = torch.cat([x, total / max(t, 1)], 1)",
        FEEDING,
    ),
    Wrong("feeds what the pair before it read", JOINED, "x = torch.cat([x, r.roll(1, 0)], 1)", FEEDING),
    Wrong(
        "also fed to the query of attention",
        "context = attend(states[-1][0], y)",
        "context = attend(states[-1][0] + r, y)",
        FEEDING[:2],
    ),
    Wrong(
        "no gradient from step to step",
        JOINED,
        "x = torch.cat([x, r.detach()], 1)",
        FEEDING,
        seen_in="gradient of",
    ),
    Wrong(
        "feeds r_t without its dropout",
        'r = drop("readout", r, t)\n        logits.append(linear(weights, "decoder.output", r))',
        'logits.append(linear(weights, "decoder.output", drop("readout", r, t)))',
        FEEDING,
        seen_in="log p",
        check=check_dropout,
    ),
    Wrong(
        "dropout again where it is fed",
        JOINED,
        'x = torch.cat([x, drop("readout", r, t)], 1)',
        FEEDING,
        seen_in="log p",
        check=check_dropout,
    ),
)
