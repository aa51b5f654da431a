"""What a trace consists of before its symbols are texts: the same from the definition and from the engine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray


class Fate(IntEnum):
    """`peephole_fate`: what became of a hypothesis that a beam search considered."""

    EXPANDED = 0  # kept in the beam, and extended in the next step
    RETURNED = 1  # finished, and one of the n best
    BEATEN = 2  # finished, but n finished ones are better
    DUPLICATE = 3  # finished, but another group returned the same target
    OUTSIDE_BEAM = 4  # dropped: other extensions of the step are better
    HOPELESS = 5  # kept in the beam, but none of it can exceed the n-th best finished one: the search ended
    LENGTH_LIMIT = 6  # kept in the beam, but as long as a target may be: the search ended
    UNFINISHED = 7  # returned without </s>, because none has finished within the longest length
    UNPREDICTABLE = 8  # forbidden: <pad>, <s> and <unk> are never predicted
    OTHER_PREFIX = 9  # forbidden: the target must begin with another symbol
    TOO_SHORT = 10  # forbidden: </s> before the least length
    REPEATED_NGRAM = 11  # forbidden: the hypothesis has this n-gram already
    PHRASES = 12  # forbidden: </s> before all phrases have occurred, or no room for them


class TraceOptions(NamedTuple):
    """How the target of a trace is constrained, and how much of it is recorded.

    Attributes:
        top: alternatives recorded of each step, and extensions of each hypothesis.
        bend: a step, from 0, and the attention weights that it has in place of computed ones, of sum 1.
        prefix: symbol ids that a target that is searched begins with.
        phrases: symbol ids of the phrases that such a target must contain; None: none.
    """

    top: int
    bend: tuple[int, Sequence[float]] | None = None
    prefix: Sequence[int] = ()
    phrases: Sequence[Sequence[int]] | None = None


@dataclass(frozen=True, eq=False)
class BeamTree:
    """Every hypothesis that a beam search considered, as a tree of N nodes; those of one step are neighbours.

    A step considers, of each hypothesis in its beam, the extensions that it keeps and those by the `top` symbols of the
    highest scores. The nodes of a step are those kept, best first, then the others by hypothesis and score.

    Attributes:
        parent: (N,) int64 index of the node before; -1 for a first symbol.
        step: (N,) int64 the number of symbols of the hypothesis, from 1.
        symbol: (N,) int32.
        log_prob: (N,) float64 log p of the symbol, given those before it.
        score: (N,) float64 s(Y) of the whole hypothesis, the sum of its symbols' scores.
        group: (N,) int32 number of its group in diverse beam search, else 0.
        fate: (N,) int32, a `Fate`.
    """

    parent: NDArray[np.int64]
    step: NDArray[np.int64]
    symbol: NDArray[np.int32]
    log_prob: NDArray[np.float64]
    score: NDArray[np.float64]
    group: NDArray[np.int32]
    fate: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.parent)

    def path(self, node: int) -> list[int]:
        """Return the symbols of the hypothesis that ends in a node."""
        symbols: list[int] = []
        while node >= 0:
            symbols.append(int(self.symbol[node]))
            node = int(self.parent[node])
        return symbols[::-1]


@dataclass(frozen=True, eq=False)
class Recorded:
    """All of one prediction, or of one given target, of U symbols.

    Attributes:
        symbols: ids of the target, with </s> if it has it.
        log_probs: (U,) float64 log p of each symbol.
        ranks: (U,) int64 1 more than the number of symbols with a higher log p.
        top_symbols: (U, k) int32 the most probable symbols of each step, most probable first.
        top_log_probs: (U, k) float64.
        arrays: the other arrays, float32 or float64, by the names of docs/traces.md.
        beam: the tree of the search; None for a given target.
    """

    symbols: tuple[int, ...]
    log_probs: NDArray[np.float64]
    ranks: NDArray[np.int64]
    top_symbols: NDArray[np.int32]
    top_log_probs: NDArray[np.float64]
    arrays: dict[str, NDArray[np.floating]]
    beam: BeamTree | None
