"""Computes CTC in NumPy, (31)-(36): by the forward algorithm of the paper, and by listing every path.

`y` is (S, V): the probability of each symbol, and of blank in column 0, at each output of the encoder. Like `oracle`,
the forward algorithm accepts complex numbers.

Source: Graves et al. 2006, section 4.1; Graves 2012, "Supervised sequence labelling with recurrent neural networks",
section 7.5 for prefixes.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from .oracle import Array

BLANK = 0


def collapse(path: Sequence[int]) -> tuple[int, ...]:
    """Return 𝓑(π): equal neighbours are merged, then blanks removed."""
    return tuple(symbol for symbol, _ in itertools.groupby(path) if symbol != BLANK)


def paths(y: Array) -> dict[tuple[int, ...], Array]:
    """Return the probability of every target that has a path, summed over its paths, (32)."""
    found: dict[tuple[int, ...], Array] = {}
    for path in itertools.product(range(y.shape[1]), repeat=len(y)):
        target = collapse(path)
        found[target] = found.get(target, 0) + np.prod([y[j, symbol] for j, symbol in enumerate(path)])
    return found


def prefix_prob(listed: Mapping[tuple[int, ...], Array], prefix: Sequence[int]) -> Array:
    """Return the probability of all targets that begin with a prefix, (34), from what `paths` returned."""
    return sum(p for target, p in listed.items() if target[: len(prefix)] == tuple(prefix))


def ctc_prob(y: Array, target: Sequence[int]) -> Array:
    """Return p_ctc(Y | X), (32), of a target without </s>, by the forward algorithm; 0 if it has no path."""
    extended = [BLANK]  # l' of the paper: blanks between all symbols and around them
    for symbol in target:
        extended += [symbol, BLANK]
    alpha = np.zeros((len(y), len(extended)), dtype=y.dtype)  # α_t(s), equations (5)-(7) there
    alpha[0, 0] = y[0, BLANK]
    if len(extended) > 1:
        alpha[0, 1] = y[0, extended[1]]
    for t in range(1, len(y)):
        for s, symbol in enumerate(extended):
            reached = alpha[t - 1, s]
            if s >= 1:
                reached = reached + alpha[t - 1, s - 1]
            if s >= 2 and symbol != BLANK and symbol != extended[s - 2]:
                reached = reached + alpha[t - 1, s - 2]
            alpha[t, s] = reached * y[t, symbol]
    return alpha[-1, -1] + (alpha[-1, -2] if len(extended) > 1 else 0)  # (8) there


def ctc_loss(y: Array, target: Sequence[int]) -> Array:
    """Return -log p_ctc(Y | X), and 0 for a target without a path."""
    prob = ctc_prob(y, target)
    return -np.log(prob) if prob != 0 else 0 * prob
