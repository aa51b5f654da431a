"""Read what a training left in its run's folder: settings, log, data, model; whatever is missing is named."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from peephole.config import Config
from peephole.data import Prepared, open_prepared
from peephole.errors import PeepholeError, RunError
from peephole.model import Model, load
from peephole.training.run_file import Run, read_run

LOG = "log.jsonl"


@dataclass(frozen=True)
class RunFacts:
    """A run as its folder shows it.

    Attributes:
        run: its data files, model file and settings.
        updates: entries of the log about updates, in order: step, epoch, progress, loss, learning_rate,
            gradient_norm, symbols_per_second, seconds.
        evaluations: entries about dev: step, dev (metric → value), best.
        model: the model that was written; None if there is none yet.
        prepared: the data as they were read; None if they are not there.
        missing: one line for each thing that is not there.
    """

    run: Run
    updates: list[dict[str, Any]]
    evaluations: list[dict[str, Any]]
    model: Model | None
    prepared: Prepared | None
    missing: list[str] = field(default_factory=list)

    @property
    def config(self) -> Config:
        """Return the settings of the run."""
        return self.run.config

    @property
    def is_finished(self) -> bool:
        """Return whether the log has the last update."""
        return bool(self.updates) and self.updates[-1]["progress"] >= 1

    def seconds_at(self, step: float) -> float:
        """Return the seconds of training after an update, between those of the log."""
        steps = [0, *(entry["step"] for entry in self.updates)]
        return float(np.interp(step, steps, [0, *(entry["seconds"] for entry in self.updates)]))


def read_facts(folder: Path) -> RunFacts:
    """Read the folder of a run.

    Raises:
        RunError: the folder holds no run.
    """
    run = read_run(folder)
    missing: list[str] = []
    updates, evaluations = _read_log(folder, missing)
    model = prepared = None
    try:
        model = load(run.out)
    except PeepholeError as error:
        missing.append(f"no model: {error}")
    try:
        prepared = open_prepared(folder / "data")
    except (PeepholeError, OSError, ValueError) as error:
        missing.append(f"no data: {error}")
    return RunFacts(run, updates, evaluations, model, prepared, missing)


def _read_log(folder: Path, missing: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the entries about updates and about dev; a line that a kill cut off is left out."""
    updates, evaluations = [], []
    path = folder / LOG
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        missing.append(f"no log: {path}: no such file; no update has been trained")
        return [], []
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from error
    for line in lines:
        try:
            entry = json.loads(line)
            if "dev" in entry:
                evaluations.append({"step": int(entry["step"]), "dev": dict(entry["dev"]), "best": bool(entry["best"])})
            else:
                names = ("progress", "loss", "learning_rate", "gradient_norm", "symbols_per_second", "seconds")
                updates.append({"step": int(entry["step"]), **{name: float(entry[name]) for name in names}})
        except (ValueError, KeyError, TypeError):
            continue
    if not updates:
        missing.append(f"{path}: no update is logged yet; every fiftieth is")
    if not evaluations:
        missing.append(f"{path}: no evaluation on dev yet")
    return updates, evaluations
