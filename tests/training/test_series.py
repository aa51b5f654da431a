"""Tests training on a series from a table or an array to forecasts."""

from __future__ import annotations

import json

import numpy as np
import pytest

import peephole
from peephole.data.series import series_of
from peephole.errors import ArgumentError, DataError, MemoryLimitError
from peephole.storage.model_file import read_tensors
from peephole.training import resume

from .short_runs import break_at

SEASON, HORIZON = 8, 6
SETTINGS = {
    "horizon": HORIZON,
    "history": 2 * SEASON,
    "hidden_size": 16,
    "embedding_size": 8,
    "batch_symbols": 150,
    "threads": 1,
    "steps": 80,
    "evaluations": 2,
    "dropout": 0.0,
    "learning_rate": 0.02,
    "ema_decay": 0.9,
    "quiet": True,
}


def series(count=400, level=5000.0):
    """Return a season around a level, with noise of deviation 1 and a missing number."""
    steps = np.arange(count)
    values = level + 10 * np.sin(2 * np.pi * steps / SEASON) + np.random.default_rng(0).normal(size=count)
    values[50:51] = np.nan
    return values


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a model trained on a table."""
    folder = tmp_path_factory.mktemp("series")
    lines = [f"day {number},{value}" for number, value in enumerate(series())]
    (folder / "t.csv").write_text("\n".join(["when,load", *lines]))
    peephole.train(folder / "t.csv", out=folder / "m.safetensors", **SETTINGS)
    return folder


def test_a_season_is_learned_with_its_noise(folder):
    model = peephole.load(folder / "m.safetensors")
    wanted = series(440)
    starts = range(400, 434)
    found = model.predict([wanted[:start] for start in starts], samples=200)
    actual = np.array([wanted[start : start + HORIZON] for start in starts])
    means = np.array([forecast.mean[:, 0] for forecast in found])
    assert means.shape == actual.shape
    assert np.abs(means - actual).mean() < 1.5  # the noise alone gives 0.8, a level without the season 6.4
    inside = [(f.quantile(0.1)[:, 0] <= a) & (a <= f.quantile(0.9)[:, 0]) for f, a in zip(found, actual, strict=True)]
    assert 0.55 < np.mean(inside) < 0.97


def test_forecasts_are_a_function_of_the_seed_and_the_number_of_the_series(folder):
    model = peephole.load(folder / "m.safetensors")
    one, two = model.predict([series(60), series(70)], samples=20)
    assert one.samples.shape == (20, HORIZON, 1)
    assert (one.missing, two.missing) == (1, 0)  # two's lies before its window
    np.testing.assert_array_equal(two.samples, model.predict([series(70)], samples=20, first_index=1)[0].samples)
    np.testing.assert_array_equal(one.samples[:7], model.predict([series(60)], samples=7)[0].samples)
    assert (one.samples != model.predict([series(60)], samples=20, seed=2)[0].samples).all()
    np.testing.assert_array_equal(one.samples, model.predict([series(60)[-16:]], samples=20)[0].samples)
    longer = model.predict([series(60)], samples=20, steps_ahead=2 * HORIZON)[0]
    assert longer.samples.shape == (20, 2 * HORIZON, 1)


def test_engine_and_definition_draw_alike(folder):
    model = peephole.load(folder / "m.safetensors")
    given = [series(60), series(9), series(53)]
    for mine, other in zip(model.predict(given), model.predict(given, engine="off"), strict=True):
        np.testing.assert_allclose(mine.samples, other.samples, rtol=1e-5)
        assert mine.missing == other.missing
    assert [forecast.missing for forecast in model.predict(given)] == [1, 0, 1]


def test_an_array_trains_as_a_table_of_the_same_numbers(folder, tmp_path):
    settings = SETTINGS | {"steps": 5}
    peephole.train(folder / "t.csv", out=tmp_path / "table.safetensors", **settings)
    peephole.train(series(), out=tmp_path / "array.safetensors", **settings)
    one, other = (read_tensors(tmp_path / f"{name}.safetensors")[0] for name in ("table", "array"))
    for name, tensor in one.items():
        np.testing.assert_array_equal(tensor, other[name])
    with pytest.raises(ArgumentError, match="train: an array of numbers is forecast: wanted horizon"):
        peephole.train(series(), out=tmp_path / "n.safetensors")
    with pytest.raises(DataError, match="wanted at least 34 steps"):
        peephole.train(series(30), out=tmp_path / "n.safetensors", **settings)


@pytest.mark.parametrize("engine", ["auto", "off"])
def test_the_level_and_the_scale_of_a_series_do_not_matter(folder, engine):
    """Numbers whose changes float32 cannot hold are forecast, scored and evaluated as those of another level."""
    model = peephole.load(folder / "m.safetensors")
    given = np.round(series(), 3) - 5000
    [wanted] = model.predict([given], engine=engine)
    [density] = model.score([given[:394]], [given[394:]], engine=engine)
    errors = peephole.evaluate(model, given, season=SEASON, engine=engine, metrics=["mase", "mae"]).scores
    for level, scale in ((1e9, 1), (0, 1e45), (0, 1e-45)):
        other = level + scale * given
        [found] = model.predict([other], engine=engine)
        np.testing.assert_allclose((found.samples - level) / scale, wanted.samples, rtol=1e-5, atol=1e-5)
        scored = model.score([other[:394]], [other[394:]], engine=engine)[0]
        assert scored == pytest.approx(density - HORIZON * np.log(scale), rel=1e-5)
        there = peephole.evaluate(model, other, season=SEASON, engine=engine, metrics=["mase", "mae"]).scores
        assert there["mase"].value == pytest.approx(errors["mase"].value, rel=1e-5)
        assert there["mae"].value == pytest.approx(errors["mae"].value * scale, rel=1e-5)
    with pytest.raises(ArgumentError, match="sources: wanted numbers from -1e300 to 1e300, got a larger one at 0"):
        model.predict([1e308 * np.sign(given)], engine=engine)


def test_a_model_learns_the_same_at_every_level(tmp_path):
    settings = SETTINGS | {"steps": 5}
    given = np.round(series(level=0), 2)
    for name, level in (("one", 0), ("other", 1e9)):
        peephole.train(given + level, out=tmp_path / f"{name}.safetensors", **settings)
    one, other = (read_tensors(tmp_path / f"{name}.safetensors")[0] for name in ("one", "other"))
    for name, tensor in one.items():
        # At 1e9 a float64 keeps 7 digits behind the point. AdamW's first updates divide each gradient by its own size,
        # so rounding in a gradient near 0 changes its weight by up to an update
        np.testing.assert_allclose(tensor, other[name], rtol=1e-3, atol=1e-4)


def test_scores_are_densities(folder):
    model = peephole.load(folder / "m.safetensors")
    wanted = series(120)
    likely, unlikely = model.score([wanted[:100], wanted[:100]], [wanted[100:106], wanted[100:106] + 20])
    assert likely > unlikely + 10
    assert -30 < likely < 0  # six numbers with noise of deviation 1: about -8.5
    partly = model.score([wanted[:100]], [np.append(wanted[100:105], np.nan)])[0]
    assert partly != likely
    assert model.score([], []) == []


@pytest.mark.parametrize("scaling", ["source", "constant"])
def test_a_component_that_does_not_vary_in_training_may_vary_later(scaling, tmp_path):
    data = np.stack([series(), np.where(np.arange(400) % 7, 0.3, 0.1 + 0.2)], 1)
    data[90:94, 1] += scaling == "source"
    settings = SETTINGS | {"columns": "joint", "scaling": scaling}
    model = peephole.train(data, out=tmp_path / "m.safetensors", **settings)
    later = np.stack([series(440)[:430], np.repeat([0.3, 0.4], [429, 1])], 1)
    [forecast] = model.predict([later])
    assert abs(forecast.mean[:, 0] - 5000).max() < 20
    assert abs(forecast.mean[:, 1]).max() < 3


def test_engine_and_definition_score_alike(folder, tmp_path):
    """Also for an ensemble, whose density is the mean, and in batches of any size."""
    settings = SETTINGS | {"train.seed": 2, "steps": 5, "scaling": "constant"}
    peephole.train(folder / "t.csv", out=tmp_path / "n.safetensors", **settings)
    files = folder / "m.safetensors", tmp_path / "n.safetensors"
    sources = [series(100), series(9), series(53)]
    with pytest.raises(ArgumentError, match=r"sources: wanted numbers that float32 holds, .*constant, got 1e\+39$"):
        peephole.load(tmp_path / "n.safetensors").predict([[1.0, 1e39]])
    targets = [series(106)[100:], np.append(series(14)[9:], np.nan), series(55)[53:]]
    for model in (peephole.load(files[0]), peephole.load(files[1]), peephole.load(*files)):
        found = model.score(sources, targets)
        np.testing.assert_allclose(found, model.score(sources, targets, engine="off"), rtol=1e-5)
        assert found == model.score(sources, targets, batch_size=2, threads=1)
        assert found[1:] == model.score(sources[1:], targets[1:])


def test_the_engine_and_pytorch_train_alike(tmp_path):
    """Their losses on dev are the same but for rounding."""
    losses = []
    for engine in ("auto", "off"):
        settings = SETTINGS | {"steps": 20, "dropout": 0.1, "train.engine": engine}
        model = peephole.train(series(), out=tmp_path / f"{engine}.safetensors", **settings)
        assert ("torch" in model.made) == (engine == "off")
        lines = (tmp_path / f"{engine}.run/log.jsonl").read_text(encoding="utf-8").splitlines()
        losses.append([line["dev"]["loss"] for line in map(json.loads, lines) if "dev" in line])
    assert len(losses[0]) == 2
    np.testing.assert_allclose(*losses, rtol=1e-4)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((3, 2)), r"sources: wanted numbers of shape \(T, 1\), got \(3, 2\) at 1"),
        ([], r"sources: wanted numbers of shape \(T, 1\), got \(0,\) at 1"),
        ("abc", "sources: wanted series of numbers, got 'abc' at 1"),
        ([1j, 2.0], r"sources: wanted series of numbers, got \[1j, 2\.0\] at 1"),
        ([np.nan, np.inf], "sources: wanted a number in each component of series 1, got none"),
    ],
)
def test_a_source_that_is_no_series_is_an_error(folder, source, message):
    model = peephole.load(folder / "m.safetensors")
    with pytest.raises(ArgumentError, match=message):
        model.predict([series(20), source])


def test_forecasts_larger_than_the_memory_are_refused(folder):
    model = peephole.load(folder / "m.safetensors")
    for settings, name in (
        ({"steps_ahead": 10**9}, "steps_ahead=1000000000"),
        ({"samples": 10**6, "steps_ahead": 10**5}, "samples=1000000"),
    ):
        message = f"^search.{name}: this forecast needs about .* GB of memory, this machine has .* GB$"
        with pytest.raises(MemoryLimitError, match=message):
            model.predict([series(20)], **settings)


def test_an_ensemble_draws_from_its_models_in_turn(folder, tmp_path):
    peephole.train(folder / "t.csv", out=tmp_path / "n.safetensors", **SETTINGS | {"train.seed": 2, "steps": 5})
    files = folder / "m.safetensors", tmp_path / "n.safetensors"
    [both] = peephole.load(*files).predict([series(60)], samples=10)
    one, other = (peephole.load(file).predict([series(60)], samples=10)[0].samples for file in files)
    np.testing.assert_array_equal(both.samples[::2], one[::2])
    np.testing.assert_array_equal(both.samples[1::2], other[1::2])


def test_a_trained_model_is_evaluated(folder):
    result = peephole.evaluate(folder / "m.safetensors", series(440)[300:], season=SEASON)
    assert 0.7 < result.scores["mae"].value < 1.5  # the noise alone gives 0.8
    assert 0.9 < result.scores["naive_mase"].value < 1.1  # its errors are those of the scale
    assert 55 < result.scores["coverage"].value < 97
    assert result.sources[-1] == "1, steps 135-140"


def test_texts_are_not_evaluated_against_series(folder):
    model = peephole.load(folder / "m.safetensors")
    with pytest.raises(
        DataError, match=r"^series: wanted numbers of shape \(T,\) or \(T, C\), got <U1 of shape \(1, 2\)$"
    ):
        peephole.evaluate(model, [("a", "b")])


def test_a_training_that_goes_on_names_other_columns(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{value},{-value}\n" for value in np.nan_to_num(series(60)))
    for name, columns in (("a", "north,south"), ("b", "south,north")):
        (tmp_path / f"{name}.csv").write_text(f"{columns}\n{rows}")
    settings = SETTINGS | {"columns": "joint", "steps": 1, "quiet": False}
    peephole.train("a.csv", out="m.safetensors", **settings)
    peephole.train("a.csv", out="same.safetensors", from_model="m.safetensors", steps=1)
    assert "take the places" not in capsys.readouterr().err
    peephole.train("b.csv", out="n.safetensors", from_model="m.safetensors", steps=1)
    assert "columns south, north take the places of the model's: north, south\n" in capsys.readouterr().err


@pytest.mark.parametrize("settings", [{}, {"scaling": "constant", "output": "quantile", "columns": "joint"}])
def test_a_resumed_training_ends_with_the_same_bits(settings, tmp_path, monkeypatch):
    data = np.stack([series(), series()[::-1]], 1)
    settings = {**SETTINGS, "steps": 12, "checkpoint_seconds": 0, "dropout": 0.1, **settings}
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    model = peephole.train(data, out=whole, **settings)
    break_at(monkeypatch, 5, lambda: peephole.train(data, out=broken, **settings))
    resume(tmp_path / "broken.run", quiet=True)
    assert whole.read_bytes() == broken.read_bytes()
    if "scaling" in settings:
        tensors, _ = read_tensors(whole)
        before = series_of("t", data[:388]).filled().astype(np.float64)
        np.testing.assert_allclose(tensors["decoder.mean"], before.mean(0), rtol=1e-6)
        np.testing.assert_allclose(tensors["decoder.deviation"], before.std(0), rtol=1e-5)
        np.testing.assert_allclose(tensors["frontend.mean"], before.mean(0), rtol=1e-6)
        assert model.predict([data[:50]], samples=3)[0].samples.shape == (3, HORIZON, 2)
