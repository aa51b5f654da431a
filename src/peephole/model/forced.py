"""Score pairs of symbol ids, without the limits on texts that a user gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from peephole.config import SearchConfig
from peephole.model.language import ANY_SOURCE
from peephole.model.reading import Notices

if TYPE_CHECKING:
    from peephole.model.handle import Model

Pairs = Sequence[tuple[Any, Sequence[int]]]
"""Source and target, ids without </s>, no source empty; sources of a language model are not read."""


def summed_log_prob(model: Model, pairs: Pairs, threads: int | None = None) -> float:
    """Return Σ log p(Y | X), (11), over pairs, </s> included, not calibrated.

    Args:
        model: the model; the engine scores where it can.
        pairs: the pairs.
        threads: CPU threads; None: as many as a prediction uses.
    """
    searching, *given = _forced(model, pairs, threads)
    total: float = sum(found.log_prob for found in searching.force(*given))
    return total


def most_probable(model: Model, pairs: Pairs, count: int, threads: int | None = None) -> list[tuple[Any, Any]]:
    """Return the most probable symbols at each place of each target, not calibrated; see `PackedSearch.alternatives`.

    Args:
        model: the model; the engine computes where it can.
        pairs: the pairs.
        count: symbols of each place.
        threads: CPU threads; None: as many as a prediction uses.
    """
    searching, *given = _forced(model, pairs, threads)
    found: list[tuple[Any, Any]] = searching.alternatives(*given, count)
    return found


def _forced(
    model: Model, pairs: Pairs, threads: int | None
) -> tuple[Any, list[Any], list[Sequence[int]], SearchConfig]:
    """Return a search, and the sources, targets and settings that its methods for given targets take."""
    settings = {"search.calibration": 1.0, "search.engine": "auto", "search.threads": threads}
    config = model.config.with_values(settings, "dev").searching()
    sources = [ANY_SOURCE.ids if model.is_language_model else source for source, _ in pairs]
    return model._make_search(config, Notices(), len(pairs)), sources, [target for _, target in pairs], config
