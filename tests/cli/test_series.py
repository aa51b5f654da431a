"""Tests of the commands on tables of series."""

from __future__ import annotations

import csv
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from peephole.config import Config, SearchConfig
from peephole.errors import ConfigError, DataError
from peephole.model import load
from peephole.model.evaluation import evaluate
from peephole.model.series import SeriesModel
from peephole.nn import build_seq2seq
from peephole.symbols import FrameSymbols

from .conftest import Peephole


@pytest.fixture
def model(peephole: Peephole, tmp_path: Path) -> Path:
    """Return a model of series with random weights; a table of two columns is beside it."""
    settings = {"data.horizon": 3, "frames.kind": "numbers", "model.input": "frames", "model.output": "gaussian"}
    settings |= {"input_size": 1, "output_size": 1, "hidden_size": 8, "embedding_size": 4, "samples": 20}
    config = Config().with_values(settings)
    table = FrameSymbols("numbers", size=1)
    network = build_seq2seq(config.model, 4, 4, torch.Generator().manual_seed(1))
    SeriesModel(config, table, table, [network.eval()]).save(tmp_path / "m.safetensors")
    peephole.write("t.csv", "day,a,b\nmon,1,5\ntue,,7\nwed,3,6\n")
    return tmp_path / "m.safetensors"


def test_each_column_is_forecast(peephole: Peephole, model: Path) -> None:
    done = peephole("predict", model, "t.csv").succeeded()
    assert done.err.strip().endswith("1 number repaired: missing; the one before it is read (first: t.csv, line 3)")
    rows = list(csv.DictReader(done.lines))
    assert [(row["series"], row["step"]) for row in rows] == [(name, step) for name in "ab" for step in "123"]
    found = load(model).predict([[1, np.nan, 3], [5, 7, 6]])
    for key, wanted in {
        "mean": lambda f: f.mean,
        "0.5": lambda f: f.quantile(0.5),
        "0.9": lambda f: f.quantile(0.9),
    }.items():
        np.testing.assert_allclose(
            [float(row[key]) for row in rows], np.concatenate([wanted(one)[:, 0] for one in found]), rtol=1e-5
        )


@pytest.mark.parametrize("level", [0, 1e6, 1e9])
def test_numbers_are_written_with_the_digits_of_their_changes(peephole: Peephole, model: Path, level: float) -> None:
    steps = [level + number % 9 for number in range(12)]
    peephole.write("level.csv", "a\n" + "".join(f"{number:.0f}\n" for number in steps))
    rows = list(csv.DictReader(peephole("predict", model, "level.csv").succeeded().lines))
    [wanted] = load(model).predict([steps])
    assert 1 < np.ptp(wanted.samples) < 100
    for key, values in (("mean", wanted.mean), ("0.1", wanted.quantile(0.1)), ("0.9", wanted.quantile(0.9))):
        written = [row[key] for row in rows]
        # Six digits of a distance below 100: the last one is 0.0001
        np.testing.assert_allclose(np.array(written, float) - level, values[:, 0] - level, rtol=0, atol=1e-4)
        assert max(map(len, written)) <= 17
    [there] = load(model).predict([np.array(steps) - level])
    np.testing.assert_allclose(wanted.samples - level, there.samples, rtol=1e-5, atol=1e-6)
    shown = peephole(
        "train", "level.csv", "--dry-run", "--set", "data.horizon=2", "--set", "data.history=3"
    ).succeeded()
    assert "12 steps" in shown.out


def test_json_horizon_samples_and_several_tables(peephole: Peephole, model: Path) -> None:
    options = ("--steps-ahead", "2", "--samples", "5", "--seed", "4")
    done = peephole("predict", model, "t.csv", "--json", *options).succeeded()
    found = [json.loads(line) for line in done.lines]
    wanted = load(model).predict([[1, 1, 3], [5, 7, 6]], steps_ahead=2, samples=5, seed=4)
    assert [entry["series"] for entry in found] == [["a"], ["b"]]
    assert [{k: entry[k] for k in ("mean", "quantiles")} for entry in found] == [one.to_dict() for one in wanted]
    done = peephole("predict", model, "t.csv", "-", *options, stdin="c\n1\n2\n").succeeded()
    assert [line.split(",")[:3] for line in done.lines] == [
        ["file", "series", "step"],
        *(["t.csv", name, step] for name in "ab" for step in "12"),
        *(["stdin", "c", step] for step in "12"),
    ]


def test_wrong_tables_and_options_are_one_line_errors(peephole: Peephole, model: Path) -> None:
    peephole.write("bad.csv", "a\n1\nx\n")
    peephole("predict", model, "bad.csv").failed("bad.csv, line 3, column 'a': wanted a number, got 'x'")
    done = peephole("predict", model, "--bad-lines", "skip", "bad.csv").succeeded()
    assert "1 number skipped: no number (first: bad.csv, line 3)" in done.err
    peephole("predict", model, "no.csv").failed("no.csv: no such file; did you mean 't.csv'?")
    peephole("export", model, "--to", "onnx", "--out", "x").failed(
        f"{model}: ONNX export, output: wanted symbols|copy, got 'gaussian'"
    )


def test_evaluate_prints_the_errors_of_all_windows(peephole: Peephole, model: Path) -> None:
    values = np.random.default_rng(1).normal(size=(31, 2)).round(3)
    rows = [[f"{number:g}" for number in row] for row in values.tolist()]
    rows[20][1], values[20, 1] = "", np.nan
    peephole.write("long.csv", "a,b\n" + "".join(",".join(row) + "\n" for row in rows))
    options = ("--samples", "9", "--seed", "3", "--season", "4")
    wanted = evaluate(load(model), values, samples=9, seed=3, season=4)
    done = peephole("evaluate", model, "long.csv", "--json", *options).succeeded()
    result = json.loads(done.out)
    assert "1 number repaired: missing; the one before it is read (first: long.csv, line 22)" in done.err
    assert {**result, "model": None, "test": None} == {**wanted.to_dict(), "model": None}
    assert (result["num_windows"], result["num_numbers"]) == (12, 35)  # 18 steps of 2 series, one missing
    shown = (
        peephole("evaluate", model, "long.csv", *options, "--metric", "crps", "--metric", "coverage").succeeded().out
    )
    assert "12 windows, 35 numbers" in shown
    assert f"{wanted.scores['crps'].value:.4g}" in shown
    assert f"{wanted.scores['coverage'].value:.2f} %" in shown
    assert "MASE" not in shown.replace("unit of MASE", "")


def test_score_prints_the_log_density_of_each_window(peephole: Peephole, model: Path) -> None:
    values = np.random.default_rng(1).normal(size=20).round(3)
    peephole.write("long.csv", "a\n" + "".join(f"{number:g}\n" for number in values))
    starts = (14, 17)
    wanted = load(model).score([values[t - 12 : t] for t in starts], [values[t : t + 3] for t in starts])
    assert peephole("score", model, "long.csv").succeeded().lines == [f"{score:.6f}" for score in wanted]
    found = [json.loads(line) for line in peephole("score", model, "long.csv", "--json").succeeded().lines]
    assert [(one["series"], one["first"], one["steps"]) for one in found] == [(["a"], 15, 3), (["a"], 18, 3)]
    assert [one["log_prob"] for one in found] == pytest.approx(wanted)


def test_tables_and_requests_that_cannot_be_evaluated_are_one_line_errors(peephole: Peephole, model: Path) -> None:
    short = "t.csv: wanted at least 15 steps: 12 to read (data.history) and 3 to forecast (data.horizon); got 3"
    peephole("score", model, "t.csv").failed(short)
    peephole("evaluate", model, "t.csv").failed(short)
    peephole.write("flat.csv", "a,b\n" + "".join(f"{number % 5},{number % 3}\n" for number in range(20)))
    peephole("evaluate", model, "flat.csv").failed(
        "flat.csv, column 'b': wanted a series that does not repeat itself every 3 steps"
    )
    peephole("score", model, "flat.csv").succeeded()
    peephole("evaluate", model, "flat.csv", "--season", "4", "--metric", "bleu").failed(
        "evaluation: unknown metric of forecasts 'bleu'; wanted one of mase, naive_mase, mae, coverage, crps"
    )
    peephole("evaluate", model, "flat.csv", "--against", model).failed(
        "against: wanted none, since forecasts of two models are not compared; got a model"
    )
    done = peephole("score", model, "flat.csv", "--tokens")
    assert (done.code, "--tokens is for texts; this is a model of series" in done.err) == (2, True)


def test_info_and_dry_run(peephole: Peephole, model: Path) -> None:
    assert "none: numbers\n" in peephole("info", model).succeeded().out
    peephole.write("long.csv", "a\n" + "".join(f"{number % 7}\n" for number in range(60)))
    done = peephole("train", "long.csv", "--dry-run", "--set", "data.horizon=4").succeeded()
    assert "60 steps, one column of numbers; 33 windows of 16 steps and 4 to forecast" in done.out


class NamedColumns:
    """A table of numbers with names, as those of pandas."""

    def __init__(self, columns: str) -> None:
        self.columns = list(columns)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.arange(18, dtype=dtype).reshape(9, 2)


def test_a_joint_series_has_the_columns_of_training(peephole: Peephole) -> None:
    rows = [f"{np.sin(step):.4f},{np.cos(step):.4f}" for step in range(60)]
    for name, columns in {"ab": "a,b\n", "ba": "b,a\n", "plain": "", "three": "a,b,c\n"}.items():
        added = ",1" * (name == "three")
        peephole.write(f"{name}.csv", columns + "".join(f"{row}{added}\n" for row in rows))
    settings = ["data.horizon=4", "data.columns=joint", "model.output=gaussian", "model.hidden_size=8", "train.steps=2"]
    how = [word for setting in settings for word in ("--set", setting)]
    for name in ("ab", "plain"):
        peephole("train", f"{name}.csv", "--out", f"{name}.safetensors", *how).succeeded()
    wanted = peephole("predict", "ab.safetensors", "ab.csv").succeeded().out
    for command in ("predict", "evaluate", "score"):
        message = "wanted the columns of training, a, b; got b, a"
        peephole(command, "ab.safetensors", "ba.csv").failed(f"ba.csv: {message}")
    message = "wanted 2 columns of numbers, as in training, got 3: a, b, c"
    peephole("predict", "ab.safetensors", "three.csv").failed(f"three.csv: {message}")
    assert peephole("predict", "ab.safetensors", "plain.csv").succeeded().out == wanted.replace("a,", "1,").replace(
        "b,", "2,"
    )
    assert "none: numbers, columns 'a' 'b'\n" in peephole("info", "ab.safetensors").succeeded().out
    peephole("predict", "plain.safetensors", "ba.csv").succeeded()  # trained without names
    model = load(peephole.folder / "ab.safetensors")
    with pytest.raises(DataError, match=r"^sources, series 0: wanted the columns of training, a, b; got b, a$"):
        model.predict([NamedColumns("ba")])
    assert len(model.predict([NamedColumns("ab"), np.ones((9, 2))])) == 2


def test_an_error_on_a_full_disk_is_the_only_one(peephole: Peephole, model: Path) -> None:
    """The header of the output is still buffered when the table turns out to be bad."""
    peephole.write("bad.csv", "a\n1\nx\ny\n")
    wanted = peephole("predict", model, "bad.csv")
    assert (wanted.code, wanted.out) == (1, "series,step,mean,0.1,0.5,0.9\n")
    assert peephole("predict", model, "bad.csv", stdout=Path("/dev/full")).failed(wanted.err[len("peephole: ") : -1])


SYMBOLS_ONLY = (
    *("beam_size", "nbest", "length_penalty", "ctc_weight", "length_reward", "coverage_penalty", "min_length"),
    *("no_repeat_ngram", "diverse_groups", "diversity", "language_model", "language_model_weight"),
    *("max_length_factor", "max_length_extra", "temperature", "top_k", "top_p", "calibration"),
)


@pytest.mark.parametrize("name", SYMBOLS_ONLY)
def test_settings_for_symbols_are_refused(peephole: Peephole, model: Path, name: str) -> None:
    message = f"search.{name}: wanted a model that predicts symbols with it, got one of series"
    peephole("predict", model, "t.csv", f"--{name.replace('_', '-')}", "1").failed(message)
    with pytest.raises(ConfigError, match=message):
        load(model).predict([[1, 2, 3]], **{name: 1})
    if name == "beam_size":
        peephole("evaluate", model, "t.csv", "--beam-size", "1").failed(message)
        with pytest.raises(ConfigError, match=message):
            evaluate(load(model), np.arange(30.0), beam_size=1)


def test_all_other_search_settings_apply_to_series(model: Path) -> None:
    """No setting is forgotten in either list."""
    names = {field.name for field in fields(SearchConfig)} - {*SYMBOLS_ONLY}
    given = {"samples": 2, "steps_ahead": 1, "seed": 1, "batch_size": 1, "threads": 1, "engine": "auto"}
    assert names == given.keys()
    assert load(model).predict([[1, 2, 3]], **given)[0].samples.shape == (2, 1, 1)


@pytest.mark.parametrize("option", ["--must-contain=a", "--prefixed", "--explain"])
def test_options_for_texts_are_refused(peephole: Peephole, model: Path, option: str) -> None:
    done = peephole("predict", model, "t.csv", option)
    assert (done.code, done.out) == (2, "")
    assert f"{option.partition('=')[0]} is for texts; this is a model of series" in done.err


@pytest.mark.parametrize("name", ["samples", "steps_ahead"])
def test_settings_of_forecasts_are_refused_for_texts(peephole: Peephole, toy_file: Path, name: str) -> None:
    message = f"search.{name}: wanted a model of series with it, got one that predicts symbols"
    option = f"--{name.replace('_', '-')}"
    peephole("predict", toy_file, option, "3").failed(message)
    peephole.write("pairs.tsv", "ab\tAH B\n")
    toy = load(toy_file)
    calls = [lambda: toy.predict(["ab"], **{name: 3}), lambda: toy.trace("ab", **{name: 3})]
    calls.append(lambda: evaluate(toy, [("ab", "AH B")], **{name: 3}))
    for call in calls:
        with pytest.raises(ConfigError, match=message):
            call()
    if name == "samples":
        peephole("evaluate", toy_file, "pairs.tsv", option, "3").failed(message)
