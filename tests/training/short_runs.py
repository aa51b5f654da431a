"""Starts short trainings of a tiny model, and ends them as a kill would."""

from __future__ import annotations

import pytest

from peephole.training import run as run_module
from peephole.training import train

from .toy import TINY

SHORT = {**TINY, "steps": 6, "evaluations": 2}


def run(out="m.safetensors", dev=None, **settings):
    """Train a tiny model with the settings SHORT."""
    return train("train.tsv", dev, out, **{**SHORT, **settings})


class Break(Exception):
    """Simulates a kill."""


def start_and_break(monkeypatch, at=3, **settings):
    """Start a run that Break ends right after the checkpoint of step `at`."""
    break_at(monkeypatch, at, lambda: run(checkpoint_seconds=0, **settings))


def break_at(monkeypatch, at, work):
    """Let Break end a training right after the checkpoint of step `at`."""
    save = run_module.save_checkpoint

    def save_and_break(path, state, metadata):
        save(path, state, metadata)
        if state.position.step == at:
            raise Break

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "save_checkpoint", save_and_break)
        with pytest.raises(Break):
            work()


def predictions(model):
    """Return texts and log-probabilities of some predictions of a model."""
    return [[(p.text, p.log_prob) for p in best] for best in model.predict(["abc", "hhgd", "deaf"], nbest=3)]


def one_line(error):
    """Return the message of an error, after checking that it is one line."""
    assert "\n" not in str(error.value)
    return str(error.value)
