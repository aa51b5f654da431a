"""Tests `peephole.train`: its result, its files, its errors and its output."""

from __future__ import annotations

import json

import pytest
import torch

import peephole
from peephole.errors import ConfigError, DataError, PeepholeError, RunError
from peephole.storage.model_file import read_tensors
from peephole.training import resume, train
from peephole.training.dev import mean_loss

from .short_runs import SHORT, one_line, predictions, run
from .toy import TINY, write_hopeless_pairs, write_pairs

pytestmark = pytest.mark.usefixtures("folder")


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


def test_training_restores_the_random_generator_and_signal_handlers():
    import signal

    before = torch.get_rng_state(), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run(dropout=0.5, scheduled_sampling="linear")
    after = torch.get_rng_state(), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_other_seeds_give_other_models():
    assert predictions(run(out="a.safetensors")) == predictions(run(out="b.safetensors"))
    assert predictions(run(out="c.safetensors", **{"train.seed": 2})) != predictions(peephole.load("a.safetensors"))
