"""Tests that a training that no machine can hold is refused at once, and that estimates are near what is measured."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import accumulate, count
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import peephole
from peephole import engine, memory
from peephole.config import Config
from peephole.data import batches, prepare
from peephole.errors import MemoryLimitError
from peephole.training import estimate as estimates
from peephole.training import plan
from peephole.training.backend_choice import reason_for_torch
from peephole.training.memory import (
    BatchShape,
    deciding_setting,
    is_trained_without_torch,
    training_memory,
)
from process_memory import reads_proc

from .toy import TINY, write_pairs

SHAPES = {BatchShape(80, 12, 13)}


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"hidden_size": 65536}, "model.hidden_size=65536"),
        ({"embedding_size": 65536, "hidden_size": 64}, "model.embedding_size=65536"),
        ({"encoder_size": 65536, "hidden_size": 300}, "model.encoder_size=65536"),
        ({"decoder_layers": 64, "hidden_size": 512}, "model.decoder_layers=64"),
        ({"encoder_layers": 64, "hidden_size": 300}, "model.encoder_layers=64"),
        ({"batch_symbols": 10**8}, "data.batch_symbols=100000000"),
        ({"average_last": 1000, "evaluations": 1000}, "train.average_last=1000"),
    ],
)
def test_the_setting_that_decides_the_size_is_named(settings: dict, named: str) -> None:
    config = Config().with_values(settings)
    shapes = {BatchShape(10**6, 12, 13)} if "batch_symbols" in settings else SHAPES
    assert deciding_setting(config, 60, 60, shapes) == named


def test_a_training_that_cannot_be_is_refused_and_leaves_an_older_run(tmp_path, monkeypatch) -> None:
    write_pairs(tmp_path / "train.tsv")
    out = tmp_path / "m.safetensors"
    peephole.train(tmp_path / "train.tsv", out=out, quiet=True, steps=1, **TINY)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    message = r"^model\.hidden_size=65536: training needs about [0-9],[0-9]{3} GB of memory, this machine has "
    for name in ("m", "another"):
        with pytest.raises(MemoryLimitError, match=message):
            peephole.train(
                tmp_path / "train.tsv",
                out=tmp_path / f"{name}.safetensors",
                quiet=True,
                overwrite=True,
                **TINY | {"hidden_size": 65536},
            )
    # Here only the data decide: the batch of all pairs
    monkeypatch.setattr(memory, "machine_memory", lambda: memory.MachineMemory(79_000_000, 75_000_000))
    with pytest.raises(MemoryLimitError, match=r"^data\.batch_symbols=1000000: training needs about 0\.1 GB"):
        peephole.train(tmp_path / "train.tsv", out=out, quiet=True, overwrite=True, **TINY | {"batch_symbols": 10**6})
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.skipif(not engine.available(), reason="without a compiler there is no engine")
def test_an_engine_without_memory_is_one_line_that_names_the_setting(tmp_path, monkeypatch) -> None:
    def refuse(*arguments: Any) -> None:
        arguments[-2].value = b"not enough memory"

    write_pairs(tmp_path / "train.tsv")
    monkeypatch.setattr("peephole.engine.trainer.library", lambda: SimpleNamespace(peephole_trainer_open=refuse))
    with pytest.raises(MemoryLimitError, match=r"^[a-z_.]+=[0-9]+: the memory ran out in training$"):
        peephole.train(tmp_path / "train.tsv", out=tmp_path / "m.safetensors", quiet=True, steps=1, **TINY)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"output": "copy", "attention": "coverage"},
        {"input": "none"},
        {"output": "copy", "scheduled_sampling": "linear"},
    ],
    ids=str,
)
def test_an_estimate_of_a_small_training(tmp_path, settings: dict) -> None:
    write_pairs(tmp_path / "train.tsv")
    config = Config().with_values(TINY | settings)
    prepared = prepare(tmp_path / "train.tsv", None, config, tmp_path / "data")
    found = estimates.estimate(config, prepared)
    assert found.memory_bytes == sum(found.memory.values()) > 75_000_000
    assert found.steps_per_epoch > 1
    if is_trained_without_torch(config):
        assert found.seconds_per_epoch is not None
        assert 0 < found.seconds_per_epoch < 600
    else:
        assert found.seconds_per_epoch is None
    by_definition = config.with_values({"train.engine": "off"})
    assert estimates.estimate(by_definition, prepared).seconds_per_epoch is None


@pytest.mark.skipif(not engine.available(), reason="without a compiler there is no engine")
def test_the_time_is_that_of_the_second_update_on_each_batch(tmp_path, monkeypatch) -> None:
    """Updates take one, two, three … seconds by a clock of the test; more than MOST_SECONDS are not timed."""
    write_pairs(tmp_path / "train.tsv")
    config = Config().with_values(TINY | {"batch_symbols": 30})
    prepared = prepare(tmp_path / "train.tsv", None, config, tmp_path / "data")
    order = {"seed": config.train.seed, "epoch": 0, "batch_symbols": 30}
    symbols = [batch.num_symbols for batch in batches(prepared.train, **order)]
    assert len(symbols) > 3
    for most, timed in ((1, 1), (2, 2), (11, 3)):
        times = accumulate(number for second in count(1) for number in (0, second))
        monkeypatch.setattr(estimates, "time", SimpleNamespace(perf_counter=times.__next__))
        monkeypatch.setattr(estimates, "MOST_SECONDS", most)
        seconds = sum((2, 4, 6)[:timed])
        found = estimates.estimate(config, prepared).seconds_per_epoch
        assert found == pytest.approx(seconds / sum(symbols[:timed]) * sum(symbols))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"attention": "dot", "peephole": "none"},
        {"context": "mean"},
        *({"attention": kind} for kind in ("location", "coverage", "multihead")),
        {"cell": "gru", "peephole": "none"},
        {"output": "copy", "attention": "coverage"},
        {"scheduled_sampling": "linear"},
        {"input": "convolution", "input_size": 80},
    ],
    ids=str,
)
def test_the_estimate_is_of_the_backend_that_trains(settings: dict) -> None:
    config = Config().with_values({"precision": "32-true", **settings})
    assert is_trained_without_torch(config) == (reason_for_torch(config) is None)


@pytest.mark.parametrize("engine", ["auto", "off"])
def test_a_pair_that_is_read_twice_takes_twice_the_memory(engine: str) -> None:
    config = Config().with_values({"train.engine": engine, "device": "cpu"})
    name = "activations of the largest batch"
    once = training_memory(config, 60, 60, {BatchShape(160, 12, 13)})[name]
    twice = training_memory(config.with_values({"consistency_loss": 1}), 60, 60, SHAPES)[name]
    assert twice == once


def test_the_definition_needs_more_memory_than_the_engine() -> None:
    batches = [BatchShape(1000, 20, 20)]
    config = Config().with_values({"train.engine": "off"})
    definition = sum(training_memory(config, 60, 60, batches).values())
    assert definition > sum(training_memory(config, 60, 60, [BatchShape(10, 20, 20)]).values()) + 10**9
    if engine.available():
        assert 1.5 * sum(training_memory(Config(), 60, 60, batches).values()) < definition


TRAIN_AND_TELL_PEAK = """
import json, sys
from pathlib import Path
import peephole
peephole.train(sys.argv[1], dev=sys.argv[1], out=sys.argv[2], quiet=True, **json.loads(sys.argv[3]))
print(1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]))
"""


@pytest.mark.skipif(not engine.available(), reason="without a compiler there is no engine")
@reads_proc
@pytest.mark.parametrize("ctc", [False, True])
def test_the_peak_of_a_training_on_frames_is_near_the_estimate(tmp_path, ctc) -> None:
    """An update's memory is kept while dev is evaluated; a network with CTC is there once more, with half an update."""
    draw = np.random.default_rng(0)
    lines = ["source\ttarget\n"]
    for number in range(60):
        np.save(tmp_path / f"{number}.npy", draw.normal(size=(300 + 5 * number, 40)).astype(np.float32))
        lines.append(f"{number}.npy\t{''.join(draw.choice(list('abcdef'), 30))}\n")
    (tmp_path / "pairs.tsv").write_text("".join(lines), encoding="utf-8")
    settings = {"input": "frames", "frame_stack": 3, "encoder_layers": 2, "encoder_size": 512, "ctc": ctc}
    settings |= {"batch_frames": 6000, "steps": 2, "train.threads": 1, "precision": "32-true", "evaluations": 1}
    command = [sys.executable, "-c", TRAIN_AND_TELL_PEAK, tmp_path / "pairs.tsv", tmp_path / "m.safetensors"]
    done = subprocess.run([*command, json.dumps(settings)], capture_output=True, text=True, check=True)
    found = plan(tmp_path / "pairs.tsv", tmp_path / "pairs.tsv", **settings)
    assert sum(found.memory.values()) / int(done.stdout) == pytest.approx(1, abs=0.2)
