"""Tests of calibration errors against a loop over bins, on events of known miscalibration; wrong ones are rejected."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from peephole.errors import DataError
from peephole.evaluation import calibration
from peephole.evaluation.calibration import fit_temperature, reliability, symbol_events
from rejection import rejected_by_comparison

Events = tuple[list[list[float]], list[list[bool]]]


def draw(count: int, accuracy: Callable[[float], float], seed: int = 1) -> Events:
    """Return sources of one to three events whose confidence p is right with probability accuracy(p)."""
    rng = random.Random(seed)
    confidences = [[rng.random() ** 0.5 for _ in range(rng.randint(1, 3))] for _ in range(count)]
    return confidences, [[rng.random() < accuracy(p) for p in events] for events in confidences]


def ece_by_loop(groups: list[list[tuple[float, bool]]]) -> float:
    """Return Σ n_b ÷ N · |a_b - c_b| in per cent, from the events of each bin."""
    total = sum(map(len, groups))
    return 100 * sum(
        len(group) / total * abs(sum(right for _, right in group) / len(group) - sum(p for p, _ in group) / len(group))
        for group in groups
        if group
    )


def equal_groups(events: list[tuple[float, bool]]) -> list[list[tuple[float, bool]]]:
    return [[(p, right) for p, right in events if b / 15 < p <= (b + 1) / 15 or (b == p == 0)] for b in range(15)]


def adaptive_groups(events: list[tuple[float, bool]]) -> list[list[tuple[float, bool]]]:
    """Without equal confidences: the events in order, cut into 15 parts."""
    events = sorted(events)
    return [[event for i, event in enumerate(events) if b <= 15 * (i + 0.5) / len(events) < b + 1] for b in range(15)]


def check_errors(events: Events) -> None:
    """Compare all numbers of `reliability` with loops."""
    found = reliability(*events)
    flat = [pair for sides in zip(*events, strict=True) for pair in zip(*sides, strict=True)]
    assert found.ece.value == pytest.approx(ece_by_loop(equal_groups(flat)), abs=1e-9)
    assert found.adaptive_ece.value == pytest.approx(ece_by_loop(adaptive_groups(flat)), abs=1e-9)
    assert found.confidence == pytest.approx(100 * np.mean([p for p, _ in flat]))
    assert found.accuracy == pytest.approx(100 * np.mean([right for _, right in flat]))
    assert (found.count, found.num_sources) == (len(flat), len(events[0]))
    for shown, group in zip(found.bins, equal_groups(flat), strict=True):
        assert shown.count == len(group)
        if group:
            assert shown.accuracy == pytest.approx(100 * np.mean([right for _, right in group]))
            assert shown.confidence == pytest.approx(100 * np.mean([p for p, _ in group]))


def check_interval(events: Events) -> None:
    """Compare the interval with that of another generator's draws of sources."""
    found = reliability(*events)
    low, high = np.quantile([ece_by_loop(equal_groups(flat)) for flat in resamples(events, 200)], [0.025, 0.975])
    assert found.ece.low == pytest.approx(low, abs=0.6)
    assert found.ece.high == pytest.approx(high, abs=0.6)


def resamples(events: Events, count: int) -> Iterator[list[tuple[float, bool]]]:
    """Yield the events of sources drawn with replacement."""
    rng = random.Random(7)
    sources = [list(zip(*sides, strict=True)) for sides in zip(*events, strict=True)]
    for _ in range(count):
        yield [event for source in rng.choices(sources, k=len(sources)) for event in source]


EVENTS = draw(200, lambda p: 0.2 + 0.5 * p)
ENDS = (
    [[0.0, 1.0], [1 / 15], [0.5], *([k / 15] for k in range(1, 15) if k not in (1, 7))],
    [[True, False], *([[True]] * 14)],
)


def test_errors_are_those_of_a_loop() -> None:
    check_errors(EVENTS)
    check_errors(ENDS)


def test_the_interval_draws_sources() -> None:
    check_interval(EVENTS)


WRONG: dict[str, dict[str, Any]] = {
    "bins without their upper end": {"equal_width_bins": lambda p: np.minimum((p * 15).astype(np.int64), 14)},
    "ten bins": {"equal_width_bins": lambda p: np.minimum(np.ceil(p * 10).astype(np.int64) - 1, 14).clip(0)},
    "adaptive bins of equal width": {"equal_count_bins": calibration.equal_width_bins},
    "mean over bins, not events": {
        "_ece": lambda sums: (
            100
            * np.abs(
                np.diff(
                    sums.reshape(len(sums), 3, -1)[:, 1:] / np.maximum(sums.reshape(len(sums), 3, -1)[:, :1], 1), axis=1
                )
            ).mean(2)[:, 0]
        )
    },
    "differences that cancel": {
        "_ece": lambda sums: (
            100
            * np.abs(np.diff(sums.reshape(len(sums), 3, -1)[:, 1:], axis=1).sum(2)[:, 0])
            / np.maximum(sums.reshape(len(sums), 3, -1)[:, 0].sum(1), 1)
        )
    },
    "intervals of single events": {
        "resample": lambda tables, resamples, seed: [
            table.sum(0) * np.random.default_rng(1).normal(1, 0.001, (resamples, 1)) for table in tables
        ]
    },
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_errors_are_rejected(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for function, wrong in WRONG[name].items():
        monkeypatch.setattr(calibration, function, wrong)
    with rejected_by_comparison():
        check_errors(EVENTS)
        check_errors(ENDS)
        check_interval(EVENTS)


def test_calibrated_events_have_an_error_near_0_and_others_their_own() -> None:
    calibrated, by_square = (reliability(*draw(4000, accuracy)) for accuracy in (lambda p: p, lambda p: p * p))
    assert calibrated.ece.value < 2.0
    assert calibrated.ece.low < 1.5
    # E|p - p²| where p = √u with u uniform: ∫ (√u - u) du = 2/3 - 1/2
    assert by_square.ece.value == pytest.approx(100 / 6, abs=1.5)
    assert by_square.ece.low < 100 / 6 < by_square.ece.high


def test_the_order_of_equal_confidences_does_not_count() -> None:
    confidences, right = [[0.9]] * 7 + [[0.2]] * 5, [[True], [False]] * 6
    first = reliability(confidences, right)
    second = reliability(confidences[::-1], right[::-1])
    assert first.adaptive_ece.value == second.adaptive_ece.value


def test_symbols_are_compared_by_alignment() -> None:
    half = math.log(0.5)
    log_probs = [half, 0.0, 0.0, 0.0]
    assert symbol_events(["a", "x", "c"], log_probs, [["z"], ["a", "b", "c"]]) == (
        [0.5, 1, 1, 1],
        [True, False, True, True],
    )
    assert symbol_events(["b", "c"], [0.0] * 3, [["a", "b", "c"]])[1] == [True, True, True]
    assert symbol_events(["a", "b"], [0.0] * 3, [["a"]])[1] == [True, False, True]
    assert symbol_events(["a", "b"], [0.0] * 2, [["a", "b"]])[1] == [True, True]  # unfinished: no </s>
    assert symbol_events([], [half], [["a"]]) == ([0.5], [True])


@pytest.mark.parametrize("wanted", [0.11, 0.5, 1.0, 1.7, 9.0])
def test_the_fitted_temperature_has_the_lowest_loss(wanted: float) -> None:
    """The loss is that of one binary choice with z = ±2 wanted, right with probability σ(2) each."""
    right = 1 / (1 + math.exp(-2))

    def loss(temperature: float) -> float:
        margin = 2 * wanted / temperature
        return right * math.log1p(math.exp(-margin)) + (1 - right) * math.log1p(math.exp(margin))

    assert fit_temperature(loss) == pytest.approx(wanted, rel=0.002)


@pytest.mark.parametrize(
    ("confidences", "right", "message"),
    [
        ([], [], "wanted as many events"),
        ([[0.5]], [[]], "wanted as many events"),
        ([[1.5]], [[True]], "from 0 to 1, got 1.5"),
        ([[math.nan]], [[True]], "from 0 to 1, got nan"),
    ],
)
def test_impossible_events_are_refused(confidences: Any, right: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        reliability(confidences, right)
