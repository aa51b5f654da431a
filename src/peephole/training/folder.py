"""The folder of a training run, next to the model: made, replaced, read and checked.

g2p.safetensors      the best model so far; at the end, the final model
g2p.run/run.json     data files, settings and model file of the run
g2p.run/data/        the pairs as ids, memory mapped
g2p.run/checkpoint/  the state of the training
g2p.run/log.jsonl    losses and dev metrics; tensorboard/ holds the same as events
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from peephole.config import Config
from peephole.data import data_files, prepare, prepare_again, reopen
from peephole.errors import ConfigError, PeepholeError, RunError
from peephole.storage.replace_file import check_replaceable, remove_temporary_files


@dataclass(frozen=True)
class Run:
    """The data files, settings and model file of a run, as run.json stores them."""

    train: str
    dev: str | None
    out: str
    config: Config

    @property
    def folder(self) -> Path:
        """Return the run's folder: the model's name with .run instead of .safetensors."""
        return run_folder(self.out)

    @property
    def checkpoint(self) -> Path:
        """Return the file that stores the state of the training."""
        return self.folder / "checkpoint" / "checkpoint.safetensors"


def run_folder(out: str | Path) -> Path:
    """Return the run folder of a model file.

    >>> run_folder("models/g2p.safetensors").as_posix()
    'models/g2p.run'
    """
    out = Path(out)
    if out.suffix != ".safetensors":
        raise ConfigError(f"--out {out}: wanted a file name that ends in .safetensors")
    return out.with_suffix(".run")


def read_run(folder: Path) -> Run:
    """Read run.json.

    Raises:
        RunError: the folder holds no run.
    """
    try:
        entry = json.loads((folder / "run.json").read_text(encoding="utf-8", errors="surrogateescape"))
        train, dev, out = (entry[name] for name in ("train", "dev", "out"))
        if not all(isinstance(path, str) for path in (train, dev or "", out)):
            raise TypeError("run.json: wanted names of files")
        run = Run(train, dev, out, Config.from_dict(entry["config"], f"{folder}/run.json"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder}: holds no run to resume: {error}") from error
    here = folder.resolve()
    if here.suffix != ".run":
        raise RunError(f"{folder}: wanted a run's folder, whose name ends in .run")
    if run.folder.resolve() != here:  # the folder was moved: the model is written next to it
        run = replace(run, out=str(here.with_suffix(".safetensors")))
    return run


def make_run_folder(run: Run, overwrite: bool) -> None:
    """Create the run's folder and prepare its data; delete an older run only after that has succeeded."""
    folder = run.folder
    try:
        run.out.encode()
    except UnicodeEncodeError:
        raise RunError(f"{run.out!r}: wanted a name in UTF-8; TensorBoard takes no other") from None
    files = {"train": _absolute(run.train), "dev": None if run.dev is None else _absolute(run.dev)}
    if folder.exists() and not (folder / "run.json").exists():
        raise RunError(f"{folder}: wanted a run's folder or nothing there, got something that is not a run")
    exists = next((path for path in (folder, Path(run.out)) if path.exists()), None)
    if exists is not None and not overwrite:
        hint = f"`{resume_command(run)}` resumes it, " if (folder / "run.json").exists() else ""
        raise RunError(f"{exists}: exists already; {hint}`--overwrite` replaces it")
    check_replaceable(run.out)
    if not Path(run.out).parent.is_dir():
        raise RunError(f"{run.out}: no such folder: {Path(run.out).parent}")
    # A kill at any point leaves no folder without run.json and no half-deleted old run.
    real_folder = folder.resolve() if folder.is_symlink() else folder
    new, old = (real_folder.with_name(f".{real_folder.name}.{which}") for which in ("new", "old"))
    try:
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)
        (new / "checkpoint").mkdir(parents=True)
        entry = {**files, "out": run.out, "config": run.config.to_dict()}
        text = json.dumps(entry, indent=1, ensure_ascii=False) + "\n"
        (new / "run.json").write_text(text, encoding="utf-8", errors="surrogateescape")  # file names may hold any bytes
        if real_folder.exists():
            prepare(run.train, run.dev, run.config, new / "data")
            os.replace(real_folder, old)
        os.replace(new, real_folder)
        shutil.rmtree(old, ignore_errors=True)
        prepare(run.train, run.dev, run.config, folder / "data")
    except PeepholeError:  # there is no run to resume, so the same command can be repeated
        shutil.rmtree(new if new.exists() else real_folder, ignore_errors=True)
        raise
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror or error}") from error


def _absolute(path: str) -> str:
    """Return a data path that is valid in any working directory; errors as `data_files`."""
    return ",".join(str(file.absolute()) for file in data_files(path))


def check_data(run: Run) -> None:
    """Check that the data are those of the checkpoint, and delete the temporary files of killed processes."""
    for path in (run.folder, run.out):
        remove_temporary_files(path)
    arguments = (run.train, run.dev, run.config, run.folder / "data")
    if reopen(*arguments) is not None:
        return
    if not run.checkpoint.exists():
        prepare(*arguments)
    elif prepare_again(*arguments) is None:
        names = run.train if run.dev is None else f"{run.train} or {run.dev}"
        raise RunError(
            f"{names}: has changed since the run in {run.folder} began, or its data/ is damaged; train again"
        )


def resume_command(run: Run) -> str:
    return f"peephole train --resume {shlex.quote(str(run.folder))}"
