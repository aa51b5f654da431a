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


# What Linux gives as the peak of a process begins with the memory of its parent, so a small process starts the command.
TELL_PEAK = """
import os, sys
status, usage = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ), 0)[1:]
print(usage.ru_maxrss, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def seconds_of(command: list[str], text: str) -> float:
    """Run a process and return its seconds."""
    start = time.perf_counter()
    subprocess.run(command, input=text.encode(), stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def memory_of(command: list[str], text: str) -> float:
    """Run a process and return its largest resident memory in MB."""
    command = [sys.executable, "-SE", "-c", TELL_PEAK, *command]
    done = subprocess.run(command, input=text.encode(), capture_output=True, check=True)
    return int(done.stderr.split()[-1]) / 1e3


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
    measured: dict[str, list[float]] = {name: [] for name in commands}
    line = f"{arguments.word}\n"
    for _ in range(ROUNDS):
        for name, command in commands.items():
            measured[name].append(seconds_of([sys.executable, *command], line))
    print(
        f"Python {platform.python_version()}, {platform.platform()}, {os.cpu_count()} cores, medians of {ROUNDS} rounds"
    )
    nothing = median(measured["pass"])
    for name, command in commands.items():
        seconds, memory = median(measured[name]), memory_of([sys.executable, *command], line)
        print(f"{name:24} {1e3 * seconds:6.0f} ms  {1e3 * (seconds - nothing):+6.0f} ms  {memory:6.1f} MB")
    package, library = Path(peephole.__file__).parent, engine.library_path()
    sources = list(package.rglob("*.py"))
    print(f"package: {size_of(sources):.1f} MB of Python, {size_of([library] if library else []):.1f} MB of engine")


if __name__ == "__main__":
    main()
