"""Tests that the checks reject wrong versions of the module's scripts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from peephole import engine
from rejection import rejected_by_comparison

from .conftest import WEB, Refused, asking
from .wrong_scripts import WRONG, Wrong

pytestmark = [
    pytest.mark.skipif(not engine.available(), reason="the engine was not built"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_a_wrong_script_is_rejected(wrong: Wrong, tmp_path: Path) -> None:
    folder = tmp_path / "web"
    shutil.copytree(WEB, folder)
    text = (folder / wrong.file).read_text(encoding="utf-8")
    assert text.count(wrong.right) == 1, f"{wrong.right!r} occurs {text.count(wrong.right)} times, wanted once"
    (folder / wrong.file).write_text(text.replace(wrong.right, wrong.wrong), encoding="utf-8")
    with asking(folder) as ask, rejected_by_comparison():
        try:
            wrong.check(ask, tmp_path)
        except Refused as error:
            pytest.fail(f"it was refused, not compared: {error}")
