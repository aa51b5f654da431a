"""Search settings within a budget of time and train the best: begin, and go on after a stop or a kill."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from peephole.config import SEARCH_SPACE, Config
from peephole.data import Items, Prepared, open_prepared
from peephole.errors import ArgumentError, ConfigError, check_type
from peephole.model import Model
from peephole.training.backend_choice import training_device, with_precision
from peephole.training.budget_settings import suit_budget
from peephole.training.choose import start_platform
from peephole.training.folder import reopen_run, start_run
from peephole.training.memory import check_training_memory, memory_sizes
from peephole.training.new_run import check_arguments, with_sources
from peephole.training.run import complete_training
from peephole.training.run_file import Run, Tuning, read_run
from peephole.training.stop import catch_stop_signals
from peephole.training.tuning.search import Budget, Search
from peephole.training.tuning.space import Space, check_search, fixed_names, read_space, stored_space
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
        config: the settings of the first trial, from which the search starts. None: the defaults. Settings that were
            not given are chosen for the minutes and the data, as by `train`.
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
            chosen: list[str] = []

            def settle(stored: Run, prepared: Prepared) -> Run:
                config, line = _suited(run.config, prepared, search_space or {})
                chosen.extend([] if line is None else [line])
                if training_device(config.train) == "cpu":
                    check_training_memory(config, *memory_sizes(config, prepared))
                space = read_space(search_space or {}, fixed_names(settings), config)
                return replace(stored, config=config, tuning=_tuning(config, space))

            start_run(run, pairs, overwrite, stack, settle)
        return _search_and_train(read_run(run.folder), quiet, notes=chosen)


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
    if base.train.teacher is not None:
        raise ConfigError(f"train.teacher: wanted none in a search of settings, got {base.train.teacher!r}")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("a search of settings trains in one process, not in those of torchrun")
    with_precision(base)  # raises the errors of a wrong device
    files = [None if path is None else os.fspath(path) for path in (train, dev)]
    assert files[0] is not None
    return Run(files[0], files[1], os.fspath(out), base, tuning=_tuning(base, space))


def resume_search(stored: Run, folder: Path, data: str | None, dev: str | None, quiet: bool) -> Model:
    """Go on with a search that was stopped or killed; arguments and errors as in `resume`."""
    with ExitStack() as stack:  # holds the run's lock
        with waiting(f"reading {stored.train}", quiet=quiet):
            run, report = reopen_run(stored, folder, data, dev, stack)
        return _search_and_train(run, quiet, resumed=report)


def _tuning(config: Config, space: Space) -> Tuning:
    """Return a search of a space, at its beginning, as run.json stores it."""
    assert config.train.minutes is not None
    return Tuning(config.train.minutes, {name: found.to_json() for name, found in space.items()})


def _suited(config: Config, prepared: Prepared, given_space: Mapping[str, Any]) -> tuple[Config, str | None]:
    """Return the settings that suit the training of the best trial, and a line that names those that were chosen.

    Settings of the given space are searched and therefore not chosen; nor is attention that reads the symbol where
    kinds of attention are searched, most of which cannot.
    """
    minutes = config.train.minutes
    assert minutes is not None
    searched = set(stored_space(given_space, SEARCH_SPACE))
    if "model.attention" in searched:
        searched.add("model.attention_symbol")
    training = Budget.of(minutes, config.train.evaluations).training / 60
    base = replace(config, train=replace(config.train, minutes=training), given=config.given | searched)
    suited, line = suit_budget(base, prepared)
    return replace(suited, train=replace(suited.train, minutes=minutes)), line


def _search_and_train(run: Run, quiet: bool, *, notes: Sequence[str] = (), resumed: list[str] | None = None) -> Model:
    """Search from the trials so far, then train the best to its end.

    Args:
        run: the run; its data are prepared.
        quiet: print nothing.
        notes: lines that are printed after those about the data.
        resumed: of a search that goes on, those about the data.
    """
    prepared = open_prepared(run.folder / "data")
    prepared = replace(prepared, report=[*(prepared.report if resumed is None else resumed), *notes])
    with catch_stop_signals() as stop:
        best = Search(run, prepared, stop, quiet=quiet).finish()
    return complete_training(start_platform(best.config, quiet=quiet), best, quiet, resumed)
