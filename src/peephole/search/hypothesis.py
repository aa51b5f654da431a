"""The result of a search, by the definition or by the engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # only for a type: importing NumPy takes several times as long as the other imports
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class Hypothesis:
    """One target found for a source, with its probability under the model.

    Attributes:
        ids: its symbols, without EOS.
        log_prob: log p(Y|X) of (11), EOS included: the sum of `symbol_log_probs` from the first to the last.
        symbol_log_probs: log p(y_t | y_1 … y_{t-1}, c) of each symbol, of EOS too if it was predicted.
        finished: EOS was predicted; otherwise the maximal length cut the hypothesis.
        attention: α of (16), (len(ids), T) float32 over the real source positions; None for a model without attention.
            Comparisons ignore it.
    """

    ids: tuple[int, ...]
    log_prob: float
    symbol_log_probs: tuple[float, ...]
    finished: bool
    attention: npt.NDArray[np.float32] | None = field(compare=False, repr=False)
