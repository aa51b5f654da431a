"""Tests that a training resumes to the same bits, and which runs are refused."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
import torch

import peephole
from peephole.data import read_pairs
from peephole.errors import DataError, PeepholeError, RunError
from peephole.storage.model_file import read_tensors, write_tensors
from peephole.training import resume, train
from peephole.training import run as run_module

from .short_runs import SHORT, Break, break_at, one_line, predictions, run, start_and_break
from .toy import write_pairs

pytestmark = pytest.mark.usefixtures("folder")


def test_an_interrupted_run_resumes_to_the_same_bits(folder, monkeypatch):
    run(out="whole.safetensors", checkpoint_seconds=0)
    start_and_break(monkeypatch)
    resume("m.run")
    assert (folder / "m.safetensors").read_bytes() == (folder / "whole.safetensors").read_bytes()


def test_resuming_a_finished_run_returns_its_model(folder):
    model = run()
    before = (folder / "m.safetensors").read_bytes()
    log = (folder / "m.run/log.jsonl").read_text()
    assert predictions(resume("m.run")) == predictions(model)
    assert (folder / "m.safetensors").read_bytes() == before
    assert (folder / "m.run/log.jsonl").read_text() == log
    (folder / "m.safetensors").unlink()
    resume("m.run")
    assert (folder / "m.safetensors").read_bytes() == before


@pytest.mark.parametrize("which", ["train.tsv", "dev.tsv"])
def test_resuming_with_changed_data_is_refused(folder, monkeypatch, which):
    write_pairs(folder / "dev.tsv", number=10, seed=5)
    save = run_module.save_checkpoint

    def save_and_break(path, state, metadata):
        save(path, state, metadata)
        raise Break

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "save_checkpoint", save_and_break)
        with pytest.raises(Break):
            train("train.tsv", "dev.tsv", "m.safetensors", checkpoint_seconds=0, **SHORT)
    saved = (folder / "m.run/checkpoint/checkpoint.safetensors").read_bytes()
    write_pairs(folder / which, number=20, seed=9)
    with pytest.raises(RunError) as caught:
        resume("m.run")
    files = f"{folder}/train.tsv or {folder}/dev.tsv"
    wanted = f"{files}: has changed since the run in m.run began, or its data/ is damaged; train again"
    assert one_line(caught) == wanted
    assert (folder / "m.run/checkpoint/checkpoint.safetensors").read_bytes() == saved


def test_changed_data_are_prepared_again_before_the_first_checkpoint(folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "fit", lambda *_, **__: (_ for _ in ()).throw(Break))
        with pytest.raises(Break):
            run()
    write_pairs(folder / "train.tsv", number=200, seed=4)
    resume("m.run")
    stamp = json.loads((folder / "m.run/data/prepared.json").read_text())
    pairs = sum(int(stamp["report"][0].split(part)[0].split()[-1]) for part in (" training pairs", " dev pairs"))
    assert pairs == 200 == len(list(read_pairs("train.tsv", peephole.Config().data, _new_report())))


def _new_report():
    from peephole.data import Report

    return Report("train.tsv")


def test_an_older_run_is_kept_when_the_new_data_are_invalid(folder):
    run()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (folder / "bad.tsv").write_bytes(b"a\tb\nc\xff\td\n")
    with pytest.raises(DataError, match="line 2: invalid UTF-8"):
        train("bad.tsv", out="m.safetensors", overwrite=True, **SHORT)
    (folder / "bad.tsv").unlink()
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_the_folder_of_a_run_may_be_a_link(folder):
    (folder / "large disk").mkdir()
    run()
    shutil.move("m.run", "large disk/real.run")
    (folder / "m.run").symlink_to("large disk/real.run")
    for seed in (2, 3):
        run(**{"train.seed": seed}, overwrite=True)
        assert json.loads((folder / "large disk/real.run/run.json").read_text())["config"]["train"]["seed"] == seed
    assert {path.name for path in folder.iterdir()} == {"train.tsv", "m.safetensors", "m.run", "large disk"}
    assert [path.name for path in (folder / "large disk").iterdir()] == ["real.run"]


def test_data_and_model_names_that_are_not_utf8(folder):
    name = os.fsdecode(b"y\xff")
    shutil.copy("train.tsv", f"{name}.tsv")
    assert predictions(train(f"{name}.tsv", out="m.safetensors", **SHORT)) == predictions(resume("m.run"))
    os.replace("m.safetensors", f"{name}.safetensors")
    assert predictions(peephole.load(f"{name}.safetensors")) == predictions(resume("m.run"))
    # TensorBoard requires UTF-8.
    with pytest.raises(RunError, match=r"safetensors.: wanted a name in UTF-8") as caught:
        train("train.tsv", out=f"{name}.safetensors", overwrite=True, **SHORT)
    one_line(caught)


def test_a_checkpoint_without_recorded_versions_is_resumed(folder, monkeypatch):
    start_and_break(monkeypatch)
    path = folder / "m.run/checkpoint/checkpoint.safetensors"
    tensors, metadata = read_tensors(path)
    write_tensors(path, tensors, {name: metadata[name] for name in ("format", "position")})
    assert predictions(resume("m.run")) == predictions(run("whole.safetensors"))


def test_resuming_with_other_versions_prints_a_notice(folder, monkeypatch, capsys, by_torch):
    start_and_break(monkeypatch)
    path = folder / "m.run/checkpoint/checkpoint.safetensors"
    tensors, metadata = read_tensors(path)
    made_with = json.loads(metadata["made_with"])
    metadata = {name: value for name, value in metadata.items() if name != "checksum"}
    write_tensors(path, tensors, {**metadata, "made_with": json.dumps({**made_with, "PyTorch": "1.13"})})
    capsys.readouterr()
    resume("m.run")
    lines = [line for line in capsys.readouterr().err.splitlines() if "differ" in line]
    assert lines == [f"PyTorch was 1.13, now it is {torch.__version__}: weights will differ in their last digits"]


@pytest.mark.parametrize("first", ["the engine", "PyTorch"])
def test_a_run_goes_on_with_the_other_executor_and_says_so_once(folder, monkeypatch, capsys, first):
    """Compare with both trainings that stay with one executor; in float64 they differ by rounding alone."""
    settings = {"precision": "64-true", "dropout": 0.2, "ema_decay": 0.9}

    def choose(name):
        reason = None if name == "the engine" else "a test"
        monkeypatch.setattr("peephole.training.choose.reason_for_torch", lambda config: reason)

    other = {"the engine": "PyTorch", "PyTorch": "the engine"}[first]
    choose(first)
    run("whole.safetensors", checkpoint_seconds=0, **settings)
    start_and_break(monkeypatch, **settings)
    choose(other)
    capsys.readouterr()
    break_at(monkeypatch, 4, lambda: resume("m.run"))
    resume("m.run")
    notice = f"the executor was {first}, now it is {other}: weights will differ in their last digits"
    assert [line for line in capsys.readouterr().err.splitlines() if "differ" in line] == [notice]
    (got, made), (wanted, before) = (
        read_tensors(f"{name}.run/checkpoint/checkpoint.safetensors") for name in ("m", "whole")
    )
    assert json.loads(made["made_with"])["the executor"] == other
    assert {**json.loads(made["position"]), "seconds": 0, "best_value": 0, "best_scores": 0} == {
        **json.loads(before["position"]),
        "seconds": 0,
        "best_value": 0,
        "best_scores": 0,
    }
    assert got.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-6, atol=1e-8, err_msg=name)


def test_a_run_resumes_from_any_working_directory(folder, monkeypatch):
    start_and_break(monkeypatch)
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    resume("../m.run")
    assert (folder / "m.safetensors").exists()
    monkeypatch.chdir(folder / "m.run")
    resume(".")
    assert {path.name for path in folder.iterdir()} == {"train.tsv", "m.run", "m.safetensors", "elsewhere"}


def test_parallel_files_are_found_from_any_working_directory(folder, monkeypatch):
    for column, name in enumerate(("a.en", "b.it")):
        lines = (folder / "train.tsv").read_text().splitlines()
        (folder / name).write_text("".join(line.split("\t")[column] + "\n" for line in lines))
    train("a.en,b.it", out="m.safetensors", **SHORT)
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    resume("../m.run")


def test_a_moved_run_resumes_in_its_new_folder(folder, monkeypatch):
    start_and_break(monkeypatch)
    (folder / "m.safetensors").unlink(missing_ok=True)
    (folder / "shelf").mkdir()
    shutil.move("m.run", "shelf/n.run")
    moved = resume("shelf/n.run")
    assert predictions(moved) == predictions(peephole.load("shelf/n.safetensors"))
    assert not (folder / "m.safetensors").exists()
    assert not (folder / "m.run").exists()
    assert predictions(run()) == predictions(moved)


def test_a_run_folder_without_the_suffix_run_is_refused(folder, monkeypatch):
    """The paths of a model and of its run are derived from each other through the suffix."""
    start_and_break(monkeypatch)
    shutil.move("m.run", "backup")
    with pytest.raises(RunError, match=r"^backup: wanted a run's folder, whose name ends in \.run$"):
        resume("backup")


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"train": "t", "dev": null, "out": "m.safetensors"}'])
def test_resuming_a_folder_without_a_run_is_refused(folder, content):
    (folder / "m.run").mkdir()
    if content is not None:
        (folder / "m.run/run.json").write_text(content)
    with pytest.raises(RunError, match=r"^m\.run: holds no run: ") as caught:
        resume("m.run")
    one_line(caught)


def test_a_run_with_invalid_data_paths_is_refused(folder, monkeypatch):
    start_and_break(monkeypatch)
    entry = json.loads((folder / "m.run/run.json").read_text())
    (folder / "m.run/run.json").write_text(json.dumps({**entry, "train": 5}))
    with pytest.raises(RunError, match=r"^m\.run: holds no run: ") as caught:
        resume("m.run")
    one_line(caught)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(folder, monkeypatch, capfd):
    run(out="whole.safetensors", checkpoint_seconds=0)
    start_and_break(monkeypatch)
    path = folder / "m.run/checkpoint/checkpoint.safetensors"
    changed = bytearray(path.read_bytes())
    changed[-100] ^= 1
    path.write_bytes(changed)
    capfd.readouterr()
    resume("m.run")
    notices = [line for line in capfd.readouterr().err.splitlines() if "checkpoint" in line]
    assert len(notices) == 1
    assert notices[0].startswith("m.run/checkpoint/checkpoint.safetensors: damaged: wanted checksum ")
    assert notices[0].endswith("; the checkpoint before it is used, that of step 2")
    assert (folder / "m.safetensors").read_bytes() == (folder / "whole.safetensors").read_bytes()


def test_two_damaged_checkpoints_are_a_one_line_error(folder, monkeypatch):
    start_and_break(monkeypatch)
    for path in (folder / "m.run/checkpoint").iterdir():
        os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(PeepholeError, match=r"checkpoint\.safetensors: .*previous\.safetensors: ") as caught:
        resume("m.run")
    one_line(caught)


def test_a_run_with_one_checkpoint_of_earlier_versions_resumes(folder, monkeypatch):
    run(out="whole.safetensors", checkpoint_seconds=0)
    start_and_break(monkeypatch)
    (folder / "m.run/checkpoint/previous.safetensors").unlink()
    entry = json.loads((folder / "m.run/run.json").read_text())
    del entry["relative"]
    (folder / "m.run/run.json").write_text(json.dumps(entry))
    resume("m.run")
    assert (folder / "m.safetensors").read_bytes() == (folder / "whole.safetensors").read_bytes()


def test_a_run_without_checkpoints_begins_anew_and_says_so(folder, monkeypatch, capfd):
    run(out="whole.safetensors", checkpoint_seconds=0)
    start_and_break(monkeypatch)
    shutil.rmtree(folder / "m.run/checkpoint")
    capfd.readouterr()
    resume("m.run")
    assert "m.run: no checkpoint to resume from, so training begins anew" in capfd.readouterr().err.splitlines()
    assert (folder / "m.safetensors").read_bytes() == (folder / "whole.safetensors").read_bytes()
    assert [json.loads(line)["step"] for line in (folder / "m.run/log.jsonl").read_text().splitlines()] == [3, 6, 6]


@pytest.mark.parametrize(
    "settings",
    [
        {"precision": "bf16-mixed"},
        {"precision": "64-true"},
        {"cell": "gru", "peephole": "none", "bidirectional": False},
        {"cell": "gru", "peephole": "none", "precision": "bf16-mixed"},
        {"peephole": "diagonal", "attention": "general", "encoder_size": 12},
        {"attention": "dot", "scheduled_sampling": "exponential", "precision": "bf16-mixed"},
        {"attention": "coverage", "coverage_loss": 0.5, "precision": "bf16-mixed"},
        {"consistency_loss": 2.0, "dropout": 0.3, "keep": "last"},
    ],
    ids=str,
)
def test_runs_with_various_settings_resume_to_the_same_predictions(monkeypatch, settings):
    whole = run(out="whole.safetensors", **settings)
    start_and_break(monkeypatch, **settings)
    assert predictions(resume("m.run")) == predictions(whole)
