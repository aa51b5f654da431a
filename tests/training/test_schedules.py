"""Tests the learning rate and the sampling probability against values computed by hand."""

from __future__ import annotations

import math

import pytest

from peephole.config import TrainConfig
from peephole.training.schedules import learning_rate, sampling_probability

PROGRESS = [i / 1000 for i in range(1001)]


@pytest.mark.parametrize(
    ("schedule", "at"),
    [
        # The warm-up ends at 0.2; 0.4, 0.6, 0.8 and 1 are at ¼, ½, ¾ and the end of the remaining schedule.
        ("cosine", {0.4: (2 + math.sqrt(2)) / 4, 0.6: 0.5, 0.8: (2 - math.sqrt(2)) / 4, 1.0: 0.0}),
        ("linear", {0.4: 0.75, 0.6: 0.5, 0.8: 0.25, 1.0: 0.0}),
        ("constant", {0.4: 1.0, 0.6: 1.0, 0.8: 1.0, 1.0: 1.0}),
    ],
)
def test_learning_rate_equals_its_formula(schedule, at):
    config = TrainConfig(learning_rate=0.004, warmup=0.2, schedule=schedule)
    for progress, share in {0.0: 0.01, 0.05: 0.2575, 0.1: 0.505, 0.2: 1.0, **at}.items():
        assert learning_rate(progress, config) == pytest.approx(0.004 * share, rel=1e-12, abs=1e-18)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.05, 1.0])
def test_learning_rate_climbs_then_falls_and_stays_in_bounds(schedule, warmup):
    config = TrainConfig(learning_rate=0.004, warmup=warmup, schedule=schedule)
    rates = [learning_rate(progress, config) for progress in PROGRESS]
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert PROGRESS[top] == warmup
    assert max(rates) == pytest.approx(0.004)
    assert min(rates) >= 0
    assert rates[0] > 0  # the first update changes the weights


@pytest.mark.parametrize(
    ("schedule", "at"),
    [
        ("none", {0.0: 0, 0.3: 0, 1.0: 0}),
        ("linear", {0.0: 0, 0.25: 0.25, 0.5: 0.5, 1.0: 1}),
        # probability of gold symbols k^p, k = 0.01: 1, 0.1, 0.01; rescaled to end at 0
        ("exponential", {0.0: 0, 0.5: (1 - 0.1) / 0.99, 1.0: 1}),
        # probability of gold symbols k / (k + exp(12 p)), k = e^6; rescaled to go from 1 to 0
        (
            "inverse_sigmoid",
            {
                0.0: 0,
                0.25: (1 / (1 + math.exp(-6)) - 1 / (1 + math.exp(-3)))
                / (1 / (1 + math.exp(-6)) - 1 / (1 + math.exp(6))),
                0.5: 0.5,
                1.0: 1,
            },
        ),
    ],
)
def test_sampling_probability_equals_its_formula(schedule, at):
    config = TrainConfig(scheduled_sampling=schedule, sampling_end=0.4)
    for progress, share in at.items():
        assert sampling_probability(progress, config) == pytest.approx(0.4 * share, rel=1e-12, abs=1e-15)
    probabilities = [sampling_probability(progress, config) for progress in PROGRESS]
    assert probabilities == sorted(probabilities)
    assert sampling_probability(1.5, config) == sampling_probability(1.0, config)


def test_sampling_schedules_have_the_shapes_of_their_names():
    early, middle, late = (
        {
            name: sampling_probability(p, TrainConfig(scheduled_sampling=name, sampling_end=1.0))
            for name in ("linear", "exponential", "inverse_sigmoid")
        }
        for p in (0.2, 0.5, 0.8)
    )
    assert early["exponential"] > early["linear"] > early["inverse_sigmoid"]
    assert late["exponential"] > late["inverse_sigmoid"] > late["linear"]
    assert middle["inverse_sigmoid"] == pytest.approx(0.5)
