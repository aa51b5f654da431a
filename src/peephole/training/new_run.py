"""The run of a new training, from the arguments of `train` or `tune`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from peephole.config import Config
from peephole.data import Items, check_items
from peephole.data.items import file_of, is_array
from peephole.data.manifest import recognise_sources
from peephole.data.series import series_of
from peephole.data.windows import recognise_series
from peephole.errors import ArgumentError, check_path, check_type
from peephole.storage.header import read_header
from peephole.training.backend_choice import with_precision
from peephole.training.folder import data_of_model
from peephole.training.run_file import Run, run_folder
from peephole.training.start import check_settings, read_start, starting_config
from peephole.training.teacher import read_teacher


def check_arguments(
    train: object, dev: object, out: object, config: object, *, overwrite: object, quiet: object
) -> tuple[dict[str, Items], dict[str, Any]]:
    """Check the types of arguments that `train` and `tune` share.

    Returns:
        Pairs given in Python, as "train" or "dev"; and the data files of both, those of such pairs in the run's folder.
    """
    data: dict[str, Any] = {"train": train, "dev": dev}
    pairs = {name: given for name, given in data.items() if not isinstance(given, (str, os.PathLike, type(None)))}
    for name, given in pairs.items():
        check_items(name, given)
    check_path("out", out)
    check_type("config", config, (Config, type(None)), "a Config")
    check_type("overwrite", overwrite, bool, "True or False")
    check_type("quiet", quiet, bool, "True or False")
    folder = run_folder(cast("str | Path", out)).absolute()
    return pairs, data | {name: folder / file_of(name, items) for name, items in pairs.items()}


def new_run(
    train: str | Path | None,
    dev: str | Path | None,
    out: str | Path,
    from_model: str | Path | None,
    config: Config | None,
    settings: Mapping[str, Any],
) -> Run:
    """Return a run from the arguments of `train`; errors as there."""
    start, base = None, config or Config()
    files = [None if path is None else os.fspath(path) for path in (train, dev)]
    if from_model is not None:
        start, model = read_start(os.fspath(from_model))
        base = config or starting_config(model.config)
        if files[0] is None:
            found = data_of_model(start.model)
            files = [found[0], files[1] or found[1]]
    chosen = with_precision(base.with_values(settings, "train"))
    if files[0] is None:
        raise ArgumentError("train: wanted the name of a file, got None, which only `from_model` allows")
    return Run(files[0], files[1], os.fspath(out), chosen, start, teacher=read_teacher(chosen))


def with_sources(run: Run, pairs: Mapping[str, Items]) -> Run:
    """Return the run with what the sources of its training file are; see `recognise_sources`.

    Raises:
        ConfigError: its settings, or these sources, are not those of the model with which it goes on.
    """
    config = _recognised(run, pairs)
    if run.start is not None:
        check_settings(run.start.model, read_header(run.start.model), config)
    return replace(run, config=config)


def _recognised(run: Run, pairs: Mapping[str, Items]) -> Config:
    given = pairs.get("train")
    if given is None:
        return recognise_sources(run.train, run.config)
    if not is_array(given):
        return run.config
    if run.config.data.horizon is None:
        raise ArgumentError("train: an array of numbers is forecast: wanted horizon, the steps to forecast, got none")
    return recognise_series(run.train, run.config, series_of("train", given))
