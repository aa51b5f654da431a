"""Plan a training without PyTorch: read the data, choose the symbols, and estimate memory and time."""

from __future__ import annotations

import os
import tempfile
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

from peephole.config import DEFAULT_EPOCHS, Config, TrainConfig
from peephole.data import Prepared, data_files, prepare
from peephole.data.manifest import recognise_sources
from peephole.errors import check_path, check_type, plural
from peephole.memory import size_text
from peephole.nn.schema import Architecture, tensors
from peephole.training.alignment import ctc_notice
from peephole.training.budget_settings import suit_budget
from peephole.training.estimate import Estimate, estimate
from peephole.training.folder import check_name, check_replaces_nothing
from peephole.training.run_file import Run
from peephole.training.schedules import empty_budget_notice
from peephole.training.teacher import check_symbols, read_teacher

LARGEST_PARTS = 3  # parts of the memory that are named


@dataclass(frozen=True)
class Plan:
    """What a training will read, build and need.

    Attributes:
        report: the lines that training prints about the data and the symbols.
        num_pairs: training pairs.
        num_dev_sources: sources of the dev set.
        num_source_symbols: size of the source's vocabulary, specials included.
        num_target_symbols: likewise of the target.
        num_parameters: numbers in the network's weights.
        memory: bytes at the peak by use, for one process.
        steps_per_epoch: updates in a pass over the data.
        seconds_per_epoch: seconds of a pass on this machine's CPU; None where they cannot be estimated.
        epochs: passes of the whole training; None if its budget is in minutes and the seconds are not known.
        steps: updates of the whole training; likewise.
        seconds: seconds of the whole training, without evaluations; None if not known.
    """

    report: list[str]
    num_pairs: int
    num_dev_sources: int
    num_source_symbols: int
    num_target_symbols: int
    num_parameters: int
    memory: dict[str, int]
    steps_per_epoch: int
    seconds_per_epoch: float | None
    epochs: float | None
    steps: int | None
    seconds: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain JSON values: what `peephole train --dry-run --json` prints."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the plan as lines of text."""
        parts = sorted(self.memory.items(), key=lambda part: -part[1])[:LARGEST_PARTS]
        named = ", ".join(f"{name} {size_text(size)}" for name, size in parts)
        memory = f"memory: about {size_text(sum(self.memory.values()))}{f' ({named})' if named else ''}"
        epoch = "time not known" if self.seconds_per_epoch is None else f"about {duration_text(self.seconds_per_epoch)}"
        lines = [
            *self.report,
            f"{self.num_parameters:,} parameters",
            memory,
            f"an epoch: {plural(self.steps_per_epoch, 'update')}, {epoch}",
        ]
        whole = [
            *([] if self.epochs is None else [f"{self.epochs:{',.0f' if self.epochs >= 100 else '.3g'}} epochs"]),
            *([] if self.steps is None else [plural(self.steps, "update")]),
            *([] if self.seconds is None else [f"about {duration_text(self.seconds)}"]),
        ]
        return [*lines, f"the training: {', '.join(whole)}, without evaluations"]


def plan(
    train: str | Path,
    dev: str | Path | None = None,
    out: str | Path | None = None,
    *,
    config: Config | None = None,
    overwrite: bool = False,
    **settings: Any,
) -> Plan:
    """Read the data of a training, choose its symbols and estimate what it needs; nothing that is written stays.

    Args:
        train: the training file, as in `train`.
        dev: likewise the dev file.
        out: the model file that the training would write; None does not check it.
        config: settings to start from.
        overwrite: whether the training would replace an older run.
        settings: single settings, as in `train`.

    Raises:
        PeepholeError: what `train` raises before it builds the network; only errors about a GPU are not found.
    """
    check_path("train", train)
    for name, path in (("dev", dev), ("out", out)):
        if path is not None:
            check_path(name, path)
    check_type("config", config, (Config, type(None)), "a Config")
    check_type("overwrite", overwrite, bool, "True or False")
    chosen = (config or Config()).with_values(settings, "train")
    given_dev = None if dev is None else os.fspath(dev)
    run = None if out is None else Run(os.fspath(train), given_dev, os.fspath(out), chosen)
    if run is not None:
        check_name(run)
    for path in (train,) if dev is None else (train, dev):
        data_files(path)  # as training does, before it looks at older files
    if run is not None:
        check_replaces_nothing(run, overwrite)
    chosen = recognise_sources(train, chosen)
    teacher = read_teacher(chosen)
    with tempfile.TemporaryDirectory(prefix="peephole-") as folder:
        prepared = prepare(train, dev, chosen, folder, None if teacher is None else teacher.tables())
        if teacher is not None:
            check_symbols(chosen, prepared, teacher)
        return plan_of(chosen, prepared)


def plan_of(config: Config, prepared: Prepared) -> Plan:
    """Return the plan of a training on prepared data.

    Args:
        config: all settings, with what the sources are; those that nobody gave are chosen as by `train`.
        prepared: the data.
    """
    config, chosen = suit_budget(config, prepared)
    symbols = len(prepared.source_symbols), len(prepared.target_symbols)
    sizes = tensors(Architecture.of(config.model), *symbols).values()
    found = estimate(config, prepared)
    empty = empty_budget_notice(config.train)
    notes = [note for note in (chosen, ctc_notice(config, prepared.train), empty) if note is not None]
    notes += ["model.peephole is none: a GRU has no cell state to look at"] if config.peephole_implied else []
    return Plan(
        report=[*prepared.report, *notes],
        num_pairs=len(prepared.train),
        num_dev_sources=len(prepared.dev_pairs),
        num_source_symbols=symbols[0],
        num_target_symbols=symbols[1],
        num_parameters=sum(prod(spec.shape) for spec in sizes),
        memory=found.memory,
        steps_per_epoch=found.steps_per_epoch,
        seconds_per_epoch=found.seconds_per_epoch,
        **budget(config.train, found),
    )


def budget(config: TrainConfig, found: Estimate) -> dict[str, Any]:
    """Return the epochs, steps and seconds of a training, None where they are not known.

    >>> budget(TrainConfig(steps=50), Estimate({}, steps_per_epoch=100, seconds_per_epoch=8.0))
    {'epochs': 0.5, 'steps': 50, 'seconds': 4.0}
    >>> budget(TrainConfig(minutes=1.0), Estimate({}, steps_per_epoch=100, seconds_per_epoch=None))
    {'epochs': None, 'steps': None, 'seconds': 60.0}
    """
    seconds = found.seconds_per_epoch
    epochs: float | None
    if config.minutes is not None:
        epochs = None if not seconds else 60 * config.minutes / seconds
        steps = None if epochs is None else round(epochs * found.steps_per_epoch)
        return {"epochs": epochs, "steps": steps, "seconds": 60 * config.minutes}
    if config.steps is not None:
        epochs, steps = config.steps / found.steps_per_epoch, config.steps
    else:
        epochs = float(DEFAULT_EPOCHS) if config.epochs is None else config.epochs
        steps = round(epochs * found.steps_per_epoch)
    return {"epochs": epochs, "steps": steps, "seconds": None if seconds is None else epochs * seconds}


def duration_text(seconds: float) -> str:
    """Return a duration in words, to two digits.

    >>> [duration_text(seconds) for seconds in (0.31, 42.4, 754, 9000, 432000)]
    ['0.31 seconds', '42 seconds', '13 minutes', '2.5 hours', '5 days']
    """
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{float(f'{seconds / size:.2g}'):g} {unit}"
    return f"{float(f'{seconds:.2g}'):g} seconds"
