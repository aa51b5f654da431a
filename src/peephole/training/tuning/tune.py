"""Search settings within a budget of time and train the best: begin, and go on after a stop or a kill."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from peephole.config import Config
from peephole.data import Items, Prepared, open_prepared
from peephole.errors import ArgumentError, ConfigError, check_type
from peephole.model import Model
from peephole.training.backend_choice import training_device, with_precision
from peephole.training.choose import start_platform
from peephole.training.folder import reopen_run, start_run
from peephole.training.memory import check_training_memory, memory_sizes
from peephole.training.new_run import check_arguments, with_sources
from peephole.training.run import complete_training
from peephole.training.run_file import Run, Tuning, read_run
from peephole.training.stop import catch_stop_signals
from peephole.training.tuning.search import Search
from peephole.training.tuning.space import check_search
from peephole.training.waiting import waiting


def tune(
    train: str | Path | Items,
    dev: str | Path | Items | None = None,
    out: str | Path = "model.safetensors",
    *,
    search_space: Mapping[str, Any] | None = None,
    config: Config | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> Model:
    """Search settings within a budget of minutes, half of them, and train the best to the end in the rest.

    Args:
        train: as in `train`.
        dev: likewise; the metric that selects weights (`train.dev_metric`) selects settings, too.
        out: likewise. The run's folder also holds the trials, in trials.jsonl and trials/.
        search_space: settings to search instead of, or besides, the default ones: a list of values, or a table of low,
            high and perhaps log, as `{"hidden_size": [64, 128], "learning_rate": {"low": 1e-3, "high": 1e-2}}`.
        config: the settings of the first trial, from which the search starts. None: the defaults.
        overwrite: as in `train`.
        quiet: likewise.
        settings: single settings, which are not searched; `minutes` must be among them or in `config`.

    Returns:
        The model with the best weights on dev of the best settings.

    Raises:
        PeepholeError: as in `train`, or the search space is wrong, or no trial could be trained.
        Interrupted: a stop signal, such as Ctrl-C; the search is saved and `resume` continues it.
    """
    if train is None:
        raise ArgumentError("train: wanted the name of a file or pairs, got None")
    pairs, files = check_arguments(train, dev, out, config, overwrite=overwrite, quiet=quiet)
    check_type("search_space", search_space, (Mapping, type(None)), "a table of settings")
    run = new_search(files["train"], files["dev"], out, search_space, config, settings)
    with ExitStack() as stack:  # holds the run's lock
        with waiting(f"reading {run.train}", quiet=quiet):
            run = with_sources(run, pairs)
            start_run(run, pairs, overwrite, stack, lambda prepared: _checked(run.config, prepared))
        return _search_and_train(read_run(run.folder), quiet)


def new_search(
    train: str | Path | None,
    dev: str | Path | None,
    out: str | Path,
    given_space: Mapping[str, Any] | None,
    config: Config | None,
    settings: Mapping[str, Any],
) -> Run:
    """Return the run of a new search, from the arguments of `tune`; errors as there."""
    base, space = check_search(config, given_space or {}, settings)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("a search of settings trains in one process, not in those of torchrun")
    with_precision(base)  # raises the errors of a wrong device
    assert base.train.minutes is not None
    tuning = Tuning(base.train.minutes, {name: found.to_json() for name, found in space.items()})
    files = [None if path is None else os.fspath(path) for path in (train, dev)]
    assert files[0] is not None
    return Run(files[0], files[1], os.fspath(out), base, tuning=tuning)


def resume_search(stored: Run, folder: Path, data: str | None, dev: str | None, quiet: bool) -> Model:
    """Go on with a search that was stopped or killed; arguments and errors as in `resume`."""
    with ExitStack() as stack:  # holds the run's lock
        with waiting(f"reading {stored.train}", quiet=quiet):
            run, report = reopen_run(stored, folder, data, dev, stack)
        return _search_and_train(run, quiet, report)


def _checked(config: Config, prepared: Prepared) -> Config:
    """Return the settings from which the search starts; raise a PeepholeError if this machine cannot train them."""
    if training_device(config.train) == "cpu":
        check_training_memory(config, *memory_sizes(config, prepared))
    return config


def _search_and_train(run: Run, quiet: bool, resumed: list[str] | None = None) -> Model:
    """Search from the trials so far, then train the best to its end."""
    prepared = open_prepared(run.folder / "data")
    if resumed is not None:
        prepared = replace(prepared, report=resumed)
    with catch_stop_signals() as stop:
        best = Search(run, prepared, stop, quiet=quiet).finish()
    return complete_training(start_platform(best.config, quiet=quiet), best, quiet, resumed)
