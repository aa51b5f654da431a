"""Tests a search of settings: real trainings of a tiny model, whose clock counts their updates."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

import peephole
from peephole.config import Config
from peephole.errors import ArgumentError, ConfigError, MemoryLimitError, RunError
from peephole.storage.model_file import load_model
from peephole.training import Interrupted, resume, train, tune
from peephole.training import run as run_module
from peephole.training.estimate import Estimate
from peephole.training.loop import DivergedError
from peephole.training.run_file import read_run
from peephole.training.tuning import search as search_module
from peephole.training.tuning.search import Budget
from peephole.training.tuning.study import Study
from peephole.training.tuning.trial_log import TrialLog, read_trials

from .toy import TINY, write_pairs

UPDATE = 1.25  # seconds that an update takes by the clock of these tests
# A trial takes at most 6 updates, with evaluations after 3 and 6; all trials together 24
BASE = Config().with_values({**TINY, "minutes": 1, "evaluations": 10, "dev_pairs": 5})
SPACE = {"hidden_size": [8, 16, 24], "batch_symbols": [50, 100, 200]}
RUN = Path("m.run")


class Clock:
    """Counts updates as time, for trainings and for the search around them."""

    def __init__(self):
        self.now, self.update = 0.0, UPDATE
        self.on_update = lambda: None

    def monotonic(self):
        return self.now

    def of_training(self, fabric, before, stop):
        started = self.now

        def seconds():
            self.now += self.update
            self.on_update()
            return before + self.now - started

        return seconds, lambda: stop.signal_number is not None


def install(clock, patch):
    """Make trainings and searches use a clock, and no model too slow by it."""
    patch.setattr(run_module, "synchronised_clock", clock.of_training)
    patch.setattr(search_module, "time", clock)
    patch.setattr(search_module, "estimate", lambda *_, **__: Estimate({}, 1, None))
    return clock


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


def search(space=SPACE, config=BASE, **settings):
    return tune("train.tsv", out="m.safetensors", config=config, search_space=space, quiet=True, **settings)


def trials(folder=RUN):
    return read_trials(folder)


def evaluations(folder):
    """Return the dev metrics in the log of a run."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if "dev" in line]


def config_of(number):
    return read_run(RUN / f"trials/{number:03}.run").config


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
    break_at(monkeypatch, 2, TrialLog, "start", after=True, **{"train.seed": 2})
    other = [trial.settings for trial in trials()]
    assert other[0] == first[0]
    assert other[1] != first[1]


class Break(Exception):
    """Simulates a kill."""


def break_at(monkeypatch, call, module, name, *, after, **settings):
    """Start a search that Break ends before or after a certain call of a function; return whether it did."""
    function, calls = getattr(module, name), 0

    def counting(*arguments, **named):
        nonlocal calls
        calls += 1
        if calls == call and not after:
            raise Break
        found = function(*arguments, **named)
        if calls == call:
            raise Break
        return found

    with monkeypatch.context() as patch:
        patch.setattr(module, name, counting)
        with pytest.raises(Break):
            search(checkpoint_seconds=0, **settings)


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
        ("refused", "model.encoder_size: wanted an even number, half of it for each direction; got 15"),
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
