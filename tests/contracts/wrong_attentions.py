"""Lists plausible attentions that are wrong in one place each; the contract suite must reject all of them."""

from __future__ import annotations

import torch

KINDS = ("additive", "dot", "general")


def right_attention(query, memory, valid, *parameters):
    if len(parameters) == 3:
        W_s, W_h, v = parameters
        energy = torch.tanh((query @ W_s.T)[:, None] + memory @ W_h.T) @ v
    elif len(parameters) == 1:
        energy = ((query @ parameters[0])[:, None] * memory).sum(2)
    else:
        energy = (query[:, None] * memory).sum(2)
    weights = torch.softmax(energy.masked_fill(~valid, -torch.inf), 1)
    return (weights[:, :, None] * memory).sum(1), weights


WRONG_ATTENTIONS = {
    "padding in the softmax": (KINDS, "energy.masked_fill(~valid, -torch.inf)", "energy"),
    "padding with an energy of 0": (KINDS, "-torch.inf", "0"),
    "masked after the softmax": (
        KINDS,
        "torch.softmax(energy.masked_fill(~valid, -torch.inf), 1)",
        "torch.softmax(energy, 1) * valid",
    ),
    "softmax over the batch": (KINDS, "-torch.inf), 1)", "-100), 0)"),
    "energies scaled": (KINDS, "softmax(energy", "softmax(0.5 * energy"),
    "tanh missing": (("additive",), "torch.tanh(", "("),
    "query missing": (("additive",), "(query @ W_s.T)[:, None] + ", ""),
    "v missing": (("additive",), " @ v", ".sum(2)"),
    "uniform context": (KINDS, "(weights[:, :, None] * memory)", "(memory * valid[:, :, None] / 3)"),
    "no gradient by the weights": (KINDS, "(weights[:, :, None]", "(weights.detach()[:, :, None]"),
    "no gradient by the query": (("general",), "(query @ param", "(query.detach() @ param"),
    "no gradient by the memory's keys": (
        ("dot",),
        "query[:, None] * memory",
        "query[:, None] * memory.detach()",
    ),
    "no gradient by the memory's values": (
        KINDS,
        "[:, :, None] * memory)",
        "[:, :, None] * memory.detach())",
    ),
}
