"""Lists plausible layer normalisations, (44)-(46), that are wrong in one place each; the suite must reject them all."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from peephole.nn import GRUWeights, LSTMState, LSTMWeights
from peephole.nn.normalization import CellNorm

from .checks import PEEPHOLES
from .wrong_cells import peepholes


def right_norm_lstm(
    x: Tensor, lengths: Tensor, state: LSTMState, weights: LSTMWeights, *, reverse: bool = False, norm: CellNorm
) -> tuple[Tensor, LSTMState]:
    W_x, W_h, b, W_c = weights
    W_ci, W_cf, W_co = peepholes(W_c, state.h)
    b_i, b_f, b_g, b_o = b.chunk(4)
    gain_i, gain_f, gain_g, gain_o = norm.gain.chunk(4)
    outputs, finals = [], []
    for row, length in enumerate(lengths.tolist()):
        h, c = state.h[row], state.c[row]
        out = [torch.zeros_like(h)] * x.shape[1]
        for t in reversed(range(length)) if reverse else range(length):
            i, f, g, o = (x[row, t] @ W_x.T + h @ W_h.T).chunk(4)
            i = torch.sigmoid(scaled(i + c @ W_ci) * gain_i + b_i)
            f = torch.sigmoid(scaled(f + c @ W_cf) * gain_f + b_f)
            g = torch.tanh(scaled(g) * gain_g + b_g)
            c_t = f * c + i * g
            o = torch.sigmoid(scaled(o + c_t @ W_co) * gain_o + b_o)
            h_t = o * torch.tanh(scaled(c_t) * norm.cell_gain + norm.cell_bias)
            out[t] = h_t
            h, c = h_t, c_t
        outputs.append(torch.stack(out))
        finals.append((h, c))
    return torch.stack(outputs), LSTMState(*(torch.stack(parts) for parts in zip(*finals, strict=True)))


def right_norm_gru(
    x: Tensor, lengths: Tensor, state: Tensor, weights: GRUWeights, *, reverse: bool = False, norm: CellNorm
) -> tuple[Tensor, Tensor]:
    W_x, W_h, b_x, b_h = weights
    (b_xr, b_xz, b_xn), (b_hr, b_hz, b_hn) = b_x.chunk(3), b_h.chunk(3)
    gain_r, gain_z, gain_n = norm.gain.chunk(3)
    outputs, finals = [], []
    for row, length in enumerate(lengths.tolist()):
        h = state[row]
        out = [torch.zeros_like(h)] * x.shape[1]
        for t in reversed(range(length)) if reverse else range(length):
            x_r, x_z, x_n = (x[row, t] @ W_x.T).chunk(3)
            h_r, h_z, h_n = (h @ W_h.T).chunk(3)
            r = torch.sigmoid(scaled(x_r + h_r) * gain_r + b_xr + b_hr)
            z = torch.sigmoid(scaled(x_z + h_z) * gain_z + b_xz + b_hz)
            n = torch.tanh(scaled(x_n + r * (h_n + b_hn)) * gain_n + b_xn)
            h = (1 - z) * n + z * h
            out[t] = h
        outputs.append(torch.stack(out))
        finals.append(h)
    return torch.stack(outputs), torch.stack(finals)


def scaled(z: Tensor) -> Tensor:
    """Return (z - μ) / √(σ² + ε)."""
    centred = z - z.mean()
    return centred / torch.sqrt(centred.square().mean() + 1e-5)


@dataclass(frozen=True)
class Wrong:
    """Describes a replacement in the source of a right function, and the forms of peepholes that it changes."""

    name: str
    right: str
    wrong: str
    forms: tuple[str, ...] = PEEPHOLES
    seen_in: str = ""  # the start of the first failure's message


WITH = ("full", "diagonal")

WRONG_LSTMS = (
    Wrong("peephole of i outside", "scaled(i + c @ W_ci) * gain_i", "scaled(i) * gain_i + c @ W_ci", WITH),
    Wrong("peephole of f outside", "scaled(f + c @ W_cf) * gain_f", "scaled(f) * gain_f + c @ W_cf", WITH),
    Wrong("peephole of o outside", "scaled(o + c_t @ W_co) * gain_o", "scaled(o) * gain_o + c_t @ W_co", WITH),
    Wrong("peephole normalised apart", "scaled(i + c @ W_ci)", "(scaled(i) + scaled(c @ W_ci))", WITH),
    Wrong("peephole of the normalised cell", "c_t @ W_co", "scaled(c_t) @ W_co", WITH),
    Wrong(
        "products normalised apart",
        "(x[row, t] @ W_x.T + h @ W_h.T)",
        "(scaled(x[row, t] @ W_x.T) + scaled(h @ W_h.T))",
    ),
    Wrong("all gates together, too", "(x[row, t] @ W_x.T + h @ W_h.T)", "scaled(x[row, t] @ W_x.T + h @ W_h.T)"),
    Wrong("bias of i inside", "W_ci) * gain_i + b_i", "W_ci + b_i) * gain_i"),
    Wrong("bias of g inside", "scaled(g) * gain_g + b_g", "scaled(g + b_g) * gain_g"),
    Wrong("gains of i and f swapped", "gain_i, gain_f, gain_g, gain_o =", "gain_f, gain_i, gain_g, gain_o ="),
    Wrong("gains of f and o swapped", "gain_i, gain_f, gain_g, gain_o =", "gain_i, gain_o, gain_g, gain_f ="),
    Wrong("no gain of f", " * gain_f", ""),
    Wrong("g not normalised", "scaled(g) * gain_g", "g * gain_g"),
    Wrong("o not normalised", "scaled(o + c_t @ W_co)", "(o + c_t @ W_co)"),
    Wrong(
        "cell not normalised", "scaled(c_t) * norm.cell_gain + norm.cell_bias", "c_t * norm.cell_gain + norm.cell_bias"
    ),
    Wrong("no gain of the cell", " * norm.cell_gain", ""),
    Wrong("no bias of the cell", " + norm.cell_bias", ""),
    Wrong(
        "the state is the normalised cell",
        "h, c = h_t, c_t",
        "h, c = h_t, scaled(c_t) * norm.cell_gain + norm.cell_bias",
    ),
    Wrong("the cell is normalised before the output gate", "c_t = f * c + i * g", "c_t = scaled(f * c + i * g)"),
    Wrong("tanh before the normalisation", "torch.tanh(scaled(c_t)", "(scaled(torch.tanh(c_t))"),
    Wrong("h is normalised", "out[t] = h_t", "h_t = scaled(h_t); out[t] = h_t"),
    Wrong("no gradient of a gain", "* gain_i", "* gain_i.detach()", seen_in="gradient"),
    Wrong("no gradient by a peephole", "c_t @ W_co", "c_t.detach() @ W_co", WITH, seen_in="gradient"),
    Wrong("no gradient by the normalised cell", "scaled(c_t)", "scaled(c_t.detach())", seen_in="gradient"),
)

WRONG_GRUS = (
    Wrong("r outside", "scaled(x_n + r * (h_n + b_hn)) * gain_n", "scaled(x_n) * gain_n + r * (h_n + b_hn)"),
    Wrong("r after the normalisation of both", "x_n + r * (h_n + b_hn)", "x_n + r * scaled(h_n + b_hn)"),
    Wrong("recurrent bias of n outside r", "r * (h_n + b_hn)", "r * h_n + b_hn"),
    Wrong("recurrent bias of n after the normalisation", "(h_n + b_hn)) * gain_n", "h_n) * gain_n + r * b_hn"),
    Wrong("input bias of n inside", "* gain_n + b_xn", "* gain_n + b_xn - b_xn"),
    Wrong("biases of r inside", "scaled(x_r + h_r) * gain_r + b_xr + b_hr", "scaled(x_r + h_r + b_xr + b_hr) * gain_r"),
    Wrong("one bias of z", "+ b_xz + b_hz", "+ b_xz"),
    Wrong("products normalised apart", "scaled(x_z + h_z)", "(scaled(x_z) + scaled(h_z))"),
    Wrong("gains of r and z swapped", "gain_r, gain_z, gain_n =", "gain_z, gain_r, gain_n ="),
    Wrong("gains of z and n swapped", "gain_r, gain_z, gain_n =", "gain_r, gain_n, gain_z ="),
    Wrong("n not normalised", "scaled(x_n + r * (h_n + b_hn))", "(x_n + r * (h_n + b_hn))"),
    Wrong("no gradient of a gain", "* gain_n", "* gain_n.detach()", seen_in="gradient"),
)

WRONG_SCALES = (
    Wrong("mean not subtracted", "centred = z - z.mean()", "centred = z"),
    Wrong("mean of the squares of z", "centred.square().mean()", "z.square().mean()"),
    Wrong("unbiased variance", "centred.square().mean()", "centred.square().sum() / (len(z) - 1)"),
    Wrong("no ε", " + 1e-5", ""),
    Wrong("another ε", "1e-5", "1e-6"),
    Wrong(
        "ε on the deviation", "torch.sqrt(centred.square().mean() + 1e-5)", "(centred.square().mean().sqrt() + 1e-5)"
    ),
    Wrong(
        "variance in place of the deviation",
        "torch.sqrt(centred.square().mean() + 1e-5)",
        "(centred.square().mean() + 1e-5)",
    ),
    Wrong("no gradient by the mean", "z - z.mean()", "z - z.mean().detach()", seen_in="gradient"),
    Wrong(
        "no gradient by the deviation",
        "torch.sqrt(centred.square().mean() + 1e-5)",
        "torch.sqrt(centred.square().mean() + 1e-5).detach()",
        seen_in="gradient",
    ),
)
