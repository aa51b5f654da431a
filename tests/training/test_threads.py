"""Tests the waiting of PyTorch's idle threads, in new processes, since libgomp reads its settings when it is loaded."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def libgomp_settings(program: str, **variables: str) -> dict[str, str]:
    """Return the settings that libgomp prints when a program loads it, or none with another OpenMP library."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment | {"OMP_DISPLAY_ENV": "verbose"} | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = (line.partition(" = ") for line in done.stderr.splitlines())
    return {name.split()[-1]: value.strip("'") for name, separator, value in lines if separator}


@pytest.mark.parametrize(
    ("variables", "spins"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "passive"}, "0")],
    ids=str,
)
def test_idle_threads_spin_briefly_unless_the_user_sets_otherwise(variables: dict[str, str], spins: str) -> None:
    found = libgomp_settings("import peephole.nn", **variables)
    if "GOMP_SPINCOUNT" not in found:
        pytest.skip("this PyTorch was not built with libgomp")
    assert found["GOMP_SPINCOUNT"] == spins
