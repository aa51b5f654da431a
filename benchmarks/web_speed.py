"""Compare the engine in WebAssembly with the native engine: the same predictions, and how much slower.

    python benchmarks/web_speed.py MODEL:PAIRS …

For each model the first sources of a file of pairs (`--sources`) are predicted by the native engine on one thread,
with each instruction set of this machine, and by both builds of WebAssembly in the Node that Playwright brings. Printed
are predictions that differ, the largest difference of log p, and seconds of processor time, the least of `--rounds`;
rounds of all systems are interleaved.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import time
import warnings
from pathlib import Path
from typing import Any

import playwright

from peephole import Model, engine, load
from peephole.engine.packed import PackedModel
from peephole.export.browser import BUILDS, WEB

NODE = Path(playwright.__file__).parent / "driver/node"
WORKER = """
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
const [folder, file, build] = process.argv.slice(1);
const { load } = await import(`${folder}/peephole.js`);
const model = await load(readFileSync(file), { build });
for await (const line of createInterface({ input: process.stdin })) {
  const before = process.cpuUsage();
  const found = await model.predict(JSON.parse(line));
  const { user, system } = process.cpuUsage(before);
  const best = found.map(([{ text, logProb }]) => [text, logProb]);
  process.stdout.write(`${JSON.stringify({ best, seconds: (user + system) / 1e6 })}\\n`);
}
"""


class InNode:
    """The module in a process of its own."""

    def __init__(self, file: Path, build: str) -> None:
        command = [str(NODE), "--input-type=module", "-e", WORKER, str(WEB), str(file.absolute()), build]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def predict(self, sources: list[str]) -> tuple[list[Any], float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(sources) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return answer["best"], answer["seconds"]


class Native:
    """The native engine with one instruction set, on one thread."""

    def __init__(self, file: Path, instruction_set: str) -> None:
        self.model: Model = load(file)
        for loaded in self.model._weights.files:
            loaded._packed = PackedModel(loaded.content, instruction_set)

    def predict(self, sources: list[str]) -> tuple[list[Any], float]:
        start = time.process_time()
        found = self.model.predict(sources, threads=1)
        return [[best.text, best.log_prob] for best, *_ in found], time.process_time() - start


def measure(file: Path, sources: list[str], rounds: int) -> None:
    """Print the comparison for one model."""
    systems: dict[str, InNode | Native] = {name: Native(file, name) for name in engine.instruction_sets()}
    systems |= {f"WebAssembly, {build}": InNode(file, build) for build in BUILDS}
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    found: dict[str, list[Any]] = {}
    for _ in range(rounds):
        for name, system in systems.items():
            found[name], taken = system.predict(sources)
            seconds[name].append(taken)
    reference = found["generic"]
    print(f"\n{file.name}: {len(sources)} sources, {Path(file).stat().st_size / 1e6:.1f} MB")
    for name in systems:
        pairs = list(zip(found[name], reference, strict=True))
        differing = sum(one[0] != other[0] for one, other in pairs)
        largest = max((abs(one[1] - other[1]) for one, other in pairs if one[0] == other[0]), default=0.0)
        print(
            f"  {name:20} {min(seconds[name]):8.3f} s, {min(seconds[name]) / min(seconds['generic']):5.2f} × generic, "
            f"{differing} differ, log p within {largest:.1e}"
        )
        system = systems[name]
        if isinstance(system, InNode):
            system.process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", metavar="MODEL:PAIRS", nargs="+")
    parser.add_argument("--sources", type=int, default=1000, help="sources of each file (default: 1000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of all systems (default: 3)")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of unknown symbols
    node = subprocess.run([str(NODE), "--version"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"{platform.machine()}, Python {platform.python_version()}, Node {node}")
    for model in options.models:
        file, pairs = model.split(":")
        lines = Path(pairs).read_text(encoding="utf-8").splitlines()
        texts = list(dict.fromkeys(line.split("\t")[0] for line in lines))[: options.sources]
        measure(Path(file), texts, options.rounds)


if __name__ == "__main__":
    main()
