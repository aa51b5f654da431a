"""Choose settings that nobody gave for a training of some minutes, from the passes over the data that fit in.

The defaults suit a long training. One that sees its data few times needs many small updates of a smaller model, and
nothing against learning by heart, since it does not come to that.
"""

from __future__ import annotations

from dataclasses import fields

from peephole.config import SECTIONS, Config
from peephole.data import Prepared
from peephole.training.backend_choice import training_device
from peephole.training.estimate import estimate

FEW_PASSES = 12.0
SHORT = {
    "data.batch_symbols": 300,
    "train.learning_rate": 0.002,
    "model.hidden_size": 192,
    "model.dropout": 0.0,
}
"""What few passes need; benchmarks/RESULTS.md has the comparisons."""

_DEFAULTS = {f"{section}.{f.name}": f.default for section, kind in SECTIONS.items() for f in fields(kind)}


def suit_budget(config: Config, prepared: Prepared) -> tuple[Config, str | None]:
    """Return the settings with which a training makes the most of its minutes, and a line that says what was chosen.

    Only settings that were not given and have their defaults are chosen, and only for texts: for a budget in passes or
    updates, on a GPU, or for frames and vectors, everything stays. The time of a pass is an estimate, so the choice may
    differ between machines; run.json stores what was chosen.

    Args:
        config: all settings.
        prepared: the prepared data.
    """
    minutes = config.train.minutes
    is_text = config.model.input == "symbols" and config.model.output in ("symbols", "copy")
    if minutes is None or not is_text or training_device(config.train) != "cpu":
        return config, None
    free = [name for name in SHORT if name not in config.given and _value(config, name) == _DEFAULTS[name]]
    seconds = estimate(config, prepared).seconds_per_epoch if free else None
    if seconds is None or not 60 * minutes < FEW_PASSES * seconds:
        return config, None
    chosen = {name: SHORT[name] for name in free}
    named = ", ".join(f"{name.partition('.')[2]}={value:g}" for name, value in chosen.items())
    line = f"{minutes:g} minutes are about {60 * minutes / seconds:.2g} passes over the data: {named}"
    return config.with_values(chosen, "budget"), line


def _value(config: Config, name: str) -> object:
    section, _, key = name.partition(".")
    return getattr(getattr(config, section), key)
