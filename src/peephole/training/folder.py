"""The folder of a training run, next to the model: locked, made, replaced, read and checked.

g2p.safetensors      the best model so far; at the end, the final model
g2p.run/run.json     data files, settings and model file of the run
g2p.run/train.jsonl  the pairs, if they were given in Python; dev.jsonl likewise
g2p.run/data/        the pairs as ids
g2p.run/checkpoint/  the state of the training, and the state before it
g2p.run/log.jsonl    losses and dev metrics; tensorboard/ holds the same as events
g2p.run/start.safetensors   the model with which the run goes on, if it does
g2p.run/teacher/            the models that teach, if there are any, and what they gave for the pairs
g2p.run/trials.jsonl        the trials of a search of settings; trials/ holds their runs

While a process trains or replaces the run it holds its lock; see `peephole.training.lock`. A new run is made as
`.g2p.run.new`, and a run that it replaces is called `.g2p.run.old` until it is deleted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from peephole.config import Config
from peephole.data import Items, Prepared, data_files, prepare, prepare_again, reopen
from peephole.data.items import file_of, write_items
from peephole.errors import ConfigError, DataError, PeepholeError, RunError
from peephole.storage.outputs import check_output
from peephole.storage.replace_file import check_replaceable, remove, remove_temporary_files
from peephole.training.lock import hold, lock_files
from peephole.training.run_file import (
    Run,
    absolute_path,
    hidden_folders,
    read_run,
    resume_command,
    run_folder,
    write_run,
)
from peephole.training.start import START
from peephole.training.teacher import FOLDER as TEACHER

CONTENTS = {"run.json", "train.jsonl", "dev.jsonl", "data", "checkpoint", "log.jsonl", "tensorboard", START, TEACHER}


def start_run(
    run: Run, pairs: Mapping[str, Items], overwrite: bool, stack: ExitStack, settle: Callable[[Run, Prepared], Run]
) -> Config:
    """Lock the run, create its folder and prepare its data; delete an older run only after that has succeeded.

    Args:
        run: the run; its data files may be relative to the working directory.
        pairs: pairs given in Python, as "train" or "dev"; they are written to that file of the run's folder.
        overwrite: replace an older run and model; without it, only a run in which nothing was trained is replaced.
        stack: receives the lock.
        settle: called with the run and its prepared data before an older run is replaced; returns the run with the
            settings to train with, which run.json stores.

    Returns:
        These settings.

    Raises:
        PeepholeError: the data, the model's name or an older run, or raised by `settle`; older files are unchanged.
    """
    folder = run.folder
    check_name(run)
    stored = run if "train" in pairs else replace(run, train=absolute_path(run.train))
    if run.dev is not None and "dev" not in pairs:
        stored = replace(stored, dev=absolute_path(run.dev))
    stack.enter_context(hold(lock_files(run.out, folder), folder))
    try:
        _undo_interrupted_replacement(folder)
        check_replaces_nothing(run, overwrite)
        _check_data_stay(stored, pairs)
        check_output(run.out, "any model", [])
        return _make_folder(run, stored, pairs, settle)
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror or error}") from error


def check_name(run: Run) -> None:
    """Raise a PeepholeError if the model's name cannot be that of a new run."""
    run_folder(run.out)
    try:
        run.out.encode()
    except UnicodeEncodeError:
        raise RunError(f"{run.out!r}: wanted a name in UTF-8; TensorBoard takes no other") from None
    if not Path(run.out).parent.is_dir():
        raise RunError(f"{run.out}: no such folder: {Path(run.out).parent}")


def check_replaces_nothing(run: Run, overwrite: bool) -> None:
    """Raise a RunError if there is an older run or model that a new run would replace without `overwrite`."""
    check_replaceable(run.out)
    folder = run.folder
    if folder.exists() and not (folder / "run.json").exists():
        raise RunError(f"{folder}: wanted a run's folder or nothing there, got something that is not a run")
    exists = next((path for path in (folder, Path(run.out)) if path.exists()), None)
    if exists is not None and not overwrite and not _is_untrained(run):
        hint = f"`{resume_command(run)}` resumes it, " if (folder / "run.json").exists() else ""
        raise RunError(f"{exists}: exists already; {hint}`--overwrite` replaces it")


def _check_data_stay(run: Run, pairs: Mapping[str, Items]) -> None:
    """Raise a PeepholeError if the new run would replace a data file: by its model, or its folder an older run's."""
    for name, path in (("train", run.train), ("dev", run.dev)):
        for file in [] if path is None or name in pairs else data_files(path):
            check_output(run.out, "file", [(f"that of the {name} pairs", file)])
            if run.folder.resolve() in file.resolve().parents:
                raise RunError(f"{file}: is in the folder that the new run would replace; give another --out")


def data_of_model(model: str) -> tuple[str, str | None]:
    """Return the data files of the run that made a model, whose folder is beside it.

    Raises:
        RunError: there is no such run.
    """
    folder = Path(model).with_suffix(".run")
    if not folder.is_dir():
        raise RunError(f"{model}: there is no {folder} beside it that names its data: give TRAIN")
    run = read_run(folder)
    for place in _places(run):
        with suppress(DataError):
            return absolute_path(place.train), None if place.dev is None else absolute_path(place.dev)
    return run.train, run.dev


def reopen_run(run: Run, folder: Path, data: str | None, dev: str | None, stack: ExitStack) -> tuple[Run, list[str]]:
    """Lock a run that was read from its folder, check it, and find its data files.

    Args:
        run: what `read_run` returned.
        folder: the run's folder, as the user names it.
        data: the place of the training file, if it was moved; stored in run.json.
        dev: likewise of the dev file.
        stack: receives the lock.

    Returns:
        The run with the data files that were found, and the report of its prepared data.

    Raises:
        RunError: another process trains the run, it was replaced meanwhile, it holds a link, or its data have changed.
        DataError: a data file is missing.
    """
    stack.enter_context(hold(lock_files(run.out, folder), folder))
    try:
        _undo_interrupted_replacement(folder)
        if read_run(folder) != run:
            raise RunError(f"{folder}: another process has just replaced this run; repeat the command")
        for path in folder.rglob("*"):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise RunError(f"{path}: wanted a file or folder of the run, got a link or a device")
        for path in (folder, Path(run.out)):
            remove_temporary_files(path)
        for left in hidden_folders(folder):
            with suppress(OSError):
                remove(left)
        if data is not None or dev is not None:
            run = _with_data(run, data, dev)
        found, prepared = _find_data(run)
        if data is not None or dev is not None or prepared.digest != run.data_digest:
            found = replace(found, data_digest=prepared.digest)
            write_run(found, folder, folder)
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return found, prepared.report


def _make_folder(run: Run, stored: Run, pairs: Mapping[str, Items], settle: Callable[[Run, Prepared], Run]) -> Config:
    """Create the run's folder in place of an older one. A kill at any point leaves the old run or the new one, whole.

    Args:
        run: the run with the names of its data files as messages show them.
        stored: the same with the names that run.json stores.
        pairs: as in `start_run`.
        settle: likewise.

    Returns:
        The settings that `settle` returned.

    Raises:
        PeepholeError: the data; an older run is unchanged, and otherwise no folder is left.
        OSError: the folder cannot be written.
    """
    folder = run.folder
    place = folder.resolve() if folder.is_symlink() else folder
    new, old = hidden_folders(folder)
    for left in (new, old):
        remove(left)
    try:
        new.mkdir()
        (new / "checkpoint").mkdir()
        for name, items in pairs.items():
            write_items(name, items, new, run.config.data)
        if run.start is not None:
            run.start.copy_to(new)
        if run.teacher is not None:
            run.teacher.copy_to(new)
        write_run(stored, new, folder)
        if place.exists():
            files = {
                name: str(new / file_of(name, items)) for name, items in pairs.items()
            }  # before they get their place
            train, dev = files.get("train", run.train), files.get("dev", run.dev)
            prepared = prepare(train, dev, run.config, new / "data", run.known_symbols(new))
            settled = settle(stored, prepared)
            write_run(replace(settled, data_digest=prepared.digest), new, folder)
            os.replace(place, old)
            os.replace(new, place)
            with suppress(OSError):
                remove(old)
            return settled.config
        os.replace(new, place)
        try:
            prepared = prepare(run.train, run.dev, run.config, folder / "data", run.known_symbols())
            settled = settle(stored, prepared)
            write_run(replace(settled, data_digest=prepared.digest), folder, folder)
            return settled.config
        except PeepholeError:  # there is no run to resume, so the same command can be repeated
            remove(place)
            raise
    finally:
        _undo_interrupted_replacement(folder)
        with suppress(OSError):
            remove(new)


def _undo_interrupted_replacement(folder: Path) -> None:
    """Give a run its name back if a process was killed after it took it away and before the new run got it."""
    new, old = hidden_folders(folder)
    if not folder.exists() and all(left.is_dir() and not left.is_symlink() for left in (new, old)):
        os.replace(old, folder.resolve())


def _is_untrained(run: Run) -> bool:
    """Return whether a run was stopped before its first checkpoint, and nothing else is lost when it is replaced."""
    if Path(run.out).exists() or run.has_checkpoint:
        return False
    try:
        read_run(run.folder)
    except RunError:
        return False
    return {path.name for path in run.folder.iterdir()} <= CONTENTS


def _with_data(run: Run, data: str | None, dev: str | None) -> Run:
    """Return the run with other places of its data files."""
    if dev is not None and run.dev is None:
        raise ConfigError(f"--dev {dev}: the dev pairs of {run.folder} are held out from its training file")
    if data is not None:
        run = replace(run, train=absolute_path(data), moved_train=None)
    if dev is not None:
        run = replace(run, dev=absolute_path(dev), moved_dev=None)
    return run


def _places(run: Run) -> Iterator[Run]:
    """Return the run with the places where its data files may be, first that of run.json."""
    yield run
    train, dev = run.moved_train or run.train, run.moved_dev or run.dev
    if (train, dev) != (run.train, run.dev):
        yield replace(run, train=train, dev=dev)


def _is_missing(run: Run) -> bool:
    """Return whether a data file of the run is missing."""
    try:
        for path in (run.train, run.dev):
            data_files(path or run.train)
    except DataError:
        return True
    return False


def _find_data(run: Run) -> tuple[Run, Prepared]:
    """Return the run with the files from which its data were prepared, and the data.

    If the data are damaged, they are prepared again. Files that are missing are needed only for that. Before the first
    checkpoint the files may have changed.
    """
    missing: DataError | None = None
    known = run.known_symbols()
    again = partial(prepare_again, digest=run.data_digest) if run.has_checkpoint else prepare
    for open_data in (reopen, again):
        for place in sorted(_places(run), key=_is_missing):
            try:
                found = open_data(place.train, place.dev, place.config, place.folder / "data", known)
            except DataError as error:
                missing = missing or error
                continue
            if found is not None and (not run.has_checkpoint or run.data_digest in (None, found.digest)):
                return place, found
    if missing is not None:
        raise DataError(f"{missing}; the data of the run in {run.folder} are damaged or missing, so it is needed")
    names = run.train if run.dev is None else f"{run.train} or {run.dev}"
    raise RunError(f"{names}: has changed since the run in {run.folder} began, or its data/ is damaged; train again")
