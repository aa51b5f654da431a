"""Choose settings that were not given, from the budget of a training and the amount of its data.

The defaults suit a long training on much data. A short one learns more from many small updates; one that also sees its
data few times, from a smaller model without dropout, since it does not come to learning by heart, and from vectors of
trigrams. Few data are seen many times: they need many small updates, too, and more dropout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from peephole.config import DEFAULT_EPOCHS, SECTIONS, Config
from peephole.consistency import may_read_symbol
from peephole.data import Prepared
from peephole.nn.schema import Architecture
from peephole.training.alignment import count_unalignable
from peephole.training.backend_choice import training_device
from peephole.training.estimate import estimate

FEW_UPDATES = 10_000
MORE_UPDATES = {"data.batch_symbols": 300, "model.attention_symbol": True}
"""What a training of few updates needs; benchmarks/RESULTS.md has the comparisons."""
FEW_PASSES = 12.0
SHORT = {
    **MORE_UPDATES,
    "model.hidden_size": 192,
    "model.dropout": 0.0,
}
"""What it needs if its passes over the data are few, too; likewise."""
MOST_LETTERS = 256
TRIGRAMS = {"model.ngram_rows": 4096}
"""What it then also needs if there are few source symbols, as letters are: of thousands, each trigram is rare."""
MANY_PASSES = 40.0
FEW_DATA = {"data.batch_symbols": 150, "model.attention_symbol": True, "model.dropout": 0.4}
"""What a training needs that sees its data many times; likewise."""
FEW_DEV_SOURCES = 500
FEW_DEV = {"train.keep": "last"}
"""What it then also needs if dev has fewer sources: these do not tell good weights from better ones."""
FEW_LETTERS = {"model.ctc": True}
"""What it then also needs between letters (or phones) of both sides, which nearly always follow each other in order."""
MOST_UNALIGNED = 0.05
"""The share of pairs that CTC may be unable to align, where it is chosen."""
LEAST_UPDATES = 3000
"""Of a training without a budget: where the default number of passes has fewer, it goes on until then."""

_DEFAULTS = {f"{section}.{f.name}": f.default for section, kind in SECTIONS.items() for f in fields(kind)}


def suit_budget(config: Config, prepared: Prepared) -> tuple[Config, str | None]:
    """Return settings that suit the budget of a training, and a line that names those that were chosen.

    Only settings that were not given and have their defaults are chosen, and only for texts: for a budget in passes or
    updates, on a GPU, or for frames and vectors, everything stays. The time of a pass is an estimate, so the choice for
    a budget in minutes may differ between machines; run.json stores what was chosen.

    Args:
        config: all settings.
        prepared: the prepared data.
    """
    train = config.train
    is_text = config.model.input == "symbols" and config.model.output in ("symbols", "copy")
    if not is_text or training_device(train) != "cpu" or train.epochs is not None or train.steps is not None:
        return config, None
    if train.minutes is None:
        return _suit_data(config, prepared)
    free = _free(config, (*SHORT, *TRIGRAMS, *FEW_DATA, *FEW_DEV, *FEW_LETTERS))
    found = estimate(config, prepared) if free else None
    if found is None or found.seconds_per_epoch is None:
        return config, None
    passes = 60 * train.minutes / found.seconds_per_epoch
    updates = passes * found.steps_per_epoch
    chosen = {name: value for name, value in _wanted(passes, updates, config, prepared).items() if name in free}
    if not chosen:
        return config, None
    epochs = f"{passes:{',.0f' if passes >= 10 else '.2g'}}"
    line = f"with the defaults {train.minutes:g} minutes are about {epochs} epochs and {updates:,.0f} updates"
    return config.with_values(chosen, "budget"), f"{line}; chosen for that: {_as_text(chosen)}"


def _wanted(passes: float, updates: float, config: Config, prepared: Prepared) -> Mapping[str, Any]:
    """Return the settings that suit a training of some passes and updates with the defaults."""
    if passes >= MANY_PASSES:
        return _few_data(config, prepared)
    if updates >= FEW_UPDATES:
        return {}
    if passes >= FEW_PASSES:
        return MORE_UPDATES
    return SHORT | (TRIGRAMS if len(prepared.source_symbols) <= MOST_LETTERS else {})


def _suit_data(config: Config, prepared: Prepared) -> tuple[Config, str | None]:
    """Return settings that suit a training without a budget, and a line that names those that were chosen."""
    symbols = prepared.train.num_target_symbols
    if DEFAULT_EPOCHS * symbols / config.data.batch_symbols >= LEAST_UPDATES:
        return config, None
    wanted = _few_data(config, prepared)
    free = _free(config, wanted)
    chosen = {name: value for name, value in wanted.items() if name in free}
    suited = config.with_values(chosen, "budget")
    if DEFAULT_EPOCHS * symbols / suited.data.batch_symbols < LEAST_UPDATES:
        chosen["train.steps"] = LEAST_UPDATES
        suited = config.with_values(chosen, "budget")
    if not chosen:
        return config, None
    return suited, f"{len(prepared.train):,} pairs are few and no budget was given: {_as_text(chosen)}"


def _few_data(config: Config, prepared: Prepared) -> Mapping[str, Any]:
    """Return the settings for few data."""
    wanted = FEW_DATA | (FEW_DEV if len(prepared.dev_pairs) < FEW_DEV_SOURCES else {})
    letters = max(len(prepared.source_symbols), len(prepared.target_symbols)) <= MOST_LETTERS
    if not letters or config.model.output != "symbols":
        return wanted
    unaligned = count_unalignable(prepared.train, Architecture.of(config.model))
    return wanted | (FEW_LETTERS if unaligned <= MOST_UNALIGNED * len(prepared.train) else {})


def _free(config: Config, names: Iterable[str]) -> set[str]:
    """Return which settings were not given and may be chosen."""
    free = {name for name in names if name not in config.given and _value(config, name) == _DEFAULTS[name]}
    if not may_read_symbol(config.model):
        free -= {"model.attention_symbol"}
    if not config.train.ctc_weight:
        free -= {"model.ctc"}
    if config.train.patience is not None:
        free -= {"train.keep"}
    if {"model.encoder_size", "model.attention_heads"} & config.given:  # which may have to fit it
        free -= {"model.hidden_size"}
    return free


def _as_text(chosen: Mapping[str, Any]) -> str:
    shown = {name: f"{value:g}" if isinstance(value, float) else str(value).lower() for name, value in chosen.items()}
    return ", ".join(f"{name.partition('.')[2]}={value}" for name, value in shown.items())


def _value(config: Config, name: str) -> object:
    section, _, key = name.partition(".")
    return getattr(getattr(config, section), key)
