"""The trials of a search, and the file that stores them line by line, so that a killed search loses none.

A file of Optuna's own (its JournalStorage) would be a second truth beside the runs of the trials, blocks for half a
minute on the lock that a killed process leaves, and cannot be read again once a kill has cut its last line. Here a line
that was cut is dropped, and the trials are told to a new study when a search goes on; see `study.py`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from peephole.errors import RunError
from peephole.storage.replace_file import replace_file
from peephole.training.run_file import TRIALS

Ending = Literal["complete", "pruned", "refused", "failed"]


@dataclass
class Trial:
    """One training of a search.

    Attributes:
        number: from 0.
        settings: `section.key` → value of the searched settings.
        values: number of an evaluation → best dev metric up to it.
        steps: updates done at the last evaluation.
        trained: seconds of training at the last evaluation.
        seconds: time spent, with its preparation.
        ended: how it ended; None while it runs or if it was interrupted.
        reason: why it was refused or failed.
    """

    number: int
    settings: dict[str, Any]
    values: dict[int, float] = field(default_factory=dict)
    steps: int = 0
    trained: float = 0.0
    seconds: float = 0.0
    ended: Ending | None = None
    reason: str | None = None

    @property
    def value(self) -> float | None:
        """Return the dev metric at the last evaluation; None before the first."""
        return self.values[max(self.values)] if self.values else None

    def to_dict(self) -> dict[str, Any]:
        """Return the trial as plain JSON values."""
        return asdict(self) | {"values": {str(number): value for number, value in self.values.items()}}


class TrialLog:
    """The trials of a run's folder, in the order of their numbers; what changes them is written to the file at once.

    Args:
        folder: the run's folder. A last line that a kill has cut is deleted from its file.

    Raises:
        RunError: the file cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / TRIALS
        lines = _whole_lines(self.path)
        self.trials = read_lines(lines)
        try:
            if self.path.exists():
                with replace_file(self.path) as file:
                    file.write("".join(json.dumps(line) + "\n" for line in lines).encode())
        except OSError as error:
            raise RunError(f"{self.path}: cannot be written: {error.strerror or error}") from error

    @property
    def seconds(self) -> float:
        """Return the time that all trials took."""
        return sum(trial.seconds for trial in self.trials)

    def start(self, settings: Mapping[str, Any]) -> Trial:
        """Add a trial with these settings; return it."""
        trial = Trial(len(self.trials), dict(settings))
        self._write({"trial": trial.number, "settings": trial.settings})
        self.trials.append(trial)
        return trial

    def evaluation(self, trial: Trial, number: int, *, value: float, step: int, trained: float, seconds: float) -> None:
        """Add an evaluation to a trial; one with the same number, made before a kill, is replaced."""
        found = {"evaluation": number, "value": value, "step": step, "trained": trained, "seconds": seconds}
        self._change(trial, {"trial": trial.number, **found})

    def interrupt(self, trial: Trial, seconds: float) -> None:
        """Store the time of a trial that will go on."""
        self._change(trial, {"trial": trial.number, "seconds": seconds})

    def end(self, trial: Trial, ended: Ending, seconds: float, reason: str | None = None) -> None:
        """End a trial."""
        entry = {"trial": trial.number, "ended": ended, "seconds": seconds}
        self._change(trial, entry if reason is None else {**entry, "reason": reason})

    def _change(self, trial: Trial, entry: dict[str, Any]) -> None:
        self._write(entry)
        _apply(trial, entry)

    def _write(self, entry: dict[str, Any]) -> None:
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666)
            with open(descriptor, "wb") as file:
                file.write(json.dumps(entry).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(f"{self.path}: cannot be written: {error.strerror or error}") from error


def read_trials(folder: Path) -> list[Trial]:
    """Return the trials of a search from its run's folder; none if there was no search."""
    return read_lines(_whole_lines(folder / TRIALS))


def read_lines(lines: list[dict[str, Any]]) -> list[Trial]:
    """Return the trials that some lines of the file describe.

    >>> [trial] = read_lines([
    ...     {"trial": 0, "settings": {"model.hidden_size": 64}},
    ...     {"trial": 0, "evaluation": 1, "value": 12.5, "step": 80, "trained": 2.5, "seconds": 3.0},
    ...     {"trial": 0, "ended": "pruned", "seconds": 3.1},
    ... ])
    >>> trial.settings, trial.value, trial.seconds, trial.ended
    ({'model.hidden_size': 64}, 12.5, 3.1, 'pruned')
    """
    trials: list[Trial] = []
    for entry in lines:
        if "settings" in entry:
            trials.append(Trial(len(trials), entry["settings"]))
        else:
            _apply(trials[entry["trial"]], entry)
    return trials


def _apply(trial: Trial, entry: dict[str, Any]) -> None:
    """Change a trial as a line of the file says."""
    trial.seconds = entry["seconds"]
    if "evaluation" in entry:
        trial.values[entry["evaluation"]] = entry["value"]
        trial.steps, trial.trained = entry["step"], entry["trained"]
    elif "ended" in entry:
        trial.ended, trial.reason = entry["ended"], entry.get("reason")


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file without a last one that is not whole; none if there is no file.

    Raises:
        RunError: it cannot be read, or another line is damaged.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]  # what follows the last line break was cut by a kill
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from error
    found = []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            if not isinstance(entry, dict):
                raise TypeError
        except (ValueError, TypeError):
            raise RunError(f"{path}, line {number}: damaged: wanted a line of a search's trials") from None
        found.append(entry)
    return found
