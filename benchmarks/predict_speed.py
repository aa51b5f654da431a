"""Measure how fast systems predict with models of the same shape and for the same words, in turns.

    python benchmarks/predict_speed.py --onmt-python PATH --yoyodyne-python PATH

Each PATH is the Python of an environment with that peer (benchmarks/README.md describes how to make them). A peer
without one is left out; without OpenNMT-py the ratios are to our definition, without it to the first system. The words
come from recipes/g2p_cmudict (run its prepare.py first).

Before measuring, each system's model is trained for some minutes and stored in the folder --models, because the search
of an untrained model does not end where words do. Each system is a process of its own that predicts only in its turn,
A B C … A B C …; a ratio is the median of the rounds' ratios.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from layer_speed import measure_peak
from train_speed import HERE, SEED, WORDS, describe_machine, make_batches
from worker import Worker

from peephole import engine

OPENNMT = "opennmt-py"
PEERS = {  # name → option that gives its Python, its worker, and its file of weights
    OPENNMT: ("onmt_python", "opennmt_prediction_worker.py", "opennmt.pt"),
    "yoyodyne": ("yoyodyne_python", "yoyodyne_prediction_worker.py", "yoyodyne.pt"),
}
FORMS = ("full", "none")
NUMBERS = {"fp32": "", "bf16": ".bf16", "int8": ".int8"}  # name → end of the model's name
MODES = [(5, 64), (1, 64), (5, 1), (1, 1)]  # (beam size, words in a batch)
NUM_WORDS = 640


def held_out_words(path: Path) -> list[tuple[str, list[list[str]]]]:
    """Return some words of a file with their pronunciations."""
    words: dict[str, list[list[str]]] = {}
    for letters, phones in (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()):
        words.setdefault(letters, []).append(phones.split())
    return random.Random(SEED).sample(sorted(words.items()), NUM_WORDS)


def prepare_models(folder: Path, words: Path, dev: Path, minutes: float, systems: list[str]) -> None:
    """Train, quantize and export the models of the systems that do not exist yet."""
    for form in [form for form in FORMS if any(name.startswith(form) for name in systems)]:
        model = folder / f"{form}.safetensors"
        own = [sys.executable, "-m", "peephole"]
        if not model.is_file():
            command = [*own, "train", words, "--dev", dev, "--out", model, "--minutes", minutes]
            command += ["--set", f"model.peephole={form}", "--set", "symbols.source=characters"]
            run([*command, "--set", "symbols.target=whitespace"])
        for to in ("bf16", "int8"):
            out = model.with_suffix(f".{to}.safetensors")
            if not out.is_file():
                run([*own, "quantize", model, "--to", to, "--out", out])
        if f"{form} onnx" in systems and not (folder / f"{form}.onnx").is_dir():
            run([*own, "export", model, "--to", "onnx", "--out", folder / f"{form}.onnx"])


def run(command: list[Any]) -> None:
    """Run a command with its output on stderr."""
    subprocess.run(list(map(str, command)), check=True, stdout=sys.stderr)


def start_workers(arguments: argparse.Namespace, words: Path, batches: Path) -> dict[str, Worker]:
    """Start all systems; each predicts all words once to warm up."""
    folder = arguments.models
    own = [sys.executable, str(HERE / "prediction_worker.py")]
    chosen = ["--instruction-set", arguments.instruction_set]
    commands = {}
    for form in FORMS:
        for number, end in NUMBERS.items():
            commands[f"{form} {number}"] = [*own, "engine", f"{folder / form}{end}.safetensors", str(words), *chosen]
        commands[f"{form} definition"] = [*own, "definition", str(folder / f"{form}.safetensors"), str(words)]
        commands[f"{form} onnx"] = [*own, "onnx", str(folder / f"{form}.onnx"), str(words)]
    for name, (option, worker, weights) in PEERS.items():
        if python := getattr(arguments, option):
            command = [python, str(HERE / worker), str(batches), str(folder / weights), str(words)]
            commands[name] = [*command, "--train-minutes", str(arguments.train_minutes)]
    commands = {name: command for name, command in commands.items() if name in arguments.systems}
    workers = {}
    for name, command in commands.items():
        print(f"starting {name}", file=sys.stderr)
        workers[name] = Worker(command, arguments.threads)
    return workers


def mode_name(beam_size: int, batch_size: int) -> str:
    """Return the name of a mode in the tables."""
    return f"{'greedy' if beam_size == 1 else f'beam {beam_size}'}, batch {batch_size}"


def measure(
    workers: dict[str, Worker], rounds: int, seconds: float, *, processor_time: bool
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return the turns of each mode and system."""
    measured: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for number in range(1, rounds + 1):
        for beam_size, batch_size in MODES:
            mode = mode_name(beam_size, batch_size)
            for name, worker in workers.items():
                answer = worker.measure([beam_size, batch_size, seconds])
                if processor_time:
                    answer["seconds"] = answer["processor_seconds"]
                measured.setdefault(mode, {}).setdefault(name, []).append(answer)
                rate = answer["words"] / answer["seconds"]
                print(f"round {number}/{rounds}  {mode:18} {name:16} {rate:8.0f} words/s", file=sys.stderr)
    return measured


def summarise(turns: dict[str, list[dict[str, Any]]], reference: str) -> dict[str, dict[str, float]]:
    """Return medians, extremes, ratios to the reference and, for single words, latencies in ms."""
    rates = {name: [turn["words"] / turn["seconds"] for turn in all_turns] for name, all_turns in turns.items()}
    summary: dict[str, dict[str, float]] = {}
    for name, own in rates.items():
        ratio = median(a / b for a, b in zip(own, rates[reference], strict=True))
        summary[name] = {"words_per_second": median(own), "slowest": min(own), "fastest": max(own), "ratio": ratio}
        times = [1e3 * seconds for turn in turns[name] for seconds in turn.get("times", [])]
        if times:
            percentiles = quantiles(times, n=100)
            summary[name] |= {"p50_ms": percentiles[49], "p99_ms": percentiles[98]}
    return summary


def add_work(result: dict[str, Any], peak: float) -> None:
    """Add words a second and core and, for the engine, the share of the peak: counted operations over possible ones.

    Args:
        result: what `main` prints.
        peak: operations a second of the engine's inner loop in float32, on all threads.
    """
    for beam_size, batch_size in MODES:
        for name, found in result["modes"][mode_name(beam_size, batch_size)].items():
            found["words_per_second_and_core"] = found["words_per_second"] / result["machine"]["threads"]
            form, _, number = name.partition(" ")
            if number in NUMBERS and f"{form} definition" in result["systems"]:
                operations = result["systems"][f"{form} definition"][f"operations_{beam_size}_{batch_size}"]
                found["of_peak"] = operations * found["words_per_second"] / peak


def print_tables(result: dict[str, Any]) -> None:
    """Print the result as tables."""
    machine = result["machine"]
    print(f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads, {machine['system']}")
    print(f"load average before the start: {machine['load_average_before']:.2f}")
    for version in dict.fromkeys(facts["version"] for facts in result["systems"].values()):
        print(version)
    print(f"peak {result['peak'] / 1e9:.0f} GFLOP/s in float32, {result['instruction_set']}; operations a word:")
    for name, facts in result["systems"].items():
        form, _, kind = name.partition(" ")
        if kind == "definition":
            counts = [f"{mode_name(k, b)}: {facts[f'operations_{k}_{b}'] / 1e6:.1f} M" for k, b in MODES]
            print(f"  {form:6} {'; '.join(counts)}")
    print(f"{NUM_WORDS} held-out words; ratio to {result['reference']}; right: share of words, greedy and beam 5\n")
    for mode, systems in result["modes"].items():
        print(f"{mode:20} words/s  slowest  fastest  ratio  a core  of peak   p50 ms   p99 ms   right")
        for name, found in systems.items():
            latency = f"{found['p50_ms']:8.2f} {found['p99_ms']:8.2f}" if "p50_ms" in found else " " * 17
            share = f"{found['of_peak']:8.1%}" if "of_peak" in found else " " * 8
            right = result["systems"][name]["right_1" if mode.startswith("greedy") else "right_5"]
            print(
                f"  {name:18} {found['words_per_second']:7.0f} {found['slowest']:8.0f} {found['fastest']:8.0f}"
                f" {found['ratio']:6.2f} {found['words_per_second_and_core']:7.0f} {share} {latency} {right:6.1f} %"
            )
        print()


def main() -> None:
    """Make the models, measure the systems in turns, print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, (option, _, _) in PEERS.items():
        parser.add_argument(f"--{option.replace('_', '-')}", metavar="PATH", help=f"Python of {name}'s environment")
    parser.add_argument("--models", type=Path, default=HERE / "models", help="folder of trained models")
    parser.add_argument("--train-minutes", type=float, default=3, help="of each model that does not exist yet")
    systems = [f"{form} {kind}" for form in FORMS for kind in (*NUMBERS, "definition", "onnx")] + list(PEERS)
    parser.add_argument("--systems", nargs="+", choices=systems, default=systems, metavar="NAME", help=f"of {systems}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1, help="minimum duration of a system's turn")
    parser.add_argument("--threads", type=int, default=2, help="threads of each system")
    parser.add_argument("--data", type=Path, default=WORDS.parent, help="folder with train, dev and test.tsv")
    parser.add_argument("--instruction-set", choices=engine.instruction_sets(), default=engine.instruction_sets()[0])
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="divide by processor time, not by time: on one thread of a machine that others use, too",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    arguments = parser.parse_args()
    machine = describe_machine(arguments.threads)
    clock = time.process_time if arguments.processor_time else time.perf_counter
    peak = measure_peak(arguments.threads, arguments.instruction_set, clock)
    arguments.models.mkdir(parents=True, exist_ok=True)
    data = arguments.data
    words, batches = arguments.models / "words.json", arguments.models / "batches.json"
    num_batches = len((data / "train.tsv").read_bytes().splitlines()) // 64
    batches.write_text(json.dumps(make_batches(data / "train.tsv", num_batches)), encoding="utf-8")
    words.write_text(json.dumps(held_out_words(data / "test.tsv")), encoding="utf-8")
    prepare_models(arguments.models, data / "train.tsv", data / "dev.tsv", arguments.train_minutes, arguments.systems)
    workers = start_workers(arguments, words, batches)
    measured = measure(workers, arguments.rounds, arguments.seconds, processor_time=arguments.processor_time)
    for worker in workers.values():
        worker.close()
    reference = next(name for name in (OPENNMT, "full definition", *workers) if name in workers)
    result = {
        "machine": machine,
        "peak": peak,
        "instruction_set": arguments.instruction_set,
        "reference": reference,
        "systems": {name: worker.facts for name, worker in workers.items()},
        "modes": {mode: summarise(turns, reference) for mode, turns in measured.items()},
    }
    add_work(result, peak)
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        print_tables(result)


if __name__ == "__main__":
    main()
