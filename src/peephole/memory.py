"""The memory of this machine, and errors of one line for work that needs more."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from peephole.errors import EngineError, MemoryLimitError

CONTROL_GROUPS = Path("/sys/fs/cgroup")
ONE_GB = 10**9


class MachineMemory(NamedTuple):
    """Bytes of memory that this process could use at most, and those that nothing uses now."""

    total: int
    available: int


def machine_memory() -> MachineMemory:
    """Return the memory of this machine, or of the container that limits this process.

    Where the system does not report what is available (macOS), it is all of the memory.

    >>> memory = machine_memory()
    >>> 0 < memory.available <= memory.total
    True
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else sys.maxsize
    available = min(total, _available(total))
    for limit, used in _group_limits():
        total, available = min(total, limit), min(available, max(0, limit - used))
    return MachineMemory(total, max(1, available))


def _available(total: int) -> int:
    """Return MemAvailable of /proc/meminfo: what programs can still take without swapping."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return total


def _group_limits(root: Path = CONTROL_GROUPS, own: Path = Path("/proc/self/cgroup")) -> Iterator[tuple[int, int]]:
    """Yield the limit and the use of memory of each control group, version 2 or 1, that this process is in.

    Pages of files that the system would drop at once do not count as used.
    """
    try:
        groups = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return
    for _, controllers, path in (group for group in groups if len(group) == 3):
        if controllers not in _NAMES:
            continue
        names, base = _NAMES[controllers], root / controllers
        inner = base / path.lstrip("/")
        for folder in (inner, *inner.parents):  # a group's limit applies to the groups inside it
            try:
                limit, used = (int((folder / name).read_text()) for name in names[:2])
                counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                yield limit, used - int(counts.get(names[2], 0))
            except (OSError, ValueError):  # no such group here, or "max": no limit
                pass
            if folder == base:
                break


_NAMES = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""Controllers of a group's line in /proc/self/cgroup → the names of limit, use and droppable pages: version 2, 1."""


def check_memory(setting: str, work: str, needed: int) -> str | None:
    """Compare the memory that some work needs with that of this machine.

    Args:
        setting: the setting that decides the size, with its value.
        work: what needs the memory.
        needed: bytes.

    Returns:
        A note of one line if more is needed than is free now; else None.

    Raises:
        MemoryLimitError: more is needed than this machine has.

    >>> check_memory("beam_size=5", "this search", 1000)
    >>> check_memory("beam_size=5", "a search", 10**18)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    peephole.errors.MemoryLimitError: beam_size=5: a search needs about 1,000,000,000 GB of memory, this machine ...
    """
    memory = machine_memory()
    if needed > memory.total:
        raise MemoryLimitError(
            f"{setting}: {work} needs about {size_text(needed)} of memory, this machine has {size_text(memory.total)}"
        )
    if needed <= memory.available:
        return None
    return f"{setting}: {work} needs about {size_text(needed)} of memory, {size_text(memory.available)} are free now"


@contextmanager
def memory_errors(setting: Callable[[], str], work: str) -> Iterator[None]:
    """Turn failed allocations in the block, NumPy's, PyTorch's, Python's and the engine's, into errors of one line.

    Args:
        setting: returns the setting that decides the size, with its value.
        work: what needs the memory.

    >>> with memory_errors(lambda: "batch_symbols=7", "training"):
    ...     raise MemoryError
    Traceback (most recent call last):
    ...
    peephole.errors.MemoryLimitError: batch_symbols=7: the memory ran out in training
    """
    try:
        yield
    except (MemoryError, RuntimeError, EngineError) as error:
        # PyTorch raises RuntimeError on a CPU, and OutOfMemoryError, which is a kind of it, on a GPU
        if not isinstance(error, MemoryError) and not re.search("(allocate|out of|not enough) memory", str(error)):
            raise
        raise MemoryLimitError(f"{setting()}: the memory ran out in {work}") from error


def size_text(size: int) -> str:
    """Return a number of bytes in words.

    >>> size_text(412_300_000_000), size_text(2_640_000_000), size_text(81_000_000)
    ('412 GB', '2.6 GB', '0.1 GB')
    """
    return f"{size / ONE_GB:,.0f} GB" if size >= 10 * ONE_GB else f"{max(0.1, size / ONE_GB):.1f} GB"
