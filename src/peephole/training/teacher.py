"""The teacher of a run: models whose probabilities are learned beside the gold symbols, (69).

The folder `teacher/` in the run's folder holds copies of the models, which make the run independent of their files, and
what they gave for the training pairs; see `peephole.training.taught`. This module does not import NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from peephole.config import Config
from peephole.data import KnownSymbols
from peephole.data.stamp import file_digest
from peephole.errors import ConfigError
from peephole.model import load
from peephole.storage.header import Header, read_header
from peephole.symbols import FRAME_KINDS
from peephole.training.copied import CopiedModel

if TYPE_CHECKING:
    from peephole.data import Prepared

FOLDER = "teacher"
"""The folder in the run's folder."""


@dataclass(frozen=True)
class Teacher:
    """The models that teach, as run.json stores them."""

    models: tuple[CopiedModel, ...]

    def copy_to(self, folder: Path) -> None:
        """Copy the models into the run's folder; errors as in `CopiedModel.copy`."""
        (folder / FOLDER).mkdir()
        for model, path in zip(self.models, self._paths(folder), strict=True):
            model.copy(path)

    def copies(self, folder: Path) -> list[Path]:
        """Return the paths of the models' copies in the run's folder; errors as in `CopiedModel.checked`."""
        return [model.checked(path) for model, path in zip(self.models, self._paths(folder), strict=True)]

    def known_symbols(self, folder: Path) -> KnownSymbols:
        """Return the models' symbol tables, from the copy in the run's folder; errors as in `copies`."""
        return _tables(read_header(self.copies(folder)[0]))

    def tables(self) -> KnownSymbols:
        """Return the models' symbol tables, from the first one's file."""
        return _tables(read_header(self.models[0].model))

    def _paths(self, folder: Path) -> list[Path]:
        return [folder / FOLDER / f"{number}.safetensors" for number in range(1, len(self.models) + 1)]


def read_teacher(config: Config) -> Teacher | None:
    """Return the teacher that the settings name; None if they name none.

    Raises:
        ModelFileError: a model is missing or damaged, or the models are no ensemble.
        ConfigError: a model cannot teach the model of these settings.
    """
    if config.train.teacher is None:
        return None
    names = [config.train.teacher] if Path(config.train.teacher).exists() else config.train.teacher.split(",")
    for name in names:
        _check_model(name, read_header(name), config)
    load(*names)  # finds damaged files before a run is made, and models that are no ensemble
    return Teacher(tuple(CopiedModel(name, file_digest(Path(name))) for name in names))


def check_symbols(config: Config, prepared: Prepared, teacher: Teacher) -> None:
    """Raise ConfigError if a training does not have the symbols of its teacher."""
    tables = teacher.tables()
    for side in ("source", "target"):
        wanted, got = getattr(tables, side), getattr(prepared, f"{side}_symbols")
        if got.to_json() != wanted.to_json():
            raise ConfigError(
                f"train.teacher: wanted the {side} symbols of {config.train.teacher}, {wanted.kind}, got others, "
                f"{got.kind}"
            )


def _tables(header: Header) -> KnownSymbols:
    return KnownSymbols(header.source_symbols, header.target_symbols, grow=False)


def _check_model(name: str, header: Header, config: Config) -> None:
    """Raise ConfigError if a model cannot teach the model of these settings."""
    if header.config.model.output != "symbols":
        raise ConfigError(
            f"train.teacher: wanted models with model.output='symbols', {name} has {header.config.model.output!r}"
        )
    alone, taught_alone = header.config.model.input == "none", config.model.input == "none"
    if alone != taught_alone:
        kinds = {True: "a language model", False: "a model with sources"}
        raise ConfigError(f"train.teacher: wanted {kinds[taught_alone]}, {name} is {kinds[alone]}")
    for side, table in (("source", header.source_symbols), ("target", header.target_symbols)):
        if table.kind in FRAME_KINDS:  # whose tables have no texts
            continue
        for setting, wanted in ((f"symbols.{side}", table.kind), ("symbols.normalize", table.normalize)):
            got = getattr(config.symbols, setting.removeprefix("symbols."))
            if got not in ("auto", wanted):
                raise ConfigError(f"{setting}: wanted {wanted}, as the teacher {name} has it, got {got}")
