"""Lists plausible attentions that are wrong in one place each; the contract suite must reject all of them."""

from __future__ import annotations

import torch


def right_attention(queries, memory, valid, *parameters):
    """Return contexts (B, N, M) and weights (B, N, T) of N steps, by the kind that has so many parameters."""
    contexts, alphas = [], []
    for query in queries.unbind(1):
        if len(parameters) == 3:
            W_s, W_h, v = parameters
            energy = torch.tanh((query @ W_s.T)[:, None] + memory @ W_h.T) @ v
        elif len(parameters) == 1:
            energy = ((query @ parameters[0])[:, None] * memory).sum(2)
        else:
            energy = (query[:, None] * memory).sum(2)
        weights = torch.softmax(energy.masked_fill(~valid, -torch.inf), 1)
        alphas.append(weights)
        contexts.append((weights[:, :, None] * memory).sum(1))
    return torch.stack(contexts, 1), torch.stack(alphas, 1)


def right_location(queries, memory, valid, W_s, W_h, v, b, F, U):
    """Return contexts and weights of N steps of location-aware attention, (21)."""
    contexts, alphas = [], []
    before = valid.to(v.dtype) / valid.sum(1, keepdim=True)
    width = F.shape[1]
    for query in queries.unbind(1):
        padded = torch.nn.functional.pad(before, (width // 2, width // 2))
        windows = padded.unfold(1, width, 1)
        energy = torch.tanh((query @ W_s.T)[:, None] + memory @ W_h.T + windows @ F.T @ U.T + b) @ v
        weights = torch.softmax(energy.masked_fill(~valid, -torch.inf), 1)
        before = weights
        alphas.append(weights)
        contexts.append((weights[:, :, None] * memory).sum(1))
    return torch.stack(contexts, 1), torch.stack(alphas, 1)


def right_coverage(queries, memory, valid, W_s, W_h, v, b, w_c):
    """Return contexts and weights of N steps of attention with coverage, (22)."""
    contexts, alphas = [], []
    coverage = torch.zeros_like(memory[:, :, 0])
    for query in queries.unbind(1):
        energy = torch.tanh((query @ W_s.T)[:, None] + memory @ W_h.T + coverage[:, :, None] * w_c + b) @ v
        weights = torch.softmax(energy.masked_fill(~valid, -torch.inf), 1)
        coverage = coverage + weights
        alphas.append(weights)
        contexts.append((weights[:, :, None] * memory).sum(1))
    return torch.stack(contexts, 1), torch.stack(alphas, 1)


def right_multihead(queries, memory, valid, W_s, W_h, v, W_v, W_o, K=2):
    """Return contexts and mean weights of N steps of attention with K heads, (24), (25)."""
    contexts, alphas = [], []
    for query in queries.unbind(1):
        parts, weights = [], []
        for rows, values in zip(torch.arange(len(v)).chunk(K), torch.arange(len(W_v)).chunk(K), strict=True):
            energy = torch.tanh((query @ W_s[rows].T)[:, None] + memory @ W_h[rows].T) @ v[rows]
            alpha = torch.softmax(energy.masked_fill(~valid, -torch.inf), 1)
            weights.append(alpha)
            parts.append((alpha[:, :, None] * (memory @ W_v[values].T)).sum(1))
        alphas.append(sum(weights) / K)
        contexts.append(torch.cat(parts, 1) @ W_o.T)
    return torch.stack(contexts, 1), torch.stack(alphas, 1)


RIGHT = {
    "additive": right_attention,
    "dot": right_attention,
    "general": right_attention,
    "location": right_location,
    "coverage": right_coverage,
    "multihead": right_multihead,
}
KINDS = tuple(RIGHT)
PLAIN = ("additive", "dot", "general")
CARRYING = ("location", "coverage")  # kinds with a state
MEMORY = (*PLAIN, *CARRYING)  # kinds whose context is a sum of the memory

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
    "tanh missing": (("additive", *CARRYING, "multihead"), "torch.tanh(", "("),
    "query missing": (("additive", *CARRYING), "(query @ W_s.T)[:, None] + ", ""),
    "v missing": (("additive", *CARRYING), " @ v\n", ".sum(2)\n"),
    "uniform context": (MEMORY, "(weights[:, :, None] * memory)", "(memory * valid[:, :, None] / 3)"),
    "no gradient by the weights": (MEMORY, "(weights[:, :, None]", "(weights.detach()[:, :, None]"),
    "no gradient by the query": (("general",), "(query @ param", "(query.detach() @ param"),
    "no gradient by the memory's keys": (
        ("dot",),
        "query[:, None] * memory",
        "query[:, None] * memory.detach()",
    ),
    "no gradient by the memory's values": (
        MEMORY,
        "[:, :, None] * memory)",
        "[:, :, None] * memory.detach())",
    ),
    "bias missing": (CARRYING, " + b) @ v", ") @ v"),
    "bias outside tanh": (CARRYING, " + b) @ v", ") @ v + (b * memory[..., :1]).sum(2)"),
    # Location
    "features missing": (("location",), " + windows @ F.T @ U.T", ""),
    "features outside tanh": (("location",), " + windows @ F.T @ U.T + b) @ v", " + b) @ v + windows @ F.T @ U.T @ v"),
    "filters the wrong way round": (("location",), "windows @ F.T", "windows @ F.flip(1).T"),
    "features of the next position": (("location",), "(width // 2, width // 2)", "(width // 2 - 1, width // 2 + 1)"),
    "features of the positions before": (("location",), "(width // 2, width // 2)", "(width - 1, 0)"),
    "a circular convolution": (("location",), "width // 2))", 'width // 2), "circular")'),
    "padded with the outermost weights": (("location",), "width // 2))", 'width // 2), "replicate")'),
    "the first weights are 0": (("location",), "before = valid", "before = 0 * valid"),
    "the first weights are 1 on the first position": (
        ("location",),
        "valid.to(v.dtype) / valid.sum(1, keepdim=True)",
        "torch.eye(valid.shape[1], dtype=v.dtype)[:1].expand(valid.shape)",
    ),
    "the first weights are uniform over the padding, too": (
        ("location",),
        "valid.sum(1, keepdim=True)",
        "len(valid[0])",
    ),
    "the weights of the first step serve all": (("location",), "        before = weights\n", ""),
    "features of the sum of the weights": (("location",), "before = weights", "before = before + weights"),
    "features without the softmax": (("location",), "before = weights", "before = energy * valid"),
    "no gradient by the weights before": (("location",), "before = weights", "before = weights.detach()"),
    # Coverage
    "coverage missing": (("coverage",), " + coverage[:, :, None] * w_c", ""),
    "coverage outside tanh": (
        ("coverage",),
        " + coverage[:, :, None] * w_c + b) @ v",
        " + b) @ v + coverage * (w_c @ v)",
    ),
    "coverage of the last step only": (("coverage",), "coverage = coverage + weights", "coverage = weights"),
    "coverage begins with the uniform weights": (
        ("coverage",),
        "torch.zeros_like(memory[:, :, 0])",
        "valid / valid.sum(1, keepdim=True)",
    ),
    "coverage is a mean": (("coverage",), "coverage + weights", "(coverage + weights) / 2"),
    "coverage is a maximum": (("coverage",), "coverage + weights", "torch.maximum(coverage, weights)"),
    "no gradient by the coverage": (("coverage",), "coverage + weights", "coverage + weights.detach()"),
    # Heads
    "query missing in all heads": (("multihead",), "(query @ W_s[rows].T)[:, None] + ", ""),
    "v missing in all heads": (("multihead",), " @ v[rows]", ".sum(2)"),
    "heads are interleaved": (("multihead",), "torch.arange(len(v)).chunk(K)", "torch.arange(len(v)).view(-1, K).T"),
    "values are interleaved": (
        ("multihead",),
        "torch.arange(len(W_v)).chunk(K)",
        "torch.arange(len(W_v)).view(-1, K).T",
    ),
    "one head": (("multihead",), "K=2", "K=1"),
    "heads in another order": (("multihead",), "torch.cat(parts, 1)", "torch.cat(parts[::-1], 1)"),
    "all heads have the first one's query": (("multihead",), "W_s[rows].T", "W_s[: len(rows)].T"),
    "values missing": (("multihead",), "(memory @ W_v[values].T)", "memory[:, :, values]"),
    "output layer missing": (("multihead",), " @ W_o.T", ""),
    "output layer transposed": (("multihead",), " @ W_o.T", " @ W_o"),
    "the sum of the heads' weights": (("multihead",), "sum(weights) / K", "sum(weights)"),
    "the last head's weights": (("multihead",), "sum(weights) / K", "alpha"),
    "no gradient by the values": (("multihead",), "(memory @ W_v", "(memory.detach() @ W_v"),
    "no gradient by the heads' weights": (("multihead",), "(alpha[:, :, None]", "(alpha.detach()[:, :, None]"),
}
"""Name → the kinds that have it, a text in the source of the right one, and its replacement."""
