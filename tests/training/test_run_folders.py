"""Tests of failed, moved, copied and half-replaced folders of runs, and of data given anew."""

from __future__ import annotations

import json
import math
import os
import shutil
import threading
from pathlib import Path

import pytest

from peephole.errors import ConfigError, DataError, RunError
from peephole.training import resume, train
from peephole.training import run as run_module
from peephole.training.engine_executor import EngineExecutor
from peephole.training.executor import StepResult
from peephole.training.torch_executor import TorchExecutor

from .short_runs import SHORT, Break, one_line, run, start_and_break
from .toy import write_pairs

pytestmark = pytest.mark.usefixtures("folder")


def run_and_diverge(monkeypatch):
    """Start a training whose first gradient is not finite."""
    with monkeypatch.context() as patch:
        for executor in (EngineExecutor, TorchExecutor):
            patch.setattr(executor, "step", lambda *_, **__: StepResult(math.nan, math.nan, False))
        with pytest.raises(RunError, match=r"a lower train\.learning_rate may help"):
            run()


def test_a_first_training_that_fails_can_be_corrected(folder, monkeypatch):
    """It has no checkpoint, so the corrected command replaces it without `--overwrite`."""
    run_and_diverge(monkeypatch)
    assert (folder / "m.run/log.jsonl").exists()  # what it printed can still be read
    run()
    assert {path.name for path in folder.iterdir()} == {"train.tsv", "m.run", "m.safetensors"}


@pytest.mark.parametrize("precious", ["m.run/notes.txt", "m.run/checkpoint/checkpoint.safetensors", "m.safetensors"])
def test_a_failed_training_with_anything_to_lose_is_kept(folder, monkeypatch, precious):
    run_and_diverge(monkeypatch)
    (folder / precious).write_text("precious")
    with pytest.raises(RunError, match="exists already"):
        run()
    assert (folder / precious).read_text() == "precious"


def test_two_trainings_of_one_run_in_threads(folder, monkeypatch):
    """The first is inside its training while the second begins and is refused."""
    messages = []
    fit = run_module.fit

    def fit_beside_another(*arguments, **settings):
        for again in (lambda: run(), lambda: run(overwrite=True), lambda: resume("m.run")):
            thread = threading.Thread(target=lambda again=again: messages.append(message(again)))
            thread.start()
            thread.join()
        fit(*arguments, **settings)

    def message(call):
        with pytest.raises(RunError) as caught:
            call()
        return one_line(caught)

    run("other.safetensors")
    monkeypatch.setattr(run_module, "fit", fit_beside_another)
    run()
    assert messages == ["m.run: another thread is training this run"] * 3
    assert (folder / "m.safetensors").read_bytes() == (folder / "other.safetensors").read_bytes()
    assert {path.name for path in folder.iterdir()} == {
        "train.tsv",
        "m.run",
        "m.safetensors",
        "other.run",
        "other.safetensors",
    }


@pytest.mark.parametrize("copied", [True, False], ids=["copied", "moved"])
def test_a_project_resumes_in_another_folder(folder, monkeypatch, copied):
    """Of a copied project the copy's data are used, even when the original's have changed since."""
    (folder / "here").mkdir()
    for column, name in enumerate(("a.en", "b.it")):
        lines = (folder / "train.tsv").read_text().splitlines()
        (folder / "here" / name).write_text("".join(line.split("\t")[column] + "\n" for line in lines))
    write_pairs(folder / "here/dev.tsv", number=10, seed=5)
    monkeypatch.chdir(folder / "here")
    train("a.en,b.it", "dev.tsv", "whole.safetensors", checkpoint_seconds=0, **SHORT)
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "fit", lambda *_, **__: (_ for _ in ()).throw(Break))
        with pytest.raises(Break):
            train("a.en,b.it", "dev.tsv", "m.safetensors", checkpoint_seconds=0, **SHORT)
    monkeypatch.chdir(folder)
    if copied:
        shutil.copytree("here", "there")
        (folder / "here/a.en").write_text("changed\n")
    else:
        shutil.move("here", "there")
    (folder / "there/m.run/data/prepared.json").unlink()  # so that the data are read again
    resume("there/m.run")
    assert (folder / "there/m.safetensors").read_bytes() == (folder / "there/whole.safetensors").read_bytes()
    assert not (folder / "here/m.safetensors").exists()


def test_data_that_were_moved_elsewhere_are_given_by_name(folder, monkeypatch):
    write_pairs(folder / "dev.tsv", number=10, seed=5)
    train("train.tsv", "dev.tsv", "m.safetensors", **SHORT)
    wanted = (folder / "m.safetensors").read_bytes()
    (folder / "disk").mkdir()
    for name in ("train.tsv", "dev.tsv"):
        shutil.move(name, "disk/new-" + name)
    resume("m.run", data="disk/new-train.tsv", dev="disk/new-dev.tsv")
    assert (folder / "m.safetensors").read_bytes() == wanted
    entry = json.loads((folder / "m.run/run.json").read_text())
    assert (entry["train"], entry["dev"]) == (f"{folder}/disk/new-train.tsv", f"{folder}/disk/new-dev.tsv")
    assert entry["relative"] == {"train": ["../disk/new-train.tsv"], "dev": ["../disk/new-dev.tsv"]}
    resume("m.run")


def test_other_data_than_those_of_the_run_are_refused(folder):
    run()
    before = {path: path.read_bytes() for path in (folder / "m.run").rglob("*") if path.is_file()}
    write_pairs(folder / "other.tsv", seed=9)
    with pytest.raises(RunError, match=rf"^{folder}/other\.tsv: has changed since the run in m\.run began") as caught:
        resume("m.run", data="other.tsv")
    one_line(caught)
    with pytest.raises(DataError, match=r"^no\.tsv: no such file"):
        resume("m.run", data="no.tsv")
    with pytest.raises(ConfigError, match=r"^--dev train\.tsv: the dev pairs of m\.run are held out") as caught:
        resume("m.run", dev="train.tsv")
    one_line(caught)
    assert {path: path.read_bytes() for path in (folder / "m.run").rglob("*") if path.is_file()} == before


def interrupt_replacement(monkeypatch, target):
    """Start a training that replaces the run m.run, and end it before it renames a folder to this name."""
    replace = os.replace

    def replace_or_break(source, name):
        if Path(name).name == target:
            raise Break
        replace(source, name)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace_or_break)
        patch.setattr("peephole.training.folder._undo_interrupted_replacement", lambda folder: None)  # as after a kill
        patch.setattr("peephole.training.folder.remove", keep_new_folder)
        with pytest.raises(Break):
            run(hidden_size=12, overwrite=True)


def keep_new_folder(path):
    """Replace `remove`: after a kill nothing is removed."""


@pytest.mark.parametrize("then", ["resume", "train"])
def test_a_run_between_two_names_gets_its_name_back(folder, monkeypatch, then):
    """A kill after the old run lost its name, and before the new one got it."""
    run()
    wanted = {path.name: path.read_bytes() for path in (folder / "m.run/checkpoint").iterdir()}
    interrupt_replacement(monkeypatch, "m.run")
    assert {path.name for path in folder.iterdir()} == {"train.tsv", "m.safetensors", ".m.run.new", ".m.run.old"}
    if then == "resume":
        resume("m.run")
    else:
        with pytest.raises(RunError, match=r"^m\.run: exists already"):
            run()
    assert {path.name: path.read_bytes() for path in (folder / "m.run/checkpoint").iterdir()} == wanted
    run(hidden_size=12, overwrite=True)
    assert {path.name for path in folder.iterdir()} == {"train.tsv", "m.safetensors", "m.run"}


def test_a_failed_renaming_gives_the_old_run_its_name_back(folder, monkeypatch):
    run()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    replace = os.replace

    def replace_but_one(source, target):
        if Path(source).name == ".m.run.new":
            raise OSError(5, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_but_one)
    with pytest.raises(RunError, match=r"^m\.run: cannot be written: Input/output error$"):
        run(overwrite=True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_temporary_files_of_a_killed_process_are_removed(folder, monkeypatch):
    start_and_break(monkeypatch)
    paths = [
        "m.run/checkpoint/.checkpoint.safetensors",
        "m.run/data/.source.values.npy",
        "m.run/.log.jsonl",
        ".m.safetensors",
    ]
    parts = [folder / f"{path}.77.part" for path in paths]
    other = folder / ".other.safetensors.77.part"
    for path in (*parts, other):
        path.write_bytes(b"half")
    resume("m.run")
    assert not any(path.exists() for path in parts)
    assert other.exists()
