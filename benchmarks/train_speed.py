"""Measure how fast systems train the same model on the same batches, in turns.

    python benchmarks/train_speed.py --onmt-python PATH --joey-python PATH --yoyodyne-python PATH

Each PATH is the Python of an environment with that peer; benchmarks/README.md describes how to make them. A peer
without one is left out; without OpenNMT-py the ratios are to torch.nn.LSTM. The words come from recipes/g2p_cmudict
(run its prepare.py first).

Each system is a process of its own that trains only in its turn, A B C … A B C …. A ratio is the median of the rounds'
ratios, so that a slow minute of the machine slows both sides of it. "of peak" is the time that the products of our step
would take at the peak, divided by the time of the step. The peak is the float32 speed of the engine's own inner loop on
a product that fits the first cache, on all threads.
"""

import argparse
import json
import os
import platform
import random
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from layer_speed import measure_peak
from rounds import Batches
from worker import Worker

from peephole import engine

HERE = Path(__file__).parent
WORDS = HERE.parent / "recipes" / "g2p_cmudict" / "data" / "train.tsv"
FORMS = ("full", "diagonal", "none")
OURS = (
    *(f"peephole-{form}" for form in FORMS),
    *("peephole-full-bf16", "peephole-none-bf16", "engine-full", "engine-none", "engine-full-bf16", "engine-none-bf16"),
    *("torch", "loop"),
)
"""peephole: steps by PyTorch with the engine's operators; engine: steps by the engine alone."""
VARIANTS = tuple(
    f"{system}-{kind}{numbers}"
    for system in ("peephole", "engine")
    for kind in ("zoneout", "norm")
    for numbers in ("", "-bf16")
)
"""Measured only if they are named: the definition computes their layers where PyTorch takes the steps."""
OPENNMT = "opennmt-py"
PEERS = {  # name → option that gives its Python, and its worker
    OPENNMT: ("onmt_python", "opennmt_worker.py"),
    "joeynmt": ("joey_python", "joeynmt_worker.py"),
    "yoyodyne": ("yoyodyne_python", "yoyodyne_worker.py"),
}
BATCH_SIZE = 64  # words
SEED = 1


def make_batches(path: Path, num_batches: int, batch_size: int = BATCH_SIZE) -> Batches:
    """Group the words of a file into batches of about equal length, and draw some of the batches at random.

    As in OpenNMT-py's bucketing: all pairs are sorted by (source length, target length), cut into batches of
    `batch_size`, and the batches are shuffled.
    """
    if not path.is_file():
        raise SystemExit(f"{path}: no such file; run recipes/g2p_cmudict/prepare.py first")
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = [(letters, phones) for letters, phones in (line.split("\t") for line in lines)]
    draw = random.Random(SEED)
    draw.shuffle(pairs)
    pairs.sort(key=lambda pair: (len(pair[0]), len(pair[1].split())))
    batches = [pairs[i : i + batch_size] for i in range(0, len(pairs) - batch_size + 1, batch_size)]
    return {
        "source_symbols": sorted({letter for letters, _ in pairs for letter in letters}),
        "target_symbols": sorted({phone for _, phones in pairs for phone in phones.split()}),
        "batches": draw.sample(batches, num_batches),
    }


def start_workers(arguments: argparse.Namespace, batches: Path) -> dict[str, Worker]:
    """Start the requested systems one after the other; each warms up with one pass."""
    workers = {}
    for name in arguments.systems:
        print(f"starting {name}", file=sys.stderr)
        workers[name] = Worker(worker_command(name, arguments, batches), arguments.threads)
    return workers


def worker_command(name: str, arguments: argparse.Namespace, batches: Path) -> list[str]:
    """Return the command that starts a system's process."""
    if name in PEERS:
        option, worker = PEERS[name]
        return [getattr(arguments, option), str(HERE / worker), str(batches)]
    if "-" not in name:
        return [sys.executable, str(HERE / "torch_worker.py"), name, str(batches)]
    system, kind, *rest = name.split("-")
    own = [sys.executable, str(HERE / f"{system}_worker.py"), kind, str(batches)]
    chosen = ["--instruction-set", arguments.instruction_set or engine.instruction_sets()[0]]
    return [*own, *chosen, "--precision", "bf16-mixed" if rest else "32-true"]


def measure_rounds(
    workers: dict[str, Worker], rounds: int, seconds: float, *, processor_time: bool
) -> dict[str, list[dict[str, float]]]:
    """Measure the systems in turns, A B C … A B C …, and return each system's rounds."""
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
    for number in range(1, rounds + 1):
        for name, worker in workers.items():
            answer = worker.measure(seconds)
            if processor_time:
                answer["seconds"] = answer["processor_seconds"]
            measured[name].append(answer)
            rate = answer["symbols"] / answer["seconds"]
            print(f"round {number}/{rounds}  {name:18} {rate:8.0f} symbols/s", file=sys.stderr)
    return measured


def describe_machine(threads: int) -> dict[str, Any]:
    """Return processor, cores, threads, system and load of the machine."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load_average_before": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def summarise(
    workers: dict[str, Worker], measured: dict[str, list[dict[str, float]]], reference: str, peak: float
) -> dict[str, Any]:
    """Return medians, extremes, ratios to the reference system and, for our systems, the share of the peak.

    Args:
        workers: the processes; they know how many operations a pass takes.
        measured: the rounds of each.
        reference: the system to which the ratios are.
        peak: operations a second of the engine's inner loop in float32, on all threads.
    """
    rates = {name: [r["symbols"] / r["seconds"] for r in rounds] for name, rounds in measured.items()}
    return {
        name: {
            **workers[name].facts,
            "symbols_per_second": median(rates[name]),
            "slowest": min(rates[name]),
            "fastest": max(rates[name]),
            "ratio": median(a / b for a, b in zip(rates[name], rates[reference], strict=True)),
            "rounds": measured[name],
            **shares(workers[name].facts, median(rates[name]), peak),
        }
        for name in measured
    }


def shares(facts: dict[str, Any], rate: float, peak: float) -> dict[str, float]:
    """Return the milliseconds of a step, those of its products at the peak, and their ratio; nothing for peers."""
    if "operations" not in facts:
        return {}
    step, floor = (1000 * seconds / facts["steps"] for seconds in (facts["symbols"] / rate, facts["operations"] / peak))
    return {"step_ms": step, "floor_ms": floor, "of_peak": floor / step}


def print_table(result: dict[str, Any]) -> None:
    """Print the result as a table."""
    machine = result["machine"]
    print(f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads, {machine['system']}")
    print(f"load average before the start: {machine['load_average_before']:.2f}")
    for version in dict.fromkeys(system["version"] for system in result["systems"].values()):
        print(version)
    print(f"{result['work']}")
    print(f"peak {result['peak'] / 1e9:.0f} GFLOP/s in float32\n")
    print(f"{'system':18} symbols/s  slowest  fastest  ratio   weights   loss  step ms  floor ms  of peak")
    for name, system in result["systems"].items():
        share = ""
        if "of_peak" in system:
            share = f"{system['step_ms']:9.1f} {system['floor_ms']:9.1f} {system['of_peak']:8.0%}"
        print(
            f"{name:18} {system['symbols_per_second']:9.0f} {system['slowest']:8.0f} {system['fastest']:8.0f}"
            f" {system['ratio']:6.2f} {system['parameters']:9,} {system['first_loss']:6.3f}{share}"
        )
    print(f"\nsymbols/s: median of the rounds; ratio: to {result['reference']}, median of the rounds' ratios;")
    print("loss: mean of a target symbol in the first pass over the batches, with dropout;")
    print("floor: the products of a step at the float32 peak; of peak: floor / step")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, (option, _) in PEERS.items():
        parser.add_argument(f"--{option.replace('_', '-')}", metavar="PATH", help=f"Python of {name}'s environment")
    choices = [*OURS, *VARIANTS, *PEERS]
    parser.add_argument("--systems", nargs="+", choices=choices, help="measure only these, in this order")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5, help="minimum duration of a system's turn")
    parser.add_argument("--batches", type=int, default=64, help=f"batches of {BATCH_SIZE} words in a pass")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of each system")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="divide by processor time, not by time: on one thread of a machine that others use, too",
    )
    parser.add_argument(
        "--instruction-set", choices=engine.instruction_sets(), help="of our systems (default: the best)"
    )
    parser.add_argument("--words", type=Path, default=WORDS, help="file of words and phones")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    pythons = {name: getattr(arguments, option) for name, (option, _) in PEERS.items()}
    if arguments.systems is None:
        arguments.systems = [*OURS, *(name for name, path in pythons.items() if path)]
    for name in set(arguments.systems) & set(PEERS):
        option = f"--{PEERS[name][0].replace('_', '-')}"
        if not pythons[name]:
            parser.error(f"{name} needs {option}")
        if not Path(pythons[name]).is_file():
            parser.error(f"{option} {pythons[name]}: no such file")
    return arguments


def main() -> None:
    """Start the systems, measure them in turns, print the result."""
    arguments = parse_arguments()
    machine = describe_machine(arguments.threads)
    batches = make_batches(arguments.words, arguments.batches)
    clock = time.process_time if arguments.processor_time else time.perf_counter
    peak = measure_peak(arguments.threads, arguments.instruction_set or engine.instruction_sets()[0], clock)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "batches.json"
        path.write_text(json.dumps(batches), encoding="utf-8")
        workers = start_workers(arguments, path)
        measured = measure_rounds(workers, arguments.rounds, arguments.seconds, processor_time=arguments.processor_time)
        for worker in workers.values():
            worker.close()

    reference = next((name for name in (OPENNMT, "torch") if name in workers), arguments.systems[0])
    result = {
        "machine": machine,
        "work": (
            f"CMUdict letters to phones, {arguments.batches} batches of {BATCH_SIZE} words of about equal"
            f" length, {arguments.rounds} rounds of at least {arguments.seconds:g} s"
        ),
        "reference": reference,
        "peak": peak,
        "systems": summarise(workers, measured, reference, peak),
    }
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        print_table(result)


if __name__ == "__main__":
    main()
