"""Tests of a report in Chromium: no request, no error, keyboard, dark mode, and an accessibility checker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile_texts import HOSTILE
from playwright.sync_api import Page

from browsing import Browser, accessibility_findings, open_all, opened
from peephole.inspect.assemble import read_page_file
from peephole.inspect.report import RunReport
from peephole.inspect.report.charts import matrix
from peephole.inspect.report.elements import text_of


@pytest.fixture
def page(browser: Browser, report: RunReport) -> Iterator[Page]:
    """Yield the report in a new tab; afterwards, check that it had no error and requested nothing but itself."""
    with opened(browser, Path(str(report.out)), viewport={"width": 900, "height": 700}) as page:
        yield page


CONTRAST: dict[str, Any] = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}
NO_CONTRAST: dict[str, Any] = {"rules": {"color-contrast": {"enabled": False}}}


def test_an_accessibility_checker_finds_nothing(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((part) => (part.open = true))")
    assert accessibility_findings(page, options=NO_CONTRAST) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read_in_light_and_dark(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of two texts
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, paper[4:-1].split(","))) < 300) == (scheme == "dark")
    for part in ("nav", "#errors-on-test", "#calibration"):
        assert accessibility_findings(page, part, CONTRAST) == []


def test_the_keyboard_reaches_the_content_and_sorts(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    button = page.locator("#errors-on-test table.sortable th button").nth(2)
    cells = page.locator("#errors-on-test table.sortable tbody td:nth-child(3)")
    button.focus()
    for direction, reverse in (("descending", True), ("ascending", False)):
        page.keyboard.press("Enter")
        heading = page.locator("#errors-on-test table.sortable th[aria-sort]")
        assert heading.get_attribute("aria-sort") == direction
        counts = [int(text.replace(",", "")) for text in cells.all_inner_texts()]
        assert counts == sorted(counts, reverse=reverse)
        assert len(set(counts)) > 1
    summary = page.locator("summary").first
    summary.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.querySelector('details').open")


def test_texts_of_every_script_are_shown_as_they_are(page: Page, report: RunReport) -> None:
    shown = page.locator("article h4").all_inner_texts()
    worst = {case.mistake.source for measured in report.sets for case in measured.worst}
    for source, _ in HOSTILE:
        assert source in worst, "wanted hostile texts among the worst predictions"
        assert source.replace("\u202e", "\\u202e") in shown
    arabic = page.locator("article h4 bdi", has_text="مرحبا").first
    assert arabic.evaluate("(node) => getComputedStyle(node).unicodeBidi") == "isolate"


def test_an_error_opens_as_a_view_of_its_prediction(page: Page, report: RunReport) -> None:
    case = report.sets[1].worst[0]
    button = page.locator("#errors-on-test .case button").first
    assert button.get_attribute("aria-label") == f"Look inside: {case.mistake.source}"
    button.focus()
    page.keyboard.press("Enter")
    view = page.get_by_role("dialog")
    assert view.locator(".answer .from").inner_text() == case.mistake.source
    assert view.locator(".answer .to").inner_text().startswith(case.mistake.prediction[:50])
    assert "Expected was" in view.locator(".summary").inner_text()
    titles = view.locator("h3.title").all_inner_texts()
    assert {"Where it looked", "Why this, and not that", "Inside: gates and memory"} <= set(titles)
    open_all(page)
    assert view.locator(".symbol").count() > 2
    assert view.locator("polyline.curve").count() > 0
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('dialog') !== null")
    assert accessibility_findings(page, "dialog") == []
    page.keyboard.press("Escape")
    assert page.locator("dialog").count() == 0
    assert button.evaluate("(node) => node === document.activeElement")


def test_hostile_texts_are_shown_in_views_and_never_run(page: Page, report: RunReport) -> None:
    """That nothing runs is checked when the page is closed."""
    cases = [case.mistake.source for found in report.sets for case in found.worst]
    for source, _ in HOSTILE:
        page.locator(f"button[data-view='{cases.index(source)}']").click()
        assert page.locator("dialog .answer .from").inner_text() == source
        open_all(page)
        if "\u202e" in source:
            assert "U+202E" in page.locator("dialog .symbol").all_inner_texts()
        page.get_by_role("button", name="Close").click()


def test_without_scripts_there_are_no_buttons(browser: Browser, report: RunReport) -> None:
    with opened(browser, Path(str(report.out)), java_script_enabled=False) as page:
        assert page.locator("button:visible").count() == page.locator("table.sortable th button").count()
        assert page.locator(".case").count() > 0


def test_the_switch_changes_the_colours(page: Page) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ground)
    page.click("#theme")
    assert page.evaluate(ground) != before
    assert page.get_by_role("button", name="Use light colours").is_visible()


def test_the_page_fits_a_narrow_screen(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("names", [["a", "한", "ch"], ["water", "night", "music", "a long name of a symbol"]])
def test_names_of_a_matrix_do_not_overlap(browser: Browser, tmp_path: Path, names: list[str]) -> None:
    drawn = matrix(names, names, [[1.0] * len(names)] * len(names))
    style = f"<style>{read_page_file('report.css')} body {{ margin: 0 }}</style>"
    page = f'<!doctype html><html lang="en"><link rel="icon" href="data:,">{style}{text_of(drawn)}'
    (tmp_path / "matrix.html").write_text(page, encoding="utf-8")
    with opened(browser, tmp_path / "matrix.html") as shown:
        boxes = [one.bounding_box() for one in shown.locator("svg > text, svg > rect").all()]
        found = [(box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]) for box in boxes if box]
        width, height = (float(shown.locator("svg").get_attribute(name) or 0) for name in ("width", "height"))
        assert len(found) == len(names) ** 2 + 2 * len(names)
        for i, (left, top, right, bottom) in enumerate(found):
            assert -1 <= left < right <= width + 1
            assert -1 <= top < bottom <= height + 1
            for other in found[:i]:
                apart = min(right, other[2]) - max(left, other[0]), min(bottom, other[3]) - max(top, other[1])
                assert min(apart) < 1.5, "wanted names and squares beside each other"
