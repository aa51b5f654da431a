"""Tests of what a model file says about its training."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path

import torch

import peephole
from peephole.training import resume, train

from .short_runs import SHORT, start_and_break
from .toy import words, write_hopeless_pairs, write_pairs


def training_of(path):
    return peephole.info(path).made["training"]


def file_entry(path):
    return {"name": path.name, "sha256": sha256(path.read_bytes()).hexdigest()}


def test_data_position_and_scores_of_the_stored_weights(tmp_path, by_torch):
    """Train with dev pairs that become less probable, so that the last weights are not the best."""
    pairs, dev, out = write_pairs(tmp_path / "a.tsv"), write_hopeless_pairs(tmp_path / "dev.tsv"), tmp_path / "m"
    settings = {"steps": 12, "evaluations": 6, "warmup": 0.0, "schedule": "constant", "train.seed": 3}
    train(pairs, dev, out.with_suffix(".safetensors"), quiet=True, **SHORT | settings | {"dev_metric": "loss"})
    found = peephole.info(out.with_suffix(".safetensors"))
    made = found.made["training"]
    log = [json.loads(line) for line in (tmp_path / "m.run/log.jsonl").read_text().splitlines()]
    measured = [line for line in log if "dev" in line]
    best = min(measured, key=lambda line: line["dev"]["loss"])
    assert best["step"] < 12
    assert (made["best_step"], made["dev_scores"], made["steps"]) == (best["step"], best["dev"], 12)
    num_symbols = sum(map(len, words(300)))
    assert made["train"] == {
        "files": [file_entry(pairs)],
        "pairs": 300,
        "source_symbols": num_symbols,
        "target_symbols": num_symbols + 300,
    }
    assert made["dev"] == {"files": [file_entry(dev)], "pairs": 30, "sources": 30, "sources_measured": 20}
    steps_per_epoch = 12 / made["epochs"]
    assert num_symbols / 100 < steps_per_epoch < 2 * num_symbols / 100
    assert (found.made["peephole"], found.made["torch"]) == (peephole.__version__, torch.__version__)
    assert "  training        steps 12, epochs " in repr(found)


def test_parallel_files_and_held_out_pairs(tmp_path):
    texts = {"a.en": "\n".join(words(60)) + "\n", "b.it": "\n".join(word.upper() for word in words(60)) + "\n"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    train(f"{tmp_path}/a.en,{tmp_path}/b.it", out=tmp_path / "m.safetensors", quiet=True, **SHORT)
    made = training_of(tmp_path / "m.safetensors")
    assert made["train"]["files"] == [file_entry(tmp_path / name) for name in texts]
    assert (made["dev"]["files"], made["train"]["pairs"] + made["dev"]["pairs"]) == ([], 60)


def test_equal_trainings_write_equal_files(tmp_path, monkeypatch):
    """Neither folder nor time nor an interruption is part of the file."""
    contents = set()
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        os.utime(write_pairs(folder / "train.tsv"), (number, number))
        if number < 2:
            train("train.tsv", out="m.safetensors", quiet=True, checkpoint_seconds=0, **SHORT)
        else:
            start_and_break(monkeypatch)
            resume("m.run", quiet=True)
        resume("m.run", quiet=True)  # writes the model of a finished run again
        contents.add(Path("m.safetensors").read_bytes())
        assert str(tmp_path) not in Path("m.safetensors").read_bytes().decode(errors="replace")
    assert len(contents) == 1
