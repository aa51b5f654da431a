"""Compare the engine in WebAssembly with the native engine: the same predictions, and how much slower.

    python benchmarks/web_speed.py MODEL:PAIRS … [--onnxruntime-web node_modules/onnxruntime-web]

For each model the first sources of a file of pairs (`--sources`) are predicted by the native engine on one thread,
with each instruction set of this machine, and by both builds of WebAssembly in the Node that Playwright brings. Printed
are predictions that differ, the largest difference of log p, and seconds of processor time, the least of `--rounds`;
rounds of all systems are interleaved. With the folder of the npm package onnxruntime-web it computes the exported
graphs in the same Node on one thread, under a beam search in JavaScript (onnx_web_worker.mjs); `pip install onnx`.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import playwright

from peephole import Model, engine, load
from peephole.engine.packed import PackedModel
from peephole.export import export_onnx
from peephole.export.browser import BUILDS, WEB
from peephole.model.reading import longest_target

ONNX_WORKER = Path(__file__).with_name("onnx_web_worker.mjs")
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


class Node:
    """A program in Node that answers each line of JSON with one."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [str(NODE), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, question: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


class InNode:
    """The module in a process of its own."""

    def __init__(self, file: Path, build: str) -> None:
        self._node = Node("--input-type=module", "-e", WORKER, str(WEB), str(file.absolute()), build)
        self.close = self._node.close

    def predict(self, sources: list[str]) -> tuple[list[Any], float]:
        answer = self._node.ask(sources)
        return answer["best"], answer["seconds"]


class OnnxInNode:
    """onnxruntime-web on the exported graphs, in a process of its own."""

    def __init__(self, file: Path, package: Path) -> None:
        self._model = load(file)
        self._folder = tempfile.TemporaryDirectory()
        export_onnx(file, self._folder.name)
        self._node = Node(str(ONNX_WORKER), str(package.absolute()), self._folder.name)

    def predict(self, sources: list[str]) -> tuple[list[Any], float]:
        ids = [self._model.source_symbols.encode(source)[: self._model.config.data.max_length] for source in sources]
        search = self._model.config.search
        longest = [longest_target(len(source), search) for source in ids]
        answer = self._node.ask({"sources": ids, "longest": longest, "beamSize": search.beam_size})
        best = [[self._model.target_symbols.decode(found), score] for found, score in answer["best"]]
        return best, answer["seconds"]

    def close(self) -> None:
        self._node.close()
        self._folder.cleanup()


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

    def close(self) -> None:
        pass


def measure(file: Path, sources: list[str], rounds: int, onnxruntime_web: Path | None) -> None:
    """Print the comparison for one model."""
    systems: dict[str, InNode | OnnxInNode | Native] = {name: Native(file, name) for name in engine.instruction_sets()}
    systems |= {f"WebAssembly, {build}": InNode(file, build) for build in BUILDS}
    if onnxruntime_web is not None:
        systems["onnxruntime-web"] = OnnxInNode(file, onnxruntime_web)
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
        systems[name].close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", metavar="MODEL:PAIRS", nargs="+")
    parser.add_argument("--sources", type=int, default=1000, help="sources of each file (default: 1000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of all systems (default: 3)")
    parser.add_argument("--onnxruntime-web", type=Path, metavar="FOLDER", help="of the npm package")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of unknown symbols
    node = subprocess.run([str(NODE), "--version"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"{platform.machine()}, Python {platform.python_version()}, Node {node}")
    for model in options.models:
        file, pairs = model.split(":")
        lines = Path(pairs).read_text(encoding="utf-8").splitlines()
        texts = list(dict.fromkeys(line.split("\t")[0] for line in lines))[: options.sources]
        measure(Path(file), texts, options.rounds, options.onnxruntime_web)


if __name__ == "__main__":
    main()
