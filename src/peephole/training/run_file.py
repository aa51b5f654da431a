"""What run.json stores of a run: its data files, its model file, its settings."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from peephole.config import Config
from peephole.data import KnownSymbols, data_files
from peephole.errors import ConfigError, DataError, RunError
from peephole.storage.replace_file import replace_file
from peephole.training.copied import CopiedModel
from peephole.training.start import Start
from peephole.training.teacher import Teacher

TRIALS = "trials.jsonl"
"""The file of a search's trials in the run's folder."""


@dataclass(frozen=True)
class Tuning:
    """A search of settings, as run.json stores it."""

    minutes: float  # for the search and the training of the best settings
    space: dict[str, Any]  # the settings that are searched, as `peephole.training.tuning.space` reads them
    best: int | None = None  # the trial with which the run goes on; None: the search is not at its end

    def __post_init__(self) -> None:
        if not isinstance(self.minutes, float) or not isinstance(self.space, dict):
            raise TypeError("run.json: wanted minutes and settings of a search")


@dataclass(frozen=True)
class Run:
    """The data files, settings and model file of a run, as run.json stores them."""

    train: str
    dev: str | None
    out: str
    config: Config
    start: Start | None = None  # the model with which the run goes on
    moved_train: str | None = None  # the path of the training file if it was moved or copied together with the run
    moved_dev: str | None = None
    data_digest: str | None = None  # of the prepared data; None in a run of version 0.1
    tuning: Tuning | None = None  # the search of settings that the run is or was
    teacher: Teacher | None = None  # the models of `train.teacher`

    @property
    def is_searching(self) -> bool:
        """Return whether the settings of the run are still being searched."""
        return self.tuning is not None and self.tuning.best is None

    @property
    def folder(self) -> Path:
        """Return the run's folder: the model's name with .run instead of .safetensors."""
        return run_folder(self.out)

    @property
    def checkpoint(self) -> Path:
        """Return the file that stores the state of the training."""
        return self.folder / "checkpoint" / "checkpoint.safetensors"

    def known_symbols(self, folder: Path | None = None) -> KnownSymbols | None:
        """Return the symbol tables of the model with which the run goes on, or of its teacher; None if there are none.

        Args:
            folder: the run's folder while it has another name.
        """
        if self.start is None:
            return None if self.teacher is None else self.teacher.known_symbols(folder or self.folder)
        return self.start.known_symbols(folder or self.folder)._replace(grow=self.teacher is None)

    @property
    def has_checkpoint(self) -> bool:
        """Return whether the state of the training or trials of a search were stored, whether or not they are whole."""
        from peephole.training.state import previous_checkpoint  # imports NumPy, which the settings do without

        files = self.checkpoint, previous_checkpoint(self.checkpoint), self.folder / TRIALS
        return any(file.exists() for file in files)


def run_folder(out: str | Path) -> Path:
    """Return the run folder of a model file.

    >>> run_folder("models/g2p.safetensors").as_posix()
    'models/g2p.run'
    """
    out = Path(out)
    if out.suffix != ".safetensors":
        raise ConfigError(f"--out {out}: wanted a file name that ends in .safetensors")
    return out.with_suffix(".run")


def resume_command(run: Run) -> str:
    """Return the command that resumes a run."""
    return f"peephole train --resume {shlex.quote(str(run.folder))}"


def read_run(folder: Path) -> Run:
    """Read run.json, also of a run whose replacement was interrupted.

    Raises:
        RunError: the folder holds no run, or is a file.
    """
    if folder.is_file():
        beside = folder.with_suffix(".run")
        hint = f"; did you mean {str(beside)!r}?" if beside.is_dir() else ""
        raise RunError(f"{folder}: wanted the folder of a run, got a file{hint}")
    here = folder.resolve()
    _, old = hidden_folders(folder)
    try:
        path = (folder if folder.exists() or not old.exists() else old) / "run.json"
        entry = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
        train, dev, out = (entry[name] for name in ("train", "dev", "out"))
        digest = entry.get("data_digest")
        relative = [entry.get("relative", {}).get(name) for name in ("train", "dev")]
        if not all(
            isinstance(name, str)
            for name in (train, dev or "", out, digest or "", *(relative[0] or ()), *(relative[1] or ()))
        ):
            raise TypeError("run.json: wanted names of files")
        config = Config.from_dict(entry["config"], f"{folder}/run.json")
        start = Start(**entry["start"]) if "start" in entry else None
        tuning = Tuning(**entry["tuning"]) if "tuning" in entry else None
        taught_by = tuple(CopiedModel(**model) for model in entry.get("teacher", ()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if not folder.exists():
            raise RunError(f"{folder}: no such folder") from None
        lacks = {OSError: f"run.json: {getattr(error, 'strerror', None)}", KeyError: f"run.json has no {error}"}
        reason = next((text for kind, text in lacks.items() if isinstance(error, kind)), error)
        raise RunError(f"{folder}: holds no run: {reason}") from error
    if here.suffix != ".run":
        raise RunError(f"{folder}: wanted a run's folder, whose name ends in .run")
    moved_train, moved_dev = (_moved(folder, paths) for paths in relative)
    teacher = Teacher(taught_by) if taught_by else None
    run = Run(train, dev, out, config, start, moved_train, moved_dev, digest, tuning, teacher)
    if run.folder.resolve() != here:  # the folder was moved: the model is written next to it
        run = replace(run, out=str(here.with_suffix(".safetensors")))
    return run


def hidden_folders(folder: Path) -> tuple[Path, Path]:
    """Return the names of a new run before it gets its name, and of an old run before it is deleted."""
    place = folder.resolve()
    return place.with_name(f".{place.name}.new"), place.with_name(f".{place.name}.old")


def write_run(run: Run, folder: Path, seen_from: Path) -> None:
    """Write run.json into a folder; the data files also relative to a folder."""
    files = {"train": run.train, "dev": run.dev}
    entry = {
        **files,
        "relative": {name: None if path is None else _relative(path, seen_from) for name, path in files.items()},
        "out": run.out,
        "config": run.config.to_dict(),
        "data_digest": run.data_digest,
        **({} if run.start is None else {"start": asdict(run.start)}),
        **({} if run.tuning is None else {"tuning": asdict(run.tuning)}),
        **({} if run.teacher is None else {"teacher": [asdict(model) for model in run.teacher.models]}),
    }
    text = json.dumps(entry, indent=1, ensure_ascii=False) + "\n"
    with replace_file(folder / "run.json") as file:
        file.write(text.encode(errors="surrogateescape"))  # file names may hold any bytes


def absolute_path(path: str) -> str:
    """Return a data path that is valid in any working directory; errors as `data_files`."""
    return ",".join(str(file.absolute()) for file in data_files(path))


def _relative(path: str, folder: Path) -> list[str] | None:
    """Return the one or two files of a data path, relative to a folder; None if they are missing."""
    if os.path.dirname(path) == str(folder.absolute()):  # pairs given in Python, which are written there later
        return [os.path.basename(path)]
    try:
        return [os.path.relpath(file, folder.absolute()) for file in data_files(path)]
    except DataError:
        return None


def _moved(folder: Path, relative: list[str] | None) -> str | None:
    """Return the data path of files given relative to a folder."""
    return ",".join(os.path.normpath(folder.absolute() / file) for file in relative) if relative else None
