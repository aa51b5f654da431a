"""Measure the time from starting a process to its answer, and the size of the installed package.

    python benchmarks/cold_start.py MODEL [WORD]

It runs whole processes of this Python in turns: `pass`, `import peephole`, load and predict in Python, and
`peephole predict` of one word.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import peephole
from peephole import engine

ROUNDS = 25


def run(command: list[str], text: str) -> tuple[float, float]:
    """Run a process; return its seconds and its largest resident memory in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stdin is not None
    process.stdin.write(text.encode())
    process.stdin.close()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"{' '.join(command)}: ended with status {status}")
    return seconds, usage.ru_maxrss / 1e3


def size_of(paths: list[Path]) -> float:
    """Return the size of files in MB."""
    return sum(path.stat().st_size for path in paths) / 1e6


def main() -> None:
    """Run the processes in turns and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model file")
    parser.add_argument("word", nargs="?", default="hello")
    arguments = parser.parse_args()
    commands = {
        "pass": ["-c", "pass"],
        "import peephole": ["-c", "import peephole"],
        "peephole.load, predict": [
            "-c",
            "import peephole, sys; peephole.load(sys.argv[1]).predict([sys.argv[2]], attention=False)",
            arguments.model,
            arguments.word,
        ],
        "peephole predict": ["-m", "peephole", "predict", arguments.model],
    }
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            measured[name].append(run([sys.executable, *command], f"{arguments.word}\n"))
    print(
        f"Python {platform.python_version()}, {platform.platform()}, {os.cpu_count()} cores, medians of {ROUNDS} rounds"
    )
    nothing = median(seconds for seconds, _ in measured["pass"])
    for name, rounds in measured.items():
        seconds, memory = median(s for s, _ in rounds), median(m for _, m in rounds)
        print(f"{name:24} {1e3 * seconds:6.0f} ms  {1e3 * (seconds - nothing):+6.0f} ms  {memory:6.1f} MB")
    package, library = Path(peephole.__file__).parent, engine.library_path()
    sources = list(package.rglob("*.py"))
    print(f"package: {size_of(sources):.1f} MB of Python, {size_of([library] if library else []):.1f} MB of engine")


if __name__ == "__main__":
    main()
