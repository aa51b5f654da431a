"""Prefixes: the symbols that the targets of a source must begin with.

Prefixes of different lengths become one table of the symbols forced in each step. After the end of its prefix,
nothing is forced on a source.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from peephole.errors import ShapeError
from peephole.search.rollout import Choose
from peephole.symbols import BOS, EOS, PAD, UNK

FREE = -1  # in a table of forced symbols: nothing is forced


def prefix_table(prefixes: Sequence[Sequence[int]] | None, max_lengths: Tensor) -> Tensor:
    """Return the symbol forced on each source in each step, (B, P), FREE after the end of its prefix; on the CPU.

    Args:
        prefixes: symbol ids of each source's prefix, UNK among them if wanted; None: all are empty.
        max_lengths: (B,) most symbols of each target, EOS included.

    Raises:
        ShapeError: there is not one prefix a source, one holds PAD, BOS or EOS, or one is not shorter than the
            maximal length.

    >>> prefix_table([[5], [4, 6], []], torch.tensor([9, 9, 9]))
    tensor([[ 5, -1],
            [ 4,  6],
            [-1, -1]])
    """
    if prefixes is None:
        return torch.empty(len(max_lengths), 0, dtype=torch.long)
    if len(prefixes) != len(max_lengths):
        raise ShapeError(f"prefixes: wanted {len(max_lengths)}, one a source, got {len(prefixes)}")
    for index, (prefix, length) in enumerate(zip(prefixes, max_lengths.tolist(), strict=True)):
        if any(symbol < 0 or symbol in (PAD, BOS, EOS) for symbol in prefix):
            raise ShapeError(f"prefixes[{index}]: wanted {UNK} = UNK or ordinary symbols, got {list(prefix)}")
        if len(prefix) >= length:
            raise ShapeError(
                f"prefixes[{index}]: wanted fewer symbols than its maximal length, {length}, got {len(prefix)}"
            )
    longest = max(map(len, prefixes), default=0)
    padded = [[*prefix] + [FREE] * (longest - len(prefix)) for prefix in prefixes]
    return torch.tensor(padded, dtype=torch.long).view(len(prefixes), longest)


def forced_symbols(table: Tensor, rows: Tensor, step: int) -> Tensor:
    """Return the symbol forced on some rows of a table in a step, from 0; FREE where none is. (B, P) -> (n,)."""
    return table[rows, step] if step < table.shape[1] else torch.full_like(rows, FREE)


def after_prefix(table: Tensor, choose: Choose) -> Choose:
    """Return a function that takes the forced symbol of each row, and calls `choose` for rows without one.

    Args:
        table: (N, P) forced symbols of the rows, as numbered at the start.
        choose: returns the symbols of the other rows.
    """

    def forced_or_chosen(scores: Tensor, rows: Tensor, step: int) -> Tensor:
        chosen = choose(scores, rows, step)  # (n, V) -> (n,)
        forced = forced_symbols(table, rows, step).to(chosen.device)
        return forced.where(forced != FREE, chosen)

    return forced_or_chosen
