"""Measure the engine's linear product and its output layer with loss, forward and backward, against torch, in turns.

    python benchmarks/output_speed.py [--threads N] [--seconds S]

A ratio is the median of the rounds' ratios (below 1: the engine is faster), so that a slow minute of the machine slows
both sides of it. "of peak" is the share of the peak, which is the speed of the engine's own inner loop on a product
that fits the first cache, times threads.
"""

import os

# Otherwise torch's OpenMP workers spin for a while after each product and occupy a core of the engine's threads.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import argparse
import platform
import time
from collections.abc import Callable
from statistics import median

import torch
from layer_speed import measure_peak
from torch import Tensor
from torch.nn import functional as F

from peephole import engine
from peephole.nn import use_engine
from peephole.nn.linear import linear
from peephole.nn.outputs import output_loss_sum

LINEAR_SIZES = ((500, 256, 256), (500, 512, 256), (500, 640, 256), (2000, 512, 512), (4000, 1024, 512))  # N, K, O
LOSS_SIZES = ((500, 256, 40), (500, 256, 2000), (2000, 256, 8000), (2000, 512, 8000), (1000, 512, 32000))  # N, H, V
SEED = 1

Step = Callable[[], object]


def in_turns(steps: dict[str, Step], seconds: float) -> dict[str, list[float]]:
    """Run the steps in turns for about `seconds`; return the seconds of each step's runs."""
    for step in steps.values():
        step()  # the first run creates threads and memory
    times: dict[str, list[float]] = {name: [] for name in steps}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    return times


def normal(*shape: int, scale: float = 1.0) -> Tensor:
    """Return random numbers that require a gradient."""
    return (torch.randn(shape) * scale).requires_grad_()


def linear_steps(rows: int, inputs: int, outputs: int) -> dict[str, Step]:
    """Return one step of each side: the product and its three gradients."""
    x, weight, bias = normal(rows, inputs), normal(outputs, inputs), normal(outputs)
    cotangent = torch.randn(rows, outputs)
    leaves = (x, weight, bias)
    return {
        "engine": lambda: torch.autograd.grad(linear(x, weight, bias), leaves, cotangent),
        "torch": lambda: torch.autograd.grad(F.linear(x, weight, bias), leaves, cotangent),
    }


def loss_steps(rows: int, hidden_size: int, symbols: int, smoothing: float) -> dict[str, Step]:
    """Return one step of each side: the loss and its three gradients; a tenth of the rows is padding."""
    r, weight, bias = normal(1, rows, hidden_size), normal(symbols, hidden_size, scale=0.05), normal(symbols)
    target = torch.randint(1, symbols, (1, rows))
    target[0, ::10] = 0
    leaves = (r, weight, bias)

    def step(setting: str) -> None:
        with use_engine(setting):
            torch.autograd.grad(output_loss_sum(r, weight, bias, target, smoothing), leaves)

    return {"engine": lambda: step("auto"), "torch": lambda: step("off")}


def report(name: str, operations: int, steps: dict[str, Step], peak: float, seconds: float) -> None:
    """Measure both sides and print a line."""
    times = in_turns(steps, seconds)
    own, theirs = median(times["engine"]), median(times["torch"])
    ratio = median(a / b for a, b in zip(times["engine"], times["torch"], strict=True))
    print(
        f"| {name} | {1000 * own:.2f} | {1000 * theirs:.2f} | {ratio:.2f} "
        f"| {operations / own / peak:.0%} | {operations / theirs / peak:.0%} |",
        flush=True,
    )


def main() -> None:
    """Print the machine and both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=2.0, help="for each line")
    arguments = parser.parse_args()
    if not engine.available():
        raise SystemExit("peephole was installed without its engine")
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(SEED)
    instruction_set = engine.instruction_sets()[0]
    peak = measure_peak(arguments.threads, instruction_set)
    print(f"{platform.machine()}, {os.cpu_count()} processors, {arguments.threads} threads, {instruction_set}")
    print(f"torch {torch.__version__}, peak {peak / 1e9:.0f} GFLOP/s\n")
    head = "| engine ms | torch ms | ratio | engine of peak | torch of peak |\n" + "|---" * 6 + "|"
    print(f"| linear N, K, O {head}")
    for sizes in LINEAR_SIZES:
        rows, inputs, outputs = sizes
        report(str(sizes), 3 * 2 * rows * inputs * outputs, linear_steps(*sizes), peak, arguments.seconds)
    print(f"\n| loss N, H, V {head}")
    for sizes in LOSS_SIZES:
        rows, hidden_size, symbols = sizes
        real = rows - len(range(0, rows, 10))
        for smoothing in (0.0, 0.1):
            name, operations = f"{sizes}, smoothing {smoothing}", 3 * 2 * real * hidden_size * symbols
            report(name, operations, loss_steps(*sizes, smoothing), peak, arguments.seconds)


if __name__ == "__main__":
    main()
