"""What several suites share: the small stored model, which speaks the toy language of models/make.py."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # several processes share the cores; PyTorch reads this when it is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import jaxtyping

# Every annotation of the package is checked at run time in the processes of the tests: types, and shapes of arrays.
jaxtyping.install_import_hook("peephole", "typechecker.check")

from models.make import MODEL  # noqa: E402  # imports the package

# A shell lets jobs in the background ignore Ctrl-C, and processes started here would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def toy_file() -> Path:
    """A trained model of a few thousand weights; read it, never write it."""
    return MODEL


@pytest.fixture
def annotations_unchecked() -> Iterator[None]:
    """Let arguments of wrong types through to the package, which has messages of its own for some of them."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


# The files that take longest, as measured. Where several processes share the tests by file, they start with these.
LONGEST = ("test_sanitizers.py", "test_kill_and_resume.py", "test_two_processes.py", "test_g2p_ablation.py")


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False  # pytest-xdist would begin with the files of most tests, not of most time


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, then those of most tests; one process alone keeps the usual order."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        counts = Counter(item.path for item in items)
        places = {name: place for place, name in enumerate(LONGEST)}
        items.sort(key=lambda item: (places.get(item.path.name, len(places)), -counts[item.path]))
