"""Tests of pages that decode anew with the engine inside them, in a real browser."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
from random_models import random_model

import peephole
from browsing import Browser, Page, accessibility_findings, open_all, opened, table_rows
from peephole.inspect import Trace, make_page
from peephole.inspect.figures import peephole_shares

READY = "html[data-live=yes]"


def decoded(shown: Page) -> str:
    """Wait until the page has decoded anew, and return the target."""
    shown.locator("[role=status]", has_text="Decoded").first.wait_for()
    return shown.inner_text(".answer .to")


def type_into(shown: Page, label: str, text: str) -> None:
    """Type a text with the keyboard in the place of the old one."""
    shown.evaluate("document.querySelector('[role=status]').textContent = ''")
    shown.get_by_label(label, exact=True).focus()
    shown.keyboard.press("Control+A")
    shown.keyboard.type(text)


def test_source_beginning_and_symbols_can_be_changed(browser: Browser, toy_file: Path, tmp_path: Path) -> None:
    model = peephole.load(toy_file)
    make_page(model, "cab").save(tmp_path / "page.html")
    with opened(browser, tmp_path / "page.html") as shown:
        shown.locator(READY).wait_for()
        type_into(shown, "Source", "dead😀한")
        [[wanted]] = model.predict(["dead😀한"])
        assert decoded(shown) == wanted.text
        sure = re.findall(r"([\d.]+) % sure", shown.inner_text(".summary"))
        assert abs(float(sure[0]) - 100 * math.exp(wanted.log_prob)) < 0.6
        trace = model.trace("dead😀한", engine="off")
        compare(shown, trace)
        assert accessibility_findings(shown) == []
        shown.locator(".hypothesis >> nth=1").click()  # another hypothesis of the search
        other = shown.locator(".hypothesis >> nth=1 >> bdi").inner_text().removesuffix(" ‹end›")
        shown.evaluate("document.querySelector('[role=status]').textContent = ''")
        shown.get_by_text("go on from here").click()
        assert decoded(shown).startswith(other)
        type_into(shown, "The answer begins with", "SMILE")
        [[wanted]] = model.predict(["dead😀한"], prefixes=["SMILE"])
        assert decoded(shown) == wanted.text
        assert wanted.text.startswith("SMILE ")
        type_into(shown, "Source", "")
        shown.keyboard.press("Backspace")
        shown.locator("[role=status]", has_text="empty").wait_for()
        shown.get_by_text("Back to the recorded one").click()
        assert shown.inner_text(".answer .from") == "cab"
        shown.locator(".strip >> nth=0 >> .symbol >> nth=1").click()
        other = shown.locator(".choices li:has(button) bdi >> nth=0").inner_text()
        shown.evaluate("document.querySelector('[role=status]').textContent = ''")
        shown.locator(".choices button >> nth=0").click()
        first = model.predict(["cab"])[0][0].tokens[0]
        [[wanted]] = model.predict(["cab"], prefixes=[f"{first} {other}"])
        assert decoded(shown) == wanted.text


def compare(shown: Page, trace: Trace) -> None:
    """Compare what the page shows of what it decoded with a trace by the definition."""
    shares = shown.locator(".strip >> nth=1 >> .symbol").evaluate_all(
        "all => all.map(one => Number(one.style.getPropertyValue('--share')))"
    )
    np.testing.assert_allclose(shares, trace["attention"][0], atol=1e-4)
    alternatives = shown.locator(".choices li bdi").all_inner_texts()
    assert alternatives == [text.replace("</s>", "‹end›") for text, _ in trace.alternatives(0)]
    open_all(shown)
    assert trace.beam is not None
    assert shown.locator(f"summary:has-text('All {len(trace.beam)} hypotheses')").count() == 1
    rows = table_rows(shown, "Gates as a table")
    found = [[float(cell) for cell in row.split("\t")[1:4]] for row in rows]
    means = np.stack([trace[f"decoder.0.{gate}"].mean(1) for gate in "ifo"], 1)
    np.testing.assert_allclose(found, means, atol=0.00501)
    shares = [[float(cell.removesuffix(" %")) for cell in row.split("\t")[4:]] for row in rows]
    np.testing.assert_allclose(shares, 100 * np.stack([*peephole_shares(trace).values()], 1), atol=0.501)


def test_bent_attention_decodes_anew(browser: Browser, toy_file: Path, tmp_path: Path) -> None:
    model = peephole.load(toy_file)
    make_page(model, "cab").save(tmp_path / "page.html")
    with opened(browser, tmp_path / "page.html") as shown:
        shown.locator(READY).wait_for()
        open_all(shown)
        shown.locator(".sliders input >> nth=2").focus()
        shown.evaluate("document.querySelector('[role=status]').textContent = ''")
        shown.keyboard.press("End")
        weights = model.trace("cab", engine="off")["attention"][0].tolist()
        wanted = model.trace("cab", bend=(0, [*weights[:2], 1]), engine="off")
        assert decoded(shown) == wanted.text
        assert wanted.log_prob < model.trace("cab", engine="off").log_prob - 0.1
        assert f"{100 * math.exp(wanted.log_prob):.0f} % sure" in shown.inner_text(".summary")
        assert "attention bent" in shown.inner_text("[role=status]")
        compare(shown, wanted)


def test_each_of_two_models_decodes_for_itself(browser: Browser, toy_file: Path, tmp_path: Path) -> None:
    model, other = peephole.load(toy_file), random_model()
    make_page(model, "cab", other=other).save(tmp_path / "page.html")
    with opened(browser, tmp_path / "page.html") as shown:
        shown.locator(READY).wait_for()
        second = shown.locator(".column >> nth=1")
        second.get_by_label("Source", exact=True).fill("abc<")
        second.locator("[role=status]", has_text="Decoded").wait_for()
        assert second.locator(".answer .to").inner_text() == other.predict(["abc<"])[0][0].text
        assert shown.locator(".column >> nth=0 >> .answer .from").inner_text() == "cab"


def test_without_webassembly_or_without_the_model_the_recorded_one_is_shown(
    browser: Browser, toy_file: Path, tmp_path: Path
) -> None:
    made = make_page(peephole.load(toy_file), "cab")
    made.save(tmp_path / "page.html")
    made.save(tmp_path / "static.html", with_models=False)
    text = made.to_html().replace("<script>", "<script>delete globalThis.WebAssembly;</script><script>", 1)
    (tmp_path / "old.html").write_text(text, encoding="utf-8")
    for name, reason in (
        ("old", "This browser has no WebAssembly"),
        ("static", "This page was made without its model"),
    ):
        with opened(browser, tmp_path / f"{name}.html") as shown:
            shown.locator("html[data-live=no]").wait_for()
            assert shown.inner_text("[role=status]").startswith(reason)
            assert shown.locator(".editor").is_hidden()
            assert shown.inner_text(".answer .from") == "cab"
