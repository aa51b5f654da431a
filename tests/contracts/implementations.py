"""Everything that claims to compute the recurrent equations; the contract suite runs each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import peephole.nn


@dataclass(frozen=True)
class Implementation:
    """The functions and modules of `peephole.nn`, or others that keep their contract."""

    name: str
    lstm: Callable[..., Any]
    gru: Callable[..., Any]
    LSTM: Callable[..., Any]
    GRU: Callable[..., Any]


IMPLEMENTATIONS = [
    Implementation("definition", peephole.nn.lstm, peephole.nn.gru, peephole.nn.LSTM, peephole.nn.GRU),
]
