"""Measure the peak memory of training: the engine alone, PyTorch with its operators, the definition, OpenNMT-py.

    python benchmarks/train_memory.py --onmt-python PATH [--batch-sizes 64 512] [--words FILE]

The model, the words and OpenNMT-py's environment are those of train_speed.py; its workers run one after the other, each
in a process of its own, on the same batches. The table holds resident megabytes (Linux only): before the first step,
when libraries, batches and weights are in memory; the maximum in two passes over the batches; and the difference, which
is the memory of gradients, the optimiser's moments, activations and buffers.
"""

import argparse
import json
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from train_speed import WORDS, describe_machine, make_batches
from worker import Worker

import peephole

HERE = Path(__file__).parent


def commands(batches: Path, onmt_python: str | None) -> dict[str, list[str]]:
    """Return the command of each system."""
    found = {}
    for form in ("full", "none"):
        arguments = [form, str(batches)]
        by_torch = [sys.executable, str(HERE / "peephole_worker.py"), *arguments, "--instruction-set"]
        found[f"{form}, engine alone"] = [sys.executable, str(HERE / "engine_worker.py"), *arguments]
        found[f"{form}, operators"] = [*by_torch, "auto"]
        found[f"{form}, definition"] = [*by_torch, "off"]
    if onmt_python:
        found["opennmt-py"] = [onmt_python, str(HERE / "opennmt_worker.py"), str(batches)]
    return found


def main() -> None:
    """Measure each system at each batch size and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--onmt-python", metavar="PATH", help="Python of OpenNMT-py's environment")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 512], metavar="N", help="words in a batch")
    parser.add_argument("--batches", type=int, default=16, help="batches in a pass")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--words", type=Path, default=WORDS, help="file of words and phones")
    options = parser.parse_args()
    machine = describe_machine(options.threads)
    print(f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads, {machine['system']}")
    print(f"peephole {peephole.__version__}, torch {version('torch')}")
    print(f"\n{'system':18} {'words':>6} {'before':>8} {'peak':>8} {'training':>9}  MB", flush=True)
    for size in options.batch_sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "batches.json"
            path.write_text(json.dumps(make_batches(options.words, options.batches, size)), encoding="utf-8")
            for name, command in commands(path, options.onmt_python).items():
                worker = Worker(command, options.threads)  # the first pass warms it up
                answer = worker.measure(0.001)
                worker.close()
                before, peak = answer["memory_before"], answer["memory_peak"]
                print(f"{name:18} {size:6} {before:8.0f} {peak:8.0f} {peak - before:9.0f}", flush=True)


if __name__ == "__main__":
    main()
