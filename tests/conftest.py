"""What several suites share: the small stored model, which speaks the toy language of models/make.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.make import MODEL


@pytest.fixture(scope="session")
def toy_file() -> Path:
    """A trained model of a few thousand weights; read it, never write it."""
    return MODEL
