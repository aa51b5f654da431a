"""Choose on dev whether CTC takes part in the searches of a trained model, unless a setting says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from peephole.config import Config
from peephole.training.dev import HIGHER_IS_BETTER


def without_ctc(config: Config) -> Config | None:
    """Return the settings with a search without CTC, to compare; None where nothing is to choose."""
    model = config.model
    if not model.ctc or config.search.ctc_weight is not None or model.input == "none":
        return None
    return replace(config, search=replace(config.search, ctc_weight=0.0))


def better_without_ctc(
    config: Config, with_ctc: Mapping[str, float], measure: Callable[[Config], Mapping[str, float]]
) -> str | None:
    """Return a line if the searches of the finished model are better without CTC, else None.

    CTC's share of the score, (36), reads the source from its beginning to its end. Where targets follow their sources
    it finds what attention leaves out; where they have another order it is in the way, though it may help training.

    Args:
        config: all settings.
        with_ctc: metrics of the best weights on dev, with settings as they are.
        measure: returns those with others.
    """
    other = without_ctc(config)
    metric = "symbol_error_rate" if config.train.dev_metric == "loss" else config.train.dev_metric
    if other is None or metric not in with_ctc:
        return None
    before, now = with_ctc[metric], measure(other)[metric]
    if not (now > before if HIGHER_IS_BETTER[metric] else now < before):
        return None
    name = metric.replace("_", " ")
    return f"search.ctc_weight=0: dev {name} {now:.3f} without CTC in the search, {before:.3f} with it"
