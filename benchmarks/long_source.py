"""Measure how much sooner one long source is predicted on more threads.

    python benchmarks/long_source.py MODEL

The sources are random symbols of the model, the targets stop after --symbols symbols. The threads take turns: 1, 2, 1,
2, …; a ratio is the median of the rounds' ratios. All must find the same bits.
"""

import argparse
import random
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

from train_speed import describe_machine

from peephole import engine
from peephole.config import SearchConfig
from peephole.engine.packed import PackedModel, PackedSearch
from peephole.storage.model_file import load_model
from peephole.symbols import EOS


def main() -> None:
    """Measure each length and beam size in turns and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--lengths", type=int, nargs="+", default=[10, 50, 200, 1000], help="symbols of a source")
    parser.add_argument("--symbols", type=int, default=50, help="most symbols of a target")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--instruction-set", choices=engine.instruction_sets(), default=engine.instruction_sets()[0])
    arguments = parser.parse_args()
    machine = describe_machine(arguments.threads)
    print(f"{machine['cpu']}, {machine['cores']} cores, {arguments.instruction_set}, {arguments.model}")
    print(f"load average before the start: {machine['load_average_before']:.2f}")
    print(f"length  beam  symbols  ms, 1 thread  ms, {arguments.threads} threads  times as fast  processor time")
    searching = PackedSearch([PackedModel(arguments.model, arguments.instruction_set)])
    size = len(load_model(arguments.model).source_symbols)
    for length in arguments.lengths:
        draw = random.Random(length)
        source = [draw.randrange(EOS + 2, size) for _ in range(length)]
        for beam_size in (1, 5):
            search = SearchConfig(beam_size=beam_size)
            taken: dict[int, list[tuple[float, float]]] = {1: [], arguments.threads: []}
            results = []
            for threads in [1, arguments.threads] * (arguments.rounds + 1):
                start, processor_start = time.perf_counter(), time.process_time()
                results.append(searching.find([source], [arguments.symbols], replace(search, threads=threads))[0])
                taken[threads].append((time.perf_counter() - start, time.process_time() - processor_start))
            assert all(result == results[0] for result in results)
            one, more = (turns[1:] for turns in taken.values())  # the first round warms up
            ratio, processor = (median(a[i] / b[i] for a, b in zip(one, more, strict=True)) for i in (0, 1))
            seconds = [median(turn[0] for turn in turns) for turns in (one, more)]
            print(
                f"{length:6} {beam_size:5} {len(results[0][0].ids):8} {1e3 * seconds[0]:13.2f}"
                f" {1e3 * seconds[1]:13.2f} {ratio:14.2f} {1 / processor:15.2f}"
            )


if __name__ == "__main__":
    main()
