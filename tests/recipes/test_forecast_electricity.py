"""Tests of the recipe forecast_electricity: its Fourier terms, intervals read as quantiles, and its tables."""

import importlib
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

RECIPE = Path(__file__).parents[2] / "recipes" / "forecast_electricity"
MODULES = ("baselines", "report")


@pytest.fixture(scope="module")
def recipe():
    """Return the recipe's modules, with nothing in the place of statsforecast, which the tests do without."""
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(RECIPE))
    library = ModuleType("statsforecast.models")
    for name in ("MSTL", "AutoARIMA", "AutoETS", "SeasonalNaive"):
        setattr(library, name, None)
    patch.setitem(sys.modules, "statsforecast", ModuleType("statsforecast"))
    patch.setitem(sys.modules, "statsforecast.models", library)
    for name in MODULES:
        patch.delitem(sys.modules, name, raising=False)
    run = SimpleNamespace(**runpy.run_path(str(RECIPE / "run.py")))
    yield SimpleNamespace(run=run, **{name: importlib.import_module(name) for name in MODULES})
    for name in MODULES:
        sys.modules.pop(name, None)
    patch.undo()


def test_fourier_terms_have_the_seasons_and_no_column_twice(recipe):
    terms = recipe.baselines.fourier(5, 700)
    assert terms.shape == (700, 32)  # ten harmonics of the day, six of the week
    np.testing.assert_allclose(terms[:300], terms[336:636], atol=1e-9)
    assert np.linalg.matrix_rank(terms) == 32
    np.testing.assert_allclose(recipe.baselines.fourier(105, 600), terms[100:], atol=1e-9)


def test_bounds_of_intervals_are_quantiles(recipe):
    levels = recipe.report.LEVELS
    assert recipe.baselines.widths(levels) == [20, 40, 60, 80]
    found = {"mean": [5.0]} | {
        f"{side}-{width}": [side + str(width)] for side in ("lo", "hi") for width in (20, 40, 60, 80)
    }
    forecast = recipe.baselines.read_forecast(found, levels)
    assert [q for [q] in forecast.quantiles] == ["lo80", "lo60", "lo40", "lo20", 5.0, "hi20", "hi40", "hi60", "hi80"]


def test_the_tables_hold_errors_scaled_by_the_naive_one(recipe):
    rng = np.random.default_rng(0)
    history = np.tile(np.arange(6.0), 10) + rng.normal(size=60)
    actual = [np.full(4, 10.0) for _ in range(14)]

    def forecasts(error):
        mean = np.full(4, 10.0 + error)
        return [recipe.report.Forecast(mean.tolist(), [(mean + q).tolist() for q in range(-4, 5)]) for _ in actual]

    found = {("naive", 0): forecasts(3.0)}
    found |= {(form, seed): forecasts(float(seed)) for form in recipe.report.FORMS for seed in (1, 2, 3)}
    text = recipe.report.report(found, dict.fromkeys(found, 7.0), actual, history, season=6)
    scale = np.abs(history[6:] - history[:-6]).mean()
    [naive] = [line for line in text.splitlines() if line.startswith("| naive |")]
    assert f"| {3 / scale:.3f} [{3 / scale:.3f}, {3 / scale:.3f}] |" in naive
    assert "| 100 % |" in naive
    [full] = [line for line in text.splitlines() if "full peepholes" in line]
    assert f"{1 / scale:.3f}, {2 / scale:.3f}, {3 / scale:.3f}" in full
    [row] = [line for line in text.splitlines() if "full against none" in line]
    assert "+0.000" in row


def test_days_begin_at_midnight_and_stored_forecasts_are_used_again(recipe, tmp_path):
    assert recipe.run.origins(np.zeros(48 * 20)) == [48 * day for day in range(6, 20)]
    made = [recipe.report.Forecast([1.0], [[0.5]])]
    assert recipe.run.stored(tmp_path / "a.json", lambda: made)[0] == made
    assert recipe.run.stored(tmp_path / "a.json", lambda: pytest.fail("made again"))[0] == made
