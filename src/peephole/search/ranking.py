"""The score that ranks finished hypotheses."""

from __future__ import annotations

import math
import sys
from typing import NamedTuple

import torch
from torch import Tensor

from peephole.errors import ConfigError
from peephole.search.history import History


class Ranking(NamedTuple):
    """How finished hypotheses of different lengths compare.

        score(Y) = s(Y) / |Y|**length_penalty + length_reward · |Y|
                   + coverage_penalty · Σ_j log min(Σ_t α_tj, 1)

    s(Y) is log p(Y|X), plus the weighted scores of guides; the length |Y| counts EOS. A length penalty of 0 ranks by
    s(Y), 1 by its mean over the symbols. The last term is 0 if the model attended to each place j of the source
    with a weight of at least 1 in all, and below 0 if it left some out.

    Source: Wu et al. 2016, Google's Neural Machine Translation System, (14), for the coverage penalty; Sutskever et
        al. ranked by s(Y), (11).
    """

    length_penalty: float = 0.0
    length_reward: float = 0.0
    coverage_penalty: float = 0.0

    def check(self) -> None:
        """Raise ConfigError if a number is below 0 or not finite."""
        for name, value in self._asdict().items():
            if not 0 <= value < math.inf:
                raise ConfigError(f"{name}: wanted a number from 0, got {value}")


class FinalScores:
    """The scores that rank the finished hypotheses of a batch.

    Args:
        ranking: the formula.
        max_lengths: (B,) most symbols of each target.
        places: (B,) places of each source that the model attends to.
    """

    def __init__(self, ranking: Ranking, max_lengths: Tensor, places: Tensor) -> None:
        self.ranking = ranking
        self._places = places
        self._factors = length_factors(max(max_lengths.tolist(), default=0), ranking.length_penalty)

    def of(self, score: Tensor, nodes: Tensor, source: Tensor, history: History) -> Tensor:
        """Return the final scores of hypotheses that end in the last step, (b, W); those of -inf are -inf.

        Args:
            score: (b, W) float64, s(Y).
            nodes: (b, W) last node of each.
            source: (b,) index of each source in the batch.
            history: the steps.

        Raises:
            ConfigError: the coverage penalty is above 0 and the model has no attention.
        """
        length = history.num_steps
        final = score * self._factors[length] + self.ranking.length_reward * length
        if not self.ranking.coverage_penalty:
            return final
        coverage = history.coverage(nodes.flatten())  # (b, W) -> (b·W, S)
        if coverage is None:
            raise ConfigError("coverage_penalty: wanted a model with attention, got one without")
        places = self._places[source].repeat_interleave(nodes.shape[1])  # (b,) -> (b·W,)
        return final + self.ranking.coverage_penalty * uncovered(coverage, places).view_as(final)

    def bound(self, score: Tensor, max_length: Tensor) -> Tensor:
        """Return the highest final score that continuing a hypothesis can reach, (b,).

        Sums of scores only fall, so at best all further symbols have probability 1 and the source is covered.

        Args:
            score: (b,) float64, s(Y).
            max_length: (b,) most symbols of its target.
        """
        return score * self._factors[max_length] + self.ranking.length_reward * max_length


def length_factors(longest: int, length_penalty: float) -> Tensor:
    """Return the factor of s(Y) for every length.

    Returns:
        (longest + 1,) float64: entry n is the factor of length n; there is no length 0.

    >>> length_factors(4, 0.5)
    tensor([   nan, 1.0000, 0.7071, 0.5774, 0.5000], dtype=torch.float64)
    """
    least = sys.float_info.min  # not 0, so that an empty slot scores -inf, never 0 · -inf = NaN
    factors = [max(length**-length_penalty, least) for length in range(1, longest + 1)]
    return torch.tensor([math.nan, *factors], dtype=torch.double)


def uncovered(coverage: Tensor, places: Tensor) -> Tensor:
    """Return Σ_j log min(Σ_t α_tj, 1) over the real places of each source, at most 0.

    Args:
        coverage: (n, S) float64, Σ_t α_tj.
        places: (n,) real places of each row's source.

    >>> uncovered(torch.tensor([[1.5, 0.5, 0.0]], dtype=torch.double), torch.tensor([2]))
    tensor([-0.6931], dtype=torch.float64)
    """
    logs = coverage.clamp(sys.float_info.min, 1).log()  # weights so small that they are 0 make no -inf
    return logs.where(torch.arange(coverage.shape[1]) < places[:, None], 0).sum(1)
