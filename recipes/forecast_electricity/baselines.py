"""Usual methods of forecasting, as statsforecast has them, with the double season of a day and a week.

    seasonal naive   the value a week ago
    ETS              the seasons taken off by MSTL, the rest by exponential smoothing (AutoETS)
    ARIMA            AutoARIMA with Fourier terms of both seasons as regressors (dynamic harmonic regression); order and
                     coefficients are found once, on the training weeks

The quantiles of all are those of the normal distributions that the library gives.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from report import Forecast
from statsforecast.models import MSTL, AutoARIMA, AutoETS, SeasonalNaive

DAY, WEEK = 48, 336
TERMS = {DAY: 10, WEEK: 6}  # pairs of sine and cosine
Method = Callable[[np.ndarray, Sequence[int], int, Sequence[float]], list[Forecast]]


def fourier(first: int, count: int) -> np.ndarray:
    """Return the Fourier terms of some steps, (T, terms); harmonics that both seasons have are there once."""
    steps = np.arange(first, first + count)[:, None]
    columns = [
        function(2 * np.pi * k * steps / season)
        for season, pairs in TERMS.items()
        for k in range(1, pairs + 1)
        if season == DAY or k * DAY % season
        for function in (np.sin, np.cos)
    ]
    return np.concatenate(columns, 1)


def read_forecast(found: Mapping[str, np.ndarray], levels: Sequence[float]) -> Forecast:
    """Return a forecast from intervals: the quantiles 0.1 and 0.9 bound the interval of 80 %."""
    quantiles = []
    for level in levels:
        width = round(abs(200 * level - 100))
        name = "mean" if width == 0 else f"{'lo' if level < 0.5 else 'hi'}-{width}"
        quantiles.append(np.asarray(found[name]).tolist())
    return Forecast(np.asarray(found["mean"]).tolist(), quantiles)


def widths(levels: Sequence[float]) -> list[int]:
    """Return the widths in per cent of the intervals whose bounds are these quantiles."""
    return sorted({round(abs(200 * level - 100)) for level in levels} - {0})


def seasonal_naive(series: np.ndarray, origins: Sequence[int], horizon: int, levels: Sequence[float]) -> list[Forecast]:
    """Forecast the value a week before."""
    model = SeasonalNaive(season_length=WEEK)
    return [
        read_forecast(model.forecast(y=series[:origin], h=horizon, level=widths(levels)), levels) for origin in origins
    ]


def ets(series: np.ndarray, origins: Sequence[int], horizon: int, levels: Sequence[float]) -> list[Forecast]:
    """Forecast by MSTL and AutoETS."""
    model = MSTL(season_length=[DAY, WEEK], trend_forecaster=AutoETS(model="ZZN"))
    return [
        read_forecast(model.forecast(y=series[:origin], h=horizon, level=widths(levels)), levels) for origin in origins
    ]


def arima(series: np.ndarray, origins: Sequence[int], horizon: int, levels: Sequence[float]) -> list[Forecast]:
    """Forecast by AutoARIMA with Fourier terms, fitted on the series before the first origin."""
    first = origins[0]
    model = AutoARIMA(season_length=1, approximation=True).fit(y=series[:first], X=fourier(0, first))
    return [
        read_forecast(
            model.forward(
                y=series[:origin],
                h=horizon,
                X=fourier(0, origin),
                X_future=fourier(origin, horizon),
                level=widths(levels),
            ),
            levels,
        )
        for origin in origins
    ]


METHODS: Mapping[str, Method] = {"seasonal naive": seasonal_naive, "ETS": ets, "ARIMA": arima}
