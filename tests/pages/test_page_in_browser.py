"""Tests of pages in a real browser: pictures, keyboard, colours, scripts of the world, hostile texts, long sources."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from random_models import WORDS, random_model

import peephole
from browsing import Browser, Page, accessibility_findings, open_all, opened, table_rows
from peephole.inspect import make_page, saliency
from peephole.model import Notices
from peephole.symbols import FrameSymbols, WhitespaceSymbols


def test_all_parts_of_a_prediction_are_shown(browser: Browser, toy_file: Path, tmp_path: Path) -> None:
    model = peephole.load(toy_file)
    trace = model.trace("cab")
    make_page(model, "cab", reference="K B").save(tmp_path / "page.html", with_models=False)
    with opened(browser, tmp_path / "page.html") as shown:
        assert shown.inner_text("h2") == f"cab → {trace.text}"
        summary = shown.inner_text(".summary")
        assert f"{round(100 * np.exp(trace.log_prob))} % sure of this answer" in summary
        wrong = model.diagnose("cab", "K B")
        assert "Expected was “K B”, which the model gives less than 0.1 %." in summary
        assert (wrong.kind, wrong.parting is not None) == ("model error", True)
        assert "The model itself prefers its own, wrong answer: a model error." in summary
        assert f"is number {wrong.parting.rank} of the model's list" in summary  # type: ignore[union-attr]
        open_all(shown)
        # links of the chosen symbol are as many as its weights above the least that is drawn
        assert shown.locator(".link.strong").count() == (trace["attention"][0] >= 0.08).sum()
        shown.hover(".strip >> nth=0 >> .symbol >> nth=1")
        assert shown.locator(".link.strong").count() == (trace["attention"][1] >= 0.08).sum()
        shares = [
            float(one.evaluate("e => e.style.getPropertyValue('--share')"))
            for one in shown.locator(".strip >> nth=1 >> .symbol").all()
        ]
        np.testing.assert_allclose(shares, trace["attention"][1], atol=1e-3)
        alternatives = shown.locator(".choices li bdi").all_inner_texts()
        assert alternatives == [text.replace("</s>", "‹end›") for text, _ in trace.alternatives(1)]
        cells = shown.locator(".panel >> nth=0 >> .picture .hot").evaluate_all(
            "all => all.map(one => ['y', 'x', 'fill-opacity'].map(name => Number(one.getAttribute(name))))"
        )
        wanted = trace["attention"][trace["attention"] >= 0.01]  # a smaller one is not drawn
        np.testing.assert_allclose([opacity for *_, opacity in sorted(cells)], wanted, atol=0.0051)
        found = saliency(model, "cab", trace.tokens[:-1])[1]
        marks = shown.locator("[aria-label='Part of each source symbol'] .symbol").evaluate_all(
            "all => all.map(one => [one.classList.contains('minus'), one.style.getPropertyValue('--share')])"
        )
        assert [minus for minus, _ in marks] == (found < 0).tolist()
        np.testing.assert_allclose([float(share) for _, share in marks], np.abs(found) / np.abs(found).max(), atol=2e-3)
        assert shown.inner_text(".hypothesis >> nth=0 >> bdi") == " ".join([*trace.tokens[:-1], "‹end›"])
        shown.click(".hypothesis >> nth=1")
        assert shown.locator(".hypothesis >> nth=1 >> .note").inner_text() in shown.inner_text(".why")
        assert trace.beam is not None
        assert len(table_rows(shown, "hypotheses as a table")) == len(trace.beam)
        shown.select_option("select >> nth=0", "encoder.0.1")
        gates = table_rows(shown, "Gates as a table")
        means = trace["encoder.0.1.i"].mean(1)
        assert [row.split("\t")[:2] for row in gates] == [
            [letter, f"{mean:.2f}"] for letter, mean in zip("cab", means, strict=True)
        ]
        assert accessibility_findings(shown) == []


def test_keyboard_alone(browser: Browser, toy_file: Path, tmp_path: Path) -> None:
    make_page(peephole.load(toy_file), "cab").save(tmp_path / "page.html", with_models=False)
    with opened(browser, tmp_path / "page.html") as shown:
        shown.keyboard.press("Tab")
        assert shown.evaluate("document.activeElement.id") == "theme"
        shown.keyboard.press("Tab")
        assert shown.evaluate("document.activeElement.closest('.strip').ariaLabel") == "Output, symbol by symbol"
        shown.keyboard.press("ArrowRight")
        shown.keyboard.press("ArrowRight")
        pressed = shown.locator(".strip >> nth=0 >> .symbol[aria-pressed='true']")
        assert pressed.get_attribute("aria-label").startswith("third symbol")  # type: ignore[union-attr]
        assert "third symbol" in shown.inner_text("h4 >> nth=0")
        shown.keyboard.press("Home")
        assert pressed.get_attribute("aria-label").startswith("first symbol")  # type: ignore[union-attr]
        reached = set()
        for _ in range(40):
            shown.keyboard.press("Tab")
            if shown.evaluate("document.activeElement.tagName") == "SUMMARY":
                reached.add(shown.evaluate("document.activeElement.innerText"))
                shown.keyboard.press("Enter")
        assert reached >= {
            "What else the search tried",
            "Inside: gates and memory",
            "Which parts of the source mattered",
        }
        assert shown.locator(".curve").count() > 0  # the last part was opened and drawn


def test_dark_colours_of_the_system_and_of_the_switch(browser: Browser, toy_file: Path, tmp_path: Path) -> None:
    make_page(peephole.load(toy_file), "cab").save(tmp_path / "page.html")
    ground = "getComputedStyle(document.body).backgroundColor"
    with opened(browser, tmp_path / "page.html", color_scheme="dark") as shown:
        open_all(shown)
        dark = shown.evaluate(ground)
        assert accessibility_findings(shown) == []
        shown.click("#theme")
        light = shown.evaluate(ground)
    brightness = [sum(map(int, re.findall(r"\d+", colour))) for colour in (dark, light)]
    assert brightness[0] < 200 < 700 < brightness[1]


def test_markup_is_shown_and_never_run(browser: Browser, tmp_path: Path) -> None:
    model = random_model()
    source = '<img src=x onerror="alert(1)">'
    given = " ".join(WORDS[:4])
    make_page(model, source, reference=given, compare="</script><b>").save(tmp_path / "page.html")
    with opened(browser, tmp_path / "page.html") as shown:
        open_all(shown)
        assert shown.locator("h2 .from").all_inner_texts() == [source, "</script><b>"]
        assert shown.evaluate("window.hacked") is None
        assert shown.locator("main img, main script, main b").count() == 0
        assert given in shown.inner_text("body")


def test_korean_arabic_and_emoji(browser: Browser, tmp_path: Path) -> None:
    model = random_model()
    make_page(model, "مرحبا", compare="한글😀", why_not="안녕 مرحبا 👩‍👩‍👧").save(tmp_path / "page.html")
    with opened(browser, tmp_path / "page.html") as shown:
        open_all(shown)
        arabic, korean = (shown.locator(f".column >> nth={column} >> .strip >> nth=1") for column in (0, 1))
        assert arabic.get_attribute("dir") == "rtl"
        places = [one.bounding_box()["x"] for one in arabic.locator(".symbol").all()]  # type: ignore[index]
        assert places == sorted(places, reverse=True)
        assert korean.locator(".symbol").all_inner_texts() == ["한", "글", "😀"]
        arabic.locator(".symbol >> nth=0").focus()
        shown.keyboard.press("ArrowLeft")
        assert shown.evaluate("document.activeElement.innerText") == "ر"
        assert "👩‍👩‍👧" in shown.inner_text(".column >> nth=0")
        whole = shown.locator(".column >> nth=0").text_content()
        assert "“\u2068안녕 مرحبا 👩‍👩‍👧\u2069”" in whole, "wanted a sentence whose direction the text does not change"
        assert accessibility_findings(shown) == []


def test_a_symbol_cannot_change_the_direction_of_a_sentence(browser: Browser, tmp_path: Path) -> None:
    model = random_model(source=WhitespaceSymbols(["a"], "none"))
    make_page(model, "a b\u202ec", notices=Notices()).save(tmp_path / "page.html")
    with opened(browser, tmp_path / "page.html") as shown:
        assert "read as unknown: “b‹U+202E›c”." in shown.inner_text(".summary")
        assert shown.locator(".strip >> nth=1 >> .symbol").all_inner_texts() == ["a", "b‹U+202E›c"]


def test_frames_are_a_picture_under_the_attention(browser: Browser, tmp_path: Path) -> None:
    frames = np.zeros((12, 5), np.float32)
    frames[6:, :2] = 1
    model = random_model(source=FrameSymbols("numbers", size=5))
    make_page(model, frames, why_not="ok").save(tmp_path / "page.html")
    with opened(browser, tmp_path / "page.html") as shown:
        found = pixels(shown)
        assert found.shape == (5, 12, 3)
        assert (found[:2, 6:] == 255).all()
        assert (found[2:] == 0).all()
        assert (found[:, :6] == 0).all()
        assert shown.locator(".wave").count() == 1
        open_all(shown)
        deciding = shown.locator("svg[aria-label='Part of each source frame in the decision']")
        assert deciding.locator(".hot, .cold").count() > 0
        assert re.search(r"frame \d+ mattered most", shown.inner_text("main"))
        assert accessibility_findings(shown) == []


@pytest.mark.parametrize("colours", [False, True])
def test_an_image_is_shown_as_it_is(browser: Browser, tmp_path: Path, colours: bool) -> None:
    points = np.full((4, 12, 3), 255, np.uint8)  # height, width, colours
    points[1:3, 2:5] = (200, 100, 0) if colours else (80, 80, 80)
    Image.fromarray(points).save(tmp_path / "image.png")
    model = random_model(source=FrameSymbols("image", height=4, colours=colours))
    make_page(model, tmp_path / "image.png").save(tmp_path / "page.html")
    with opened(browser, tmp_path / "page.html") as shown:
        assert np.abs(pixels(shown) - points).max() <= 1
        box = shown.locator("canvas").bounding_box()
        assert box is not None
        assert box["width"] / box["height"] == pytest.approx(12 / 4, rel=0.01)


def test_colours_of_attention_that_is_spread_are_relative_to_its_largest_weight(
    browser: Browser, tmp_path: Path
) -> None:
    model = random_model(source=FrameSymbols("numbers", size=5))
    frames = np.random.default_rng(1).normal(size=(40, 5)).astype(np.float32)
    weights = model.trace(frames)["attention"]
    assert 0.01 < weights.max() < 0.08, "wanted attention without a strong weight"
    make_page(model, frames).save(tmp_path / "page.html")
    with opened(browser, tmp_path / "page.html") as shown:
        heat = shown.locator("svg[aria-label^='Attention: a row']")
        squares = heat.locator("rect.hot").evaluate_all(
            "all => all.map((one) => Number(one.getAttribute('fill-opacity')))"
        )
        np.testing.assert_allclose(squares, (weights / weights.max()).ravel(), atol=0.02)
        assert f"the strongest colour is a weight of {weights.max():.2f}" in shown.inner_text("main")
        assert shown.locator(".link").count() == len(weights), "wanted the strongest link of each symbol"
        names = heat.locator("text.name").all_text_contents()
        assert names[-8:] == [str(place) for place in range(5, 41, 5)], "wanted whole numbers of places"


def pixels(shown: Page) -> NDArray[np.int64]:
    """Return the points of the picture of a source, (height, width, 3)."""
    width, height = shown.evaluate("[document.querySelector('canvas').width, document.querySelector('canvas').height]")
    area = f"getImageData(0, 0, {width}, {height})"
    found = shown.evaluate(f"[...document.querySelector('canvas').getContext('2d').{area}.data]")
    return np.array(found).reshape(height, width, 4)[:, :, :3]


@pytest.mark.parametrize("width", [320, 500, 900])
def test_the_page_fits_a_narrow_window(browser: Browser, toy_file: Path, tmp_path: Path, width: int) -> None:
    make_page(peephole.load(toy_file), "ab", compare="abc").save(tmp_path / "page.html")
    with opened(browser, tmp_path / "page.html", viewport={"width": width, "height": 700}) as shown:
        open_all(shown)
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        choices = shown.locator(".choices").first
        assert choices.evaluate("one => one.scrollWidth <= one.clientWidth")


def test_printed_pages_are_light(browser: Browser, toy_file: Path, tmp_path: Path) -> None:
    make_page(peephole.load(toy_file), "ab").save(tmp_path / "page.html")
    with opened(browser, tmp_path / "page.html") as shown:
        colours = "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        light = shown.evaluate(colours)
        shown.click("#theme")
        assert shown.evaluate(colours) != light
        shown.emulate_media(media="print")
        assert shown.evaluate(colours) == light


def test_a_line_of_ten_thousand_symbols_stays_usable(browser: Browser, tmp_path: Path) -> None:
    model = random_model(hidden_size=4)
    model.config = model.config.with_values({"data.max_length": 10_000})
    made = make_page(model, "abc<>한😀م&x" * 1000, max_length_extra=40, beam_size=2)
    made.save(tmp_path / "page.html")
    with opened(browser, tmp_path / "page.html") as shown:
        started = time.monotonic()
        open_all(shown)
        shown.locator(".strip >> nth=0 >> .symbol >> nth=3").click()
        assert shown.locator(".strip >> nth=1 >> .symbol").count() == 60
        assert shown.evaluate("document.querySelectorAll('*').length") < 30_000
        shown.locator("input[type=range] >> nth=-1").press("End")
        assert time.monotonic() - started < 20  # a page that draws all squares takes minutes


def test_a_model_without_attention(browser: Browser, tmp_path: Path) -> None:
    make_page(random_model(context="last"), "abc").save(tmp_path / "page.html")
    with opened(browser, tmp_path / "page.html") as shown:
        open_all(shown)
        assert "This model has no attention" in shown.inner_text(".summary")
        assert shown.locator(".link").count() == 0
