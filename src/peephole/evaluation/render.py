"""Evaluations and comparisons as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from peephole.errors import plural, printable
from peephole.evaluation.alignment import Column, Mistake
from peephole.evaluation.evaluate import Evaluation
from peephole.evaluation.significance import Comparison

EMPTY_SIDE = "·"  # no symbol on this side
_ARROWS = {"higher": "↑", "lower": "↓", "": " "}
_WRONG = "bold red"


def render(evaluation: Evaluation) -> RenderableType:
    """Return a table of the scores, and below it the worst mistakes, symbol by symbol."""
    table = Table(
        title=", ".join(evaluation.counts_in_words),
        caption=f"intervals: {evaluation.resamples} bootstrap resamples, seed {evaluation.seed}",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("metric")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("95 % interval", justify="right", no_wrap=True)
    table.add_column("definition", style="dim")
    for score in evaluation.scores.values():
        value = f"{score.shown(score.value)}{' %' if score.unit == '%' else '  '} {_ARROWS[score.better]}"
        table.add_row(score.label, value, f"{score.shown(score.low)} - {score.shown(score.high)}", score.definition)
    if not evaluation.worst:
        return table
    return Group(table, Text("Worst predictions, and the references closest to them"), *map(_mistake, evaluation.worst))


def render_comparison(comparison: Comparison, name_a: str = "A", name_b: str = "B") -> RenderableType:
    """Return a table of the differences between two systems.

    Args:
        comparison: of the systems.
        name_a: heading of the first.
        name_b: heading of the second.
    """
    table = Table(
        title=plural(comparison.num_sources, "source"),
        caption=f"interval and p boot: paired bootstrap, {comparison.resamples} resamples; "
        f"p swap: approximate randomisation, {comparison.swaps} swaps; "
        f"p McNemar: exact; seed {comparison.seed}",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    table.add_column("metric", min_width=13)
    for heading in (name_a, name_b, "change"):
        table.add_column(Text(heading, overflow="fold"), justify="right", min_width=6)
    table.add_column("95 % interval", justify="right", no_wrap=True)
    for heading in ("p\nboot", "p\nswap", "p\nMcNemar"):
        table.add_column(heading, justify="right", no_wrap=True)
    for found in comparison.differences.values():
        table.add_row(
            f"{found.label} {_ARROWS[found.better]}",
            f"{found.value_a:.2f}",
            f"{found.value_b:.2f}",
            f"{found.difference:+.2f}",
            f"{found.low:+.2f} … {found.high:+.2f}",
            *map(_format_p, (found.p_bootstrap, found.p_swaps, found.p_mcnemar)),
        )
    return table


def aligned_lines(columns: Sequence[Column], width: int) -> list[tuple[Text, Text, Text]]:
    """Lay out an alignment in blocks of three lines: predicted, reference, and a mark below every difference.

    Columns are measured in terminal cells: a Korean syllable or an emoji takes two.

    Args:
        columns: (predicted symbol, reference symbol); None where a side has none.
        width: maximal number of cells in a line; a wider symbol is on a separate line.

    >>> for predicted, reference, marks in aligned_lines([("K", "K"), ("AH", "AE"), (None, "T")], 80):
    ...     print(predicted.plain, reference.plain, marks.plain, sep="\\n")
    K AH ·
    K AE T
      ^^ ^
    """
    blocks: list[tuple[Text, Text, Text]] = []
    used = width
    for predicted, reference in columns:
        shown = [_visible(predicted), _visible(reference)]
        cells = max(map(cell_len, shown))
        wrong = predicted != reference
        if not blocks or used + 1 + cells > width:
            blocks.append((Text(), Text(), Text()))
            used = -1
        shown.append("^" * cells if wrong else "")
        for line, text in zip(blocks[-1], shown, strict=True):
            if used >= 0:
                line.append(" ")
            line.append(text + " " * (cells - cell_len(text)), style=_WRONG if wrong else None)
        used += 1 + cells
    for block in blocks:
        for line in block:
            line.rstrip()
    return blocks


def _format_p(p: float | None) -> str:
    if p is None:
        return ""
    return "<.001" if p < 0.001 else f"{p:.3f}"


class _Aligned:
    """An alignment that is split into blocks of the console's width when it is printed."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        names = ("predicted  ", "reference  ", " " * 11)
        for block in aligned_lines(self._columns, options.max_width - len(names[0])):
            for name, line in zip(names, block, strict=True):
                yield Text.assemble((name, "dim"), line, no_wrap=True, overflow="ignore")


def _mistake(mistake: Mistake) -> RenderableType:
    heading = Text.assemble(
        ("\n" + "".join(map(_visible, mistake.source)).replace("␣", " "), "bold"),
        (f"  {mistake.edits} edit{'s' if mistake.edits > 1 else ''}", "dim"),
    )
    return Group(heading, Padding(_Aligned(mistake.columns), (0, 0, 0, 2)))


def _visible(symbol: str | None) -> str:
    """Return a symbol in visible characters, none of which the terminal interprets."""
    if symbol is None:
        return EMPTY_SIDE
    if symbol == " ":
        return "␣"
    return printable(symbol)
