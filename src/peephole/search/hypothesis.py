"""What a search returns, whether the definition or the engine searched."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for its type alone: NumPy takes several times as long to load as all else here
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class Hypothesis:
    """One target found for a source, and how probable the model finds it.

    Attributes:
        ids: its symbols, without EOS.
        log_prob: log p(Y|X) of (11), EOS included: the sum of `symbol_log_probs` from the first to the last.
        symbol_log_probs: log p(y_t | y_1 … y_{t-1}, c) of each symbol, of EOS too if it was predicted.
        finished: EOS was predicted; otherwise the maximal length cut the hypothesis.
        attention: α of (16), (len(ids), T) float32 over the real source positions; None for a model without.
            Left out of comparisons.
    """

    ids: tuple[int, ...]
    log_prob: float
    symbol_log_probs: tuple[float, ...]
    finished: bool
    attention: npt.NDArray[np.float32] | None = field(compare=False, repr=False)
