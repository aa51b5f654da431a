"""Draw predictions in the terminal: what each symbol was read from, and how probable it is."""

from __future__ import annotations

import math
import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from peephole.cli.lines import one_line
from peephole.cli.sources import Task
from peephole.errors import printable
from peephole.model import Prediction
from peephole.model.notebook import shown_symbol

BLOCKS = " ░▒▓█"
"""Attention weights of 0, 0.25, … 1."""
WIDEST = 40
"""Most source symbols with a column; of a longer source the place with the largest weight is named."""
BAR = 10


class Explainer:
    """Writes the predictions of one line as tables: in colours to a terminal, else as plain text."""

    def __init__(self) -> None:
        self.console = Console(file=sys.stdout, highlight=False, soft_wrap=True)

    def __call__(self, file: str, task: Task, predictions: list[Prediction]) -> None:
        """Write all predictions of a line; for a line with an error, an empty line."""
        if task.error is not None:
            self.console.print()
            return
        for prediction in predictions:
            source = printable(one_line(str(task.source)))
            self.console.print(Text(f"{source} → {printable(one_line(prediction.text))}", "bold"), end="")
            self.console.print(Text(f"  {percent(prediction.log_prob)}"))
            self.console.print(draw(prediction))


def percent(log_prob: float) -> str:
    """Return a probability.

    >>> percent(-0.1), percent(-10)
    ('90 %', '<0.1 %')
    """
    share = 100 * math.exp(log_prob)
    return f"{share:.0f} %" if share >= 1 else f"{share:.1f} %" if share >= 0.1 else "<0.1 %"


def draw(prediction: Prediction) -> Table:
    """Return a table: a row for each target symbol with its probability, a column for each source symbol."""
    weights = prediction.attention if prediction.attention is not None and prediction.attention.size else None
    tokens = [*prediction.tokens, *["</s>"] * prediction.finished]
    places = 0 if weights is None else weights.shape[1]
    names = prediction.source_tokens if len(prediction.source_tokens) == places else [str(j + 1) for j in range(places)]
    names = [printable(shown_symbol(name)) for name in names]
    in_columns = 0 < places <= WIDEST
    table = Table(box=None, padding=(0, 1, 0, 0), show_header=in_columns)
    table.add_column("")
    for name in names if in_columns else [""]:
        table.add_column(Text(name), justify="center")
    table.add_column("", justify="right")
    table.add_column("")
    for t, (token, log_prob) in enumerate(zip(tokens, prediction.symbol_log_probs, strict=False)):
        cells: list[Text] = []
        row = None if weights is None or t >= len(weights) else weights[t].tolist()
        if in_columns:
            strongest = max(row or [1.0])
            cells = [block(weight, weight == strongest) for weight in row or [0.0] * places]
        else:
            cells = [Text("" if row is None else looked_at(row, names))]
        bar = Text("█" * round(BAR * math.exp(log_prob)), "green" if log_prob > math.log(0.5) else "red")
        table.add_row(Text(printable(shown_symbol(token)), "bold"), *cells, Text(percent(log_prob)), bar)
    return table


def looked_at(weights: list[float], names: list[str]) -> str:
    """Return the place with the largest weight, counted from 1.

    >>> looked_at([0.25, 0.75], ["a", "b"])
    '← b (2: 75 %)'
    """
    best = max(range(len(weights)), key=weights.__getitem__)
    return f"← {names[best]} ({best + 1}: {100 * weights[best]:.0f} %)"


def block(weight: float, is_largest: bool) -> Text:
    """Return an attention weight as a block; weights below 1/8 are empty, except the largest one of a row.

    >>> [block(weight, weight == 0.1).plain for weight in (0.05, 0.1, 0.5)]
    ['  ', '░░', '▒▒']
    """
    level = round(weight * (len(BLOCKS) - 1))
    return Text(2 * BLOCKS[min(len(BLOCKS) - 1, max(level, is_largest))], "yellow")
