"""Tests that a search of settings begins with those that suit its minutes and data, and goes on with the same."""

from __future__ import annotations

import pytest

from peephole import memory
from peephole.config import Config
from peephole.errors import MemoryLimitError
from peephole.training import budget_settings, resume, tune
from peephole.training import run as run_module
from peephole.training.estimate import Estimate
from peephole.training.run_file import read_run
from peephole.training.tuning.search import Search

from .searches import RUN, Clock, break_at, config_of, install, trials
from .toy import write_pairs

BASE = Config().with_values(
    {"minutes": 1, "evaluations": 10, "dev_fraction": 0.1, "dev_pairs": 5, "threads": 1, "embedding_size": 4}
)
TRAINING = 37.5  # seconds of the best trial's training, of the minute
SIZES = {"hidden_size": [4, 8]}


@pytest.fixture(autouse=True)
def clock(tmp_path, monkeypatch):
    """Let the training of the best trial, but not the whole minute, be too short for the default settings."""
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "train.tsv")
    clock = install(Clock(), monkeypatch)
    found = Estimate({}, steps_per_epoch=100, seconds_per_epoch=TRAINING / (budget_settings.FEW_PASSES - 1))
    monkeypatch.setattr(budget_settings, "estimate", lambda *_, **__: found)
    return clock


def test_a_short_search_begins_with_the_settings_of_a_short_training(monkeypatch, capfd):
    break_at(monkeypatch, 8, run_module, "save_checkpoint", after=True, config=BASE, space=SIZES)
    monkeypatch.setattr(budget_settings, "estimate", lambda *_, **__: Estimate({}, 1, None))  # as on another machine
    before = len(trials())
    resume(RUN, quiet=True)
    found, run = trials(), read_run(RUN)
    assert len(found) > before >= 2
    assert found[0].settings == {
        "model.hidden_size": 8,
        "model.encoder_layers": 1,
        "model.peephole": "full",
        "model.dropout": 0.0,
        "train.learning_rate": 0.002,
        "data.batch_symbols": 300,
    }
    assert run.tuning.space["data.batch_symbols"] == [150, 300, 600]
    assert run.tuning.space["model.dropout"] == {"low": 0.0, "high": 0.4, "log": False}
    assert run.tuning.minutes == 1.0
    for config in (run.config, *(config_of(trial.number) for trial in found)):
        assert config.model.attention_symbol
        assert config.model.ngram_rows == 4096


def test_the_choice_is_told(capfd, monkeypatch):
    break_at(monkeypatch, 1, Search, "_run", after=False, config=BASE, space=SIZES, quiet=False)
    lines = capfd.readouterr().err.splitlines()
    assert (
        "with the defaults 0.625 minutes are about 11 epochs and 1,100 updates; chosen for that: batch_symbols=300, "
        "attention_symbol=true, dropout=0, ngram_rows=4096"
    ) in lines
    assert "searches hidden_size, encoder_layers, peephole, dropout, learning_rate, batch_symbols; " in "\n".join(lines)


def test_settings_that_are_given_or_searched_are_not_chosen(monkeypatch):
    """Kinds of attention are searched, most of which cannot read the symbol."""
    space = {"attention": ["dot", "additive"], "dropout": [0.1, 0.3]}
    given = {"batch_symbols": 80, "hidden_size": 8}
    break_at(monkeypatch, 1, Search, "_run", after=False, config=BASE, space=space, **given)
    run = read_run(RUN)
    assert (run.config.model.attention_symbol, run.config.model.dropout) == (False, 0.2)
    assert (run.config.data.batch_symbols, run.config.model.ngram_rows) == (80, 4096)
    assert run.tuning.space["model.attention"] == ["dot", "additive"]
    assert run.tuning.space["model.dropout"] == [0.1, 0.3]
    assert not {"data.batch_symbols", "model.hidden_size"} & run.tuning.space.keys()


def test_a_model_too_large_for_the_memory_is_refused_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr(memory, "machine_memory", lambda: memory.MachineMemory(10**6, 10**6))
    with pytest.raises(MemoryLimitError):
        tune("train.tsv", out="m.safetensors", config=BASE, search_space=SIZES, quiet=True)
    assert not RUN.exists()
