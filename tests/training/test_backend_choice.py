"""Tests that the notice of a training about the engine agrees with the operators that run."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from torch.utils._python_dispatch import TorchDispatchMode

from peephole import engine
from peephole.config import Config
from peephole.errors import ConfigError
from peephole.training import train
from peephole.training.backend_choice import definition_notice, reason_for_torch, with_precision
from peephole.training.choose import start_platform

from .toy import TINY, write_pairs

NOTICES = {
    "zoneout": (
        "engine: has no zoneout of kind 'states'; PyTorch computes the recurrent layers and the decoder, slower"
    ),
    "feeding": "engine: has no operator 'feeding_decoder'; PyTorch computes the decoder with input feeding, slower",
    "sampling": (
        "engine: has no operator 'sampled_decoder'; PyTorch computes the decoder with scheduled sampling, slower"
    ),
}
OUTSIDE = {"peephole::linear_backward": 4, "peephole::output_loss_backward": 2}  # two steps, for keys and readouts each
ALL = OUTSIDE | {
    "peephole::recurrent_layer_backward": 4,
    "peephole::decoder_backward": 2,
}  # an encoder of two directions
COPYING = ALL | {"peephole::linear_backward": 6, "peephole::copy_loss_backward": 2}  # of the gate, too
del COPYING["peephole::output_loss_backward"]
WITHOUT_KEYS = ALL | {"peephole::linear_backward": 2}  # the context needs no attention
SAMPLED = {  # the first step feeds only gold symbols
    "peephole::decoder_backward": 1,
    "peephole::linear_backward": 3,
    "peephole::output_loss_backward": 1,
}
FEEDING = OUTSIDE | {
    "peephole::recurrent_layer_backward": 4,
    "peephole::linear_backward": 2,
}  # readouts by PyTorch, step by step
SETTINGS = [  # settings, the notice, how often each backward operator of the engine runs
    ({}, None, ALL),
    ({"peephole": "none", "precision": "64-true"}, None, ALL),
    ({"precision": "64-true", "decoder_layers": 2, "dropout": 0.3}, None, ALL),
    ({"precision": "bf16-mixed"}, None, ALL),
    ({"precision": "bf16-mixed", "context": "last", "decoder_layers": 2}, None, WITHOUT_KEYS),
    ({"precision": "32-true", "context": "last", "decoder_layers": 2}, None, WITHOUT_KEYS),
    ({"engine": "off"}, None, {}),
    ({"cell": "gru", "peephole": "none"}, None, ALL),
    ({"cell": "gru", "precision": "bf16-mixed", "decoder_layers": 2, "attention": "location"}, None, ALL),
    ({"output": "copy", "symbols.shared": True, "precision": "32-true"}, None, COPYING),
    ({"zoneout_hidden": 0.1}, NOTICES["zoneout"], OUTSIDE),
    ({"attention": "coverage", "coverage_loss": 1.0}, None, ALL),
    ({"attention": "location", "decoder_layers": 2}, None, ALL),
    ({"attention": "multihead", "attention_heads": 2, "precision": "bf16-mixed"}, None, ALL),
    ({"input_feeding": True}, NOTICES["feeding"], FEEDING),
    ({"scheduled_sampling": "linear"}, NOTICES["sampling"], ALL | SAMPLED),
]


class Operators(TorchDispatchMode):
    """Counts the engine's backward operators; forward ones also run in evaluations, in another precision."""

    def __init__(self):
        super().__init__()
        self.seen = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "peephole" and "backward" in func.__name__:
            self.seen[func.name()] += 1
        return func(*args, **(kwargs or {}))


def train_and_count_operators(folder, capsys, monkeypatch, **settings):
    """Train; return the printed lines about the engine and the counts of its backward operators."""
    monkeypatch.setenv("COLUMNS", "200")
    write_pairs(folder / "train.tsv", number=40)
    with Operators() as operators:
        train(folder / "train.tsv", out=folder / "m.safetensors", **{**TINY, "steps": 2, "evaluations": 1, **settings})
    lines = [line for line in capsys.readouterr().err.splitlines() if "engine" in line]
    return lines, operators.seen


@pytest.mark.skipif(not engine.available(), reason="built without the engine")
@pytest.mark.parametrize(("settings", "notice", "counts"), SETTINGS, ids=lambda value: str(value))
def test_one_line_reports_whether_the_engine_trains(tmp_path, capsys, monkeypatch, by_torch, settings, notice, counts):
    [line], seen = train_and_count_operators(tmp_path, capsys, monkeypatch, **settings)
    assert seen == counts
    used = engine.instruction_sets()[0] if counts else "off"
    assert line == notice or (notice is None and line.endswith(f"; engine {used}"))


@pytest.mark.skipif(not engine.available(), reason="built without the engine")
@pytest.mark.parametrize("settings", [{}, {"scheduled_sampling": "linear", "precision": "64-true"}], ids=str)
def test_pytorch_computes_nothing_where_it_is_not_needed(tmp_path, capsys, monkeypatch, settings):
    """Neither an operator of the engine for PyTorch runs, nor any of PyTorch."""
    monkeypatch.setattr("peephole.training.torch_executor.TorchPlatform", None)
    [line], seen = train_and_count_operators(tmp_path, capsys, monkeypatch, **settings)
    assert line.endswith(f"; engine {engine.instruction_sets()[0]}")
    assert not seen


NEEDS_TORCH = [
    ({"train.engine": "off"}, "train.engine=off"),
    ({"device": "cuda"}, "train.device=cuda"),
]


@pytest.mark.skipif(not engine.available(), reason="built without the engine")
@pytest.mark.parametrize(("settings", "reason"), NEEDS_TORCH, ids=str)
def test_what_needs_pytorch_names_its_setting(monkeypatch, settings, reason):
    config = Config().with_values({"device": "cpu", "precision": "32-true", **settings})
    assert reason_for_torch(config).startswith(reason)
    monkeypatch.setattr("peephole.training.choose.torch_is_installed", lambda: False)
    with pytest.raises(ConfigError, match=r"; this needs PyTorch: pip install 'peephole\[torch\]'$"):
        start_platform(config, quiet=True)


def test_several_processes_need_pytorch(monkeypatch):
    config = Config().with_values({"device": "cpu", "precision": "32-true"})
    assert reason_for_torch(config) is None
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert reason_for_torch(config) == "a training in several processes"


def test_a_missing_library_is_reported(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("peephole.engine.abi.library_path", lambda: None)
    engine.instruction_sets.cache_clear()
    try:
        [line], seen = train_and_count_operators(tmp_path, capsys, monkeypatch)
    finally:
        engine.instruction_sets.cache_clear()
    assert line == (
        "engine: missing, it needs a C++ compiler when peephole is installed; PyTorch computes everything, slower"
    )
    assert not seen


def test_the_notice_on_a_gpu_names_the_definition():
    """Check the notice alone, since no test trains on a GPU."""
    config = Config().with_values({"precision": "32-true"})
    notice = definition_notice(config, "cuda")
    assert notice == "engine: not used on cuda, it is made for CPUs; PyTorch computes everything"
    assert definition_notice(Config().with_values({"engine": "off"}), "cuda") is None


@pytest.mark.parametrize(
    ("faster", "settings", "precision"),
    [
        (True, {}, "bf16-mixed"),
        (True, {"precision": "64-true"}, "64-true"),
        (True, {"engine": "off"}, "32-true"),
        (True, {"cell": "gru", "peephole": "none"}, "bf16-mixed"),
        (True, {"layer_norm": True}, "bf16-mixed"),
        (False, {}, "32-true"),
        (False, {"precision": "bf16-mixed"}, "bf16-mixed"),
    ],
)
def test_automatic_precision_depends_on_machine_and_settings(monkeypatch, faster, settings, precision):
    monkeypatch.setattr(engine, "bfloat16_is_faster", lambda: faster)
    config = Config().with_values({"device": "cpu", **settings})
    assert with_precision(config).train.precision == precision


def test_a_precision_unsupported_on_cpus_is_refused():
    config = Config().with_values({"device": "cpu", "precision": "16-mixed"})
    with pytest.raises(ConfigError, match="wanted 32-true, 64-true or bf16-mixed on a CPU, got '16-mixed'"):
        with_precision(config)


def test_the_automatic_precision_is_stored_with_the_run(tmp_path):
    """A run resumed on another machine must compute in the same precision."""
    write_pairs(tmp_path / "train.tsv", number=40)
    train(tmp_path / "train.tsv", out=tmp_path / "m.safetensors", **{**TINY, "steps": 2, "evaluations": 1})
    entry = json.loads((tmp_path / "m.run" / "run.json").read_text(encoding="utf-8"))
    assert entry["config"]["train"]["precision"] in ("32-true", "bf16-mixed")
