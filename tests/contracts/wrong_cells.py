"""Lists plausible recurrent layers that are wrong in one line each; the contract suite must reject all of them.

Each wrong layer is the correct one below with one piece of its source replaced, so that the error is easy to see.
Most of these errors occur in public code, or would pass its tests.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from peephole.nn import GRUWeights, LSTMState, LSTMWeights

from .checks import PEEPHOLES


def right_lstm(
    x: Tensor, lengths: Tensor, state: LSTMState, weights: LSTMWeights, *, reverse: bool = False
) -> tuple[Tensor, LSTMState]:
    W_x, W_h, b, W_c = weights
    steps = torch.arange(x.shape[1]).expand(x.shape[:2])
    valid = (steps < lengths[:, None])[:, :, None]
    order = steps.where(~valid[:, :, 0], lengths[:, None] - 1 - steps) if reverse else steps
    x = in_order(x, order).where(valid, 0)
    (h, c), outputs = state, []
    for t in range(x.shape[1]):
        i, f, g, o = (x[:, t] @ W_x.T + h @ W_h.T + b).chunk(4, dim=1)
        W_ci, W_cf, W_co = peepholes(W_c, h)
        i = torch.sigmoid(i + c @ W_ci)
        f = torch.sigmoid(f + c @ W_cf)
        g = torch.tanh(g)
        c_t = f * c + i * g
        o = torch.sigmoid(o + c_t @ W_co)
        h_t = o * torch.tanh(c_t)
        out = h_t.where(valid[:, t], 0)
        h, c = h_t.where(valid[:, t], h), c_t.where(valid[:, t], c)
        outputs.append(out)
    out = in_order(torch.stack(outputs, dim=1), order)
    return out, LSTMState(h, c)


def right_gru(
    x: Tensor, lengths: Tensor, h: Tensor, weights: GRUWeights, *, reverse: bool = False
) -> tuple[Tensor, Tensor]:
    W_x, W_h, b_x, b_h = weights
    steps = torch.arange(x.shape[1]).expand(x.shape[:2])
    valid = (steps < lengths[:, None])[:, :, None]
    order = steps.where(~valid[:, :, 0], lengths[:, None] - 1 - steps) if reverse else steps
    x = in_order(x, order).where(valid, 0)
    outputs = []
    for t in range(x.shape[1]):
        x_r, x_z, x_n = (x[:, t] @ W_x.T + b_x).chunk(3, dim=1)
        h_r, h_z, h_n = (h @ W_h.T + b_h).chunk(3, dim=1)
        r = torch.sigmoid(x_r + h_r)
        z = torch.sigmoid(x_z + h_z)
        n = torch.tanh(x_n + r * h_n)
        h_t = (1 - z) * n + z * h
        out = h_t.where(valid[:, t], 0)
        h = h_t.where(valid[:, t], h)
        outputs.append(out)
    out = in_order(torch.stack(outputs, dim=1), order)
    return out, h


def in_order(sequence: Tensor, order: Tensor) -> Tensor:
    """Return the steps of (B, T, F) permuted by `order` (B, T), which is its own inverse."""
    return sequence.gather(1, order[:, :, None].expand(sequence.shape))


def peepholes(W_c: Tensor | None, h: Tensor) -> tuple[Tensor, ...]:
    """Return the transposed matrices W_ci, W_cf and W_co."""
    if W_c is None:
        return (h.new_zeros(h.shape[1], h.shape[1]),) * 3
    if W_c.shape[0] == 3:
        return tuple(torch.diag(row) for row in W_c)
    return tuple(W.T for W in W_c.chunk(3))


@dataclass(frozen=True)
class Wrong:
    """Describes a replacement in the source of a correct layer and the cases whose results it changes."""

    name: str
    right: str
    wrong: str
    forms: tuple[str, ...] = PEEPHOLES
    reverse: bool | None = None  # None: wrong in both directions
    padding: float = 9.0
    seen_in: str = ""  # the start of the first failure's message, for errors that values alone cannot reveal


WITH = ("full", "diagonal")
NAN = float("nan")

WRONG_LSTMS = (
    Wrong("i and o swapped", "i, f, g, o = (", "o, f, g, i = ("),
    Wrong("f and i swapped", "i, f, g, o = (", "f, i, g, o = ("),
    Wrong("gates in the order of ONNX", "i, f, g, o = (", "i, o, f, g = ("),
    Wrong("gates in the order of Haiku", "i, f, g, o = (", "i, g, f, o = ("),
    Wrong("gates in the order of thinc", "i, f, g, o = (", "f, i, o, g = ("),
    Wrong("g with sigmoid", "g = torch.tanh(g)", "g = torch.sigmoid(g)"),
    Wrong("g without tanh", "g = torch.tanh(g)", "pass"),
    Wrong("h without tanh", "o * torch.tanh(c_t)", "o * c_t"),
    Wrong("i is 1 - f", "i = torch.sigmoid(i + c @ W_ci)", "i = 1 - torch.sigmoid(f + c @ W_cf)"),
    Wrong("1 added to the forget gate's bias", "torch.sigmoid(f +", "torch.sigmoid(1 + f +"),
    Wrong("c_{t-1} in the output gate", "o + c_t @ W_co", "o + c @ W_co", WITH),
    Wrong("h_{t-1} in the peephole of i", "i + c @ W_ci", "i + h @ W_ci", WITH),
    Wrong("tanh(c_t) in the peephole of o", "o + c_t @ W_co", "o + torch.tanh(c_t) @ W_co", WITH),
    Wrong("peephole of i dropped", "i + c @ W_ci", "i", WITH),
    Wrong("peephole of f dropped", "f + c @ W_cf", "f", WITH),
    Wrong("peephole of o dropped", "o + c_t @ W_co", "o", WITH),
    Wrong("peepholes of i and f swapped", "W_ci, W_cf, W_co =", "W_cf, W_ci, W_co =", WITH),
    Wrong("peepholes in the order of ONNX", "W_ci, W_cf, W_co =", "W_ci, W_co, W_cf =", WITH),
    Wrong("peephole of i transposed", "c @ W_ci", "c @ W_ci.T", ("full",)),
    Wrong("peephole of f transposed", "c @ W_cf", "c @ W_cf.T", ("full",)),
    Wrong("peephole of o transposed", "c_t @ W_co", "c_t @ W_co.T", ("full",)),
    Wrong("only the diagonal of a full peephole", "c_t @ W_co", "c_t * W_co.diagonal()", ("full",)),
    Wrong("recurrent weights transposed", "h @ W_h.T", "torch.cat([h @ W for W in W_h.chunk(4)], 1)"),
    Wrong("bias missing", " + b).chunk", ").chunk"),
    Wrong("bias of o missing", " + b).chunk", " + b * (torch.arange(len(b)) < len(b) * 3 / 4)).chunk"),
    Wrong("initial state ignored", "(h, c), outputs = state", "(h, c), outputs = [0 * s for s in state]"),
    Wrong("initial h ignored", "(h, c), outputs = state", "(h, c), outputs = (0 * state.h, state.c)"),
    Wrong("initial c ignored", "(h, c), outputs = state", "(h, c), outputs = (state.h, 0 * state.c)"),
    Wrong("initial h and c swapped", "(h, c), outputs = state", "(c, h), outputs = state"),
    Wrong("final h and c swapped", "LSTMState(h, c)", "LSTMState(c, h)"),
    Wrong("h moves past the length", "h_t.where(valid[:, t], h)", "h_t"),
    Wrong("c moves past the length", "c_t.where(valid[:, t], c)", "c_t"),
    Wrong("final h is the last column", "LSTMState(h, c)", "LSTMState(out[:, -1], c)"),
    Wrong("output not zeroed past the length", "h_t.where(valid[:, t], 0)", "h_t"),
    Wrong("output repeated past the length", "h_t.where(valid[:, t], 0)", "h_t.where(valid[:, t], h)"),
    Wrong("one step too few is read", "steps < lengths[:, None]", "steps < lengths[:, None] - 1"),
    Wrong("all as long as the longest", "steps < lengths[:, None]", "steps < lengths.max()", reverse=False),
    Wrong("backward starts at padding", "lengths[:, None] - 1 - steps", "x.shape[1] - 1 - steps", reverse=True),
    Wrong("backward reads forward", " if reverse else steps", " if False else steps", reverse=True),
    Wrong("forward reads backward", " if reverse else steps", " if True else steps", reverse=False),
    Wrong("backward outputs not reversed back", "dim=1), order)", "dim=1), steps)", reverse=True),
    Wrong("padding times 0, also NaN", ".where(valid, 0)", " * valid", padding=NAN, seen_in="gradient"),
    Wrong("no gradient by the peephole of i", "i + c @", "i + c.detach() @", WITH, seen_in="gradient"),
    Wrong("no gradient by the peephole of f", "f + c @", "f + c.detach() @", WITH, seen_in="gradient"),
    Wrong("no gradient by c_t in the output gate", "+ c_t @", "+ c_t.detach() @", WITH, seen_in="gradient"),
    Wrong("no gradient by h through time", "h @ W_h.T", "h.detach() @ W_h.T", seen_in="gradient"),
    Wrong("no gradient by c through time", "f * c + i", "f * c.detach() + i", seen_in="gradient"),
    Wrong("no gradient of W_co", "@ W_co", "@ W_co.detach()", WITH, seen_in="gradient"),
    Wrong("no gradient of the bias", " + b).chunk", " + b.detach()).chunk", seen_in="gradient"),
    Wrong(
        "gradient of outputs past the length",
        "h_t.where(valid[:, t], 0)",
        "h_t - h_t.where(~valid[:, t], 0).detach()",
        seen_in="gradient",
    ),
)

WRONG_GRUS = (
    Wrong("r and z swapped", "n = torch.tanh(x_n", "r, z = z, r; n = torch.tanh(x_n"),
    Wrong("z and 1 - z swapped", "(1 - z) * n + z * h", "z * n + (1 - z) * h"),
    Wrong("r before the product", "r * h_n", "((r * h) @ W_h.T + b_h).chunk(3, dim=1)[2]"),
    Wrong("r before the bias", "r * h_n", "r * h_n + (1 - r) * b_h.chunk(3)[2]"),
    Wrong("r missing", "r * h_n", "h_n"),
    Wrong("n with sigmoid", "torch.tanh(", "torch.sigmoid("),
    Wrong("input bias missing", " + b_x).chunk", ").chunk"),
    Wrong("recurrent bias missing", " + b_h).chunk", ").chunk"),
    Wrong("recurrent weights transposed", "h @ W_h.T", "torch.cat([h @ W for W in W_h.chunk(3)], 1)"),
    Wrong("initial state ignored", "outputs = []", "outputs, h = [], 0 * h"),
    Wrong("h moves past the length", "h_t.where(valid[:, t], h)", "h_t"),
    Wrong("output not zeroed past the length", "h_t.where(valid[:, t], 0)", "h_t"),
    Wrong("backward starts at padding", "lengths[:, None] - 1 - steps", "x.shape[1] - 1 - steps", reverse=True),
    Wrong("backward outputs not reversed back", "dim=1), order)", "dim=1), steps)", reverse=True),
    Wrong("padding times 0, also NaN", ".where(valid, 0)", " * valid", padding=NAN, seen_in="gradient"),
    Wrong("no gradient by h in n", "r * h_n", "r * h_n.detach()", seen_in="gradient"),
    Wrong("no gradient by h through z", "z * h", "z * h.detach()", seen_in="gradient"),
)
