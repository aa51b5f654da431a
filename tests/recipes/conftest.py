"""The programs of a recipe, for the tests of it; a module's RECIPE is its folder."""

from __future__ import annotations

import runpy
import sys
from types import SimpleNamespace

import pytest


@pytest.fixture
def prepare(request):
    """Return the definitions of prepare.py."""
    return SimpleNamespace(**runpy.run_path(str(request.module.RECIPE / "prepare.py")))


@pytest.fixture
def report(request, monkeypatch):
    """Return the definitions of report.py."""
    yield from definitions("report.py", request, monkeypatch)


@pytest.fixture
def recipe(request, monkeypatch):
    """Return the definitions of run.py."""
    yield from definitions("run.py", request, monkeypatch)


@pytest.fixture
def further_words(request, monkeypatch):
    """Return the definitions of further_words.py."""
    yield from definitions("further_words.py", request, monkeypatch)


def definitions(name, request, monkeypatch):
    """Yield the definitions of a program, run with its folder on the path; unload its modules afterwards."""
    monkeypatch.syspath_prepend(str(request.module.RECIPE))
    monkeypatch.delitem(sys.modules, "prepare", raising=False)
    yield SimpleNamespace(**runpy.run_path(str(request.module.RECIPE / name)))
    sys.modules.pop("prepare", None)
