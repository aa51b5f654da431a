"""Choose settings that nobody gave for a training of some minutes, from the passes over the data that fit in.

The defaults suit a long training. A short one learns more from many small updates; one that also sees its data few
times, from a smaller model without dropout, since it does not come to learning by heart, and from vectors of trigrams.
"""

from __future__ import annotations

from dataclasses import fields

from peephole.config import SECTIONS, Config
from peephole.consistency import may_read_symbol
from peephole.data import Prepared
from peephole.training.backend_choice import training_device
from peephole.training.estimate import estimate

FEW_UPDATES = 10_000
MORE_UPDATES = {"data.batch_symbols": 300, "model.attention_symbol": True}
"""What a training of few updates needs; benchmarks/RESULTS.md has the comparisons."""
FEW_PASSES = 12.0
SHORT = {
    **MORE_UPDATES,
    "train.learning_rate": 0.002,
    "model.hidden_size": 192,
    "model.dropout": 0.0,
}
"""What it needs if its passes over the data are few, too; likewise."""
MOST_LETTERS = 256
TRIGRAMS = {"model.ngram_rows": 4096}
"""What it then also needs if there are few source symbols, as letters are: of thousands, each trigram is rare."""

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
    free = {
        name for name in (*SHORT, *TRIGRAMS) if name not in config.given and _value(config, name) == _DEFAULTS[name]
    }
    if not may_read_symbol(config.model):
        free -= {"model.attention_symbol"}
    found = estimate(config, prepared) if free else None
    if found is None or found.seconds_per_epoch is None:
        return config, None
    passes = 60 * minutes / found.seconds_per_epoch
    updates = passes * found.steps_per_epoch
    short = SHORT | (TRIGRAMS if len(prepared.source_symbols) <= MOST_LETTERS else {})
    suited = {} if updates >= FEW_UPDATES else short if passes < FEW_PASSES else MORE_UPDATES
    chosen = {name: value for name, value in suited.items() if name in free}
    if not chosen:
        return config, None
    named = ", ".join(f"{name.partition('.')[2]}={_as_text(value)}" for name, value in chosen.items())
    line = f"{minutes:g} minutes are about {passes:.2g} passes over the data and {updates:,.0f} updates: {named}"
    return config.with_values(chosen, "budget"), line


def _as_text(value: bool | float) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"


def _value(config: Config, name: str) -> object:
    section, _, key = name.partition(".")
    return getattr(getattr(config, section), key)
