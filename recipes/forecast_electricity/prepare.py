"""Write the half-hourly electricity demand of England and Wales, 5 June to 27 August 2000, as tables.

    python recipes/forecast_electricity/prepare.py

The series is that of Taylor 2003, "Short-term electricity demand forecasting using double seasonal exponential
smoothing", Journal of the Operational Research Society 54: 799-805; it is part of the package pmdarima.
"""

import argparse
from pathlib import Path

DATA = Path(__file__).parent / "data"
WEEK = 7 * 48
TEST_STEPS = 2 * WEEK  # the last two weeks


def write_table(path: Path, values: list[float]) -> None:
    """Write a table of one column."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("load\n" + "".join(f"{value:g}\n" for value in values), encoding="utf-8")


def main() -> None:
    """Write both tables."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    from pmdarima.datasets import load_taylor  # imported here, so that --help needs no package

    load = load_taylor().tolist()
    write_table(DATA / "all.csv", load)
    differences = [now - before for now, before in zip(load[WEEK:-TEST_STEPS], load, strict=False)]
    write_table(DATA / "train.csv", differences)
    print(f"{DATA / 'all.csv'}: {len(load)} half hours")
    print(f"{DATA / 'train.csv'}: differences to a week before, without the last {TEST_STEPS}")


if __name__ == "__main__":
    main()
