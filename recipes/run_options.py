"""The options of every recipe's run.py: how long it trains, with how many seeds, and where it writes."""

import argparse
from pathlib import Path


def budget_settings(minutes: float, steps: int | None) -> tuple[str, ...]:
    """Return the settings of a training that takes so many minutes or, if given, so many updates.

    >>> budget_settings(2, None)
    ('train.epochs=none', 'train.minutes=2', 'train.steps=none')
    """
    limits = {"epochs": "none", "minutes": "none" if steps else f"{minutes:g}", "steps": steps or "none"}
    return tuple(f"train.{name}={limit}" for name, limit in limits.items())


def results_folder(data: Path, minutes: float, steps: int | None) -> Path:
    """Return the folder of the results of such trainings, which is made if it is missing.

    Args:
        data: folder of the data.
        minutes: of each training.
        steps: updates of each training, in place of minutes.
    """
    results = data / (f"{steps}-steps" if steps else f"{minutes:g}-minutes")
    results.mkdir(parents=True, exist_ok=True)
    return results


def recipe_parser(description: str | None, data: Path, minutes: float) -> argparse.ArgumentParser:
    """Return a parser with the options of every recipe's run.py.

    Args:
        description: the docstring of run.py.
        data: the folder that prepare.py writes.
        minutes: of each training.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float, default=minutes, help=f"of each training (default: {minutes:g})")
    budget.add_argument("--steps", type=int, help="updates of each training, however long they take")
    parser.add_argument("--threads", type=int, default=1, help="of training and prediction (default: 1)")
    parser.add_argument(
        "--seeds", type=int, choices=(1, 2, 3), help="most trainings of a system (default: as its table)"
    )
    parser.add_argument("--data", type=Path, default=data, help=f"folder of the files (default: {data})")
    return parser
