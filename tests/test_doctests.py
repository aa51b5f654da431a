"""Runs the examples in docstrings."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import peephole

ROOT = Path(peephole.__file__).parent
MODULES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
}


def test_many_modules_have_examples() -> None:
    assert len(MODULES) > 15


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_module(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0, "see the report above"
    written = doctest.DocTestParser().get_examples(MODULES[name].read_text(encoding="utf-8"))
    assert result.attempted == len(written) > 0  # doctest found every example in the file
