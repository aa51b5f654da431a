"""Wrong versions of the pages' scripts, each with the test that must reject it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import test_page_alive as alive
import test_page_in_browser as recorded
import test_report_in_browser as reported

from browsing import Browser, opened
from models.make import MODEL
from peephole.inspect.report import RunReport


class Given(NamedTuple):
    """What a check uses: a browser, an empty folder, a report, and its page with the wrong script."""

    browser: Browser
    folder: Path
    report: RunReport
    report_page: Path


class Wrong(NamedTuple):
    """A text of a script, what stands there instead, and the check that must fail."""

    name: str
    file: str
    right: str
    wrong: str
    check: Callable[[Given], None]


def parts(given: Given) -> None:
    recorded.test_all_parts_of_a_prediction_are_shown(given.browser, MODEL, given.folder)


def keyboard(given: Given) -> None:
    recorded.test_keyboard_alone(given.browser, MODEL, given.folder)


def colours(given: Given) -> None:
    recorded.test_dark_colours_of_the_system_and_of_the_switch(given.browser, MODEL, given.folder)


def markup(given: Given) -> None:
    recorded.test_markup_is_shown_and_never_run(given.browser, given.folder)


def scripts(given: Given) -> None:
    recorded.test_korean_arabic_and_emoji(given.browser, given.folder)


def frames(given: Given) -> None:
    recorded.test_frames_are_a_picture_under_the_attention(given.browser, given.folder)


def editing(given: Given) -> None:
    alive.test_source_beginning_and_symbols_can_be_changed(given.browser, MODEL, given.folder)


def bending(given: Given) -> None:
    alive.test_bent_attention_decodes_anew(given.browser, MODEL, given.folder)


def sorting(given: Given) -> None:
    with opened(given.browser, given.report_page) as page:
        reported.test_the_keyboard_reaches_the_content_and_sorts(page)


def opening(given: Given) -> None:
    with opened(given.browser, given.report_page) as page:
        reported.test_an_error_opens_as_a_view_of_its_prediction(page, given.report)


WRONG = [
    Wrong("numbers are doubled", "data.js", "exponent - 15", "exponent - 14", parts),
    Wrong(
        "texts become markup",
        "dom.js",
        "element.append(child instanceof Node ? child : String(child))",
        'if (child instanceof Node) element.append(child); else element.insertAdjacentHTML("beforeend", String(child))',
        markup,
    ),
    Wrong("log p as a percentage", "words.js", "100 * Math.exp(logProb)", "100 * (1 + logProb)", parts),
    Wrong("texts turn sentences around", "words.js", "`\\u2068${text}\\u2069`", "text", scripts),
    Wrong("alternatives of the first symbol", "steps.js", "= trace.choices[step] ??", "= trace.choices[0] ??", parts),
    Wrong("the choice is kept to itself", "view.js", "watchers.forEach((watcher) => watcher(step))", "", parts),
    Wrong("links of the first symbol", "attention.js", "? t === step :", "? t === 0 :", parts),
    Wrong("links of few weights", "attention.js", "FAINT = 0.08", "FAINT = 0.3", parts),
    Wrong("colours of the first symbol", "attention.js", "? at(step, j) / most :", "? at(0, j) / most :", parts),
    Wrong("every error is one of search", "diagnosis.js", "KINDS[kind] +", 'KINDS["search error"] +', parts),
    Wrong("ranks from 0", "diagnosis.js", "is number ${parting.rank}", "is number ${parting.rank - 1}", parts),
    Wrong("every hypothesis went on", "beam.js", "— ${FATES[fate]}.", "— ${FATES.expanded}.", parts),
    Wrong("hypotheses backwards", "beam.js", "path.unshift(at)", "path.push(at)", parts),
    Wrong("the worst ending first", "beam.js", "rank(a) - rank(b)", "rank(b) - rank(a)", parts),
    Wrong("sums of gates", "gates.js", "return sum / row.length", "return sum", parts),
    Wrong("one layer", "gates.js", "layer = event.target.value;", "", parts),
    Wrong("peepholes against the rest", "gates.js", "through / (through + rest)", "through / rest", editing),
    Wrong(
        "a mirrored heat map", "heat.js", "y: top + side * row, width", "y: top + side * (rows - 1 - row), width", parts
    ),
    Wrong(
        "saliency of the other sign",
        "saliency.js",
        "row.shade((j) => numbers[j]",
        "row.shade((j) => -numbers[j]",
        parts,
    ),
    Wrong("Home is the second", "dom.js", "Home: 0", "Home: 1", keyboard),
    Wrong("arrows of another direction", "dom.js", '"rtl" ? "ArrowLeft"', '"rtl" ? "ArrowRight"', scripts),
    Wrong("Arabic from left to right", "strip.js", 'return "rtl"', 'return "ltr"', scripts),
    Wrong("dark is light", "theme.js", '= isDark() ? "light" : "dark"', '= isDark() ? "dark" : "light"', colours),
    Wrong(
        "frames are rows",
        "frames.js",
        "Math.floor(i / levels.columns) + rows * plane, i % levels.columns",
        "(i % rows) + rows * plane, Math.floor(i / rows)",
        frames,
    ),
    Wrong("the beginning is left out", "live.js", "prefix: [prefix]", 'prefix: [""]', editing),
    Wrong("the first symbol's probability", "live.js", "sum + logProb, 0)", "sum || logProb, 0)", editing),
    Wrong(
        "weights are tenths",
        "bend.js",
        "Number(event.target.value) / 100",
        "Number(event.target.value) / 1000",
        bending,
    ),
    Wrong("sorted the other way", "sort.js", "ascending ? 1 : -1", "ascending ? -1 : 1", sorting),
    Wrong("the next prediction", "report.js", "(views)[index]", "(views)[index + 1]", opening),
    Wrong("a closed view stays", "report.js", "() => dialog.remove()", "() => {}", opening),
]
