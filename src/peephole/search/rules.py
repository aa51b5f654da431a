"""Rules about the symbols of one hypothesis: a least length, and no n-gram twice."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from peephole.errors import ConfigError
from peephole.search.history import History
from peephole.symbols import EOS, UNPREDICTABLE


class Rules(NamedTuple):
    """What every search keeps to. Symbols of a prefix are exempt, but count.

    EOS may come before the least length where no other symbol may follow.
    """

    min_length: int = 0  # least symbols of a target, EOS not counted; 0: none
    no_repeat_ngram: int = 0  # n; no n symbols in a row occur twice in a target; 0: they may

    def check(self) -> None:
        """Raise ConfigError if a number is below 0."""
        for name, value in self._asdict().items():
            if value < 0:
                raise ConfigError(f"{name}: wanted at least 0, got {value}")

    def apply(self, scores: Tensor, history: History, nodes: Tensor) -> Tensor:
        """Return scores with those of symbols that break a rule set to -inf.

        Args:
            scores: (N, V) of the next symbols.
            history: the steps so far.
            nodes: last node of each row in it, (N,).
        """
        if 0 < self.no_repeat_ngram <= history.num_steps + 1:
            scores = block_ngrams(scores, history.paths(nodes), self.no_repeat_ngram)
        if history.num_steps < self.min_length:
            scores = block_eos(scores)
        return scores


NO_RULES = Rules()


def block_ngrams(scores: Tensor, symbols: Tensor, n: int) -> Tensor:
    """Return scores with those of symbols that would complete an n-gram for the second time set to -inf.

    Source: Paulus, Xiong and Socher 2017, A Deep Reinforced Model for Abstractive Summarization, section 2.5.

    Args:
        scores: (N, V).
        symbols: (N, t) of each hypothesis, t ≥ n - 1.
        n: at least 1.

    >>> block_ngrams(torch.zeros(1, 7), torch.tensor([[4, 5, 6, 4]]), 2)
    tensor([[0., 0., 0., 0., 0., -inf, 0.]])
    """
    if symbols.shape[1] < n:
        return scores
    grams = symbols.unfold(1, n, 1)  # (N, t) -> (N, t - n + 1, n)
    last = symbols[:, symbols.shape[1] - n + 1 :]  # (N, n - 1)
    repeats = (grams[:, :, :-1] == last[:, None]).all(2)  # -> (N, t - n + 1)
    row, gram = repeats.nonzero(as_tuple=True)
    blocked = scores.clone()
    blocked[row.to(scores.device), grams[row, gram, -1].to(scores.device)] = -torch.inf
    return blocked


def block_eos(scores: Tensor) -> Tensor:
    """Return scores with that of EOS set to -inf in the rows in which another symbol may be predicted.

    >>> block_eos(torch.tensor([[0.0, 0.0, -1.0, 0.0, -2.0], [0.0, 0.0, -1.0, 0.0, -torch.inf]]))
    tensor([[ 0.,  0., -inf,  0., -2.],
            [ 0.,  0., -1.,  0., -inf]])
    """
    never = torch.tensor([*UNPREDICTABLE, EOS], device=scores.device)
    others = scores.index_fill(1, never, -torch.inf)
    has_other = (others > -torch.inf).any(1)  # -> (N,)
    blocked = scores.clone()
    blocked[has_other, EOS] = -torch.inf
    return blocked
