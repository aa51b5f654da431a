"""Phrases that the targets of a source must contain.

The symbols of a phrase must stand in a target one after the other; phrases may overlap. The progress of a phrase in a
hypothesis is the length of its longest beginning with which the hypothesis ends, or its whole length once the phrase
has occurred. What a hypothesis has *to go* is

    Σ over phrases that have not occurred of their lengths - the largest progress of one of them

symbols: if the phrase of the largest progress continues, it falls by one or more.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from peephole.errors import ShapeError
from peephole.search.extensions import Extensions
from peephole.symbols import EOS, UNK

Phrase = Sequence[int]


class PhraseTable:
    """The progress of all phrases of a batch after each symbol; on the CPU.

    Shapes: B sources, P the most phrases of a source, L the longest phrase, A the most different symbols in the phrases
    of a source.

    Args:
        phrases: symbol ids of the phrases of each source, none empty.

    Raises:
        ShapeError: a phrase is empty, or holds a symbol that is never predicted.
    """

    def __init__(self, phrases: Sequence[Sequence[Phrase]]) -> None:
        for index, own in enumerate(phrases):
            for phrase in own:
                if not phrase or min(phrase) <= UNK:
                    raise ShapeError(f"phrases[{index}]: wanted ordinary symbols, got {list(phrase)}")
        alphabets = [sorted({symbol for phrase in own for symbol in phrase}) for own in phrases]
        num_phrases = max(map(len, phrases), default=0)
        longest = max((len(phrase) for own in phrases for phrase in own), default=0)
        self.symbols = torch.zeros(len(phrases), max(map(len, alphabets), default=0), dtype=torch.long)  # (B, A) PAD
        self.lengths = torch.zeros(len(phrases), num_phrases, dtype=torch.long)  # (B, P); 0: no phrase
        # (B, P, L + 1, A + 1): progress after a symbol of the alphabet; the last column is of all other symbols
        self.following = torch.zeros(len(phrases), num_phrases, longest + 1, self.symbols.shape[1] + 1).long()
        for b, (own, alphabet) in enumerate(zip(phrases, alphabets, strict=True)):
            self.symbols[b, : len(alphabet)] = torch.tensor(alphabet, dtype=torch.long)
            for p, phrase in enumerate(own):
                self.lengths[b, p] = len(phrase)
                self.following[b, p, len(phrase)] = len(phrase)
                for done in range(len(phrase)):
                    for column, symbol in enumerate(alphabet):
                        self.following[b, p, done, column] = progress_after(phrase, done, symbol)

    def start(self) -> Tensor:
        """Return the progress of empty hypotheses, (B, 1, P)."""
        return torch.zeros_like(self.lengths)[:, None]

    def extend(self, source: Tensor, progress: Tensor) -> Tensor:
        """Return the progress of hypotheses after each symbol of the alphabet, and after any other, (b, W, A + 1, P).

        Args:
            source: (b,) index of each source in the batch.
            progress: (b, W, P) of its hypotheses.
        """
        phrase = torch.arange(progress.shape[2])
        return self.following[source[:, None, None], phrase, progress].transpose(2, 3)  # (b, W, P, A + 1) -> …

    def after(self, source: Tensor, progress: Tensor, symbols: Tensor) -> Tensor:
        """Return the progress of hypotheses (b, W, P) after one symbol each, (b, W)."""
        columns = self._columns(source, symbols)[..., None]  # -> (b, W, 1)
        phrase = torch.arange(progress.shape[2])
        return self.following[source[:, None, None], phrase, progress, columns]  # -> (b, W, P)

    def to_go(self, source: Tensor, progress: Tensor) -> Tensor:
        """Return the symbols that hypotheses have to go, (b, W, …) for progress (b, W, …, P)."""
        lengths = self.lengths[source].view(len(source), *[1] * (progress.dim() - 2), -1).expand_as(progress)
        missing = progress < lengths
        furthest = progress.where(missing, 0).amax(-1) if progress.shape[-1] else progress.sum(-1)
        return lengths.where(missing, 0).sum(-1) - furthest

    def _columns(self, source: Tensor, symbols: Tensor) -> Tensor:
        """Return the column in `following` of each symbol, (b, W)."""
        is_symbol = self.symbols[source][:, None] == symbols[..., None]  # -> (b, W, A)
        others = torch.ones_like(symbols[..., None], dtype=torch.bool)  # the first hit is the column
        return torch.cat([is_symbol, others], 2).long().argmax(2)

    def check(self, max_lengths: Tensor, prefix_lengths: Tensor) -> None:
        """Check that every target has room for its phrases.

        Raises:
            ShapeError: there is not one list of phrases a source, or some are too long.
        """
        if len(self.lengths) != len(max_lengths):
            raise ShapeError(f"phrases: wanted {len(max_lengths)} lists, one a source, got {len(self.lengths)}")
        room = max_lengths - prefix_lengths
        for index in (self.lengths.sum(1) > room).nonzero().flatten().tolist():
            raise ShapeError(
                f"phrases[{index}]: wanted at most {int(room[index])} symbols in all, as many as its target may have, "
                f"got {int(self.lengths[index].sum())}"
            )


def progress_after(phrase: Phrase, done: int, symbol: int) -> int:
    """Return the progress of a phrase of which `done` symbols stand at the end of a hypothesis, after one more symbol.

    >>> [progress_after([4, 5, 4, 6], 3, symbol) for symbol in (4, 5, 6, 7)]
    [1, 2, 4, 0]
    """
    end = [*phrase[:done], symbol]
    return max(size for size in range(done + 2) if end[len(end) - size :] == list(phrase[:size]))


def share_slots(totals: Tensor, to_go: Tensor, count: int) -> Tensor:
    """Return the columns of the extensions to keep: equally many for each value of to_go, where there are enough.

    Extensions that have equally many symbols to go share a bank. The banks take turns, that with the fewest to go
    first, and give their best extension each time, until `count` are chosen.

    Source: Post and Vilar 2018, Fast Lexically Constrained Decoding with Dynamic Beam Allocation for Neural Machine
        Translation, section 3; there the slots that a bank cannot fill go to the neighbouring banks.

    Args:
        totals: (b, E) float64 scores of the extensions; -inf: not allowed.
        to_go: (b, E) at least 0.
        count: K.

    Returns:
        (b, min(K, E)) columns, by score, equals in the order of columns.

    >>> share_slots(torch.tensor([[-1.0, -2.0, -3.0, -9.0]]), torch.tensor([[2, 2, 2, 1]]), 3)
    tensor([[0, 1, 3]])
    """
    ordered, columns = totals.sort(dim=1, descending=True, stable=True)
    banks = to_go.gather(1, columns)  # (b, E)
    turn = torch.zeros_like(banks)
    for bank in range(int(banks.max()) + 1 if banks.numel() else 0):
        turn = (banks == bank).cumsum(1).where(banks == bank, turn)
    turn = turn.where(ordered > -torch.inf, torch.iinfo(torch.long).max // (int(banks.max()) + 1) - 1)
    order = (turn * (banks.max() + 1) + banks).sort(dim=1, stable=True).indices[:, :count]  # -> (b, K)
    return columns.gather(1, order.sort(dim=1).values)  # back in the order of scores


def phrase_extensions(
    table: PhraseTable,
    source: Tensor,
    progress: Tensor,
    left: Tensor,
    live_score: Tensor,
    scores: Tensor,
    beam_size: int,
) -> Extensions:
    """Return extensions of each source's live hypotheses by one symbol, shared out by what they have to go.

    Those that have more to go than symbols may follow are left out, and EOS before all phrases have occurred.

    Args:
        table: the phrases.
        source: (b,) index of each source in the batch.
        progress: (b, W, P) of the hypotheses.
        left: (b,) symbols that may follow the extension.
        live_score: (b, W) float64.
        scores: (b·W, V) of the next symbol, as `allow` returns them.
        beam_size: K.
    """
    size, width, num_symbols = *live_score.shape, scores.shape[1]
    totals = (live_score.view(-1, 1) + scores.cpu().double()).view(size, width, num_symbols)
    to_go = to_go_after(table, source, progress, num_symbols)  # -> (b, W, V)
    totals = totals.masked_fill(~has_room(to_go, left), -torch.inf).flatten(1)  # -> (b, W·V)
    column = share_slots(totals, to_go.flatten(1), beam_size)  # -> (b, W')
    first_row = torch.arange(0, size * width, width)[:, None]  # -> (b, 1)
    return Extensions(first_row + column // num_symbols, column % num_symbols, totals.gather(1, column))


def to_go_after(table: PhraseTable, source: Tensor, progress: Tensor, num_symbols: int) -> Tensor:
    """Return the symbols that hypotheses have to go after each symbol, (b, W, V); see `phrase_extensions`."""
    after = table.to_go(source, table.extend(source, progress))  # (b, W, A + 1, P) -> (b, W, A + 1)
    symbols = table.symbols[source][:, None].expand(-1, progress.shape[1], -1)  # -> (b, W, A)
    return after[..., -1:].repeat(1, 1, num_symbols).scatter(2, symbols, after[..., :-1])  # -> (b, W, V)


def has_room(to_go: Tensor, left: Tensor) -> Tensor:
    """Return whether the symbols to go, (b, W, V), fit into those left, (b,), and no EOS leaves any."""
    allowed = to_go <= left[:, None, None]
    allowed[..., EOS] = to_go[..., EOS] == 0
    return allowed
