"""Lists plausible zoneouts, (43), that are wrong in one place each; the suite must reject them all."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from peephole.nn import LSTMState, LSTMWeights, lstm_cell


def right_zoneout(
    x: Tensor,
    lengths: Tensor,
    state: LSTMState,
    weights: LSTMWeights,
    *,
    reverse: bool = False,
    zoneout: tuple[Tensor | float, Tensor | float] = (0.0, 0.0),
) -> tuple[Tensor, LSTMState]:
    shape = (*x.shape[:2], state.h.shape[1])
    z_h, z_c = (torch.as_tensor(share, dtype=x.dtype).expand(shape) for share in zoneout)
    outputs, finals = [], []
    for b, length in enumerate(lengths.tolist()):
        h, c = state.h[b], state.c[b]
        out = [torch.zeros_like(h)] * x.shape[1]
        for t in reversed(range(length)) if reverse else range(length):
            new_h, new_c = (part[0] for part in lstm_cell(x[b, t][None], LSTMState(h[None], c[None]), weights))
            h_t = z_h[b, t] * h + (1 - z_h[b, t]) * new_h
            c_t = z_c[b, t] * c + (1 - z_c[b, t]) * new_c
            out[t] = h_t
            h, c = h_t, c_t
        outputs.append(torch.stack(out))
        finals.append((h, c))
    return torch.stack(outputs), LSTMState(*(torch.stack(parts) for parts in zip(*finals, strict=True)))


@dataclass(frozen=True)
class Wrong:
    """Describes a replacement in the source of `right_zoneout`."""

    name: str
    right: str
    wrong: str
    masked: bool | None = None  # None: wrong for masks and for rates
    seen_in: str = ""  # the start of the first failure's message


WRONG_ZONEOUTS = (
    Wrong("rates of h and c swapped", "z_h, z_c = (", "z_c, z_h = ("),
    Wrong(
        "h keeps the new share", "z_h[b, t] * h + (1 - z_h[b, t]) * new_h", "(1 - z_h[b, t]) * h + z_h[b, t] * new_h"
    ),
    Wrong(
        "c keeps the new share", "z_c[b, t] * c + (1 - z_c[b, t]) * new_c", "(1 - z_c[b, t]) * c + z_c[b, t] * new_c"
    ),
    Wrong("none of h", "z_h[b, t] * h + (1 - z_h[b, t]) * new_h", "new_h"),
    Wrong("none of c", "z_c[b, t] * c + (1 - z_c[b, t]) * new_c", "new_c"),
    Wrong("dropout of h", "z_h[b, t] * h + (1 -", "(1 -"),
    Wrong("dropout of c", "z_c[b, t] * c + (1 -", "(1 -"),
    Wrong("h of the kept cell", "h, c = h_t, c_t", "h, c = h_t * torch.tanh(c_t) / torch.tanh(new_c), c_t"),
    Wrong("the output is the cell's", "out[t] = h_t", "out[t] = new_h"),
    Wrong("only the output", "h, c = h_t, c_t", "h, c = new_h, c_t"),
    Wrong("c keeps h", "z_c[b, t] * c + (1", "z_c[b, t] * h + (1"),
    Wrong("the first state is kept", "z_c[b, t] * c + (1", "z_c[b, t] * state.c[b] + (1"),
    Wrong("one mask for all steps", "z_h[b, t] * h + (1 - z_h[b, t])", "z_h[b, 0] * h + (1 - z_h[b, 0])", masked=True),
    Wrong(
        "the mask of another sequence",
        "z_h[b, t] * h + (1 - z_h[b, t])",
        "z_h[0, t] * h + (1 - z_h[0, t])",
        masked=True,
    ),
    Wrong("what is kept has no gradient", "z_h[b, t] * h +", "z_h[b, t] * h.detach() +", seen_in="gradient"),
    Wrong("what is kept of c has no gradient", "z_c[b, t] * c +", "z_c[b, t] * c.detach() +", seen_in="gradient"),
)
