"""Measure updates of a training that reads frames, by all that can compute them.

    python benchmarks/frame_steps.py RUN [--steps 20] [--rounds 3] [--precisions 32-true bf16-mixed]

RUN is the folder of any training, whose settings and data are used, but with one thread and without CTC. The same
batches are trained in turns by the engine alone, by PyTorch with the engine's operators, and by PyTorch alone
(train.engine=off). The table holds milliseconds of processor time for an update, which other processes change little,
the median of the rounds; and the loss per symbol of the last round, which all should share but for their rounding.
"""

import argparse
import time
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from statistics import median

import peephole

# isort: split
import torch

from peephole.config import Config
from peephole.data import Batch, Prepared, batches, open_prepared
from peephole.engine import instruction_sets
from peephole.nn import use_engine
from peephole.nn.initial import initial_weights
from peephole.training.engine_executor import EngineExecutor
from peephole.training.executor import Executor
from peephole.training.memory import batch_frames
from peephole.training.run_file import read_run
from peephole.training.together import start_fabric
from peephole.training.torch_executor import TorchExecutor, network_of

SYSTEMS = {"engine alone": None, "PyTorch, engine's operators": "auto", "PyTorch alone": "off"}


def make_executor(config: Config, prepared: Prepared, engine: str | None) -> Executor:
    """Return an executor with the initial weights; `engine`: the operators of PyTorch's."""
    sizes = len(prepared.source_symbols), len(prepared.target_symbols)
    weights = initial_weights(config.model, *sizes, config.train.seed, prepared.statistics)
    if engine is None:
        return EngineExecutor(config, *sizes, weights)
    network = network_of(config, *sizes, weights)
    return TorchExecutor(start_fabric(config.train), network, config.train, config.model.dropout)


def train_pass(executor: Executor, config: Config, given: list[Batch], first: int) -> tuple[float, float]:
    """Return the seconds of an update, and the loss per symbol."""
    start, loss = time.process_time(), 0.0
    for step, batch in enumerate(given, first):
        loss += executor.step(
            batch,
            step=step,
            learning_rate=config.train.learning_rate / 10,
            divisor=batch.num_symbols,
            sampling_probability=0.0,
            interruptible=nullcontext,
        ).loss
    return (time.process_time() - start) / len(given), loss / sum(batch.num_symbols for batch in given)


def sizes_of(batch: Batch) -> tuple[int, int]:
    """Return the number of frames and of target symbols."""
    return int(batch.source_lengths.sum()), batch.num_symbols


def main() -> None:
    """Measure all systems in turns and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=20, help="updates in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precisions", nargs="+", default=["32-true"], help="as train.precision")
    options = parser.parse_args()
    prepared = open_prepared(options.run / "data")
    base = read_run(options.run).config.with_values({"train.threads": 1, "train.device": "cpu", "model.ctc": False})
    torch.set_num_threads(1)
    sizes = base.data.batch_symbols, batch_frames(base)
    epoch = batches(prepared.train, seed=base.train.seed, epoch=0, batch_symbols=sizes[0], batch_frames=sizes[1])
    given = list(islice(epoch, options.steps))
    frames, symbols = (sum(counts) / len(given) for counts in zip(*map(sizes_of, given), strict=True))
    print(f"peephole {peephole.__version__}, {instruction_sets()[0]}, torch {torch.__version__}, one thread")
    print(f"{len(given)} batches of {frames:.0f} frames and {symbols:.0f} symbols")
    print(f"{'system':40} {'ms/update':>10} {'loss':>8}", flush=True)
    for precision in options.precisions:
        config = base.with_values({"train.precision": precision})
        executors = {name: make_executor(config, prepared, engine) for name, engine in SYSTEMS.items()}
        seconds: dict[str, list[float]] = {name: [] for name in SYSTEMS}
        losses = {}
        for number in range(options.rounds):
            for name, executor in executors.items():
                with use_engine(SYSTEMS[name] or "auto"):
                    taken, losses[name] = train_pass(executor, config, given, number * len(given))
                seconds[name].append(taken)
        for name in SYSTEMS:
            print(f"{precision + ', ' + name:40} {1000 * median(seconds[name]):10.1f} {losses[name]:8.4f}", flush=True)


if __name__ == "__main__":
    main()
