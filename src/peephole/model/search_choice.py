"""Choose what searches: the engine where it can, else PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from peephole import engine
from peephole.config import Config, ModelConfig, SearchConfig
from peephole.engine.kinds import PREDICTION_KINDS, missing_kind
from peephole.engine.packed import PackedSearch
from peephole.model.calibrated import CalibratedSearch, divided_weights
from peephole.model.reading import Notices
from peephole.model.search_memory import check_search_memory
from peephole.model.weights import Weights
from peephole.nn.schema import Architecture
from peephole.symbols import Symbols

Description = tuple[Config, Symbols, Symbols]
"""Settings, source symbols and target symbols of a model."""

if TYPE_CHECKING:
    from peephole.search.torch import DefinitionSearch


def make_search(
    weights: Weights,
    description: Description,
    search: SearchConfig,
    notices: Notices,
    count: int,
    guides: Sequence[tuple[Weights, Description, float]] = (),
) -> PackedSearch | DefinitionSearch | CalibratedSearch:
    """Return the engine's search, or PyTorch's if the engine is off, missing or lacks a kind.

    With `search.calibration` other than 1 its hypotheses have calibrated probabilities.

    Args:
        weights: the model's weights.
        description: its settings and symbol tables.
        search: the settings of the search.
        notices: told why PyTorch searches although the engine is on.
        count: the number of sources, for which the memory is checked.
        guides: language models with their weights in the search.

    Raises:
        ConfigError: the search needs more memory than there is.
    """
    config, _, target_symbols = description
    notices.slow_search = slow_search_reason(weights, config, search)
    fits = all(part.fit_engine() for part in (weights, *(guide for guide, *_ in guides)))  # else on a GPU, or float64
    packs = fits and search.engine == "auto" and notices.slow_search is None
    shapes = [own[0].model for _, own, _ in guides]
    check_search_memory(config.model, len(target_symbols), search, count if fits else 0, engine=packs, guides=shapes)
    if search.calibration != 1:
        scaled = divided_weights(weights, description, search.calibration)
        return CalibratedSearch(
            _plain_search(weights, description, packs, guides), _plain_search(scaled, description, packs)
        )
    return _plain_search(weights, description, packs, guides)


def _plain_search(
    weights: Weights,
    description: Description,
    packs: bool,
    guides: Sequence[tuple[Weights, Description, float]] = (),
) -> PackedSearch | DefinitionSearch:
    """Return the search of the engine if it packs the weights, else of PyTorch; arguments as in `make_search`."""
    if packs:
        packed = [(guide.packed(own)[0], weight) for guide, own, weight in guides]
        return PackedSearch(weights.packed(description), packed)
    from peephole.search.torch import DefinitionSearch

    return DefinitionSearch(
        weights.search_networks(), [(guide.search_networks()[0], weight) for guide, _, weight in guides]
    )


def slow_search_reason(weights: Weights, config: Config, search: SearchConfig) -> str | None:
    """Return why PyTorch searches although the engine is on; None if the engine searches, or is off."""
    if search.engine == "off" or not weights.fit_engine():
        return None
    if not engine.available():
        return "peephole was installed without its engine"
    missing = _kind_missing_in_prediction(config.model)
    return weights.differing_kind(config) if missing is None else f"the engine {missing}"


@lru_cache
def _kind_missing_in_prediction(model: ModelConfig) -> str | None:
    """Return the kind that the engine's prediction lacks; None if it has all."""
    return missing_kind(Architecture.of(model).kinds(), PREDICTION_KINDS)
