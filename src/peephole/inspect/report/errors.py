"""The parts of a report about errors: confusions, lengths, worst predictions, calibration, exposure gap."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element

from peephole.evaluation import Mistake, Reliability
from peephole.inspect.report.charts import Line, bar_chart, line_chart, matrix, reliability_diagram
from peephole.inspect.report.elements import Children, element
from peephole.inspect.report.frame import Page, aligned, details, facts, paragraph, table, text
from peephole.inspect.report.measured import MODEL_ERROR, SEARCH_ERROR, ErrorCase, Measured
from peephole.inspect.report.recorded import Views

MOST_CONFUSIONS = 20
MOST_IN_MATRIX = 15
MOST_POSITIONS = 60
MOST_SHOWN = 200  # characters of a source

EXPLANATION = {
    SEARCH_ERROR: "a reference is more probable than the prediction: a wider beam might find it",
    MODEL_ERROR: "the prediction is more probable than the references: no search would prefer these",
}


def error_part(page: Page, measured: Measured, views: Views, model: str | None) -> list[Children]:
    """Return the kinds of errors, the confusions, the quality by length and the worst predictions.

    Args:
        page: numbers the pictures, and stores the views.
        measured: the set of pairs.
        views: recorded predictions, one for each of the worst.
        model: the model's file, for the commands that look into a prediction; None for sources that are no texts.
    """
    if not measured.confusions.errors:
        return [paragraph("Every prediction is one of its references.")]
    return [
        _kinds(measured),
        _confusions(page, measured),
        _lengths(page, measured),
        element("h3", "Worst predictions, and the references closest to them"),
        [_case(page, case, view, model) for case, view in zip(measured.worst, views, strict=True)],
    ]


def _kinds(measured: Measured) -> Element:
    total = sum(measured.errors.values())
    rows = [
        [kind, f"{count:,}", f"{100 * count / max(1, total):.1f} %", EXPLANATION[kind]]
        for kind, count in measured.errors.items()
    ]
    caption = f"search errors and model errors of {total:,} wrong predictions"
    return table(caption, ("kind", "predictions", "share", "meaning"), rows, numbers=(1, 2))


def _confusions(page: Page, measured: Measured) -> list[Children]:
    found = measured.confusions
    rows: list[list[Children]] = [
        [
            _symbol(error.reference),
            _symbol(error.predicted),
            f"{error.count:,}",
            f"{100 * error.count / found.num_edits:.1f} %",
        ]
        for error in found.errors[:MOST_CONFUSIONS]
    ]
    caption = f"the most frequent of {found.num_edits:,} edits in {found.num_symbols:,} symbols; · is no symbol"
    headings = ("reference", "predicted", "times", "share")
    symbols = found.frequent(MOST_IN_MATRIX)
    shares = found.shares(symbols)
    behind = table(
        "Share of each reference symbol, by the symbol predicted, %",
        ("reference", *map(_name, symbols)),
        [[_symbol(one), *(f"{100 * value:.1f}" for value in row)] for one, row in zip(symbols, shares, strict=True)],
        numbers=range(1, len(symbols) + 1),
    )
    wrong = [[0.0 if i == j else value for j, value in enumerate(row)] for i, row in enumerate(shares)]
    strongest = max((value for row in wrong for value in row), default=0.0)
    note = (
        "Rows are symbols of the references, columns predicted symbols; right predictions are left out. The strongest "
        f"square is {100 * strongest:.1f} % of the occurrences of its row's symbol."
    )
    drawn = matrix(symbols, symbols, wrong, strongest)
    picture = page.figure(f"Symbols that are most often part of an error, {measured.name}", drawn, behind, note)
    return [table(caption, headings, rows, numbers=(2, 3), sortable=True), picture]


def _lengths(page: Page, measured: Measured) -> Element:
    groups, unit = measured.lengths, f"source {measured.unit}"
    names = [str(g.shortest) if g.shortest == g.longest else f"{g.shortest}-{g.longest}" for g in groups]
    ends = [(g.low, g.high) for g in groups]
    chart = bar_chart(names, [g.exact_match for g in groups], unit, "exact match %", ends)
    rows = [
        [name, f"{g.count:,}", f"{g.exact_match:.2f}", f"{g.low:.2f} to {g.high:.2f}"]
        for name, g in zip(names, groups, strict=True)
    ]
    headings = (unit, "sources", "exact match %", "95 % interval")
    behind = table("Exact match by length of the source", headings, rows, numbers=(0, 1, 2, 3))
    picture = page.figure(f"Exact match by length of the source, {measured.name}", chart, behind)
    return element("div", picture, class_="figures")


def inspect_command(model: str, mistake: Mistake) -> str:
    """Return the command that makes the page of one prediction."""
    reference, source = shlex.quote(f"--reference={mistake.reference}"), shlex.quote(mistake.source)
    return f"peephole inspect {reference} -o page.html -- {shlex.quote(model)} {source}"


def _case(page: Page, case: ErrorCase, view: Mapping[str, Any] | None, model: str | None) -> Element:
    """Return one wrong prediction, with the button that looks into it, and the command for a page that decodes anew."""
    mistake = case.mistake
    source = mistake.source if len(mistake.source) <= MOST_SHOWN else mistake.source[: MOST_SHOWN - 1] + "…"
    about = f"{mistake.edits} edit{'s' * (mistake.edits > 1)}"
    if case.scores is not None:
        prediction, reference = map(_probability, case.scores)
        about += f"; p = {prediction}, of the reference {reference}: {case.scores.kind}"
    inside = None if view is None else page.view_button(view)
    command = None if model is None else element("code", inspect_command(model, mistake))
    more = None if command is None else details("Command for a page of its own, which decodes what you edit", command)
    parts = element("h4", text(source)), paragraph(about, class_="note"), aligned(mistake.columns), inside, more
    return element("article", *parts, class_="case panel")


def calibration_part(page: Page, measured: Measured) -> list[Children]:
    """Return the reliability diagrams of symbols and of predictions, and their calibration errors."""
    found = {"symbols": measured.symbols, "predictions": measured.predictions}
    rows = [
        [
            what,
            f"{side.count:,}",
            f"{side.confidence:.2f} %",
            f"{side.accuracy:.2f} %",
            f"{side.ece.value:.2f} [{side.ece.low:.2f}, {side.ece.high:.2f}]",
            f"{side.adaptive_ece.value:.2f} [{side.adaptive_ece.low:.2f}, {side.adaptive_ece.high:.2f}]",
        ]
        for what, side in found.items()
    ]
    headings = ("of", "events", "mean confidence", "right", "ECE, 15 equal bins, %", "ECE, 15 adaptive bins, %")
    caption = f"{measured.name}: expected calibration error with 95 % intervals"
    pictures = [_diagram(page, f"Reliability of {what}, {measured.name}", side) for what, side in found.items()]
    note = (
        "A symbol is right if the alignment with the closest reference keeps it, a prediction if it is one of the "
        "references. Bars above their mark: more often right than the model says. `peephole evaluate MODEL DEV "
        "--calibrate OUT` fits a temperature."
    )
    return [
        table(caption, headings, rows, numbers=(1, 2, 3, 4, 5)),
        paragraph(note),
        element("div", pictures, class_="figures"),
    ]


def _diagram(page: Page, caption: str, side: Reliability) -> Element:
    bins = [found for found in side.bins if found.count]
    chart = reliability_diagram(
        [(found.low, found.high) for found in bins],
        [found.confidence / 100 for found in bins],
        [found.accuracy / 100 for found in bins],
    )
    rows = [
        [f"{found.low:.3f} to {found.high:.3f}", f"{found.count:,}", f"{found.confidence:.2f}", f"{found.accuracy:.2f}"]
        for found in bins
    ]
    headings = ("confidence from, to", "events", "mean confidence %", "right %")
    note = "Bars: share that is right; dots, on the diagonal: mean confidence of the bin."
    return page.figure(caption, chart, table(caption, headings, rows, numbers=(1, 2, 3)), note)


def exposure_part(page: Page, measured: Measured) -> list[Children]:
    """Return the accuracies when the model is fed gold symbols and its own, by position."""
    gap = measured.exposure_gap
    shown = [
        ("fed gold symbols, (13)", f"{100 - gap.teacher_forced:.2f} % symbol error rate"),
        ("fed its own symbols, (14)", f"{100 - gap.free_running:.2f} % symbol error rate, greedy search"),
        ("exposure gap", f"{gap.gap:.2f} [{gap.low:.2f}, {gap.high:.2f}]"),
    ]
    places = gap.positions[:MOST_POSITIONS]
    if not places:
        return [facts(shown)]
    positions = [float(place.position) for place in places]
    lines = [
        Line("fed gold symbols", positions, [place.teacher_forced for place in places]),
        Line("fed its own symbols", positions, [place.free_running for place in places]),
    ]
    rows = [
        [str(p.position), f"{p.teacher_forced:.2f}", f"{p.free_running:.2f}", f"{p.num_free_running:,}"] for p in places
    ]
    caption = f"Symbol accuracy by position, {measured.name}"
    headings = ("position", "fed gold symbols %", "fed its own symbols %", "references")
    chart = line_chart(lines, "position in the target", "symbol accuracy %")
    return [
        facts(shown),
        element(
            "div", page.figure(caption, chart, table(caption, headings, rows, numbers=(0, 1, 2, 3))), class_="figures"
        ),
    ]


def _symbol(symbol: str | None) -> Element:
    return text(_name(symbol))


def _name(symbol: str | None) -> str:
    return "·" if symbol is None else symbol.replace(" ", "␣")


def _probability(log_prob: float) -> str:
    """Return a probability with two digits.

    >>> _probability(math.log(0.25)), _probability(-20)
    ('0.25', '2.1e-09')
    """
    return f"{math.exp(log_prob):.2g}"
