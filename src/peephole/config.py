"""All settings of a run: read from dictionaries, TOML files and command lines, and checked against each other."""

from __future__ import annotations

import sys
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from peephole.consistency import check_consistency, check_language_model, check_shared_symbols
from peephole.errors import ConfigError, check_path, check_type, describe_parse_error, describe_value, nearest
from peephole.sections import DEFAULT_EPOCHS as DEFAULT_EPOCHS
from peephole.sections import HIGHEST_COUNT as HIGHEST_COUNT
from peephole.sections import DataConfig as DataConfig
from peephole.sections import FramesConfig as FramesConfig
from peephole.sections import ModelConfig as ModelConfig
from peephole.sections import SearchConfig as SearchConfig
from peephole.sections import SymbolsConfig as SymbolsConfig
from peephole.sections import TrainConfig as TrainConfig
from peephole.values import read_value, type_text

MOST_CONFIG_BYTES = 1 << 20
SEARCH_SPACE = "search_space"
"""The table of a TOML file that names the settings to search; see `peephole.training.tuning.space`."""
SHARED_SECTIONS = ("train", "search")  # a key of both sections given without its section is set in both


@dataclass(frozen=True)
class Config:
    """All settings of a run."""

    data: DataConfig = DataConfig()
    frames: FramesConfig = FramesConfig()
    symbols: SymbolsConfig = SymbolsConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    search: SearchConfig = SearchConfig()
    peephole_implied: bool = field(default=False, compare=False, repr=False)
    """Whether `model.peephole` was not given and is none because of `model.cell=gru`."""
    given: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    """The settings that were given, as `section.key`; run.json and model files do not store which."""

    def __post_init__(self) -> None:
        for name, kind in SECTIONS.items():
            check_type(name, getattr(self, name), kind, f"a {kind.__name__}")
        check_consistency(self.data, self.frames, self.model, self.train, self.search)
        check_language_model(self.data, self.symbols, self.model, self.search)
        check_shared_symbols(self.data, self.frames, self.symbols, self.model)

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any], where: str = "config", base: Config | None = None) -> Config:
        """Build a config from nested mappings.

        Args:
            tree: section → key → value.
            where: the beginning of an error message.
            base: the config whose values are kept where the tree has none; None: the defaults.

        Raises:
            ConfigError: an unknown section or key (names the nearest), or a value that does not fit.

        >>> Config.from_dict({"model": {"hidden_size": 64}}).model.hidden_size
        64
        >>> Config.from_dict({"model": {"cell": "gru"}}).model.peephole
        'none'
        """
        check_type("tree", tree, Mapping, "a table of sections")
        base, sections = base or cls(), {}
        given: set[str] = set()
        for section, values in tree.items():
            if section not in SECTIONS:
                wanted = f"wanted one of {', '.join(SECTIONS)}{nearest(section, SECTIONS)}"
                raise ConfigError(f"{where}: unknown section {describe_value(section)}; {wanted}")
            if not isinstance(values, Mapping):
                raise ConfigError(f"{where}, {section}: wanted a table of keys, got {describe_value(values)}")
            sections[section] = read_section(
                SECTIONS[section], values, f"{where}, {section}", base=getattr(base, section)
            )
            given |= {f"{section}.{key}" for key in values}
        implied = _is_peephole_implied(tree.get("model", {}), base)
        return replace(base, **sections, peephole_implied=implied, given=base.given | given)

    @classmethod
    def from_toml(cls, path: str | Path, base: Config | None = None) -> Config:
        """Read a config from a TOML file with tables for its sections; `base` as above.

        A key before all tables needs no section where `with_values` needs none. A key that sets train and search is
        overridden by theirs.

        The table `[search_space]` of such a file is that of a search of settings and is not read here.

        Raises:
            ConfigError: the file is missing, is not TOML, gives a setting both before the tables and in one, or holds
                settings that `from_dict` refuses.
        """
        tree = read_toml(path)
        tree.pop(SEARCH_SPACE, None)
        alone = [name for name, value in tree.items() if name not in SECTIONS and not isinstance(value, Mapping)]
        for name in alone:
            value = tree.pop(name)
            found = _resolve(name, str(path))
            for section, key in found:
                table = tree.setdefault(section, {})
                if not isinstance(table, dict):  # an error of `from_dict`
                    continue
                if key in table and len(found) == 1:
                    both = f"{describe_value(value)} before the tables and {describe_value(table[key])} in [{section}]"
                    raise ConfigError(f"{path}, {section}.{key}: wanted one value, got {both}")
                table.setdefault(key, value)
        return cls.from_dict(tree, str(path), base)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return the config as nested dicts of plain JSON values."""
        return {
            section: {f.name: getattr(getattr(self, section), f.name) for f in fields(kind)}
            for section, kind in SECTIONS.items()
        }

    def with_values(self, values: Mapping[str, Any], where: str = "--set") -> Config:
        """Return a copy with some settings changed.

        Args:
            values: `section.key` → value; a value may be text as written on a command line. The section may be left
                out where only one section has that key, and for the keys that train and search share (threads, seed,
                engine, ctc_weight): these are then set in both. A name with its section overrides one without.
            where: the beginning of an error message.

        If the cell changes and `model.peephole` is not given, it is set to the cell's default: full for the LSTM, none
        for the GRU, which has no cell state.

        >>> Config().with_values({"model.hidden_size": "64", "minutes": 5}).train.minutes
        5.0
        >>> config = Config().with_values({"threads": 2, "search.threads": 4})
        >>> config.train.threads, config.search.threads
        (2, 4)
        """
        check_type("values", values, Mapping, "a table of settings")
        if not values:
            return self
        for name in values:
            check_type("values", name, str, "names of settings")
        changed: dict[str, dict[str, Any]] = {}
        for name in sorted(values, key=lambda name: "." in name):  # a stable sort
            for section, key in _resolve(name, where):
                changed.setdefault(section, {})[key] = values[name]
        sections = {
            section: read_section(SECTIONS[section], keys, f"{where}, {section}", base=getattr(self, section))
            for section, keys in changed.items()
        }
        implied = _is_peephole_implied(changed.get("model", {}), self)
        given = {f"{section}.{key}" for section, keys in changed.items() for key in keys}
        return replace(self, **sections, peephole_implied=implied, given=self.given | given)

    @property
    def names_columns(self) -> bool:
        """Whether other names of the columns than the defaults were given, so that a table's first line must hold them.

        >>> Config().with_values({"data.source": "word"}).names_columns
        True
        """
        given = {"data.source", "data.target"} & self.given
        return bool(given) and (self.data.source, self.data.target) != (DataConfig.source, DataConfig.target)

    def searching(self) -> SearchConfig:
        """Return the settings of section `search` with those defaults that depend on other sections.

        >>> Config().with_values({"model.ctc": True, "train.ctc_weight": 0.4}).searching().ctc_weight
        0.4
        """
        return self._searching

    @cached_property
    def _searching(self) -> SearchConfig:
        if self.search.ctc_weight is not None:
            return self.search
        return replace(self.search, ctc_weight=self.train.ctc_weight if self.model.ctc else 0.0)


SECTIONS: dict[str, type] = {
    "data": DataConfig,
    "frames": FramesConfig,
    "symbols": SymbolsConfig,
    "model": ModelConfig,
    "train": TrainConfig,
    "search": SearchConfig,
}


def read_toml(path: str | Path) -> dict[str, Any]:
    """Return the tables of a TOML file.

    Raises:
        ConfigError: the file is missing or is not TOML.
    """
    check_path("path", path)
    if sys.version_info >= (3, 11):
        import tomllib  # imported here, since few runs have a file
    else:  # the same library before it became part of Python
        import tomli as tomllib
    try:
        return dict(tomllib.loads(_read_text_file(Path(path))))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or describe_parse_error(error)
        raise ConfigError(f"{path}: cannot be read as TOML: {reason}") from error


def _read_text_file(path: Path) -> str:
    """Return the text of a small regular file; a pipe or a device is not opened, because that may block."""
    if not path.is_file() and path.exists():
        raise ValueError("wanted a regular file, got another kind of file")
    with open(path, "rb") as file:
        content = file.read(MOST_CONFIG_BYTES + 1)
    if len(content) > MOST_CONFIG_BYTES:
        raise ValueError(f"wanted at most {MOST_CONFIG_BYTES:,} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"byte 0x{error.object[error.start]:02x} at position {error.start + 1}"
        raise ValueError(f"wanted UTF-8, got {found}") from None


def describe() -> Iterator[tuple[str, str, Any, str]]:
    """Yield (`section.key`, type as text, default, help) of every setting, in order.

    >>> next(name for name, *_ in describe() if "peephole" in name)
    'model.peephole'
    """
    for section, kind in SECTIONS.items():
        hints = _hints(kind)
        for f in fields(kind):
            yield f"{section}.{f.name}", type_text(hints[f.name]), f.default, f.metadata["help"]


@cache
def _hints(section: type) -> dict[str, Any]:
    return typing.get_type_hints(section)


@cache
def _names() -> dict[str, tuple[str, str]]:
    """Return `section.key` → section, key of every setting."""
    return {f"{section}.{f.name}": (section, f.name) for section, kind in SECTIONS.items() for f in fields(kind)}


def full_names(name: str, where: str) -> list[str]:
    """Return the settings that a name stands for, each as `section.key`: one, or those of train and search.

    Raises:
        ConfigError: no setting has this name, or several that are not set together.

    >>> full_names("hidden_size", "--set"), full_names("threads", "--set")
    (['model.hidden_size'], ['train.threads', 'search.threads'])
    """
    return [f"{section}.{key}" for section, key in _resolve(name, where)]


def _resolve(name: str, where: str) -> list[tuple[str, str]]:
    """Return each (section, key) of a name: one, or those of train and search if both have the key."""
    known = _names()
    if name in known:
        return [known[name]]
    homes = {full: home for full, home in known.items() if home[1] == name}
    if len(homes) == 1 or homes.keys() == {f"{section}.{name}" for section in SHARED_SECTIONS}:
        return list(homes.values())
    if homes:
        raise ConfigError(f"{where}: {name!r} is in several sections; wanted one of {', '.join(homes)}")
    short = [key for _, key in known.values()]
    hint = nearest(name, [*known, *short]) or "; `peephole train --help` lists all keys"
    raise ConfigError(f"{where}: unknown key {describe_value(name)}{hint}")


def read_section(kind: type, values: Mapping[str, Any], where: str, base: Any = None) -> Any:
    """Build one section of a config, such as `ModelConfig`, from its keys; `base` has the values of the others.

    Raises:
        ConfigError: an unknown key, or a value of the wrong type or out of range; the message begins with `where`.
    """
    hints = _hints(kind)
    known = {f.name: f for f in fields(kind)}
    read = {}
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"{where}: unknown key {describe_value(key)}{nearest(key, known)}")
        read[key] = read_value(hints[key], value, f"{where}.{key}", known[key].metadata)
    if kind is ModelConfig:
        read |= _default_peephole(read, base or ModelConfig())
    return kind(**read) if base is None else replace(base, **read)


def _is_peephole_implied(given: Mapping[str, Any], base: Config) -> bool:
    """Return `Config.peephole_implied` of a config that some settings of section `model` change."""
    if "peephole" in given:
        return False
    cell = given.get("cell", base.model.cell)
    return base.peephole_implied if cell == base.model.cell else cell == "gru"


def _default_peephole(given: Mapping[str, Any], base: ModelConfig) -> dict[str, Any]:
    """Return the peepholes of a cell that changes while none are given; nothing if the cell stays the same."""
    if "peephole" in given or given.get("cell", base.cell) == base.cell:
        return {}
    return {"peephole": "none" if given["cell"] == "gru" else ModelConfig().peephole}
