"""Count the training pairs that CTC cannot align, because the encoder has fewer outputs than their targets need."""

from __future__ import annotations

import numpy as np

from peephole.config import Config
from peephole.data import Corpus
from peephole.nn.schema import Architecture, num_places

WINDOW = 1 << 16  # pairs whose lengths are in memory together


def ctc_notice(config: Config, corpus: Corpus) -> str | None:
    """Return a line on the share of CTC in the loss and the pairs from which it cannot learn; None without CTC."""
    if not config.model.ctc:
        return None
    line = f"loss: {1 - config.train.ctc_weight:g} attention + {config.train.ctc_weight:g} CTC"
    count = count_unalignable(corpus, Architecture.of(config.model))
    if not count:
        return line
    return (
        f"{line}; of {count:,} of the {len(corpus):,} training pairs attention alone learns: "
        "their targets need more than the encoder's outputs"
    )


def count_unalignable(corpus: Corpus, architecture: Architecture) -> int:
    """Return the number of pairs whose target has no path, (32).

    A target needs one encoder output for each of its symbols, and one for blank between equal neighbours.
    """
    count = 0
    for first in range(0, len(corpus), WINDOW):
        located = corpus.locate(np.arange(first, min(first + WINDOW, len(corpus))))
        places, lengths = num_places(architecture, located.source.lengths), located.target.lengths
        count += int((places < lengths).sum())
        [doubtful] = np.nonzero((lengths <= places) & (places < 2 * lengths - 1))  # if enough neighbours are equal
        targets = corpus.targets(located.target.take(doubtful))
        for ids, available in zip(targets, places[doubtful].tolist(), strict=True):
            count += int(available - len(ids) < np.count_nonzero(ids[1:] == ids[:-1]))
    return count
