"""The extensions of hypotheses by one symbol, and the choice of those to keep.

Shapes: b sources, V symbols, W slots of a source's beam, N = b·W rows of the model, K extensions kept of a source; with
G groups, W and K are those of a group.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from peephole.search.prefix import FREE
from peephole.search.stepper import mask_unpredictable


class Extensions(NamedTuple):
    """The best extensions of each source's live hypotheses, best first; an empty slot has score -inf."""

    row: Tensor  # (b, W) int64 row of the model that was extended
    symbol: Tensor  # (b, W) int64
    score: Tensor  # (b, W) float64 of the whole hypothesis


def allow(scores: Tensor, ruled: Tensor, forced: Tensor) -> Tensor:
    """Return the scores with those of symbols that may not follow set to -inf.

    Args:
        scores: (b·W, V).
        ruled: the scores after `Rules.apply`, which forced symbols are exempt from.
        forced: (b,) symbol forced on each source, on the CPU; where it is FREE, any that is predictable may follow.
    """
    allowed = mask_unpredictable(ruled)  # (N, V)
    if (forced == FREE).all():
        return allowed
    forced = forced.repeat_interleave(len(scores) // len(forced)).to(scores.device)[:, None]  # (b,) -> (N, 1)
    column = forced.clamp(min=0)
    alone = torch.full_like(scores, -torch.inf).scatter(1, column, scores.gather(1, column))
    return alone.where(forced != FREE, allowed)


def best_extensions(live_score: Tensor, scores: Tensor, beam_size: int) -> Extensions:
    """Return the beam_size best extensions of each source's live hypotheses by one symbol.

    Args:
        live_score: (b, W) float64.
        scores: (b·W, V) of the next symbol, as `allow` returns them.
        beam_size: K. Fewer are returned if there are fewer.
    """
    num_sources, width = live_score.shape
    # The K best of a source are among the K best of each of its rows.
    values, symbols = largest(scores, beam_size)  # (N, V) -> (N, k), k = min(K, V)
    values, symbols = values.cpu().double(), symbols.cpu()
    totals = (live_score.view(-1, 1) + values).reshape(num_sources, -1)  # (N, k) -> (b, W·k)
    score, column = largest(totals, beam_size)  # -> (b, W'), W' = min(K, W·k)
    first_row = torch.arange(0, num_sources * width, width)[:, None]  # -> (b, 1)
    return Extensions(
        row=first_row + column // values.shape[1],
        symbol=symbols.reshape(num_sources, -1).gather(1, column),
        score=score,
    )


def diverse_extensions(live_score: Tensor, scores: Tensor, beam_size: int, groups: int, diversity: float) -> Extensions:
    """Return the best extensions of each group of each source's hypotheses, chosen by one group after the other.

    For the choice of a group, the score of an extension is lowered by `diversity` for each extension by the same symbol
    that an earlier group of its source has chosen in this step. Hypotheses keep their own scores.

    Source: Vijayakumar et al. 2016, Diverse Beam Search, algorithm 1 with the Hamming diversity.

    Args:
        live_score: (b·G, W) float64.
        scores: (b·G·W, V) of the next symbol, as `allow` returns them.
        beam_size: K of a group.
        groups: G.
        diversity: λ, at least 0.

    Returns:
        (b·G, K') extensions.
    """
    width, num_symbols = live_score.shape[1], scores.shape[1]
    totals = live_score.view(-1, 1) + scores.cpu().double()  # (N, V)
    totals = totals.view(-1, groups, width * num_symbols)  # -> (b, G, W·V)
    chosen = torch.zeros(len(totals), num_symbols, dtype=torch.double)  # times, by the groups so far
    columns = []
    for group in range(groups):
        _, column = largest(totals[:, group] - diversity * chosen.repeat(1, width), beam_size)  # -> (b, K')
        is_extension = totals[:, group].gather(1, column) > -torch.inf
        chosen.scatter_add_(1, column % num_symbols, is_extension.double())
        columns.append(column)
    column = torch.stack(columns, 1)  # -> (b, G, K')
    first_row = torch.arange(0, len(scores), width).view(-1, groups, 1)
    extensions = Extensions(first_row + column // num_symbols, column % num_symbols, totals.gather(2, column))
    return Extensions(*(part.flatten(0, 1) for part in extensions))


def largest(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the largest values of each row and their columns, largest first; equals in the order of columns.

    Args:
        x: (N, V).
        count: how many; all if there are fewer.

    Returns:
        values (N, min(count, V)), columns of the same shape. The columns of -inf are in no particular order.

    >>> largest(torch.tensor([[1.0, 3.0, 2.0, 3.0]]), 3)
    (tensor([[3., 3., 2.]]), tensor([[1, 3, 2]]))
    """
    # topk is several times faster than a stable sort but leaves the order of equals open, so rows with equals
    # among the values kept, or between the last kept and the first left out, are sorted.
    values, columns = x.topk(min(count + 1, x.shape[1]), dim=1)  # -> (N, count + 1)
    has_equals = ((values[:, 1:] == values[:, :-1]) & (values[:, 1:] > -torch.inf)).any(1)  # -> (N,)
    if has_equals.any():
        order = x[has_equals].sort(dim=1, descending=True, stable=True).indices
        columns[has_equals] = order[:, : columns.shape[1]]
    return values[:, :count], columns[:, :count]
