"""What several suites share: the small stored model, which speaks the toy language of models/make.py."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from models.make import MODEL

# A shell lets jobs in the background ignore Ctrl-C, and processes started here would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def toy_file() -> Path:
    """A trained model of a few thousand weights; read it, never write it."""
    return MODEL
