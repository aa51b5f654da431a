"""Describe the trials of a search: a line for each, and a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from peephole.errors import plural
from peephole.training.planning import duration_text
from peephole.training.tuning.trial_log import Trial


def trial_line(trial: Trial, first: Trial, metric: str, *, is_best: bool) -> str:
    """Return a trial that has ended in one line.

    Args:
        trial: the trial.
        first: the first trial; of others, only the settings that differ are named.
        metric: the dev metric that is searched for.
        is_best: whether it is the best so far.

    >>> trial = Trial(3, {"model.dropout": 0.31}, {1: 20.0, 2: 14.5}, 410, 11.0, 12.5, "pruned")
    >>> trial_line(trial, Trial(0, {"model.dropout": 0.2}), "symbol_error_rate", is_best=False)
    'trial 3: dropout 0.31: dev symbol error rate 14.500, 410 updates, 12 seconds; ended after evaluation 2'
    """
    found = f"trial {trial.number}: {settings_text(trial, first)}: "
    if trial.ended in ("refused", "failed"):
        return found + f"{trial.ended}: {trial.reason}"
    value = "no evaluation" if trial.value is None else f"dev {metric.replace('_', ' ')} {trial.value:.3f}"
    ended = f"; ended after evaluation {max(trial.values)}" if trial.ended == "pruned" else ""
    best = "  (best)" if is_best else ""
    return found + f"{value}, {plural(trial.steps, 'update')}, {duration_text(trial.seconds)}{ended}{best}"


def settings_text(trial: Trial, first: Trial) -> str:
    """Return the settings of a trial that differ from those of the first, without their sections.

    >>> first = Trial(0, {"train.learning_rate": 0.002, "model.dropout": 0.2})
    >>> settings_text(first, first)
    'learning_rate 0.002, dropout 0.2'
    >>> settings_text(Trial(1, {"train.learning_rate": 0.0041237, "model.dropout": 0.2}), first)
    'learning_rate 0.00412'
    """
    named = {
        name: value
        for name, value in trial.settings.items()
        if trial.number == first.number or value != first.settings[name]
    }
    return ", ".join(f"{name.split('.')[1]} {_short(value)}" for name, value in named.items()) or "as trial 0"


def trial_table(trials: Sequence[Trial], metric: str, best: int | None) -> list[str]:
    """Return the trials as the lines of a table, the best first, then those with the most evaluations.

    Args:
        trials: in the order of their numbers.
        metric: as in `trial_line`.
        best: the number of the best trial; None if it is not known.

    >>> first = Trial(0, {"model.dropout": 0.2}, {1: 20.0, 2: 14.5}, 410, 11.0, 12.5, "complete")
    >>> second = Trial(1, {"model.dropout": 0.3}, {1: 21.25}, 205, 5.5, 6.0, "pruned")
    >>> print("\\n".join(trial_table([first, second], "loss", best=0)))
    trial    loss  evaluations  updates  seconds  ended     settings
        0  14.500            2      410     12.5  best      dropout 0.2
        1  21.250            1      205      6.0  pruned    dropout 0.3
    """
    name = metric.replace("_", " ")
    width = max(len(name), 6)
    lines = [f"trial  {name:>{width}}  evaluations  updates  seconds  {'ended':8}  settings"]
    for trial in sorted(trials, key=lambda trial: (trial.number != best, -max(trial.values, default=0), trial.number)):
        value = "" if trial.value is None else f"{trial.value:.3f}"
        ended = "best" if trial.number == best else (trial.ended or "running")
        lines.append(
            f"{trial.number:5}  {value:>{width}}  {max(trial.values, default=0):11}  {trial.steps:7}  "
            f"{trial.seconds:7.1f}  {ended:8}  {settings_text(trial, trials[0])}"
        )
    return lines


def _short(value: Any) -> str:
    """Return a number with three digits, and other values as they are.

    >>> _short(0.123456), _short(256), _short("dot"), _short(True)
    ('0.123', '256', 'dot', 'true')
    """
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.3g}" if isinstance(value, float) else str(value)
