"""Tests `peephole train --search` as a user runs it: killed, resumed, described, and with wrong arguments."""

from __future__ import annotations

import json
import signal

import pytest
from click.testing import CliRunner

from peephole.cli.train import command
from peephole.errors import ConfigError
from peephole.training.run_file import read_run
from peephole.training.tuning.trial_log import read_trials

from .toy import TINY, set_options, write_pairs

SPACE = """
[model]
hidden_size = 8

[train]
minutes = 0.1
dev_pairs = 5
checkpoint_seconds = 0

[search_space]
hidden_size = [8, 12]
train.learning_rate = {low = 0.001, high = 0.01, log = true}
"""
FIXED = {name: value for name, value in TINY.items() if name not in ("hidden_size", "dev_pairs")}


def test_a_killed_search_goes_on_by_the_same_command_with_resume(launcher, tmp_path):
    write_pairs(tmp_path / "train.tsv")
    (tmp_path / "f.toml").write_text(SPACE)
    start = ["train", "train.tsv", "--out", "m.safetensors", "--search", "--config", "f.toml", *set_options(**FIXED)]
    child = launcher.start(*start, cwd=tmp_path)
    folder = tmp_path / "m.run"

    def has_evaluations():
        return any(trial.values for trial in read_trials(folder))

    assert child.wait_for(has_evaluations), child.wait()
    child.send(signal.SIGKILL)
    assert child.wait()[0] == -signal.SIGKILL
    before = read_trials(folder)
    assert read_run(folder).is_searching
    code, output = launcher.run("info", "m.run", cwd=tmp_path)
    assert code == 0, output
    assert output.startswith("trial  symbol error rate  evaluations  updates  seconds  ended ")
    code, output = launcher.run("train", "--resume", "m.run", cwd=tmp_path)
    assert code == 0, output
    found = read_trials(folder)
    assert [trial.settings for trial in found[: len(before)]] == [trial.settings for trial in before]
    assert found[0].settings["model.hidden_size"] == 8
    assert all(trial.settings["model.hidden_size"] in (8, 12) for trial in found)
    assert not {"data.batch_symbols", "model.embedding_size"} & found[0].settings.keys()  # given by --set
    best = read_run(folder).tuning.best
    assert sum(line.startswith(f"trial {best}: ") and line.endswith("  (best)") for line in output.splitlines()) == 1
    assert f"best: trial {best}: " in output
    assert output.splitlines()[-1].startswith("m.safetensors: last dev symbol error rate ")
    code, output = launcher.run("info", "m.run", "--json", cwd=tmp_path)
    described = json.loads(output)
    assert (described["best"], described["minutes"]) == (best, 0.1)
    assert described["trials"] == [trial.to_dict() for trial in found]
    code, output = launcher.run(*start, "--overwrite", "--json", cwd=tmp_path)
    assert code == 0, output
    assert json.loads(output.splitlines()[-1])["trials"][0]["number"] == 0


def test_a_run_without_a_search_has_no_trials_to_describe(launcher, tmp_path):
    write_pairs(tmp_path / "train.tsv")
    steps = set_options(**TINY, steps=1)
    assert launcher.run("train", "train.tsv", "--out", "m.safetensors", *steps, cwd=tmp_path)[0] == 0
    code, output = launcher.run("info", "m.run", cwd=tmp_path)
    assert (code, output) == (
        1,
        "peephole: m.run: its settings were not searched; `peephole info` describes its model, m.safetensors\n",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume", "m.run", "--search"], "--resume uses the run's own settings"),
        (["train.tsv", "--out", "m.safetensors", "--search", "--dry-run"], "--search begins with initial weights"),
        (["--from", "m.safetensors", "--out", "n.safetensors", "--search"], "--search begins with initial weights"),
        (["train.tsv", "--search"], "wanted TRAIN and --out MODEL"),
        (["train.tsv", "--out", "m.safetensors", "--json"], "--json is an option of --dry-run and of --search"),
    ],
)
def test_wrong_usage(arguments, message):
    found = CliRunner().invoke(command, arguments)
    assert found.exit_code == 2
    assert message in found.output


@pytest.mark.parametrize(
    ("arguments", "table", "message"),
    [
        ([], "", "train.minutes: wanted the minutes of a search and of the training after it, got none"),
        (["--steps", "5"], "", "train.minutes: wanted the minutes of a search and of the training after it, got none"),
        (["--minutes", "1"], "hiden_size = [1]", "unknown key 'hiden_size'; did you mean 'hidden_size'?"),
        (["--minutes", "1"], "hidden_size = 3", "model.hidden_size: wanted a list of values"),
    ],
)
def test_errors_of_the_settings_come_before_the_data_are_read(tmp_path, monkeypatch, arguments, table, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.toml").write_text(f"[search_space]\n{table}\n")
    start = ["missing.tsv", "--out", "m.safetensors", "--search", "--config", "f.toml", *arguments]
    found = CliRunner().invoke(command, start)
    assert isinstance(found.exception, ConfigError)
    assert message in str(found.exception)
    assert not (tmp_path / "m.run").exists()


def test_the_table_of_a_search_is_not_read_without_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "train.tsv")
    (tmp_path / "f.toml").write_text(SPACE)
    found = CliRunner().invoke(command, ["train.tsv", "--dry-run", "--config", "f.toml"])
    assert found.exit_code == 0, found.output
    assert "the training: " in found.output
