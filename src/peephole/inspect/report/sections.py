"""Write the page of a report."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from peephole.config import Config
from peephole.inspect.report.charts import Line, bar_chart, line_chart
from peephole.inspect.report.elements import Children, element
from peephole.inspect.report.errors import calibration_part, error_part, exposure_part
from peephole.inspect.report.frame import Page, details, facts, paragraph, table, text
from peephole.inspect.report.measured import Measured
from peephole.inspect.report.recorded import Views
from peephole.inspect.report.run_facts import RunFacts
from peephole.inspect.report.run_report import RunReport
from peephole.model.info import info
from peephole.symbols import FRAME_KINDS
from peephole.values import default_text

MOST_POINTS = 300  # of a curve
MOST_ROWS = 40  # of the table behind it
BARS = 12
ARROWS = {"higher": "higher is better", "lower": "lower is better"}


def report_page(report: RunReport, views: Sequence[Views]) -> str:
    """Return the HTML of a report.

    Args:
        report: what was found.
        views: for each of its sets, what `record_worst` recorded.
    """
    facts_of, name = report.facts, Path(report.run).name
    page = Page(f"Training report: {name}", _summary(report))
    if report.missing:
        page.add("Not in this report", element("ul", (element("li", text(line)) for line in report.missing)))
    if report.sets:
        page.add("Quality", *(_metrics(measured) for measured in report.sets))
    if facts_of.updates or facts_of.evaluations:
        page.add("Training", *_curves(page, facts_of))
    model = None if facts_of.config.frames.kind in FRAME_KINDS else facts_of.run.out
    for measured, recorded in zip(report.sets, views, strict=True):
        page.add(f"Errors on {measured.name}", *error_part(page, measured, recorded, model))
    if report.sets:
        page.add("Calibration", *(part for measured in report.sets for part in calibration_part(page, measured)))
        page.add("Exposure gap", *(part for measured in report.sets for part in exposure_part(page, measured)))
    page.add("Data", *_data(page, facts_of))
    page.add("Model and settings", *_settings(facts_of))
    page.add("Speed", *_speed(page, report))
    return page.html()


def _summary(report: RunReport) -> str:
    facts_of = report.facts
    if not facts_of.updates:
        return "no update is logged yet"
    last = facts_of.updates[-1]
    state = "finished" if facts_of.is_finished else f"not finished: {100 * last['progress']:.0f} % done"
    return f"{state}; {last['step']:,} updates in {duration(last['seconds'])}"


def _metrics(measured: Measured) -> list[Children]:
    scores = measured.evaluation.scores.values()
    rows = [
        [
            score.label,
            f"{score.value:.2f}{' %' if score.unit == '%' else ''}",
            f"{score.low:.2f} to {score.high:.2f}",
            f"{score.definition}; {ARROWS[score.better]}",
        ]
        for score in scores
    ]
    count = measured.evaluation.num_sources
    some = f" of {measured.num_all:,}, evenly spread" if count < measured.num_all else ""
    caption = f"{measured.name}: {count:,} sources{some}, {measured.evaluation.num_references:,} references"
    note = f"Intervals: 95 %, {measured.evaluation.resamples:,} bootstrap resamples of the sources."
    return [table(caption, ("metric", "value", "95 % interval", "definition"), rows, numbers=(1, 2)), paragraph(note)]


def _curves(page: Page, run: RunFacts) -> list[Children]:
    """Return the curves over updates, and the same over minutes."""

    def pictures(over: str) -> Element:
        return element("div", (part for part in _all_curves(page, run, over)), class_="figures")

    return [pictures("updates"), details("The same over minutes", pictures("minutes"))]


def _all_curves(page: Page, run: RunFacts, over: str) -> Sequence[Element]:
    def x(steps: Sequence[float]) -> list[float]:
        return list(steps) if over == "updates" else [run.seconds_at(step) / 60 for step in steps]

    updates, dev = thin(run.updates), run.evaluations
    steps, dev_steps = x([entry["step"] for entry in updates]), x([entry["step"] for entry in dev])
    metrics: dict[str, list[float]] = {}
    for entry in dev:
        for name, value in entry["dev"].items():
            metrics.setdefault(name, []).append(float(value))
    whole = {name: values for name, values in metrics.items() if len(values) == len(dev)}
    losses = [Line("training loss", steps, [entry["loss"] for entry in updates])] if updates else []
    losses += [Line(f"dev {name}".replace("_", " "), dev_steps, whole.pop(name)) for name in ("loss",) if name in whole]
    unit = "loss a number" if run.config.model.predicts_vectors else "nats a symbol"
    charts = [("Loss", losses, unit)] if losses else []
    for name, values in whole.items():
        label = name.replace("_", " ")
        unit = "points" if name == "chrf" else "" if name in ("perplexity", "ctc_loss") else "%"
        charts.append((f"Dev {label}", [Line(label, dev_steps, values)], f"{label} {unit}".strip()))
    for name in ("learning_rate", "gradient_norm") if updates else ():
        label = name.replace("_", " ")
        charts.append((label.capitalize(), [Line(label, steps, [entry[name] for entry in updates])], label))
    return [_curve(page, caption, lines, over, unit) for caption, lines, unit in charts]


def _curve(page: Page, caption: str, lines: Sequence[Line], over: str, unit: str) -> Element:
    rows = [
        [f"{x:,.4g}" if over == "minutes" else f"{x:,.0f}", line.name, f"{y:.5g}"]
        for line in lines
        for x, y in thin(list(zip(line.xs, line.ys, strict=True)), MOST_ROWS)
    ]
    behind = table(f"{caption} over {over}", (over, "curve", "value"), rows, numbers=(0, 2))
    return page.figure(f"{caption} over {over}", line_chart(lines, over, unit), behind)


def thin(entries: Sequence[Any], most: int = MOST_POINTS) -> list[Any]:
    """Return some of the entries, evenly spread, the first and the last among them.

    >>> thin(range(10), 4)
    [0, 3, 6, 9]
    """
    if len(entries) <= most:
        return list(entries)
    return [entries[row] for row in np.linspace(0, len(entries) - 1, most).round().astype(int).tolist()]


def _data(page: Page, run: RunFacts) -> list[Children]:
    prepared = run.prepared
    if prepared is None:
        return [paragraph("The prepared data are not in the run's folder.")]
    located = prepared.train.locate(np.arange(len(prepared.train)))
    pictures, unit = [], "steps" if run.config.model.predicts_vectors else "symbols or frames"
    for side, spans in (("source", located.source), ("target", located.target)):
        lengths = spans.lengths
        edges = np.unique(np.linspace(lengths.min(), lengths.max() + 1, BARS + 1).round().astype(int))
        counts = np.histogram(lengths, edges)[0].tolist()
        names = [f"{low}-{high - 1}" if high > low + 1 else str(low) for low, high in pairwise(edges.tolist())]
        rows = [[name, f"{count:,}"] for name, count in zip(names, counts, strict=True)]
        caption = f"Lengths of the training {side}s"
        behind = table(caption, (unit, "pairs"), rows, numbers=(0, 1))
        pictures.append(page.figure(caption, bar_chart(names, counts, unit, "pairs"), behind))
    files: list[tuple[str, Children]] = []
    for side, found in prepared.files.items():
        shown = [element("div", text(entry["name"]), f" (sha256 {entry['sha256'][:12]}…)") for entry in found]
        files.append((side, shown or "held out"))
    lines = element("ul", (element("li", text(line)) for line in prepared.report))
    return [facts(files), lines, element("div", pictures, class_="figures")]


def _settings(run: RunFacts) -> list[Children]:
    rows: list[list[Children]] = []
    defaults = Config().to_dict()
    for section, values in run.config.to_dict().items():
        for key, value in values.items():
            is_default = value == defaults[section][key]
            rows.append([f"{section}.{key}", text(default_text(value)), "" if is_default else "changed"])
    changed = [row[:2] for row in rows if row[2]]
    parts: list[Children] = []
    if run.model is not None and len(run.model.members) == 1:
        about = info(run.model)
        weights = ", ".join(f"{part} {count:,}" for part, count in about.weights.items())
        shown: list[tuple[str, Children]] = [
            ("file", text(str(run.run.out))),
            ("weights", f"{about.num_weights:,} ({weights})"),
            ("source symbols", text(str(about.source_symbols))),
            ("target symbols", text(str(about.target_symbols))),
        ]
        parts.append(facts(shown))
    parts.append(table("settings that differ from their defaults", ("setting", "value"), changed))
    return [*parts, details("All settings", table("all settings", ("setting", "value", "beside its default"), rows))]


def _speed(page: Page, report: RunReport) -> list[Children]:
    run, shown = report.facts, list[tuple[str, Children]]()
    for measured in report.sets:
        count = measured.evaluation.num_sources
        rate = count / max(measured.seconds, 1e-9)
        shown.append(
            (f"prediction, {measured.name}", f"{rate:,.0f} sources a second, {count:,} sources on this machine")
        )
    parts: list[Children] = [facts(shown)] if shown else []
    if run.updates:
        updates = thin(run.updates)
        line = Line("speed", [e["step"] for e in updates], [e["symbols_per_second"] for e in updates])
        rows = [[f"{x:,.0f}", f"{y:,.0f}"] for x, y in thin(list(zip(line.xs, line.ys, strict=True)), MOST_ROWS)]
        what = "steps" if run.config.model.predicts_vectors else "symbols"
        caption = f"Target {what} trained a second, over updates"
        behind = table(caption, ("updates", f"{what} a second"), rows, numbers=(0, 1))
        chart = line_chart([line], "updates", f"{what} a second", from_zero=True)
        parts.append(element("div", page.figure(caption, chart, behind), class_="figures"))
    return parts or [paragraph("Nothing was timed yet.")]


def duration(seconds: float) -> str:
    """Return a duration as a clock shows it.

    >>> duration(75), duration(3725)
    ('1:15 minutes', '1:02:05 hours')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} hours" if hours else f"{minutes}:{rest:02} minutes"
