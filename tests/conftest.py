"""What several suites share: the small stored model, which speaks the toy language of models/make.py."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # several processes share the cores; PyTorch reads this when it is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from models.make import MODEL

# A shell lets jobs in the background ignore Ctrl-C, and processes started here would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def toy_file() -> Path:
    """A trained model of a few thousand weights; read it, never write it."""
    return MODEL
