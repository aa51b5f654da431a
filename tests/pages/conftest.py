"""A small run with hostile texts, trained once for all tests of its report."""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile_texts import HOSTILE
from page_data import toy_pairs

import peephole


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run; its dev set and `test.tsv` beside it hold hostile texts."""
    folder = tmp_path_factory.mktemp("run")
    pairs = toy_pairs(120)
    settings = {"hidden_size": 16, "embedding_size": 8, "batch_symbols": 100, "threads": 1, "evaluations": 3}
    out = folder / "toy <b>.safetensors"
    peephole.train([*pairs, *HOSTILE], [*pairs[::4], *HOSTILE], out, steps=60, quiet=True, **settings)
    lines = [f"{source}\t{target}\n" for source, target in [*pairs[1::5], *HOSTILE]]
    (folder / "test.tsv").write_text("".join(lines), encoding="utf-8")
    return out.with_suffix(".run")


@pytest.fixture(scope="session")
def report(run: Path) -> peephole.inspect.report.RunReport:
    """Return the report of the run on dev and test; the page is `report.html` beside it."""
    return peephole.report(run, run.with_name("test.tsv"), run.with_name("report.html"))
