"""Score pairs of symbol ids, without the limits on texts that a user gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from peephole.model.language import ANY_SOURCE
from peephole.model.reading import Notices

if TYPE_CHECKING:
    from peephole.model.handle import Model


def summed_log_prob(model: Model, pairs: Sequence[tuple[Any, Sequence[int]]], threads: int | None = None) -> float:
    """Return Σ log p(Y | X), (11), over pairs, </s> included, not calibrated.

    Args:
        model: the model; the engine scores where it can.
        pairs: source and target, ids without </s>, no source empty; sources of a language model are not read.
        threads: CPU threads; None: as many as a prediction uses.
    """
    settings = {"search.calibration": 1.0, "search.engine": "auto", "search.threads": threads}
    config = model.config.with_values(settings, "dev").searching()
    sources = [ANY_SOURCE.ids if model.is_language_model else source for source, _ in pairs]
    searching = model._make_search(config, Notices(), len(pairs))
    return sum(found.log_prob for found in searching.force(sources, [target for _, target in pairs], config))
