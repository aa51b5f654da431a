"""What every measured process shares: the file of batches, and how it takes turns with the others.

Only the standard library, since OpenNMT-py's process has another Python environment.
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
    """The content of the file of batches: text, so that each system gives the symbols ids of its own."""

    source_symbols: list[str]
    target_symbols: list[str]
    batches: list[list[tuple[str, str]]]  # (letters, phones separated by spaces)


def read_batches(path: Path) -> Batches:
    """Read what train_speed.py wrote."""
    batches: Batches = json.loads(path.read_text(encoding="utf-8"))
    return batches


def count_target_symbols(batches: Batches) -> int:
    """Return the target symbols of all batches, with one </s> a word and no padding."""
    return sum(len(phones.split()) + 1 for batch in batches["batches"] for _, phones in batch)


def take_turns(train_pass: Callable[[], float], num_symbols: int, facts: dict[str, Any]) -> None:
    """Train once to warm up, print the facts, then measure a round for each line on stdin until it closes.

    The line is the least number of seconds the round lasts. A round is made of whole passes over the batches,
    so that all systems do the same work. The answer is a JSON line on stdout: symbols, seconds, and the process's
    resident memory in MB (on Linux): before the first step, and the largest since then.

    Args:
        train_pass: trains on every batch once and returns the mean loss of a target symbol.
        num_symbols: target symbols in a pass.
        facts: versions and the like; the loss of the warm-up pass joins them, the same steps for all systems.
    """
    # A library that prints would break the protocol: from here its words go to stderr.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    before = watch_memory()
    first_loss = train_pass()
    print(json.dumps(facts | {"first_loss": first_loss}), file=answers, flush=True)
    for line in sys.stdin:
        least = float(line)
        passes = 0
        start = time.perf_counter()
        while (seconds := time.perf_counter() - start) < least:
            train_pass()
            passes += 1
        memory = {"memory_before": before, "memory_peak": resident_memory("VmHWM")}
        print(json.dumps({"symbols": passes * num_symbols, "seconds": seconds} | memory), file=answers, flush=True)


def watch_memory() -> float:
    """Return this process's resident memory in MB, and let the system forget the largest so far."""
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")
    return resident_memory("VmRSS")


def resident_memory(field: str) -> float:
    """Return a field of /proc/self/status in MB, NaN where there is none: VmRSS is now, VmHWM the largest."""
    status = Path("/proc/self/status")
    found = re.search(rf"^{field}:\s+(\d+) kB", status.read_text() if status.exists() else "", re.MULTILINE)
    return int(found[1]) / 1e3 if found else math.nan
