"""Lists the implementations of the recurrent equations that the contract suite tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import peephole.nn
from peephole import engine
from peephole.nn.layers import run_gru, run_lstm


@dataclass(frozen=True)
class Implementation:
    """Holds functions and modules with the interface of those in `peephole.nn`."""

    name: str
    lstm: Callable[..., Any]
    gru: Callable[..., Any]
    LSTM: Callable[..., Any]
    GRU: Callable[..., Any]


def on_engine(setting: str) -> Implementation:
    """Return the implementation selected by `peephole.nn.use_engine(setting)`."""

    def lstm(*args: Any, **keywords: Any) -> Any:
        with peephole.nn.use_engine(setting):
            return run_lstm(*args, **keywords)

    def gru(*args: Any, **keywords: Any) -> Any:
        with peephole.nn.use_engine(setting):
            return run_gru(*args, **keywords)

    class LSTM(peephole.nn.LSTM):
        def forward(self, *args: Any, **keywords: Any) -> Any:
            with peephole.nn.use_engine(setting):
                return super().forward(*args, **keywords)

    class GRU(peephole.nn.GRU):
        def forward(self, *args: Any, **keywords: Any) -> Any:
            with peephole.nn.use_engine(setting):
                return super().forward(*args, **keywords)

    name = "definition" if setting == "off" else f"engine {setting}"
    return Implementation(name, lstm, gru, LSTM, GRU)


IMPLEMENTATIONS = [on_engine("off"), *map(on_engine, engine.instruction_sets())]
