"""Tests of the ablation of recipes/g2p_cmudict: the coverage of its intervals, and resuming."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from models.make import pronounce, toy_words
from peephole.evaluation.bootstrap import interval

RECIPE = Path(__file__).parents[2] / "recipes" / "g2p_cmudict"
CONFIG = """
[symbols]
source = "characters"
target = "whitespace"

[model]
hidden_size = 16
embedding_size = 8

[train]
epochs = 30
threads = 1
"""


@pytest.fixture
def recipe(tmp_path):
    """Return the recipe's script with small data, a small configuration, two variants and one timed round."""
    shutil.copy(RECIPE / "ablation.py", tmp_path)
    (tmp_path / "config.toml").write_text(CONFIG)
    (tmp_path / "data").mkdir()
    words = toy_words(60, seed=1)
    for name, part in (("train", words[:40]), ("dev", words[40:50]), ("test", words[50:])):
        (tmp_path / "data" / f"{name}.tsv").write_text("".join(f"{word}\t{pronounce(word)}\n" for word in part))
    return load(tmp_path / "ablation.py")


def load(path):
    spec = importlib.util.spec_from_file_location("ablation", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for variant in [v for v in module.VARIANTS if v not in ("full", "general")]:
        del module.VARIANTS[variant]
    module.TIMED_ROUNDS = 1
    return module


def test_ablation_writes_the_table_and_repeats_nothing(recipe, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ablation.py", "--minutes", "0.02", "--seeds", "2", "--jobs", "2"])
    recipe.main()
    results = recipe.DATA / "ablation" / "0.02-minutes"
    assert (results / "report.md").read_text() in capsys.readouterr().out
    seconds = json.loads((recipe.DATA / "ablation" / "seconds.json").read_text())
    assert list(seconds) == ["full", "general"]
    for variant in seconds:
        config = json.loads((results / f"{variant}-2.run" / "run.json").read_text())["config"]
        assert (
            config["train"]["steps"]
            == round(1.2 / seconds[variant])
            == recipe.read_steps(results / f"{variant}-2.safetensors")
        )
        assert config["train"]["seed"] == 2
        assert config["model"]["attention"] == {"full": "additive", "general": "general"}[variant]
    lines = (results / "report.md").read_text().splitlines()
    tables = lines[: lines.index("")], lines[lines.index("") + 1 :]
    for table in tables:
        assert [line.split("|")[1].strip() for line in table[2:]] == [recipe.VARIANTS[v].title for v in seconds]

    # A second call trains and predicts nothing: it makes the table from the existing files
    before = {path: path.stat().st_mtime_ns for path in results.glob("*.*")}
    del before[results / "report.md"]
    recipe.main()
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_errors_are_grouped_by_word_length(recipe):
    lengths = np.array([9, 1, 2, 3, 3, 4, 5, 5])
    first = np.array([0, 1, 1, 0, 1, 1, 0, 0])  # 1 where the first model predicts the word right
    tables = [np.stack([right, np.ones(8)], axis=1).astype(float) for right in (first, np.ones(8))]
    found = recipe.wer_by_length(tables, lengths)
    assert found == {"1 to 2": 0, "3": 25, "4 to 5": pytest.approx(100 / 3), "6 to 9": 50}


def test_sigterm_stops_all_trainings(recipe):
    program = (
        "import ablation; ablation.TIMED_ROUNDS = 1; [ablation.VARIANTS.pop(v) for v in ('diagonal', 'none', 'gru')];"
    )
    command = [sys.executable, "-c", f"{program} ablation.main()", "--minutes", "5", "--jobs", "2"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, cwd=recipe.HERE
    )
    results = recipe.DATA / "ablation" / "5-minutes"
    while not (results / "full-1.run" / "log.jsonl").exists():
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # no process of its session is left
    assert (results / "full-1.run" / "checkpoint").is_dir()
    assert not (results / "general-3.run").exists()


def test_without_data_one_line_and_exit_code_1(recipe, monkeypatch):
    (recipe.DATA / "test.tsv").unlink()
    monkeypatch.setattr(sys, "argv", ["ablation.py"])
    with pytest.raises(SystemExit, match=r"data: no test.tsv; run prepare.py first"):
        recipe.main()


def test_an_interval_covers_both_words_and_seeds(recipe):
    """With variance between seeds, 95 % of the intervals that resample seeds too should contain the true mean."""
    generator = np.random.default_rng(7)
    contained = {"words alone": 0, "words and seeds": 0}
    trials, words, seeds = 200, 400, 3
    for trial in range(trials):
        chances = generator.normal(
            0.75, 0.04, seeds
        )  # accuracy of each model; sampling words adds a standard deviation of 0.02
        tables = [
            np.stack([generator.random(words) < chance, np.ones(words)], axis=1).astype(float) for chance in chances
        ]
        _, both = recipe.resampled_means(tables, "exact_match", trial)
        alone = np.mean([recipe.resampled_means([table], "exact_match", trial)[1] for table in tables], axis=0)
        for name, scores in (("words and seeds", both), ("words alone", alone)):
            low, high = interval(scores)
            contained[name] += low <= 75 <= high
    assert contained["words alone"] < 0.8 * trials
    assert contained["words and seeds"] > 0.9 * trials
