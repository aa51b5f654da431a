"""Provides the server that starts processes, one per test session."""

from __future__ import annotations

import pytest

from .processes import Launcher
from .toy import write_pairs


@pytest.fixture
def by_torch(monkeypatch):
    """Make PyTorch's executor train what the engine would train by itself."""
    monkeypatch.setattr("peephole.training.choose.reason_for_torch", lambda config: "a test")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return the working directory of a test, with the training pairs train.tsv."""
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "train.tsv")
    return tmp_path


@pytest.fixture(scope="session")
def launcher():
    """Return the launcher of `peephole` processes."""
    with Launcher() as launcher:
        yield launcher
