"""Run the timing experiments: none, diagonal and full peepholes on eight tasks, ten seeds each, and print the tables.

    python recipes/timing/run.py --jobs 2                  everything
    python recipes/timing/run.py --seeds 2 --updates 500   a short trial

First, each kind of network is trained with each of three learning rates on three tasks with seeds of their own; it gets
the one with which it solves most of these runs (the fewest updates on a tie). Then all runs of the table follow.

All runs have a line in recipes/timing/data/runs.jsonl, which is written when a run ends. The same command continues
after a kill and skips finished runs; to start again, remove the file. The result of a run depends on its settings only,
not on time or jobs.
"""

import argparse
import json
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from time import process_time
from typing import Any

import torch
from network import Settings, updates_needed
from report import Network, Run, best_rates, report
from tasks import EASIEST, TASKS, Task

DATA = Path(__file__).parent / "data"
NETWORKS = [(form, 4) for form in ("none", "diagonal", "full")]  # form of the peepholes, cells
SINGLE = [("none", 1), ("diagonal", 1)]  # one cell, as in the article: its full matrix is a diagonal
LEARNING_RATES = (0.003, 0.01, 0.03)
SWEEP_SEEDS = (1001, 1002)


def timed_run(settings: Settings) -> tuple[int | None, float]:
    """Return the updates that a run needed, and its seconds of processor time."""
    torch.set_num_threads(1)
    before = process_time()
    return updates_needed(settings), process_time() - before


def read_runs(path: Path) -> list[Run]:
    """Read the finished runs, and cut off a last line that a kill left half written."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        os.truncate(path, len(whole.encode()))
    return [read_run(json.loads(line)) for line in whole.splitlines()]


def read_run(entry: dict[str, Any]) -> Run:
    """Return the run that a line describes."""
    settings = Settings(**entry["settings"])
    return Run(settings._replace(task=Task(*settings.task)), entry["updates_needed"], entry["seconds"])


def run_all(wanted: Sequence[Settings], path: Path, jobs: int) -> list[Run]:
    """Do the runs that have no result yet, `jobs` at a time, and return the results of all."""
    finished = {run.settings: run for run in read_runs(path)}
    left = [settings for settings in wanted if settings not in finished]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context) as pool, open(path, "a", encoding="utf-8") as file:
        futures = {pool.submit(timed_run, settings): settings for settings in left}
        for number, future in enumerate(as_completed(futures), 1):
            run = Run(futures[future], *future.result())
            finished[run.settings] = run
            file.write(json.dumps(run._asdict() | {"settings": run.settings._asdict()}) + "\n")
            file.flush()
            print(f"{number:,} of {len(left):,} runs, {run.describe()}", flush=True)
    return [finished[settings] for settings in wanted]


def sweep_settings(updates: int) -> list[Settings]:
    """Return the runs that choose the learning rates."""
    return [
        Settings(task, form, cells, rate, seed, updates)
        for seed in SWEEP_SEEDS
        for task in EASIEST
        for form, cells in [*NETWORKS, *SINGLE]
        for rate in LEARNING_RATES
    ]


def table_settings(rates: Mapping[Network, float], seeds: int, updates: int) -> list[Settings]:
    """Return the runs of the table, with the learning rate of each kind of network."""
    rows = [(task, network) for task in TASKS for network in NETWORKS]
    rows += [(task, network) for task in EASIEST for network in SINGLE]
    return [
        Settings(task, *network, rates[network], seed, updates)
        for seed in range(1, seeds + 1)
        for task, network in rows
    ]


def main() -> None:
    """Do the runs that have no result yet, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="runs of each cell of the table (default: 10)")
    parser.add_argument("--updates", type=int, default=5000, help="most updates of a run (default: 5000)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, each on one core (default: 1)")
    parser.add_argument("--out", type=Path, default=DATA, help=f"folder to write (default: {DATA})")
    arguments = parser.parse_args()
    if min(arguments.seeds, arguments.updates, arguments.jobs) < 1:
        parser.error("wanted at least 1 seed, update and job")

    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "runs.jsonl"
    sweep = run_all(sweep_settings(arguments.updates), path, arguments.jobs)
    rates = best_rates(sweep)
    runs = run_all(table_settings(rates, arguments.seeds, arguments.updates), path, arguments.jobs)
    text = report(sweep, runs)
    (arguments.out / "report.md").write_text(text, encoding="utf-8")
    print(f"\n{text}\n{arguments.out / 'report.md'}")


if __name__ == "__main__":
    main()
