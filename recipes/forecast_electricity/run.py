"""Forecast electricity demand a day ahead: none, diagonal and full peepholes against three usual methods.

    python recipes/forecast_electricity/prepare.py
    python recipes/forecast_electricity/run.py

Every day of the last two weeks is forecast from its midnight, with all of the series up to it. Networks and ARIMA are
fitted once, on the ten weeks before; ETS is fitted anew at each midnight. Models and forecasts that exist are
used again, so the same command continues after a kill; to start again, remove recipes/forecast_electricity/data/runs.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from time import process_time

import numpy as np
from report import FORMS, LEVELS, Forecast, report

import peephole
from peephole.config import Config

HERE = Path(__file__).parent
DATA = HERE / "data"
DAY, WEEK = 48, 336  # half hours
DAYS = 14
SEEDS = (1, 2, 3)


def origins(series: np.ndarray) -> list[int]:
    """Return the first step of each day that is forecast."""
    return [len(series) - DAY * day for day in range(DAYS, 0, -1)]


def network_forecasts(form: str, seed: int, series: np.ndarray, steps: int | None) -> list[Forecast]:
    """Train a network, unless it is there, and return its forecasts."""
    out = DATA / "runs" / f"{form}_{seed}.safetensors"
    config = Config.from_toml(HERE / "config.toml").with_values({"peephole": form, "train.seed": seed})
    if steps is not None:
        config = config.with_values({"steps": steps})
    if not out.exists():
        peephole.train(DATA / "train.csv", out=out, config=config, overwrite=True, quiet=True)
    differences = series[WEEK:] - series[:-WEEK]
    sources = [differences[: origin - WEEK] for origin in origins(series)]
    found = peephole.load(out).predict(sources, samples=500, seed=seed, threads=1)
    before = [series[origin - WEEK :][:DAY] for origin in origins(series)]  # to which a forecast is added
    return [
        Forecast((week + one.mean[:, 0]).tolist(), [(week + one.quantile(level)[:, 0]).tolist() for level in LEVELS])
        for week, one in zip(before, found, strict=True)
    ]


def stored(path: Path, make: Callable[[], list[Forecast]]) -> tuple[list[Forecast], float]:
    """Return the forecasts in a file, which are made if there is none, and the seconds of processor time they took."""
    if not path.exists():
        before = process_time()
        found = make()
        content = {"seconds": process_time() - before, "forecasts": [one._asdict() for one in found]}
        path.write_text(json.dumps(content), encoding="utf-8")
    content = json.loads(path.read_text(encoding="utf-8"))
    return [Forecast(**one) for one in content["forecasts"]], content["seconds"]


def main() -> None:
    """Make all forecasts and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, help="updates of each network (default: as config.toml says)")
    arguments = parser.parse_args()
    series = np.loadtxt(DATA / "all.csv", skiprows=1)
    (DATA / "runs").mkdir(exist_ok=True)
    found, seconds = {}, {}
    import baselines  # imported here, so that --help needs no package of the three methods

    for name, fit in baselines.METHODS.items():
        path = DATA / "runs" / f"{name.replace(' ', '_')}.json"
        found[name, 0], seconds[name, 0] = stored(path, lambda fit=fit: fit(series, origins(series), DAY, LEVELS))
        print(f"{name}: {seconds[name, 0]:.0f} seconds", flush=True)
    for seed in SEEDS:
        for form in FORMS:
            path = DATA / "runs" / f"{form}_{seed}.json"
            made = stored(path, lambda f=form, s=seed: network_forecasts(f, s, series, arguments.steps))
            found[form, seed], seconds[form, seed] = made
            print(f"{form} peepholes, seed {seed}: {seconds[form, seed]:.0f} seconds", flush=True)
    actual = [series[origin : origin + DAY] for origin in origins(series)]
    text = report(found, seconds, actual, history=series[: origins(series)[0]], season=WEEK)
    (DATA / "report.md").write_text(text, encoding="utf-8")
    print(f"\n{text}\n{DATA / 'report.md'}")


if __name__ == "__main__":
    main()
