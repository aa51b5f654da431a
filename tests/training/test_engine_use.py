"""What a training says about the engine agrees with what computes it."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from peephole import engine
from peephole.config import Config
from peephole.training import train
from peephole.training.engine_use import engine_fallback

from .toy import TINY, write_pairs

SETTINGS = [
    ({}, None),
    ({"peephole": "none", "precision": "64-true"}, None),
    ({"engine": "off"}, None),
    ({"cell": "gru", "peephole": "none"}, "engine: not used for GRU cells; the definition trains them, slower"),
    ({"precision": "bf16-mixed"}, "engine: not used for precision bf16-mixed; the definition trains, slower"),
]


class Operators(TorchDispatchMode):
    """Records whether the engine computes gradients: dev is measured outside training's precision."""

    seen = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen |= func.namespace == "peephole" and "backward" in func.__name__
        return func(*args, **(kwargs or {}))


def train_and_watch(folder, capsys, monkeypatch, **settings):
    """Return what is said of the engine, and whether it trained."""
    monkeypatch.setenv("COLUMNS", "200")
    write_pairs(folder / "train.tsv", number=40)
    with Operators() as operators:
        train(folder / "train.tsv", out=folder / "m.safetensors", **{**TINY, "steps": 2, "evaluations": 1, **settings})
    lines = [line for line in capsys.readouterr().err.splitlines() if "engine" in line]
    return lines, operators.seen


@pytest.mark.skipif(not engine.available(), reason="built without the engine")
@pytest.mark.parametrize(("settings", "said"), SETTINGS, ids=lambda value: str(value))
def test_it_is_said_once_where_the_engine_does_not_train(tmp_path, capsys, monkeypatch, settings, said):
    lines, ran = train_and_watch(tmp_path, capsys, monkeypatch, **settings)
    assert lines[1:] == ([] if said is None else [said])
    assert ran == (said is None and settings.get("engine") != "off")
    used = engine.instruction_sets()[0] if ran else "off"
    assert lines[0].endswith(f"threads; engine {used}")


def test_it_is_said_that_the_library_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(engine, "_find_library", lambda: None)
    engine.instruction_sets.cache_clear()
    try:
        lines, ran = train_and_watch(tmp_path, capsys, monkeypatch)
    finally:
        engine.instruction_sets.cache_clear()
    said = "engine: missing, it needs a C++ compiler when peephole is installed; the definition trains, slower"
    assert lines[1:] == [said]
    assert not ran


def test_on_a_gpu_the_definition_trains():
    """The only case that no test trains here."""
    said = engine_fallback(Config(), torch.device("cuda", 1))
    assert said == "engine: not used on cuda, it is made for CPUs; the definition trains"
    assert engine_fallback(Config().with_values({"engine": "off"}), torch.device("cuda")) is None
