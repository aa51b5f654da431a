"""Tests `train` and `resume` in this process: errors, files that are kept, and resuming a run."""

from __future__ import annotations

import json
import math
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import peephole
from peephole.data import read_pairs
from peephole.errors import ConfigError, DataError, PeepholeError, RunError
from peephole.storage.model_file import read_tensors, write_tensors
from peephole.training import resume, train
from peephole.training import run as run_module
from peephole.training.dev import mean_loss
from peephole.training.engine_executor import EngineExecutor
from peephole.training.executor import StepResult
from peephole.training.torch_executor import TorchExecutor

from .toy import TINY, write_hopeless_pairs, write_pairs

SHORT = {**TINY, "steps": 6, "evaluations": 2}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "train.tsv")
    return tmp_path


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


def test_the_returned_model_equals_the_saved_one(folder):
    model = run()
    assert predictions(model) == predictions(peephole.load("m.safetensors"))
    assert {path.name for path in (folder / "m.run").iterdir()} == {
        "run.json",
        "data",
        "checkpoint",
        "log.jsonl",
        "tensorboard",
    }


def test_the_returned_model_predicts_from_its_file(folder, monkeypatch):
    """Like a loaded model, it packs its weights once and predicts without PyTorch."""
    model = run()
    assert model.name == "m.safetensors"
    monkeypatch.setattr("peephole.storage.model_file.encode_model", None)  # fails if weights are packed again
    monkeypatch.setattr("peephole.model.weights.PackedModel", None)
    monkeypatch.setattr("peephole.search.torch.DefinitionSearch", None)
    assert predictions(model) == predictions(model)


def test_a_quiet_training_prints_nothing_but_writes_its_log(folder, capfd):
    run("loud.safetensors")
    assert "parameters" in capfd.readouterr().err
    run("m.safetensors", quiet=True)
    resume("m.run", quiet=True)
    assert capfd.readouterr() == ("", "")
    logs = [(folder / f"{name}.run/log.jsonl").read_text().splitlines() for name in ("loud", "m")]
    assert [[json.loads(line)["step"] for line in log] for log in logs] == [[3, 6, 6]] * 2


def test_choosing_gru_turns_peepholes_off_with_one_notice(folder, capfd):
    model = run(cell="gru")
    assert (model.config.model.cell, model.config.model.peephole) == ("gru", "none")
    notices = [line for line in capfd.readouterr().err.splitlines() if "peephole" in line]
    assert notices == ["model.peephole is none: a GRU has no cell state to look at"]
    resume("m.run")
    assert "model.peephole" not in capfd.readouterr().err
    run("given.safetensors", cell="gru", peephole="none")
    assert "model.peephole" not in capfd.readouterr().err


def test_the_model_has_the_best_weights_on_dev(folder):
    """Train with dev pairs that become less probable, so that the last weights are not the best."""
    dev = write_hopeless_pairs(folder / "dev.tsv")
    model = run(dev=dev, steps=12, evaluations=6, warmup=0.0, schedule="constant", dev_metric="loss")
    tensors, _ = read_tensors(folder / "m.run/checkpoint/checkpoint.safetensors")
    weights = {name: tensor.numpy() for name, tensor in model.networks[0].state_dict().items()}
    assert all((weights[name] == tensors[f"best/{name}"]).all() for name in weights)
    for other in ("network", "average"):
        assert any((weights[name] != tensors[f"{other}/{name}"]).any() for name in weights)
    log = [json.loads(line) for line in (folder / "m.run/log.jsonl").read_text().splitlines()]
    losses = [line["dev"]["loss"] for line in log if "dev" in line]
    assert mean_loss(model, prepared_dev(folder)) == pytest.approx(min(losses), rel=1e-6)
    assert losses[-1] > min(losses)


def prepared_dev(folder):
    """Return the dev pairs on which the run was evaluated."""
    stamp = json.loads((folder / "m.run/data/prepared.json").read_text())
    return [(source, tuple(targets)) for source, targets in stamp["dev_pairs"][: TINY["dev_pairs"]]]


def test_repeating_a_command_is_refused_without_overwrite(folder):
    run()
    before = (folder / "m.safetensors").read_bytes()
    with pytest.raises(RunError) as caught:
        run(hidden_size=12)
    assert one_line(caught) == (
        "m.run: exists already; `peephole train --resume m.run` resumes it, `--overwrite` replaces it"
    )
    assert (folder / "m.safetensors").read_bytes() == before
    run(hidden_size=12, overwrite=True)
    assert (folder / "m.safetensors").read_bytes() != before
    assert [json.loads(line)["step"] for line in (folder / "m.run/log.jsonl").read_text().splitlines()] == [3, 6, 6]


def test_a_model_without_its_run_is_not_overwritten(folder):
    (folder / "m.safetensors").write_bytes(b"precious")
    with pytest.raises(RunError, match=r"^m\.safetensors: exists already; `--overwrite` replaces it$"):
        run()
    assert (folder / "m.safetensors").read_bytes() == b"precious"
    assert not (folder / "m.run").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_without_a_run_is_not_overwritten(folder, overwrite):
    (folder / "m.run").mkdir()
    (folder / "m.run/thesis.txt").write_text("precious")
    with pytest.raises(
        RunError, match=r"^m\.run: wanted a run's folder or nothing there, got something that is not a run$"
    ):
        run(overwrite=overwrite)
    assert (folder / "m.run/thesis.txt").read_text() == "precious"


@pytest.mark.parametrize(
    ("train_file", "dev", "message"),
    [
        ("trian.tsv", None, "trian.tsv: no such file; did you mean 'train.tsv'?"),
        ("train.tsv", "dev.tsv", "dev.tsv: no such file"),
        ("a.en,train.tsv", None, "a.en: no such file"),
        (".", None, ".: is a directory, wanted a file"),
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_missing_data_file_changes_no_file(folder, train_file, dev, message, overwrite):
    run()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(DataError) as caught:
        train(train_file, dev, "m.safetensors", overwrite=overwrite, **SHORT)
    assert one_line(caught) == message
    with pytest.raises(DataError):
        train(train_file, dev, "other.safetensors", **SHORT)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_the_same_command_works_after_a_bad_line_is_corrected(folder):
    with open("train.tsv", "a") as file:
        file.write("three\tcolumns\there\n")
    with pytest.raises(DataError, match="line 301: expected 2 columns, found 3"):
        run()
    assert not (folder / "m.run").exists()
    write_pairs(folder / "train.tsv")
    run()


@pytest.mark.parametrize("out", ["model", "model.pt", "no/such/m.safetensors"])
def test_an_invalid_path_for_the_model_is_refused(folder, out):
    with pytest.raises(PeepholeError, match=rf"^(--out )?{out}: ") as caught:
        run(out=out)
    one_line(caught)
    assert {path.name for path in folder.iterdir()} == {"train.tsv"}
    assert isinstance(caught.value, RunError if out.startswith("no") else ConfigError)


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
    with pytest.raises(RunError, match=r"^m\.run: holds no run to resume: ") as caught:
        resume("m.run")
    one_line(caught)


def test_a_run_with_invalid_data_paths_is_refused(folder, monkeypatch):
    start_and_break(monkeypatch)
    entry = json.loads((folder / "m.run/run.json").read_text())
    (folder / "m.run/run.json").write_text(json.dumps({**entry, "train": 5}))
    with pytest.raises(RunError, match=r"^m\.run: holds no run to resume: ") as caught:
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


def test_training_restores_the_random_generator_and_signal_handlers():
    import signal

    import torch

    before = torch.get_rng_state(), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run(dropout=0.5, scheduled_sampling="linear")
    after = torch.get_rng_state(), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_other_seeds_give_other_models():
    assert predictions(run(out="a.safetensors")) == predictions(run(out="b.safetensors"))
    assert predictions(run(out="c.safetensors", **{"train.seed": 2})) != predictions(peephole.load("a.safetensors"))


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
    ],
    ids=str,
)
def test_runs_with_various_settings_resume_to_the_same_predictions(monkeypatch, settings):
    whole = run(out="whole.safetensors", **settings)
    start_and_break(monkeypatch, **settings)
    assert predictions(resume("m.run")) == predictions(whole)
