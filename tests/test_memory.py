"""Tests of the memory that a process may use, and of the errors for work that needs more."""

from __future__ import annotations

from pathlib import Path

import pytest

from peephole import memory
from peephole.errors import MemoryLimitError
from peephole.memory import MachineMemory, check_memory, machine_memory, memory_errors


def write_group(folder: Path, files: dict[str, object]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_text(f"{content}\n")


def test_the_limits_of_control_groups_of_both_versions(tmp_path: Path) -> None:
    """A group's limit applies to the groups inside it; "max" is none; pages of files can be dropped."""
    write_group(
        tmp_path / "outer/inner", {"memory.max": "max", "memory.current": 900, "memory.stat": "inactive_file 1"}
    )
    files = {"memory.max": 5000, "memory.current": 1000, "memory.stat": "anon 600\ninactive_file 400"}
    for name, content in files.items():
        (tmp_path / "outer" / name).write_text(f"{content}\n")
    first = {"memory.limit_in_bytes": 7000, "memory.usage_in_bytes": 300, "memory.stat": "total_inactive_file 100"}
    write_group(tmp_path / "memory", first)
    (tmp_path / "own").write_text("4:memory:/elsewhere\n3:cpu:/x\n0::/outer/inner\n")
    assert sorted(memory._group_limits(tmp_path, tmp_path / "own")) == [(5000, 600), (7000, 200)]
    assert list(memory._group_limits(tmp_path, tmp_path / "missing")) == []


def test_a_group_limits_the_memory_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = machine_memory()
    monkeypatch.setattr(memory, "_group_limits", lambda: iter([(1 << 40, 0), (10**9, 4 * 10**8)]))
    assert machine_memory() == MachineMemory(10**9, 6 * 10**8)
    assert alone.total > 10**9


def test_what_is_impossible_is_refused_and_what_is_tight_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "machine_memory", lambda: MachineMemory(24 * 10**9, 8 * 10**9))
    assert check_memory("beam_size=9", "this search", 8 * 10**9) is None
    note = "beam_size=9: this search needs about 9.0 GB of memory, 8.0 GB are free now"
    assert check_memory("beam_size=9", "this search", 9 * 10**9) == note
    message = "^beam_size=9: this search needs about 412 GB of memory, this machine has 24 GB$"
    with pytest.raises(MemoryLimitError, match=message):
        check_memory("beam_size=9", "this search", 412 * 10**9)


def test_failed_allocations_become_one_line() -> None:
    for error in (
        MemoryError("Unable to allocate 7.45 GiB for an array with shape (1000, 1000000)"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes."),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    ):
        with (
            pytest.raises(MemoryLimitError, match=r"^x=1: the memory ran out in training$"),
            memory_errors(lambda: "x=1", "training"),
        ):
            raise error
    with pytest.raises(RuntimeError, match="another"), memory_errors(lambda: "x=1", "training"):
        raise RuntimeError("another")
