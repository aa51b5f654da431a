"""Tests of `peephole train --dry-run`: what training prints and refuses, without PyTorch or a trace on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.make import pronounce, toy_words
from peephole.config import Config
from peephole.nn import build_seq2seq
from peephole.training import plan

from .conftest import ENVIRONMENT, Peephole

PAIRS = "".join(f"{word}\t{pronounce(word)}\n" for word in toy_words(300, seed=5))
SMALL = ["--set", "hidden_size=8", "--set", "embedding_size=4"]

PROBE = """
import atexit, sys
from peephole.cli import main
atexit.register(lambda: print("torch" in sys.modules))
main(sys.argv[1:])
"""


def test_a_dry_run_imports_no_torch_and_leaves_nothing(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    (tmp_path / "pairs.tsv").write_text(PAIRS, encoding="utf-8")
    command = [sys.executable, "-c", PROBE, "train", "pairs.tsv", "--out", "m.safetensors", "--dry-run"]
    environment = os.environ | ENVIRONMENT | {"TMPDIR": str(temporary)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "False"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pairs.tsv", "temporary"]
    assert not list(temporary.iterdir())


def test_a_missing_run_is_told_before_torch_is_imported(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROBE, "train", "--resume", "no.run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    message = "peephole: no.run: no such folder\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "False\n", message)


def test_a_dry_run_prints_what_training_prints(peephole: Peephole) -> None:
    peephole.write("pairs.tsv", PAIRS + "a\ta\tb\n")
    options = [*SMALL, "--steps", 30, "--set", "bad_lines=skip", "--set", "cell=gru"]
    planned = peephole("train", "pairs.tsv", "--dry-run", *options).succeeded()
    assert planned.err == ""
    trained = peephole("train", "pairs.tsv", "--out", "m.safetensors", *options).succeeded().err.splitlines()
    size = next(line for line in trained if " parameters;" in line)
    shared = trained.index(size)
    assert shared == 5  # pairs, symbols of both sides, skipped lines, peepholes
    assert planned.lines[:shared] == trained[:shared]
    assert planned.lines[shared] == size.split(";")[0]
    assert planned.lines[-1].startswith("the training: ")
    assert "30 updates" in planned.lines[-1]


def test_the_plan_holds_what_is_printed(peephole: Peephole) -> None:
    peephole.write("pairs.tsv", PAIRS)
    found = json.loads(peephole("train", "pairs.tsv", "--dry-run", "--json", *SMALL, "--epochs", "2").succeeded().out)
    wanted = plan(peephole.folder / "pairs.tsv", hidden_size=8, embedding_size=4, epochs=2).to_dict()
    measured = {"seconds_per_epoch", "seconds"}
    assert {name: value for name, value in found.items() if name not in measured} == {
        name: value for name, value in wanted.items() if name not in measured
    }
    assert all(0 < found[name] < 60 for name in measured)
    network = build_seq2seq(
        Config().with_values({"hidden_size": 8, "embedding_size": 4}).model,
        wanted["num_source_symbols"],
        wanted["num_target_symbols"],
    )
    assert wanted["num_parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert wanted["epochs"] == 2
    assert wanted["num_pairs"] + wanted["num_dev_sources"] <= 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing"], "missing: no such file"),
        (["bad.tsv"], "bad.tsv, line 2: expected 2 columns, found 1: 'abc'"),
        (["good.tsv", "--out", "m"], "--out m: wanted a file name that ends in .safetensors"),
        (["good.tsv", "--out", "no/m.safetensors"], "no/m.safetensors: no such folder: no"),
        (
            ["good.tsv", "--out", "old.safetensors"],
            "old.safetensors: exists already; `--overwrite` replaces it",
        ),
        (
            ["good.tsv", "--set", "hidden_size=3"],
            "model.hidden_size: wanted an even number, half of it for each direction; got 3",
        ),
        (["good.tsv", "--dev", "bad.tsv"], "bad.tsv, line 2: expected 2 columns, found 1: 'abc'"),
    ],
)
def test_a_dry_run_refuses_what_training_refuses(peephole: Peephole, arguments: list[str], message: str) -> None:
    peephole.write("good.tsv", PAIRS)
    peephole.write("bad.tsv", "a\tb\nabc\n")
    peephole.write("old.safetensors", "")
    planned = peephole("train", *arguments, "--dry-run")
    assert planned.out == ""
    planned.failed(message)
    out = [] if "--out" in arguments else ["--out", "m.safetensors"]
    trained = peephole("train", *arguments, *out)
    assert (trained.code, trained.err) == (1, planned.err)


def test_a_dry_run_with_overwrite_replaces_nothing(peephole: Peephole) -> None:
    peephole.write("good.tsv", PAIRS)
    peephole.write("old.safetensors", "old")
    peephole("train", "good.tsv", "--out", "old.safetensors", "--overwrite", "--dry-run").succeeded()
    assert (peephole.folder / "old.safetensors").read_bytes() == b"old"


@pytest.mark.parametrize("unit", ["minutes", "epochs"])
def test_a_budget_of_0_is_said_to_train_nothing(peephole: Peephole, unit: str) -> None:
    peephole.write("pairs.tsv", PAIRS)
    line = f"train.{unit} is 0: training ends after its first update, so nothing is learned"
    arguments = ["train", "pairs.tsv", *SMALL, f"--{unit}", 0]
    assert line in peephole(*arguments, "--dry-run").succeeded().lines
    assert line in peephole(*arguments, "--out", "m.safetensors").succeeded().err.splitlines()
