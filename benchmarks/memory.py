"""Measure the peak memory of training against the number of pairs: it must not grow.

    python benchmarks/memory.py                          50,000, 500,000 and 5,000,000 generated pairs
    python benchmarks/memory.py --pairs 50000 5000000

For each size the program writes a file of random pairs, runs `peephole train` on it for 800 steps as a process of its
own, and reads the peak of its resident memory from the operating system. Resident memory includes the pages of the
mapped corpus that the system keeps; `anonymous` is the memory that the process cannot give back. Linux only.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path

from train_speed import describe_machine

import peephole

STEPS = 800  # about 95 pairs each: more than one window of pairs that are sorted by length together


def write_pairs(path: Path, count: int) -> None:
    """Write `count` pairs of 5 to 14 random letters and their reversal, spelled with spaces."""
    draw = random.Random(1)
    with open(path, "w", encoding="utf-8") as file:
        for _ in range(count):
            word = "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(5, 14)))
            file.write(f"{word}\t{' '.join(reversed(word))}\n")


def measure(pairs: int, folder: Path) -> dict[str, float]:
    """Train on a generated file; return the peaks in MB and the times in s."""
    train = folder / f"{pairs}.tsv"
    write_pairs(train, pairs)
    command = [sys.executable, "-m", "peephole", "train", str(train), "--out", str(folder / f"{pairs}.safetensors")]
    command += ["--steps", str(STEPS)]
    # A small model, so that the data dominate the memory
    for setting in ("hidden_size=64", "embedding_size=32", "train.evaluations=1", "train.dev_pairs=100"):
        command += ["--set", setting]
    started = time.monotonic()
    with open(folder / "log.txt", "w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stderr=log)
        peaks = {"RssAnon": 0, "VmHWM": 0}
        watcher = threading.Thread(target=watch, args=(process, peaks))
        watcher.start()
        process.wait()
        watcher.join()
    if process.returncode:
        raise SystemExit((folder / "log.txt").read_text(encoding="utf-8"))
    return {
        "pairs": pairs,
        "file_mb": round(train.stat().st_size / 1e6, 1),
        "peak_resident_mb": round(peaks["VmHWM"] / 1e3, 1),
        "peak_anonymous_mb": round(peaks["RssAnon"] / 1e3, 1),
        "seconds": round(time.monotonic() - started, 1),
    }


def watch(process: subprocess.Popen[bytes], peaks: dict[str, int]) -> None:
    """Keep the largest values, in kB, of some fields of /proc/PID/status until the process ends."""
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
        except OSError:
            return
        for field, value in re.findall(r"^(RssAnon|VmHWM):\s+(\d+) kB", status, re.MULTILINE):
            peaks[field] = max(peaks[field], int(value))
        time.sleep(0.02)


def main() -> None:
    """Measure each size and print a table, or JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, nargs="+", default=[50_000, 500_000, 5_000_000])
    parser.add_argument("--json", action="store_true", help="print one JSON object a size")
    arguments = parser.parse_args()
    if not arguments.json:
        machine = describe_machine(os.cpu_count())
        print(f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}")
        print(f"peephole {peephole.__version__}, torch {version('torch')}")
    with tempfile.TemporaryDirectory() as folder:
        for pairs in arguments.pairs:
            row = measure(pairs, Path(folder))
            print(json.dumps(row) if arguments.json else "  ".join(f"{k} {v:,}" for k, v in row.items()), flush=True)


if __name__ == "__main__":
    main()
