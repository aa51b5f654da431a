"""Describe a model: its network, symbols and settings, and how it was made. Needs neither PyTorch nor the engine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from peephole.config import Config
from peephole.errors import ArgumentError, PeepholeError, printable, shorten
from peephole.model.handle import Model
from peephole.model.loading import read_model
from peephole.nn.schema import making_of_settings, tensors
from peephole.storage.header import TRAINING
from peephole.symbols import FRAME_KINDS, SPECIALS, FrameSymbols, Symbols

EXAMPLES = 12  # symbols shown of each table, the most frequent ones in training
LONGEST_LINE = 400  # characters of a value as text


@dataclass(frozen=True)
class SymbolsInfo:
    """A symbol table.

    Attributes:
        kind: characters, whitespace, bpe or unigram; of a source without symbols sound, image or numbers.
        normalize: Unicode normal form.
        size: number of symbols V, the four special ones included.
        examples: the first ordinary symbols; of numbers the names of their columns, if they must have them.
    """

    kind: str
    normalize: str
    size: int
    examples: tuple[str, ...]

    @classmethod
    def of(cls, symbols: Symbols) -> SymbolsInfo:
        """Return the description of a symbol table."""
        if isinstance(symbols, FrameSymbols):
            return cls(symbols.kind, symbols.normalize, len(symbols), symbols.columns or ())
        first = range(len(SPECIALS), min(len(symbols), len(SPECIALS) + EXAMPLES))
        return cls(symbols.kind, symbols.normalize, len(symbols), tuple(symbols.tokens(first)))

    def __str__(self) -> str:
        if self.kind in FRAME_KINDS:
            return f"none: {self.kind}" + (f", columns {' '.join(map(repr, self.examples))}" if self.examples else "")
        rest = " …" if self.size > len(SPECIALS) + len(self.examples) else ""
        return f"{self.size:,} {self.kind} ({self.normalize}): {' '.join(map(repr, self.examples))}{rest}"


@dataclass(frozen=True, repr=False)
class ModelInfo:
    """The description of a model.

    Attributes:
        model: the name of its file; None for a model made of networks.
        num_bytes: size of the file; None likewise.
        format_version: of the file; None likewise.
        number_format: how matrices are stored: float32, bfloat16 or int8.
        architecture: kinds and sizes of the network.
        num_weights: number of weights.
        weights: number of weights of each part of the network.
        source_symbols: the symbol table of sources.
        target_symbols: that of targets.
        settings: `section.key` → value of each setting that differs from its default, except the architecture.
        made: versions of the programs that made the model, and `training`: data, steps and dev scores, if the file has
            them; see docs/model-file.md.
        notes: information in the file that is not used, one line each.
    """

    model: str | None
    num_bytes: int | None
    format_version: int | None
    number_format: str
    architecture: dict[str, Any]
    num_weights: int
    weights: dict[str, int]
    source_symbols: SymbolsInfo
    target_symbols: SymbolsInfo
    settings: dict[str, Any]
    made: dict[str, Any]
    notes: tuple[str, ...]
    _network: str

    def to_dict(self) -> dict[str, Any]:
        """Return the description as plain JSON values, as `peephole info --json` prints it."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if not f.name.startswith("_")}
        for side in ("source_symbols", "target_symbols"):
            values[side] = {**vars(values[side]), "examples": list(values[side].examples)}
        return values | {"notes": list(self.notes)}

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> Iterator[str]:
        """Yield the lines that `peephole info` prints."""
        size = "" if self.num_bytes is None else f"{self.num_bytes:,} bytes, format version {self.format_version}, "
        yield f"{printable(self.model or 'model in memory')}: {size}{self.number_format}"
        parts = ", ".join(f"{part} {count:,}" for part, count in self.weights.items())
        training = dict(self.made.get(TRAINING, {}))
        rows: list[tuple[str, Any]] = [
            ("network", self._network),
            ("weights", f"{self.num_weights:,} ({parts})"),
            *(
                [("both sides", str(self.target_symbols))]
                if self.settings.get("symbols.shared")
                else [("source symbols", str(self.source_symbols)), ("target symbols", str(self.target_symbols))]
            ),
            (
                "settings",
                ", ".join(f"{name} {_text(value)}" for name, value in self.settings.items()) or "the defaults",
            ),
            ("made with", {name: text for name, text in self.made.items() if name != TRAINING} or "not stored"),
            *((name, training.pop(name)) for name in ("train", "dev", "dev_scores") if name in training),
            *([("training", training)] if training else []),
            *(("note", note) for note in self.notes),
        ]
        for name, value in rows:
            yield f"  {name.replace('_', ' '):<14}  {shorten(_text(value), LONGEST_LINE)}"


def info(model: Model | str | Path) -> ModelInfo:
    """Describe a model: kinds, sizes, symbols, settings, and which programs and data made it.

    Args:
        model: a model, or the name of its file, which is checked whole.

    Raises:
        ModelFileError: the file is missing or damaged.
        PeepholeError: the model is an ensemble; its `members` are described one by one.
        ArgumentError: the argument is neither.
    """
    if isinstance(model, (str, os.PathLike)):
        model = read_model([os.fspath(model)])
    if not isinstance(model, Model):
        raise ArgumentError(f"model: wanted a Model or the name of its file, got {shorten(repr(model))}")
    if len(model.members) != 1:
        raise PeepholeError(f"info: wanted one model, got an ensemble of {len(model.members)}; describe its `members`")
    file = model.model_file()
    counts: dict[str, int] = {}
    for name, spec in tensors(file.architecture, len(file.source_symbols), len(file.target_symbols)).items():
        part = name.partition(".")[0]
        counts[part] = counts.get(part, 0) + int(np.prod(spec.shape))
    return ModelInfo(
        model=model.name,
        num_bytes=model.num_bytes or None,
        format_version=file.format_version if model.files else None,
        number_format=file.stored,
        architecture=file.architecture.to_dict(),
        num_weights=sum(counts.values()),
        weights=counts,
        source_symbols=SymbolsInfo.of(file.source_symbols),
        target_symbols=SymbolsInfo.of(file.target_symbols),
        settings=_changed_settings(file.config),
        made=dict(model.made),
        notes=model.notes,
        _network=file.architecture.describe(),
    )


def _changed_settings(config: Config) -> dict[str, Any]:
    """Return the settings that differ from their defaults, except those of the architecture."""
    defaults, making = Config().to_dict(), making_of_settings()
    return {
        f"{section}.{key}": value
        for section, values in config.to_dict().items()
        for key, value in values.items()
        if value != defaults[section][key] and (section != "model" or key in making)
    }


def _text(value: Any) -> str:
    """Return a JSON value as text on one line."""
    if isinstance(value, Mapping):
        if value.keys() == {"name", "sha256"}:  # of a file
            return f"{_text(value['name'])} (sha256 {_text(value['sha256'])})"
        return ", ".join(f"{printable(name.replace('_', ' '))} {_text(inner)}" for name, inner in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "; ".join(map(_text, value)) or "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return printable(str(value))
