"""Is a search of settings worth its time, and what does a short training tell of a long one?

    python recipes/g2p_cmudict/prepare.py FOLDER
    python benchmarks/settings_search.py --minutes 5           search against the default settings, at equal time
    python benchmarks/settings_search.py --order --minutes 1.7 short trainings against long ones, by settings

Time is processor time of one thread, so that other work on the machine does not change it.
"""

import argparse
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from peephole.model.evaluation import evaluate
from peephole.training import estimate, run, train, tune
from peephole.training.tuning import search

DATA = Path(__file__).parent.parent / "recipes" / "g2p_cmudict" / "data"
SYMBOLS = {"symbols.source": "characters", "symbols.target": "whitespace", "threads": 1}
SETTINGS: list[dict[str, Any]] = [
    {},
    {"learning_rate": 0.004},
    {"learning_rate": 0.001},
    {"hidden_size": 128, "learning_rate": 0.004},
    {"hidden_size": 384},
    {"encoder_layers": 2},
    {"dropout": 0.05},
    {"attention": "dot", "learning_rate": 0.003},
]


def count_processor_time() -> None:
    """Make trainings, searches and estimates count processor time instead of the time on the clock."""

    def clock(fabric: object, before: float, stop: Any) -> Any:
        started = time.process_time()
        return lambda: before + time.process_time() - started, lambda: stop.signal_number is not None

    run.synchronised_clock = clock
    search.time = SimpleNamespace(monotonic=time.process_time)  # type: ignore[assignment]  # a clock
    estimate.time = SimpleNamespace(perf_counter=time.process_time)  # type: ignore[assignment]  # likewise


def dev_metrics(out: Path) -> list[tuple[int, float]]:
    """Return (step, symbol error rate on dev) of each evaluation of a run."""
    lines = map(json.loads, out.with_suffix(".run").joinpath("log.jsonl").read_text().splitlines())
    return [(line["step"], line["dev"]["symbol_error_rate"]) for line in lines if "dev" in line]


def compare(minutes: float, seed: int, folder: Path) -> None:
    """Print both ways' updates, dev and test metrics."""
    files = DATA / "train.tsv", DATA / "dev.tsv"
    for name, work in (("default", train), ("search", tune)):
        out = folder / f"{name}.safetensors"
        model = work(*files, out, overwrite=True, minutes=minutes, **{"train.seed": seed}, **SYMBOLS)
        steps, _ = dev_metrics(out)[-1]
        found = evaluate(model, DATA / "test.tsv", exposure_gap=False).evaluation.to_dict()
        best = min(value for _, value in dev_metrics(out))
        print(json.dumps({"what": name, "updates": steps, "dev": best, "test": found}), flush=True)


def order(minutes: float, seed: int, folder: Path) -> None:
    """Print, for each of SETTINGS, the dev metrics of a long training and of one that takes a tenth of its time."""
    for settings in SETTINGS:
        line: dict[str, Any] = {"settings": settings}
        for name, share, evaluations in (("long", 1.0, 20), ("short", 0.1, 4)):
            given = SYMBOLS | settings | {"minutes": share * minutes, "evaluations": evaluations, "train.seed": seed}
            out = folder / f"{name}.safetensors"
            train(DATA / "train.tsv", DATA / "dev.tsv", out, overwrite=True, quiet=True, dev_pairs=500, **given)
            line[name] = dev_metrics(out)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--order", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("."))
    arguments = parser.parse_args()
    count_processor_time()
    (order if arguments.order else compare)(arguments.minutes, arguments.seed, arguments.folder)
