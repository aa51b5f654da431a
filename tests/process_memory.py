"""The memory of this process, which Linux tells in /proc.

`resource.getrusage` will not do: its peak is that of the whole life of a process, so an earlier, larger test hides what
a later one adds, and it begins with the memory of the program that started the process.
"""

from __future__ import annotations

import ctypes
import gc
import re
import sys
from pathlib import Path

import pytest

reads_proc = pytest.mark.skipif(sys.platform != "linux", reason="/proc exists on Linux only")


def resident_bytes() -> int:
    """Return the bytes of memory that this process has now."""
    return _status("VmRSS")


def peak_bytes() -> int:
    """Return the most bytes that this process has had since `reset_peak`, or since its program began."""
    return _status("VmHWM")


def reset_peak() -> None:
    """Let `peak_bytes` begin with what this process holds now.

    What is free in it goes back to the system, or an allocation that finds its place there would not count.
    """
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def _status(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return 1024 * int(found[1])
