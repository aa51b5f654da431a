"""The settings that a search tries: values or ranges, by default and from the table `[search_space]` of a TOML file.

    [search_space]
    hidden_size = [128, 256, 384]                                 # one of these
    "train.learning_rate" = {low = 0.0005, high = 0.01, log = true}   # a range; log: even in the logarithm

This module imports neither PyTorch nor Optuna.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from peephole.config import SEARCH_SPACE, SECTIONS, Config, full_names, read_section
from peephole.errors import ConfigError, check_type, describe_value, nearest

LEAST_EVALUATIONS = 10  # of a training: two of a trial

_DATA_SHAPE = ("input", "output", "input_size", "input_planes", "frame_stack")  # decided by the data
SEARCHABLE = (
    "data.batch_symbols",
    *(f"model.{f.name}" for f in fields(SECTIONS["model"]) if f.name not in _DATA_SHAPE),
    *(f"train.{name}" for name in ("learning_rate", "weight_decay", "warmup", "schedule", "clip_norm")),
    *(f"train.{name}" for name in ("label_smoothing", "loss_mean", "ema_decay")),
    *(f"train.{name}" for name in ("coverage_loss", "consistency_loss")),
    *(f"train.{name}" for name in ("scheduled_sampling", "sampling_end", "ctc_weight")),
    *(f"train.{name}" for name in ("time_masks", "time_mask_size", "feature_masks", "feature_mask_size")),
)
"""Settings that may be searched. Symbols and other settings of the data may not: the data are prepared once, and rates
of errors by symbol cannot be compared between kinds of symbols. A seed may not: the best of several seeds on dev is
luck."""


@dataclass(frozen=True)
class Choices:
    """The values of a setting, at least one."""

    values: tuple[Any, ...]

    @property
    def ordered(self) -> bool:
        """Return whether the values are numbers in ascending order, so that neighbours are alike."""
        numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in self.values)
        return numbers and sorted(self.values) == list(self.values)

    def nearest(self, value: Any) -> Any:
        """Return the value itself if it is a choice, else the nearest number, else the first choice."""
        if value in self.values:
            return value
        if not self.ordered or not isinstance(value, (int, float)):
            return self.values[0]
        return min(self.values, key=lambda choice: abs(choice - value))

    def with_value(self, value: Any) -> Choices:
        """Return these choices and another value."""
        if value in self.values:
            return self
        values = (*self.values, value)
        return Choices(tuple(sorted(values)) if self.ordered else values)

    def to_json(self) -> list[Any]:
        """Return what `read_space` reads."""
        return list(self.values)


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, both included; whole numbers if both are ints."""

    low: float
    high: float
    log: bool = False

    @property
    def is_whole(self) -> bool:
        """Return whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def nearest(self, value: Any) -> Any:
        """Return the number of the range that is nearest to a value; the lowest if it is not a number."""
        if not isinstance(value, (int, float)):
            return self.low
        return min(max(value, self.low), self.high)

    def with_value(self, value: Any) -> Range:
        """Return the range, widened so that it includes a number, if it can: a logarithmic one has none below 0."""
        if self.log and value <= 0:
            return self
        return Range(min(self.low, value), max(self.high, value), self.log)

    def to_json(self) -> dict[str, Any]:
        """Return what `read_space` reads."""
        return {"low": self.low, "high": self.high, "log": self.log}


Space = dict[str, Choices | Range]
"""`section.key` → what may be tried."""

DEFAULT_SPACE: Space = {
    "model.hidden_size": Choices((128, 192, 256, 384)),
    "model.encoder_layers": Choices((1, 2)),
    "model.peephole": Choices(("full", "diagonal", "none")),
    "model.attention": Choices(("additive", "dot", "general")),
    "model.dropout": Range(0.1, 0.4),
    "train.learning_rate": Range(0.001, 0.008, log=True),
    "data.batch_symbols": Choices((500, 1000, 2000)),
}
"""Searched where nothing else is given: what matters most on small data, and what the engine trains fast. The ranges
are narrow around good settings, since a search of minutes has ten trials rather than a hundred. `default_space` adapts
them to the settings from which a search starts."""


def default_space(base: Config) -> Space:
    """Return the default space, widened where needed so that it includes the settings of `base`.

    Batches are half of, equal to, and twice those of `base`. Settings that change nothing in its model are left out.

    >>> space = default_space(Config().with_values({"hidden_size": 448, "dropout": 0, "batch_symbols": 300}))
    >>> space["model.hidden_size"].values, space["model.dropout"].low, space["data.batch_symbols"].values
    ((128, 192, 256, 384, 448), 0.0, (150, 300, 600))
    """
    space = {
        name: found.with_value(value_of(base, name)) for name, found in DEFAULT_SPACE.items() if _applies(name, base)
    }
    symbols = base.data.batch_symbols
    space["data.batch_symbols"] = Choices(tuple(dict.fromkeys((max(1, symbols // 2), symbols, 2 * symbols))))
    return space


def check_search(config: Config | None, given: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Config, Space]:
    """Return the settings that are given to a search, and those that it would try around them; arguments as in `tune`.

    Raises:
        ConfigError: a setting or the space is wrong, or there is no budget in minutes.
    """
    base = (config or Config()).with_values(settings, "settings")
    space = read_space(given, fixed_names(settings), base)
    if not base.train.minutes:
        got = "none" if base.train.minutes is None else f"{base.train.minutes:g}"
        raise ConfigError(f"train.minutes: wanted the minutes of a search and of the training after it, got {got}")
    if base.train.evaluations < LEAST_EVALUATIONS:
        raise ConfigError(
            f"train.evaluations: wanted at least {LEAST_EVALUATIONS} for a search, got {base.train.evaluations}"
        )
    return base, space


def fixed_names(settings: Mapping[str, Any]) -> set[str]:
    """Return the full names of single settings, which a search leaves as they are."""
    return {full for name in settings for full in full_names(name, "settings")}


def read_space(given: Mapping[str, Any], fixed: Collection[str], base: Config, where: str = SEARCH_SPACE) -> Space:
    """Return the settings to search: the default ones, changed and extended by those given, without fixed ones.

    Args:
        given: setting, with or without its section, or section → settings; to a list of values, or a table of low,
            high and perhaps log.
        fixed: full names of settings that stay as they are in `base`.
        base: the settings from which the search starts.
        where: the beginning of an error message.

    Raises:
        ConfigError: a name is unknown or cannot be searched, a value is wrong, or nothing is left to search.

    >>> space = read_space({"model": {"hidden_size": [64, 128]}}, ["model.dropout"], Config())
    >>> space["model.hidden_size"].values, "model.dropout" in space, "train.learning_rate" in space
    ((64, 128), False, True)
    """
    check_type(where, given, Mapping, "a table of settings")
    space = default_space(base) | stored_space(given, where)
    space = {name: found for name, found in space.items() if name not in fixed}
    if not any(isinstance(found, Range) or len(found.values) > 1 for found in space.values()):
        raise ConfigError(f"{where}: nothing is left to search: all settings are fixed or have one value")
    return space


def stored_space(tree: Mapping[str, Any], where: str) -> Space:
    """Return a space from the JSON values of its settings, as run.json stores them; errors as in `read_space`."""
    return {name: _read_dimension(name, value, where) for name, value in _flattened(tree, where)}


def first_settings(space: Space, base: Config) -> dict[str, Any]:
    """Return the settings of the first trial: those of `base`, or the nearest that may be tried.

    >>> first_settings({"model.hidden_size": Choices((32, 64)), "model.dropout": Range(0.0, 0.5)}, Config())
    {'model.hidden_size': 64, 'model.dropout': 0.2}
    """
    return {name: found.nearest(value_of(base, name)) for name, found in space.items()}


def value_of(config: Config, name: str) -> Any:
    """Return the value of a setting, given as `section.key`."""
    section, key = name.split(".")
    return getattr(getattr(config, section), key)


def _applies(name: str, base: Config) -> bool:
    """Return whether all values of a setting of the default space fit models like `base`, and change something."""
    if name == "model.peephole":
        return base.model.cell == "lstm"
    return name != "model.attention" or (base.model.context == "attention" and not base.model.attention_symbol)


def _flattened(given: Mapping[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    """Yield (`section.key`, value) of settings in a table, some of which may be in tables of their section."""
    for name, value in given.items():
        inside = isinstance(value, Mapping) and name in SECTIONS
        entries = {f"{name}.{key}": entry for key, entry in value.items()} if inside else {name: value}
        for key, entry in entries.items():
            check_type(where, key, str, "names of settings")
            for full in full_names(key, where):
                if full not in SEARCHABLE:
                    hint = nearest(full, SEARCHABLE)
                    raise ConfigError(f"{where}: {full} cannot be searched; wanted a setting that may{hint}")
                yield full, entry


def _read_dimension(name: str, value: Any, where: str) -> Choices | Range:
    """Return a list of values or a table of low and high, with the setting's types and limits checked."""
    table, where = where, f"{where}, {name}"
    if isinstance(value, (list, tuple)):
        values = tuple(dict.fromkeys(_read(name, entry, table) for entry in value))
        if not values:
            raise ConfigError(f"{where}: wanted at least one value, got none")
        return Choices(values)
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: wanted a list of values, or a table of low and high; got {describe_value(value)}")
    for key in value:
        if key not in ("low", "high", "log"):
            raise ConfigError(f"{where}: unknown key {describe_value(key)}; wanted low, high and perhaps log")
    low, high = (_read(name, value.get(key), table) for key in ("low", "high"))
    for key, number in (("low", low), ("high", high)):
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise ConfigError(f"{where}, {key}: wanted a number, got {describe_value(number)}")
    log = value.get("log", False)
    if not isinstance(log, bool):
        raise ConfigError(f"{where}, log: wanted true or false, got {describe_value(log)}")
    if low > high or (log and low <= 0):
        rule = "0 < low ≤ high, since log is true" if log else "low ≤ high"
        raise ConfigError(f"{where}: wanted {rule}; got low = {low:g} and high = {high:g}")
    return Range(low, high, log)


def _read(name: str, value: Any, where: str) -> Any:
    """Return a value of a setting as its section holds it; other settings are not compared with it."""
    section, key = name.split(".")
    if value is None:
        raise ConfigError(f"{where}, {name}: wanted a value, got none")
    return getattr(read_section(SECTIONS[section], {key: value}, f"{where}, {section}"), key)
