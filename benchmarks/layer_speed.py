"""Measure one recurrent layer, forward and backward: the engine, its definition, and torch.nn.LSTM, in turns.

    python benchmarks/layer_speed.py [--threads N] [--quick]

Two tables. Padded: all sequences have T steps, where torch.nn.LSTM does no needless work. Ragged: lengths drawn
uniformly from 1 to T, against torch.nn.LSTM on the padded batch and on a PackedSequence. The round goes A B C … A B
C …; a ratio is the median of the rounds' ratios, so that a slow minute of the machine slows both sides of it. "of
peak" is the share of what the engine's own inner loop reaches on a product that fits the first cache, times threads.
"""

import argparse
import os
import platform
import threading
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import peephole
from peephole import engine
from peephole.nn import LSTM, use_engine

SIZES = (128, 256, 512)
BATCHES = (8, 32, 64)
STEPS = (20, 50)
FORMS = ("full", "diagonal", "none")
SEED = 1
Step = Callable[[], None]


def ours(form: str, setting: str, size: int, x: Tensor, lengths: Tensor, cotangent: Tensor) -> Step:
    """Return a step of our layer, forward and backward."""
    layer = LSTM(size, size, peephole=form)

    def step() -> None:
        with use_engine(setting):
            layer(x, lengths)[0].backward(cotangent)

    return step


def torchs(packed: bool, size: int, x: Tensor, lengths: Tensor, cotangent: Tensor) -> Step:
    """Return a step of torch.nn.LSTM, on the padded batch or on a PackedSequence."""
    layer = torch.nn.LSTM(size, size, batch_first=True)

    def step() -> None:
        if packed:
            sequence = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            out, _ = pad_packed_sequence(layer(sequence)[0], batch_first=True, total_length=x.shape[1])
        else:
            out, _ = layer(x)
        out.backward(cotangent)

    return step


def in_turns(steps: dict[str, Step], seconds: float) -> dict[str, list[float]]:
    """Run the steps in turns for about so many seconds; return the seconds of each, round by round."""
    for step in steps.values():
        step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    end = time.perf_counter() + seconds
    while len(times[next(iter(times))]) < 5 or time.perf_counter() < end:
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    return times


def operations(form: str, size: int, lengths: Tensor) -> int:
    """Count the floating point operations of the matrix products, forward and backward, over real steps."""
    matrices = 4 + 4 + (3 if form == "full" else 0)
    return 3 * 2 * matrices * size * size * int(lengths.sum())


def measure_peak(threads: int, instruction_set: str) -> float:
    """Return the operations a second of the engine's inner loop on all threads at once: the best of ten tries."""
    repeats = 50_000
    best = 0.0
    for _ in range(10):
        workers = [threading.Thread(target=engine.peak, args=(repeats, 4, instruction_set)) for _ in range(threads)]
        start = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        done = threads * engine.peak(1, 4, instruction_set) * repeats
        best = max(best, done / (time.perf_counter() - start))
    return best


def print_table(ragged: bool, peak: float, seconds: float, sizes: tuple[int, ...]) -> None:
    """Measure all shapes and print a line for each."""
    others = ["torch padded", *(["torch packed"] if ragged else []), "definition full"]
    print(f"\n## {'Ragged' if ragged else 'Padded'}: milliseconds, then ratios to {others[-2]}\n")
    names = [f"engine {form}" for form in FORMS] + others
    print("| H | B | T | " + " | ".join(names) + " | full | diagonal | none | of peak: full | none |")
    print("|---" * (len(names) + 8) + "|")
    generator = torch.Generator().manual_seed(SEED)
    for size in sizes:
        for batch in BATCHES:
            for steps in STEPS:
                x = torch.randn(batch, steps, size, generator=generator, requires_grad=True)
                cotangent = torch.randn(batch, steps, size, generator=generator)
                lengths = torch.full((batch,), steps)
                if ragged:
                    lengths = torch.randint(1, steps + 1, (batch,), generator=generator)
                    lengths[0] = steps
                given = (size, x, lengths, cotangent)
                runs = {f"engine {form}": ours(form, "auto", *given) for form in FORMS}
                runs["torch padded"] = torchs(False, *given)
                if ragged:
                    runs["torch packed"] = torchs(True, *given)
                runs["definition full"] = ours("full", "off", *given)
                times = in_turns(runs, seconds)
                cells = [f"{1000 * median(times[name]):.2f}" for name in names]
                for form in FORMS:
                    pairs = zip(times[f"engine {form}"], times[others[-2]], strict=True)
                    cells.append(f"{median(own / theirs for own, theirs in pairs):.2f}")
                for form in ("full", "none"):
                    speed = operations(form, size, lengths) / median(times[f"engine {form}"])
                    cells.append(f"{speed / peak:.0%}")
                print(f"| {size} | {batch} | {steps} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Print the machine and both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--quick", action="store_true", help="H = 128 only, a tenth of the time")
    arguments = parser.parse_args()
    if not engine.available():
        raise SystemExit("peephole was installed without its engine")
    torch.set_num_threads(arguments.threads)
    instruction_set = engine.instruction_sets()[0]
    peak = measure_peak(arguments.threads, instruction_set)
    print(f"{platform.machine()}, {os.cpu_count()} processors, {arguments.threads} threads, {instruction_set}")
    print(f"Python {platform.python_version()}, torch {torch.__version__}, peephole {peephole.__version__}")
    print(f"peak {peak / 1e9:.0f} GFLOP/s")
    for ragged in (False, True):
        print_table(ragged, peak, 0.3 if arguments.quick else 3.0, SIZES[:1] if arguments.quick else SIZES)


if __name__ == "__main__":
    main()
