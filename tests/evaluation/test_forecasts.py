"""Tests the measures of forecasts against loops written from their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from peephole.evaluation.forecasts import mase, measure_forecast, naive_error, quantile_loss, smape
from peephole.model.forecast import Forecast

RNG = np.random.default_rng(3)
ACTUAL, MEAN = RNG.normal(size=9), RNG.normal(size=9)


def test_measures_equal_their_definitions():
    wanted = 100 / 9 * sum(abs(m - y) / ((abs(m) + abs(y)) / 2) for m, y in zip(MEAN, ACTUAL, strict=True))
    assert smape(MEAN, ACTUAL) == pytest.approx(wanted, rel=1e-12)
    history = RNG.normal(size=20)
    scale = sum(abs(history[t] - history[t - 3]) for t in range(3, 20)) / 17
    assert naive_error(history, 3) == pytest.approx(scale, rel=1e-12)
    wanted = sum(abs(m - y) for m, y in zip(MEAN, ACTUAL, strict=True)) / 9 / scale
    assert mase(MEAN, ACTUAL, scale) == pytest.approx(wanted, rel=1e-12)


def test_missing_numbers_are_left_out_and_zeros_are_no_error():
    holes = np.where(np.arange(9) % 2, ACTUAL, np.nan)
    assert smape(MEAN, holes) == pytest.approx(smape(MEAN[1::2], ACTUAL[1::2]))
    assert mase(MEAN, holes, 2.0) == pytest.approx(mase(MEAN[1::2], ACTUAL[1::2], 2.0))
    assert quantile_loss([MEAN], [0.3], holes) == pytest.approx(quantile_loss([MEAN[1::2]], [0.3], ACTUAL[1::2]))
    assert smape(np.zeros(2), np.zeros(2)) == 0


def test_intervals_of_few_samples_hold_the_share_that_they_name():
    """Each of ten numbers is as likely to be the one that is forecast by the nine others."""
    numbers = RNG.normal(size=10)
    inside, both = 0.0, 0
    for index, actual in enumerate(numbers):
        samples = np.delete(numbers, index)[:, None, None]
        forecast = Forecast(samples)
        low, high = forecast.quantile(0.1).item(), forecast.quantile(0.9).item()
        assert (low, high) == (samples.min(), samples.max())
        both += low <= actual <= high
        inside += measure_forecast(samples, np.full((1, 1), actual), np.zeros((1, 1)), np.ones(1)).inside
    assert (inside, both) == (8, 8)


def test_the_quantile_loss_approximates_the_continuous_ranked_probability_score():
    """That of a standard normal distribution at y is y (2Φ(y) - 1) + 2φ(y) - 1/√π."""
    draws = np.sort(np.random.default_rng(0).normal(size=400_000))
    levels = (np.arange(400) + 0.5) / 400
    quantiles = [np.array([draws[int(level * len(draws))]]) for level in levels]
    for y, wanted in ((0.0, 0.2337), (1.5, 0.9909)):
        assert quantile_loss(quantiles, list(levels), np.array([y])) == pytest.approx(wanted, abs=0.01)


def test_the_true_quantiles_have_the_least_loss():
    y, levels = np.random.default_rng(1).normal(size=4000), [0.1, 0.5, 0.9]
    true = [np.full(4000, q) for q in (-1.2816, 0.0, 1.2816)]
    best = quantile_loss(true, levels, y)
    for moved in (-0.3, 0.3):
        for index in range(3):
            others = [q + moved * (index == number) for number, q in enumerate(true)]
            assert quantile_loss(others, levels, y) > best
