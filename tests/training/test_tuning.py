"""Tests a search of settings: real trainings of a tiny model, whose clock counts their updates."""

from __future__ import annotations

import json
import os
import signal
from itertools import pairwise

import pytest

import peephole
from peephole.errors import RunError
from peephole.storage.model_file import load_model
from peephole.training import Interrupted, resume, train, tune
from peephole.training import run as run_module
from peephole.training.run_file import read_run
from peephole.training.tuning import search as search_module
from peephole.training.tuning.search import Budget
from peephole.training.tuning.trial_log import TrialLog

from .searches import BASE, RUN, SPACE, Clock, break_at, config_of, install, search, trials
from .toy import write_pairs


@pytest.fixture(autouse=True)
def clock(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "train.tsv")
    return install(Clock(), monkeypatch)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the folder of a finished search, with more evaluations, and the time when it ended; not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    write_pairs(folder / "train.tsv")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        clock = install(Clock(), patch)
        clock.update = 0.5
        search(evaluations=20)
    return folder, clock.now


@pytest.fixture
def inside(finished, monkeypatch):
    """Change into the folder of the finished search."""
    monkeypatch.chdir(finished[0])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the trials, the number of the best and the weights of a search that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    write_pairs(folder / "train.tsv")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        install(Clock(), patch)
        search()
        return trials(), read_run(RUN).tuning.best, load_model("m.safetensors").tensors


def evaluations(folder):
    """Return the dev metrics in the log of a run."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if "dev" in line]


def better_half(values, value):
    """Return whether a value is among the lower half of some values, or is the lowest."""
    return sorted(values).index(value) < max(1, len(values) // 2)


@pytest.mark.usefixtures("inside")
def test_the_best_trial_goes_on_with_the_time_that_is_left(finished):
    found = trials()
    complete = [trial for trial in found if trial.ended == "complete"]
    best = min(complete, key=lambda trial: trial.value)
    run = read_run(RUN)
    assert len(complete) < len(found)
    assert run.tuning.best == best.number
    assert not run.is_searching
    # 30 of 60 seconds are for trials; another one would have taken at most 7.5
    assert 22.5 < sum(trial.seconds for trial in found) <= 30
    assert 59.5 < finished[1] <= 60.5
    assert run.config.train.minutes * 60 == pytest.approx(best.trained + 60 - sum(trial.seconds for trial in found))
    # its log begins with the trial's, and its updates are not repeated
    assert evaluations(RUN)[:4] == evaluations(RUN / f"trials/{best.number:03}.run")
    assert evaluations(RUN)[4]["step"] > best.steps
    for name, value in best.settings.items():
        section, key = name.split(".")
        assert getattr(getattr(run.config, section), key) == value
    assert min(line["dev"]["symbol_error_rate"] for line in evaluations(RUN)) < best.value
    assert peephole.load("m.safetensors").config == run.config


@pytest.mark.usefixtures("inside")
def test_a_trial_is_the_beginning_of_an_ordinary_training(tmp_path, clock):
    clock.update = 0.5
    for trial in trials()[1:2]:
        config = config_of(trial.number)
        assert config.train.minutes == Budget.of(1.0, 20).training / 60 == 0.625
        train("train.tsv", out=tmp_path / "alone.safetensors", config=config, quiet=True, overwrite=True)
        same = evaluations(RUN / f"trials/{trial.number:03}.run")
        assert evaluations(tmp_path / "alone.run")[: len(same)] == same
        best = [min(line["dev"]["symbol_error_rate"] for line in same[: n + 1]) for n in range(len(same))]
        assert list(trial.values.values()) == best


@pytest.mark.usefixtures("inside")
def test_a_trial_goes_on_while_it_is_in_the_better_half():
    rungs = {1: [], 2: [], 4: []}
    for trial in trials():
        for number, value in trial.values.items():
            if number in rungs:
                rungs[number].append(value)
                goes_on = better_half(rungs[number], value)
                assert goes_on == (number < max(trial.values) or (number == 4 and goes_on))
        assert max(trial.values) in ((4,) if trial.ended == "complete" else (1, 2))
    assert {trial.ended for trial in trials()} == {"complete", "pruned"}


@pytest.mark.usefixtures("inside")
def test_all_trials_keep_their_logs_and_share_the_data():
    folders = sorted((RUN / "trials").iterdir())
    assert [folder.name for folder in folders] == [f"{trial.number:03}.run" for trial in trials()]
    for folder in folders:
        assert {path.name for path in folder.iterdir()} == {"run.json", "log.jsonl", "tensorboard"}
    assert [path.parent for path in RUN.rglob("prepared.json")] == [RUN / "data"]


def test_higher_metrics_are_better_where_they_are(monkeypatch):
    measure, values = run_module.measure, iter([10.0, 20.0, 30.0, 40.0] + [25.0, 35.0] * 50)
    monkeypatch.setattr(run_module, "measure", lambda *given: measure(*given) | {"exact_match": next(values)})
    search(dev_metric="exact_match")
    # trial 0: 10 and 20; trial 1: 30, the best so far, and 40; trial 2: 25, not in the better half
    assert [(trial.ended, list(trial.values.values())) for trial in trials()[:3]] == [
        ("complete", [10.0, 20.0]),
        ("complete", [30.0, 40.0]),
        ("pruned", [25.0]),
    ]
    assert read_run(RUN).tuning.best == 1


def test_the_first_trial_has_the_given_settings_and_another_seed_tries_others(monkeypatch, whole):
    first = [trial.settings for trial in whole[0]]
    given = {"model.hidden_size": 16, "model.encoder_layers": 1, "model.peephole": "full", "model.dropout": 0.2}
    assert given.items() <= first[0].items()
    break_at(monkeypatch, 2, TrialLog, "start", after=True, **{"train.seed": 3})
    other = [trial.settings for trial in trials()]
    assert other[0] == first[0]
    assert other[1] != first[1]


@pytest.mark.parametrize(
    ("module", "name", "call", "after"),
    [
        (run_module, "save_checkpoint", 1, False),  # before the first checkpoint of trial 0
        (run_module, "save_checkpoint", 8, True),  # in trial 1
        (search_module, "train_trial", 2, True),  # after a trial, before its end is recorded
        (TrialLog, "evaluation", 2, True),  # the last of trial 0 is recorded, and its state is not saved
        (search_module, "replace_file", 3, True),  # while the best trial becomes the run
    ],
)
def test_a_killed_search_goes_on(monkeypatch, whole, module, name, call, after):
    break_at(monkeypatch, call, module, name, after=after)
    assert read_run(RUN).is_searching
    resume(RUN, quiet=True)
    found = trials()
    # the time since the last evaluation is not counted, and repeated updates are: there can be a trial more or less
    count = min(len(found), len(whole[0]))
    assert count >= len(whole[0]) - 1
    assert len(found) <= len(whole[0]) + 1
    assert [(trial.settings, trial.values, trial.ended) for trial in found[:count]] == [
        (trial.settings, trial.values, trial.ended) for trial in whole[0][:count]
    ]
    run = read_run(RUN)
    assert run.tuning.best == min((t for t in found if t.ended == "complete"), key=lambda t: t.value).number
    assert not (RUN / f"trials/{run.tuning.best:03}.safetensors").exists()


def test_a_line_that_a_kill_has_cut_is_dropped(monkeypatch):
    break_at(monkeypatch, 8, run_module, "save_checkpoint", after=True)
    path = RUN / "trials.jsonl"
    lines = path.read_bytes()
    path.write_bytes(lines + b'{"trial": 1, "evalu')
    before = trials()
    assert len(before) > 1
    resume(RUN, quiet=True)
    assert trials()[0] == before[0]
    for line in path.read_text().splitlines():
        json.loads(line)
    path.write_bytes(b'{"trial": 0, "set\n' + lines)
    with pytest.raises(RunError, match=r"trials\.jsonl, line 1: damaged"):
        trials()


def test_a_resumed_best_training_is_resumed_as_any(monkeypatch, capfd, whole):
    """After the search the run is an ordinary one: a stop in its last part does not search again."""
    count = sum(trial.steps for trial in whole[0]) + 10
    break_at(monkeypatch, count, run_module, "save_checkpoint", after=True)
    assert trials() == whole[0]
    assert not read_run(RUN).is_searching
    resume(RUN)
    assert "resuming from step" in capfd.readouterr().err
    again = load_model("m.safetensors").tensors
    assert all((again[name] == weight).all() for name, weight in whole[2].items())


def test_ctrl_c_keeps_everything_and_says_how_to_go_on(clock, monkeypatch):
    def interrupt():
        if clock.now == 10:
            os.kill(os.getpid(), signal.SIGINT)

    clock.on_update = interrupt
    with pytest.raises(Interrupted, match=r"stopped and saved in trial \d; resume with: peephole train --resume m.run"):
        search()
    stopped = trials()
    assert stopped[-1].ended is None
    assert sum(trial.seconds for trial in stopped) == 10
    checkpoint = RUN / f"trials/{stopped[-1].number:03}.run/checkpoint/checkpoint.safetensors"
    assert checkpoint.exists()
    resume(RUN, quiet=True)
    assert [trial.settings for trial in trials()[: len(stopped)]] == [trial.settings for trial in stopped]
    assert trials()[: len(stopped) - 1] == stopped[:-1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_trials_whose_evaluations_are_slow_leave_some_out(clock, monkeypatch):
    """An evaluation takes longer than the updates between two, so most are left out; the search ends in time."""
    measure = run_module.measure

    def slow_measure(*arguments):
        clock.now += 2
        return measure(*arguments)

    monkeypatch.setattr(run_module, "measure", slow_measure)
    clock.update = 0.5
    longest = Budget.of(1.0, 20).evaluations
    break_at(monkeypatch, 4, TrialLog, "evaluation", after=True, evaluations=20)
    resume(RUN, quiet=True)
    found, run = trials(), read_run(RUN)
    for trial in found:
        numbers = sorted(trial.values)
        assert all(number >= 2 * before for before, number in pairwise(numbers))
        assert (numbers[-1] >= longest) == (trial.ended == "complete")
    assert {"complete"} <= {trial.ended for trial in found} <= {"complete", "pruned"}
    assert any(len(trial.values) > 1 for trial in found)
    complete = [trial for trial in found if trial.ended == "complete"]
    assert run.tuning.best == min(complete, key=lambda trial: trial.value).number
    assert run.config.train.minutes * 60 == pytest.approx(
        found[run.tuning.best].trained + 60 - sum(trial.seconds for trial in found)
    )


def test_pairs_from_python_and_settings_that_stay():
    pairs = [("ab", "BA"), ("abc", "CBA"), ("cd", "DC"), ("dca", "ACD")] * 10
    dev = [("da", "AD"), ("ca", "AC")]
    fixed = {"dropout": 0.05, "hidden_size": 12}
    model = tune(pairs, dev, out="m.safetensors", config=BASE, search_space=SPACE, quiet=True, **fixed)
    assert len(model.predict(["ab"])) == 1
    assert model.config == read_run(RUN).config
    for trial in trials():
        assert not {"model.dropout", "model.hidden_size"} & trial.settings.keys()
        assert (config_of(trial.number).model.dropout, config_of(trial.number).model.hidden_size) == (0.05, 12)
    assert len({trial.settings["train.learning_rate"] for trial in trials()}) == len(trials()) > 2
