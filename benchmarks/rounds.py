"""Read the file of batches, and run a training system in turns with the others.

It imports only the standard library, because OpenNMT-py's process has another Python environment.
"""

import json
import math
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict


class Batches(TypedDict):
    """Describe the file of batches; it holds text, so that each system assigns its own ids to the symbols."""

    source_symbols: list[str]
    target_symbols: list[str]
    batches: list[list[tuple[str, str]]]  # (letters, phones separated by spaces)


def read_batches(path: Path) -> Batches:
    """Read the file of batches that train_speed.py wrote."""
    batches: Batches = json.loads(path.read_text(encoding="utf-8"))
    return batches


def count_target_symbols(batches: Batches) -> int:
    """Return the number of target symbols of all batches, with one </s> a word and no padding."""
    return sum(len(phones.split()) + 1 for batch in batches["batches"] for _, phones in batch)


def take_turns(train_pass: Callable[[], float], num_symbols: int, facts: dict[str, Any]) -> None:
    """Train once to warm up, print the facts, then measure a round for each line on stdin until it closes.

    The line is the minimum duration of the round in seconds. A round consists of whole passes over the batches, so that
    all systems do the same work. The answer is a JSON line on stdout: symbols, seconds, seconds of processor time of
    all threads, and the process's resident memory in MB (on Linux): before the first step, and the maximum since then.

    Args:
        train_pass: trains on every batch once and returns the mean loss of a target symbol.
        num_symbols: target symbols in a pass.
        facts: versions and other facts; the loss of the warm-up pass, the same steps for all systems, is added.
    """
    # Output of libraries would break the protocol: from here on it goes to stderr.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    before = watch_memory()
    first_loss = train_pass()
    print(json.dumps(facts | {"first_loss": first_loss}), file=answers, flush=True)
    for line in sys.stdin:
        min_seconds = float(line)
        passes = 0
        start, processor_start = time.perf_counter(), time.process_time()
        while (seconds := time.perf_counter() - start) < min_seconds:
            train_pass()
            passes += 1
        took = {"seconds": seconds, "processor_seconds": time.process_time() - processor_start}
        memory = {"memory_before": before, "memory_peak": resident_memory("VmHWM")}
        print(json.dumps({"symbols": passes * num_symbols} | took | memory), file=answers, flush=True)


def watch_memory() -> float:
    """Return this process's resident memory in MB, and reset the system's record of its maximum."""
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")
    return resident_memory("VmRSS")


def resident_memory(field: str) -> float:
    """Return a field of /proc/self/status in MB, or NaN: VmRSS is the current memory, VmHWM the maximum."""
    status = Path("/proc/self/status")
    found = re.search(rf"^{field}:\s+(\d+) kB", status.read_text() if status.exists() else "", re.MULTILINE)
    return int(found[1]) / 1e3 if found else math.nan
