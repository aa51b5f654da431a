"""Tests what a search of settings refuses, and trials that cannot be trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from peephole.errors import ArgumentError, ConfigError, MemoryLimitError, RunError
from peephole.training import resume, train, tune
from peephole.training import run as run_module
from peephole.training.estimate import Estimate
from peephole.training.loop import DivergedError
from peephole.training.tuning import search as search_module
from peephole.training.tuning.study import Study

from .searches import BASE, RUN, SPACE, Clock, break_at, install, search, trials
from .toy import write_pairs


@pytest.fixture(autouse=True)
def clock(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "train.tsv")
    return install(Clock(), monkeypatch)


def test_what_cannot_be_trained_is_refused_or_fails_alone(monkeypatch, capfd):
    """Trial 0 is never a number on dev, 1 diverges, 2 is too slow, 3 too large, 4 contradicts itself."""
    measure, measured = run_module.measure, 0

    def measure_nan(*arguments):
        nonlocal measured
        measured += 1
        return measure(*arguments) | ({"symbol_error_rate": float("nan")} if measured == 1 else {})

    train_trial, trained = search_module.train_trial, 0

    def diverge(*arguments):
        nonlocal trained
        trained += 1
        if trained == 2:
            raise DivergedError("step 3: the loss is nan")
        return train_trial(*arguments)

    seconds = iter([0.01, 0.5] + [0.01] * 100)  # of an update; an evaluation is due after 3.75
    check, checked = search_module.check_training_memory, 0

    def check_memory(config, *arguments):
        nonlocal checked
        checked += 1
        if checked == 4:
            raise MemoryLimitError("model.hidden_size=16: too large")
        return check(config, *arguments)

    next_settings = Study.next_settings

    def choose(study, number, first=None):
        return next_settings(study, number, first) | ({"model.hidden_size": 15} if number == 4 else {})

    monkeypatch.setattr(run_module, "measure", measure_nan)
    monkeypatch.setattr(search_module, "train_trial", diverge)
    monkeypatch.setattr(search_module, "estimate", lambda *_, **__: Estimate({}, 100, 100 * next(seconds)))
    monkeypatch.setattr(search_module, "check_training_memory", check_memory)
    monkeypatch.setattr(Study, "next_settings", choose)
    tune("train.tsv", out="m.safetensors", config=BASE, search_space=SPACE)
    found = trials()
    assert [(trial.ended, trial.reason) for trial in found[:5]] == [
        ("failed", "dev symbol error rate is nan"),
        ("failed", "step 3: the loss is nan"),
        ("refused", "about 7.5 updates in the 3.75 seconds before its first evaluation"),
        ("refused", "model.hidden_size=16: too large"),
        ("refused", "model.hidden_size: wanted an even number, half of it for each direction; got 15"),
    ]
    assert all(trial.ended in ("complete", "pruned") and trial.value for trial in found[5:])
    assert len(found) > 5
    lines = capfd.readouterr().err.splitlines()
    for trial in found:
        [line] = [line for line in lines if line.startswith(f"trial {trial.number}: ")]
        assert line.endswith(f"{trial.ended}: {trial.reason}") == (trial.reason is not None)
    assert sum(line.startswith("best: trial ") for line in lines) == 1
    table = lines.index("trial  symbol error rate  evaluations  updates  seconds  ended     settings")
    assert sorted(int(line.split()[0]) for line in lines[table + 1 :][: len(found)]) == list(range(len(found)))


def test_a_search_of_nothing_that_can_be_trained_ends_with_one_line(monkeypatch):
    def diverge(*arguments):
        raise DivergedError("step 3: the loss is nan")

    monkeypatch.setattr(search_module, "train_trial", diverge)
    message = r"m.run: no trial could be trained; the last was failed: step 3: the loss is nan"
    with pytest.raises(RunError, match=message):
        search()
    assert len(trials()) == search_module.MOST_REFUSED


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"minutes": None}, "train.minutes: wanted the minutes of a search and of the training after it, got none"),
        ({"minutes": None, "steps": 9}, "train.minutes: wanted the minutes of a search"),
        ({"evaluations": 9}, "train.evaluations: wanted at least 10 for a search, got 9"),
    ],
)
def test_a_search_without_a_budget_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        search(**settings)
    assert not RUN.exists()


def test_a_search_in_several_processes_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="a search of settings trains in one process"):
        search()


@pytest.mark.usefixtures("annotations_unchecked")
def test_wrong_arguments_are_named():
    with pytest.raises(ArgumentError, match="train: wanted the name of a file or pairs, got None"):
        tune(None, config=BASE)
    with pytest.raises(ArgumentError, match="search_space: wanted a table of settings, got 3"):
        tune("train.tsv", config=BASE, search_space=3)


def test_a_search_with_trials_is_not_replaced_without_overwrite(monkeypatch):
    break_at(monkeypatch, 3, run_module, "save_checkpoint", after=True)
    with pytest.raises(RunError, match=r"m\.run: exists already; `peephole train --resume m\.run` resumes it"):
        search()
    with pytest.raises(RunError, match=r"m\.run: exists already"):
        train("train.tsv", out="m.safetensors", config=BASE)


def test_a_search_with_changed_data_is_refused(monkeypatch):
    break_at(monkeypatch, 3, run_module, "save_checkpoint", after=True)
    write_pairs(Path("train.tsv"), seed=5)
    with pytest.raises(RunError, match=r"has changed since the run in m.run began"):
        resume(RUN, quiet=True)
