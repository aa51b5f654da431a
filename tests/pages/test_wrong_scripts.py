"""Tests that the tests in a browser reject wrong versions of the pages' scripts."""

from __future__ import annotations

from pathlib import Path

import pytest
from wrong_scripts import WRONG, Given, Wrong

from browsing import Browser
from peephole.inspect import assemble
from peephole.inspect.report import RunReport
from rejection import rejected_by_comparison


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_a_wrong_script_is_rejected(
    wrong: Wrong, monkeypatch: pytest.MonkeyPatch, browser: Browser, report: RunReport, tmp_path: Path
) -> None:
    scripts = assemble.read_scripts()
    found = scripts[wrong.file].count(wrong.right)
    assert found == 1, f"{wrong.right!r} occurs {found} times in {wrong.file}, wanted once"
    scripts[wrong.file] = scripts[wrong.file].replace(wrong.right, wrong.wrong)
    monkeypatch.setattr(assemble, "read_scripts", lambda: scripts)
    page = tmp_path / "report.html"
    written = Path(str(report.out)).read_text(encoding="utf-8")
    page.write_text(written.replace(wrong.right, wrong.wrong), encoding="utf-8")
    with rejected_by_comparison():
        wrong.check(Given(browser, tmp_path, report, page))
