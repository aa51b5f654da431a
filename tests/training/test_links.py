"""Tests that training never writes, cuts or deletes through a link that lies where it writes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from peephole.errors import RunError
from peephole.storage.replace_file import remove
from peephole.training import resume, train
from peephole.training.folder import CONTENTS

from .toy import TINY, write_pairs

SHORT = {**TINY, "steps": 2, "evaluations": 1, "dev_pairs": 2, "quiet": True}

# What a training writes beside the model, by name; the process's own temporary files among them.
BESIDE = [".m.run.new", ".m.run.old", ".m.safetensors.PID.part"]
INSIDE = [
    *sorted(CONTENTS),
    *(f"checkpoint/{name}" for name in ("checkpoint.safetensors", "previous.safetensors")),
    "data/prepared.json",
    ".run.json.PID.part",
    ".log.jsonl.PID.part",
    "checkpoint/.checkpoint.safetensors.PID.part",
    "data/.prepared.json.PID.part",
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "train.tsv")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").write_text("precious")
    (tmp_path / "precious/run.json").write_text("precious")
    return tmp_path


def plant(path, target):
    """Replace what has a name by a link to the precious file, or to its folder."""
    remove(path)
    path.symlink_to(Path("precious/file" if target == "file" else "precious").absolute())


def assert_precious(folder):
    assert {path.name: path.read_text() for path in (folder / "precious").iterdir()} == {
        "file": "precious",
        "run.json": "precious",
    }


def named(name):
    return name.replace("PID", str(os.getpid()))


@pytest.mark.parametrize("target", ["file", "folder"])
def test_links_beside_the_run_are_replaced(folder, target):
    for overwrite in (False, True):
        for name in BESIDE:
            plant(folder / named(name), target)
        train("train.tsv", out="m.safetensors", overwrite=overwrite, **SHORT)
        assert_precious(folder)
    assert {path.name for path in folder.iterdir()} == {"train.tsv", "precious", "m.run", "m.safetensors"}


@pytest.mark.parametrize("target", ["file", "folder"])
def test_a_link_with_the_name_of_the_lock_is_refused(folder, target):
    plant(folder / ".m.run.lock", target)
    with pytest.raises(RunError, match=r"\.m\.run\.lock: wanted a run's lock or nothing there, got a link$"):
        train("train.tsv", out="m.safetensors", **SHORT)
    assert_precious(folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the folder of a finished run."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_pairs(folder / "train.tsv")
        train("train.tsv", out="m.safetensors", **SHORT)
    return folder


@pytest.mark.parametrize("target", ["file", "folder"])
@pytest.mark.parametrize("name", INSIDE)
def test_links_inside_the_run(folder, finished, name, target):
    shutil.copytree(finished, folder, dirs_exist_ok=True)
    plant(folder / "m.run" / named(name), target)
    with pytest.raises(RunError) as caught:
        resume("m.run", quiet=True)
    assert "\n" not in str(caught.value)
    assert_precious(folder)


@pytest.mark.parametrize("target", ["file", "folder"])
def test_a_run_with_links_inside_is_replaced(folder, finished, target):
    shutil.copytree(finished, folder, dirs_exist_ok=True)
    for name in ("data", "checkpoint", "log.jsonl", "tensorboard"):
        plant(folder / "m.run" / name, target)
    train("train.tsv", out="m.safetensors", overwrite=True, **SHORT)
    assert_precious(folder)
    assert not any(path.is_symlink() for path in (folder / "m.run").rglob("*"))


def test_a_pipe_inside_the_run_is_refused(folder, finished):
    """Reading it would wait forever."""
    shutil.copytree(finished, folder, dirs_exist_ok=True)
    (folder / "m.run/log.jsonl").unlink()
    os.mkfifo(folder / "m.run/log.jsonl")
    with pytest.raises(RunError, match=r"^m\.run/log\.jsonl: wanted a file or folder of the run, got a link or a dev"):
        resume("m.run", quiet=True)
