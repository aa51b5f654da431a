"""Measure how much each system slows down while another process keeps one core busy.

    python benchmarks/busy_core.py [--words FILE]

The systems are our training step (full peepholes, by the engine alone, as in train_speed.py), our layer and
torch.nn.LSTM (as in layer_speed.py, H = 256, B = 64, T = 20). Each is a process of its own; in each round it takes a
quiet turn, then one while a process in an endless loop is bound to the first core. "times" is the median of the rounds'
ratios. If the scheduler is fair, two threads on two cores that balance their work dynamically take 4/3 of their quiet
time, and two threads with fixed halves of the work take twice that time.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from pathlib import Path
from statistics import median

from layer_speed import start_worker
from rounds import count_target_symbols
from train_speed import WORDS, describe_machine, make_batches
from worker import Worker

import peephole

HERE = Path(__file__).parent
LAYER = {"size": 256, "lengths": [20] * 64}
SPIN = "import os\nif hasattr(os, 'sched_setaffinity'): os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"


class Spinner(AbstractContextManager[None]):
    """Run a process that keeps one core busy."""

    def __enter__(self) -> None:
        command = [sys.executable, "-c", f"{SPIN}print(flush=True)\nwhile True: pass"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self.process.stdout.readline()  # returns when the process has started its loop

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def measure(run_turn: Callable[[], float], rounds: int) -> tuple[list[float], list[float]]:
    """Return the seconds of a system's turns on quiet cores, and with a busy one."""
    quiet, busy = [], []
    for _ in range(rounds):
        for times, background in ((quiet, nullcontext()), (busy, Spinner())):
            with background:
                times.append(run_turn())
    return quiet, busy


def main() -> None:
    """Measure the systems and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="minimum duration of a turn")
    parser.add_argument("--words", type=Path, default=WORDS, help="file of words and phones")
    options = parser.parse_args()
    machine = describe_machine(options.threads)
    print(f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads, {machine['system']}")
    print(f"peephole {peephole.__version__}, torch {version('torch')}")
    print(f"load average before the start: {machine['load_average_before']:.2f}\n")
    print(f"{'system':14}  quiet ms  busy ms  times", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        batches = Path(folder) / "batches.json"
        made = make_batches(options.words, 8)
        batches.write_text(json.dumps(made), encoding="utf-8")
        step = [sys.executable, str(HERE / "engine_worker.py"), "full", str(batches)]
        systems = {
            "training step": Worker(step, options.threads),
            "our layer": start_worker("engine-full", options.threads),
            "torch.nn.LSTM": start_worker("torch-padded", options.threads),
        }

    num_symbols = count_target_symbols(made)

    def seconds_of(name: str) -> float:
        if name != "training step":
            return systems[name].measure(LAYER | {"seconds": options.seconds})["seconds"]
        answer = systems[name].measure(options.seconds)
        return answer["seconds"] * num_symbols / answer["symbols"] / len(made["batches"])

    for name, worker in systems.items():
        quiet, busy = measure(lambda name=name: seconds_of(name), options.rounds)
        times = median(b / q for q, b in zip(quiet, busy, strict=True))
        print(f"{name:14} {1000 * median(quiet):9.2f} {1000 * median(busy):8.2f} {times:6.2f}", flush=True)
        worker.close()


if __name__ == "__main__":
    main()
