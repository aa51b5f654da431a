"""Draw charts as SVG: lines, bars with intervals, matrices and reliability diagrams."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from peephole.inspect.report.elements import Children, element

WIDTH, HEIGHT = 520, 260
LEFT, RIGHT, TOP, BOTTOM = 70, 24, 14, 42
STYLES = "abcdef"
"""Classes of the lines, which differ in colour and in dashes."""
CELL = 26  # side of a matrix's cell
LONGEST_LABEL = 12  # characters of a symbol
MOST_UPRIGHT = 3  # characters of the names of columns that are not turned
LONGEST_NAME = 40  # characters of the name of an axis or a line
Ends = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A curve: its name and its points."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]


class Scale:
    """Maps numbers to positions between two ends.

    Args:
        low, high: the numbers at the ends.
        start, end: their positions.
    """

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high = low, high if high > low else low + 1
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        """Return the position of a number."""
        share = (value - self.low) / (self.high - self.low)
        return round(self._start + share * (self._end - self._start), 2)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers between two ends, at most `most`.

    >>> ticks(0, 100), ticks(0.13, 0.52)
    ([0.0, 20.0, 40.0, 60.0, 80.0, 100.0], [0.2, 0.3, 0.4, 0.5])
    """
    if not high > low:
        return [low]
    size = 10 ** math.floor(math.log10((high - low) / most))
    step = next(size * factor for factor in (1, 2, 5, 10, 20) if (high - low) / (size * factor) <= most - 1 + 1e-9)
    first = math.ceil(low / step - 1e-9)
    return [float(f"{step * i:.10g}") for i in range(first, math.floor(high / step + 1e-9) + 1)]


def line_chart(lines: Sequence[Line], x_name: str, y_name: str, *, from_zero: bool = False) -> Element:
    """Return curves over one axis; points that are no numbers are left out.

    Args:
        lines: at most six.
        x_name: of the axis.
        y_name: likewise.
        from_zero: whether the vertical axis begins at 0.
    """
    points = [
        [(x, y) for x, y in zip(line.xs, line.ys, strict=True) if math.isfinite(x) and math.isfinite(y)]
        for line in lines
    ]
    xs, ys = [x for line in points for x, _ in line], [y for line in points for _, y in line]
    low = 0 if from_zero else min(ys, default=0)
    ends = (0, max(xs, default=1)), (low, max(ys, default=1))
    x_scale, y_scale, frame = _axes(*ends, x_name, y_name)
    drawn = [
        element("polyline", points=" ".join(f"{x_scale(x)},{y_scale(y)}" for x, y in line), class_=f"line {STYLES[i]}")
        if len(line) > 1
        else [element("circle", cx=x_scale(x), cy=y_scale(y), r=3, class_=STYLES[i]) for x, y in line]
        for i, line in enumerate(points)
    ]
    return _svg(WIDTH, HEIGHT + (0 if len(lines) < 2 else 20), frame, drawn, _legend(lines))


def bar_chart(
    names: Sequence[str],
    values: Sequence[float],
    x_name: str,
    y_name: str,
    intervals: Sequence[tuple[float, float]] = (),
) -> Element:
    """Return a bar for each name, with its interval if there are some."""
    top = max([*values, *(high for _, high in intervals)], default=1.0)
    _, y_scale, frame = _axes((0, 1), (0, top), x_name, y_name, with_x=False)
    room = (WIDTH - LEFT - RIGHT) / max(len(names), 1)
    step = max(1, math.ceil(len(names) * 46 / (WIDTH - LEFT - RIGHT)))
    bars = []
    for i, (name, value) in enumerate(zip(names, values, strict=True)):
        x, y = LEFT + i * room, y_scale(value)
        bars.append(
            element(
                "rect",
                x=round(x + room * 0.1, 2),
                y=y,
                width=round(room * 0.8, 2),
                height=round(y_scale(0) - y, 2),
                class_="fill-a",
            )
        )
        if intervals:
            low, high = (y_scale(end) for end in intervals[i])
            middle = round(x + room / 2, 2)
            bars.append(element("line", x1=middle, x2=middle, y1=low, y2=high, class_="error"))
        if i % step == 0:
            bars.append(_label(name, x + room / 2, HEIGHT - BOTTOM + 16, "middle"))
    return _svg(WIDTH, HEIGHT, frame, bars)


def matrix(
    rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]], strongest: float = 1.0
) -> Element:
    """Return a matrix of numbers from 0 to 1 as squares: the larger the number, the stronger the colour.

    Args:
        rows: their names.
        columns: likewise.
        values: of each row.
        strongest: the number that is drawn in full colour.
    """
    left = 12 + 8 * max((len(shorten_label(name)) for name in rows), default=1)
    longest = max((len(shorten_label(name)) for name in columns), default=1)
    is_turned = longest > MOST_UPRIGHT
    top = 12 + 8 * longest if is_turned else 30
    width, height = left + CELL * len(columns) + 10, top + 10 + CELL * len(rows)
    cells = []
    for i, row in enumerate(values):
        y = top + CELL * i
        cells.append(_label(shorten_label(rows[i]), left - 6, y + CELL * 0.68, "end"))
        for j, value in enumerate(row):
            title = element("title", f"{rows[i]} → {columns[j]}: {100 * value:.1f} %")
            square = {"x": left + CELL * j, "y": y, "width": CELL, "height": CELL}
            cells.append(
                element(
                    "rect",
                    title,
                    class_="cell",
                    fill_opacity=round(min(1.0, value / strongest), 3) if strongest else 0,
                    **square,
                )
            )
    names = []
    for j, name in enumerate(columns):
        x = left + CELL * (j + 0.5)
        names.append(_label(shorten_label(name), x, top - 8, "start" if is_turned else "middle"))
        if is_turned:
            names[-1].set("transform", f"rotate(-90 {x} {top - 8}) translate(0 4)")
    return _svg(width, height, cells, names, css="wide")


def reliability_diagram(
    ends: Sequence[tuple[float, float]], confidences: Sequence[float], accuracies: Sequence[float]
) -> Element:
    """Return the accuracy of each bin of confidences, and its mean confidence as a mark; all from 0 to 1.

    Args:
        ends: of each bin that holds events.
        confidences: their mean in each bin.
        accuracies: share of the events that are right.
    """
    x_scale, y_scale, frame = _axes((0, 1), (0, 1), "confidence", "share that is right")
    bars = []
    for (low, high), confidence, accuracy in zip(ends, confidences, accuracies, strict=True):
        x, y = x_scale(low), y_scale(accuracy)
        size = {"width": round(x_scale(high) - x - 1, 2), "height": round(y_scale(0) - y, 2)}
        bars.append(element("rect", x=x, y=y, class_="fill-a", **size))
        bars.append(element("circle", cx=x_scale(confidence), cy=y_scale(confidence), r=3, class_="fill-b"))
    diagonal = element("line", x1=x_scale(0), y1=y_scale(0), x2=x_scale(1), y2=y_scale(1), class_="diagonal")
    return _svg(WIDTH, HEIGHT, frame, bars, diagonal)


def shorten_label(name: str) -> str:
    """Return a name as a picture shows it: spaces are visible, and long ones are cut."""
    shown = name.replace(" ", "␣") or "∅"
    return shown if len(shown) <= LONGEST_LABEL else shown[: LONGEST_LABEL - 1] + "…"


def _axes(
    x_ends: Ends, y_ends: Ends, x_name: str, y_name: str, *, with_x: bool = True
) -> tuple[Scale, Scale, list[Element]]:
    """Return the scales of both axes, and the axes with their ticks and names."""
    x_scale = Scale(*x_ends, LEFT, WIDTH - RIGHT)
    y_scale = Scale(*y_ends, HEIGHT - BOTTOM, TOP)
    found = [
        element("rect", x=LEFT, y=TOP, width=WIDTH - LEFT - RIGHT, height=HEIGHT - TOP - BOTTOM, class_="backdrop")
    ]
    for tick in ticks(y_scale.low, y_scale.high):
        y = y_scale(tick)
        found.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        found.append(_label(f"{tick:,.6g}", LEFT - 6, y + 4, "end"))
    for tick in ticks(x_scale.low, x_scale.high) if with_x else ():
        found.append(_label(f"{tick:,.6g}", x_scale(tick), HEIGHT - BOTTOM + 16, "middle"))
    found.append(_label(x_name, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, "middle"))
    turned = f"rotate(-90 12 {(TOP + HEIGHT - BOTTOM) / 2})"
    found.append(element("text", y_name, x=12, y=(TOP + HEIGHT - BOTTOM) / 2, text_anchor="middle", transform=turned))
    return x_scale, y_scale, found


def _legend(lines: Sequence[Line]) -> list[Element]:
    if len(lines) < 2:
        return []
    room, found = (WIDTH - LEFT) / len(lines), []
    for i, line in enumerate(lines):
        x, y = LEFT + i * room, HEIGHT + 8
        found.append(element("line", x1=x, x2=x + 24, y1=y, y2=y, class_=f"line {STYLES[i]}"))
        found.append(_label(line.name, x + 30, y + 4, "start"))
    return found


def _label(name: str, x: float, y: float, anchor: str) -> Element:
    shown = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
    return element("text", shown, x=round(x, 2), y=round(y, 2), text_anchor=anchor)


def _svg(width: float, height: float, *children: Children, css: str | None = None) -> Element:
    size = {"width": width, "height": height}
    return element("svg", *children, viewBox=f"0 0 {width} {height}", class_=f"chart {css}" if css else "chart", **size)
