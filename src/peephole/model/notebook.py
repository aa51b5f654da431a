"""Predictions and traces as small HTML tables, for Jupyter: probabilities and attention, without scripts."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

MOST_COLUMNS = 60
"""Most source symbols whose attention is shown."""
SHOWN = {" ": "␣", "\n": "↵", "\t": "⇥", "</s>": "‹end›"}


def shown_symbol(symbol: str) -> str:
    """Return a symbol as it is shown: spaces and the end are visible.

    >>> shown_symbol(" "), shown_symbol("a")
    ('␣', 'a')
    """
    return SHOWN.get(symbol, symbol)


def prediction_table(
    text: str,
    log_prob: float,
    tokens: Sequence[str],
    log_probs: Sequence[float],
    source_tokens: Sequence[str],
    attention: Any,
) -> str:
    """Return a table with a row for each target symbol: its probability, and the attention weights as colours.

    Args:
        text: the target.
        log_prob: log p of it.
        tokens: its symbols.
        log_probs: log p of each.
        source_tokens: symbols of the source; none for frames.
        attention: (U, S) or None.
    """
    columns = 0 if attention is None or not len(attention) else len(attention[0])
    columns = columns if columns <= MOST_COLUMNS else 0
    names = source_tokens if len(source_tokens) == columns else [str(j + 1) for j in range(columns)]
    head = "".join(f"<th>{html.escape(shown_symbol(name))}</th>" for name in names)
    rows = []
    for t, (token, own) in enumerate(zip(tokens, log_probs, strict=False)):
        cells = []
        if columns and t < len(attention):
            for weight in map(float, attention[t]):
                cells.append(
                    f'<td style="background:rgba(255,160,0,{weight:.2f});min-width:1.4em" title="{weight:.3f}"></td>'
                )
        name = html.escape(shown_symbol(token))
        rows.append(f"<tr><th><bdi>{name}</bdi></th><td>{100 * math.exp(own):.3g} %</td>{''.join(cells)}</tr>")
    title = f"<bdi>{html.escape(text)}</bdi>, {100 * math.exp(log_prob):.3g} %"
    return (
        f"<table><caption>{title}</caption><thead><tr><th></th><th>probability</th>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
