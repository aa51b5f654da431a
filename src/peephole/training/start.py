"""The model with which a run goes on: read, compared with the run's settings, and copied into the run's folder.

The copy, `start.safetensors`, makes the run independent of the model's file. This module does not import PyTorch.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

from peephole.config import DEFAULT_EPOCHS, Config, TrainConfig
from peephole.data import KnownSymbols
from peephole.data.stamp import file_digest
from peephole.errors import ConfigError, ModelFileError
from peephole.nn.schema import Architecture
from peephole.storage.header import Header, read_header
from peephole.storage.model_file import ModelFile, load_model
from peephole.symbols.frames import FRAME_KINDS
from peephole.training.copied import CopiedModel

START = "start.safetensors"
"""The copy of the model in the run's folder."""
BUDGET = ("minutes", "epochs", "steps")
FIRST_WEIGHTS = ("forget_bias", "embedding_std", "initial_range")
"""Settings of section model for drawing first weights; only those of new symbols are drawn, as in the model's run."""
MACHINE = ("precision", "device", "threads", "engine", "teacher")
"""Settings of section train that suit the machine that made the model or name its files, and are not of the task."""
DEV = ("keep",)
"""Likewise, that suit its dev set; by default no run ends with weights that are worse on dev than the model's."""


class Start(CopiedModel):
    """The model with which a run goes on."""

    def copy_to(self, folder: Path) -> None:
        """Copy the model into the run's folder; errors as in `CopiedModel.copy`."""
        self.copy(folder / START)

    def load(self, folder: Path) -> ModelFile:
        """Return the model, from the copy in the run's folder.

        Raises:
            RunError: the copy is missing or damaged.
        """
        return load_model(self.checked(folder / START))

    def known_symbols(self, folder: Path) -> KnownSymbols:
        """Return the model's symbol tables, from the copy in the run's folder; errors as in `load`."""
        header = read_header(self.checked(folder / START))
        return KnownSymbols(header.source_symbols, header.target_symbols)


def read_start(model: str) -> tuple[Start, ModelFile]:
    """Read the model with which a run is to go on.

    Raises:
        ModelFileError: it is missing, damaged, or an ensemble.
    """
    _check_single(model)
    try:
        digest = file_digest(Path(model))
    except OSError:
        digest = ""  # the next line has a message for it
    return Start(model, digest), load_model(model)


def _check_single(model: str) -> None:
    names = model.split(",")
    if len(names) > 1 and not Path(model).exists() and all(Path(name).exists() for name in names):
        raise ModelFileError(f"{model}: wanted one model to go on with, got an ensemble of {len(names)}")


def config_of_model(model: str) -> Config:
    """Return the settings from which a run goes on with a model; errors as in `read_start`."""
    _check_single(model)
    return starting_config(read_header(model).config)


def starting_config(made_with: Config) -> Config:
    """Return the settings of a model, but with the default budget and the defaults of settings of machine and dev set.

    >>> made_with = Config().with_values({"minutes": 5, "threads": 2, "dropout": 0.5, "keep": "last"})
    >>> starting_config(made_with) == Config().with_values({"dropout": 0.5, "search.threads": 2})
    True
    """
    default = TrainConfig()
    reset = {name: getattr(default, name) for name in (*BUDGET, *MACHINE, *DEV)}
    # The temperature of the probabilities was that of the old weights
    return replace(
        made_with, train=replace(made_with.train, **reset), search=replace(made_with.search, calibration=1.0)
    )


def check_settings(model: str, header: Header | ModelFile, config: Config) -> None:
    """Check that the settings of a run agree with the model with which it goes on.

    Args:
        model: the name of the model's file.
        header: the description of the model.
        config: the settings of the run.

    Raises:
        ConfigError: a setting describes another architecture, other first weights or other symbols; the message names
            it.
    """
    wanted, got = header.architecture, Architecture.of(config.model)
    for name in (f.name for f in fields(Architecture)):
        _check_equal(model, f"model.{name}", getattr(wanted, name), getattr(got, name))
    for name in FIRST_WEIGHTS:
        own, given = getattr(header.config.model, name), getattr(config.model, name)
        if given != own:
            raise ConfigError(
                f"model.{name}: wanted {own:g}, as {model} has it, got {given:g}; the first weights are those of the "
                "model"
            )
    for side, table in (("source", header.source_symbols), ("target", header.target_symbols)):
        kind = getattr(config.symbols, side)
        _check_equal(model, f"symbols.{side}", table.kind, table.kind if kind == "auto" else kind)
        if table.kind not in FRAME_KINDS:  # whose tables have no texts
            _check_equal(model, "symbols.normalize", table.normalize, config.symbols.normalize)
    if config.symbols.shared:
        one = header.source_symbols.to_json() == header.target_symbols.to_json()
        _check_equal(model, "symbols.shared", one, True)


def _check_equal(model: str, name: str, wanted: object, got: object) -> None:
    if got != wanted:
        raise ConfigError(f"{name}: wanted {wanted}, as {model} has it, got {got}; a run from a model cannot change it")


def introduction(start: Start, model: ModelFile, config: Config) -> list[str]:
    """Return lines that say what the run takes from the model."""
    lines = [f"goes on with {start.model}: its weights, symbols and settings; the learning rate is warmed up anew"]
    if model.stored != "float32":
        lines.append(f"{start.model} stores {model.stored}: its rounded weights are trained and written as float32")
    if all(getattr(config.train, name) is None for name in BUDGET):
        lines.append(f"no budget given: {DEFAULT_EPOCHS} epochs")
    return lines + list(model.notes)
