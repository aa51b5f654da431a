"""Fixtures and settings shared by several suites: the stored toy model, run-time type checks, the order of files."""

from __future__ import annotations

import importlib.util
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from browsing import Browser

if "PYTEST_XDIST_WORKER" in os.environ:  # several processes share the cores; PyTorch reads this when it is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import jaxtyping

import typechecker

# An editable install is in two folders: the sources, and the compiled library. A package that is imported through the
# hook below has only the first in its __path__, so the library is found here.
installed = importlib.util.find_spec("peephole")
for folder in (installed and installed.submodule_search_locations) or ():
    for library in Path(folder).glob("libpeephole.*"):
        os.environ.setdefault("PEEPHOLE_LIBRARY", str(library))

# Check annotations of the package at run time: types, and shapes and number formats of arrays.
jaxtyping.install_import_hook("peephole", "typechecker.check")

from models.make import MODEL  # noqa: E402  # imports the package

# A shell makes background jobs ignore SIGINT; processes started by the tests would inherit that setting.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def toy_file() -> Path:
    """Return the file of a trained model with a few thousand weights; tests must not write to it."""
    return MODEL


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return Chromium; it is started once."""
    from browsing import chromium  # the wheel's tests run without Playwright

    with chromium() as started:
        yield started


@pytest.fixture
def annotations_unchecked() -> Iterator[None]:
    """Turn off the run-time type checks, to test the messages that the package itself raises for wrong types."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


# The slowest files, as measured. Under pytest-xdist, which distributes the tests by file, they run first.
SLOWEST = (
    "test_sanitizers.py",
    "test_docs.py",
    "test_kill_and_resume.py",
    "test_two_processes.py",
    "test_report.py",
    "test_build.py",
    "test_engine_batches.py",
    "test_report_in_browser.py",
    "test_wrong_scripts.py",
    "test_engine_trainer_memory.py",
    "test_search_command.py",
    "test_kills.py",
    "test_g2p_ablation.py",
    "test_competitors.py",
    "test_from_model.py",
    "test_tuning.py",
)


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False  # pytest-xdist would sort files by their number of tests


CHECKED_CASES = 8
"""One in so many cases of a test checks annotations: more than half of the time of most tests went into that.

No slow test does: what it repeats thousands of times is checked where faster tests do it once.
"""

unchecked = pytest.StashKey[bool]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Choose the cases that check annotations; put the slowest files first, then files by their number of tests.

    Without pytest-xdist the usual order is kept. A case whose name differs between processes is an error.
    """
    cases: Counter[str] = Counter()
    for item in items:
        test = item.nodeid.partition("[")[0]
        is_slow = item.get_closest_marker("slow") is not None
        item.stash[unchecked] = item.path.name != "test_annotations.py" and (is_slow or cases[test] % CHECKED_CASES > 0)
        cases[test] += 1
        if " object at 0x" in item.nodeid:  # pytest-xdist refuses names that differ between processes
            raise pytest.UsageError(f"{item.nodeid}: the name of this case has an address; name its cases with ids=")
    if "PYTEST_XDIST_WORKER" in os.environ:
        counts = Counter(item.path for item in items)
        ranks = {name: rank for rank, name in enumerate(SLOWEST)}
        items.sort(key=lambda item: (ranks.get(item.path.name, len(ranks)), -counts[item.path]))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Check annotations, or not, as was chosen for this case."""
    jaxtyping.config.update("jaxtyping_disable", item.stash[unchecked])
    typechecker.check_all()
