"""Write the half-hourly electricity demand of England and Wales, 5 June to 27 August 2000, as a table.

    python recipes/forecast_electricity/prepare.py

The series is that of Taylor 2003, "Short-term electricity demand forecasting using double seasonal exponential
smoothing", Journal of the Operational Research Society 54: 799-805; it is part of the package pmdarima.
"""

from pathlib import Path

from pmdarima.datasets import load_taylor

DATA = Path(__file__).parent / "data"
TEST_STEPS = 2 * 7 * 48  # the last two weeks


def write_table(path: Path, values: list[float]) -> None:
    """Write a table of one column."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("load\n" + "".join(f"{value:g}\n" for value in values), encoding="utf-8")


if __name__ == "__main__":
    load = load_taylor().tolist()
    write_table(DATA / "all.csv", load)
    write_table(DATA / "train.csv", load[:-TEST_STEPS])
    print(f"{DATA / 'all.csv'}: {len(load)} half hours; {DATA / 'train.csv'}: all but the last {TEST_STEPS}")
