"""Searches of settings for tests: real trainings of a tiny model, whose clock counts their updates."""

from __future__ import annotations

from pathlib import Path

import pytest

from peephole.config import Config
from peephole.training import budget_settings, tune
from peephole.training import run as run_module
from peephole.training.estimate import Estimate
from peephole.training.run_file import read_run
from peephole.training.tuning import search as search_module
from peephole.training.tuning.trial_log import read_trials

from .toy import TINY

UPDATE = 1.25  # seconds that an update takes by the clock of these tests
# A trial takes at most 6 updates, with evaluations after 3 and 6; all trials together 24
BASE = Config().with_values({**TINY, "minutes": 1, "evaluations": 10, "dev_pairs": 5, "train.seed": 2})
SPACE = {"hidden_size": [8, 16, 24], "batch_symbols": [50, 100, 200]}
RUN = Path("m.run")


class Clock:
    """Counts updates as time, for trainings and for the search around them."""

    def __init__(self):
        self.now, self.update = 0.0, UPDATE
        self.on_update = lambda: None

    def monotonic(self):
        return self.now

    def of_training(self, fabric, before, stop):
        started = self.now

        def seconds():
            self.now += self.update
            self.on_update()
            return before + self.now - started

        return seconds, lambda: stop.signal_number is not None


def install(clock, patch):
    """Make trainings and searches use a clock, and no model too slow by it, nor any settings chosen by it."""
    patch.setattr(run_module, "synchronised_clock", clock.of_training)
    patch.setattr(search_module, "time", clock)
    for module in (search_module, budget_settings):
        patch.setattr(module, "estimate", lambda *_, **__: Estimate({}, 1, None))
    return clock


def search(space=SPACE, config=BASE, quiet=True, **settings):
    return tune("train.tsv", out="m.safetensors", config=config, search_space=space, quiet=quiet, **settings)


def trials(folder=RUN):
    return read_trials(folder)


def config_of(number):
    return read_run(RUN / f"trials/{number:03}.run").config


class Break(Exception):
    """Simulates a kill."""


def break_at(monkeypatch, call, module, name, *, after, **settings):
    """Start a search that Break ends before or after a certain call of a function; return whether it did."""
    function, calls = getattr(module, name), 0

    def counting(*arguments, **named):
        nonlocal calls
        calls += 1
        if calls == call and not after:
            raise Break
        found = function(*arguments, **named)
        if calls == call:
            raise Break
        return found

    with monkeypatch.context() as patch:
        patch.setattr(module, name, counting)
        with pytest.raises(Break):
            search(checkpoint_seconds=0, **settings)
