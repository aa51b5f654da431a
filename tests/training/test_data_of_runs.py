"""Tests that a run is known by the content of its data, and that no changed byte of its prepared data is trained on."""

from __future__ import annotations

import json
import os
import random
import shutil

import pytest

from peephole.errors import ArgumentError, DataError, RunError
from peephole.storage.model_file import read_tensors
from peephole.training import resume, train
from peephole.training import run as run_module

from .short_runs import SHORT, one_line, predictions, start_and_break
from .toy import words, write_pairs

FILES = ["source.values.npy", "source.offsets.npy", "target.values.npy", "target.offsets.npy", "prepared.json"]
SETTINGS = {**SHORT, "checkpoint_seconds": 0}
AGAIN = "m.run/data: its data were damaged or missing, and are prepared again from the same pairs"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the bytes of the model of an uninterrupted run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("whole"))
        write_pairs(path := tmp_path_factory.getbasetemp() / "train.tsv")
        train(path, out="m.safetensors", **SETTINGS)
        with open("m.safetensors", "rb") as file:
            return file.read()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Return a folder with a run that was broken off after its third step."""
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "train.tsv")
    start_and_break(monkeypatch)
    return tmp_path


def flip_bit(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    path.write_bytes(data)


def test_a_touched_file_is_the_same(folder, whole, capfd):
    os.utime("train.tsv", (0, 0))
    resume("m.run")
    assert (folder / "m.safetensors").read_bytes() == whole
    assert "prepared again" not in capfd.readouterr().err


def test_a_copied_project_goes_on(folder, whole):
    shutil.copytree(folder, folder / "copy", copy_function=shutil.copyfile)
    (folder / "train.tsv").unlink()
    resume("copy/m.run")
    assert (folder / "copy/m.safetensors").read_bytes() == whole


def test_another_path_to_the_same_content_goes_on(folder, whole):
    shutil.move("train.tsv", "moved.txt")
    resume("m.run", data="moved.txt")
    assert (folder / "m.safetensors").read_bytes() == whole
    assert json.loads((folder / "m.run/run.json").read_text())["train"] == str(folder / "moved.txt")


def test_missing_files_are_not_needed_while_the_prepared_data_are_whole(folder, whole, capfd):
    (folder / "train.tsv").unlink()
    resume("m.run")
    assert (folder / "m.safetensors").read_bytes() == whole
    line = f"{folder}/train.tsv: no such file; the prepared data in m.run/data are whole and are used"
    assert capfd.readouterr().err.count(line) == 1


@pytest.mark.parametrize("file", [*FILES, "data"])
def test_missing_files_are_needed_when_the_prepared_data_are_damaged(folder, file):
    (folder / "train.tsv").unlink()
    if file == "data":
        shutil.rmtree("m.run/data")
    else:
        flip_bit(folder / "m.run/data" / file, 4321)
    with pytest.raises(DataError) as caught:
        resume("m.run")
    assert one_line(caught) == (
        f"{folder}/train.tsv: no such file; the data of the run in m.run are damaged or missing, so it is needed"
    )


@pytest.mark.parametrize("damage", ["gone", *FILES])
def test_damaged_data_are_prepared_again(folder, whole, capfd, damage):
    if damage == "gone":
        shutil.rmtree("m.run/data")
    else:
        flip_bit(folder / "m.run/data" / damage, random.randrange(10**6))
    resume("m.run")
    assert (folder / "m.safetensors").read_bytes() == whole
    assert capfd.readouterr().err.count(AGAIN) == 1


@pytest.mark.parametrize("content", ["{}", "[]", "5", "", "\udcff"])
def test_a_damaged_stamp_is_written_again(folder, whole, content):
    (folder / "m.run/data/prepared.json").write_text(content, errors="surrogateescape")
    resume("m.run")
    assert (folder / "m.safetensors").read_bytes() == whole


@pytest.mark.parametrize("data", ["whole", "damaged", "gone"])
def test_other_pairs_are_refused_until_the_right_ones_are_back(folder, whole, data):
    right = (folder / "train.tsv").read_bytes()
    swapped = right.replace(b"\tA", b"\t?").replace(b"\tB", b"\tA").replace(b"\t?", b"\tB")
    assert len(swapped) == len(right)
    (folder / "train.tsv").write_bytes(swapped)
    if data == "damaged":
        flip_bit(folder / "m.run/data/target.values.npy", 5000)
    elif data == "gone":
        shutil.rmtree("m.run/data")
    for _ in range(2):
        with pytest.raises(RunError) as caught:
            resume("m.run")
        wanted = "has changed since the run in m.run began, or its data/ is damaged; train again"
        assert one_line(caught) == f"{folder}/train.tsv: {wanted}"
    (folder / "train.tsv").write_bytes(right)
    resume("m.run")
    assert (folder / "m.safetensors").read_bytes() == whole


@pytest.mark.parametrize("change", [None, "time", "content"])
def test_a_run_of_version_0_1_goes_on(folder, whole, capfd, change):
    """Rewrite data/ and run.json as that version wrote them: an Arrow file, and a stamp without digests."""
    stamp = json.loads((folder / "m.run/data/prepared.json").read_text())
    settings = stamp["made_from"]["settings"]
    status = os.stat("train.tsv")
    made_from = {
        "version": 1,
        "train": [[str(folder / "train.tsv"), status.st_size, status.st_mtime_ns]],
        "dev": None,
        "data": settings["data"],
        "symbols": settings["symbols"],
    }
    kept = {name: stamp[name] for name in ("source_symbols", "target_symbols", "dev_pairs", "report")}
    shutil.rmtree("m.run/data")
    (folder / "m.run/data").mkdir()
    (folder / "m.run/data/pairs.arrow").write_bytes(b"ARROW1")
    (folder / "m.run/data/prepared.json").write_text(json.dumps({"made_from": made_from, "corpus_bytes": 6, **kept}))
    entry = json.loads((folder / "m.run/run.json").read_text())
    del entry["data_digest"]
    (folder / "m.run/run.json").write_text(json.dumps(entry))
    if change == "time":
        os.utime("train.tsv", (0, 0))
    elif change == "content":
        write_pairs(folder / "train.tsv", number=299)
        os.utime("train.tsv", ns=(status.st_mtime_ns, status.st_mtime_ns))
    if change is not None:
        with pytest.raises(RunError, match=r"train again$"):
            resume("m.run")
        return
    resume("m.run")
    assert (folder / "m.safetensors").read_bytes() == whole
    line = "m.run/data: its data were of an older version, and are prepared again from the same pairs"
    assert capfd.readouterr().err.count(line) == 1
    assert sorted(os.listdir("m.run/data")) == sorted(FILES)
    shutil.rmtree("m.run/data")  # from now on the run knows its data
    resume("m.run")
    assert (folder / "m.safetensors").read_bytes() == whole


@pytest.mark.parametrize("file", ["source.values.npy", "target.values.npy"])
@pytest.mark.parametrize("size", [0, 200])
def test_prepared_data_cut_off_under_a_running_training_end_it_in_one_line(folder, whole, monkeypatch, file, size):
    save = run_module.save_checkpoint

    def save_and_cut(path, state, metadata):
        save(path, state, metadata)
        if state.position.step == 4:
            os.truncate(folder / "m.run/data" / file, size)

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "save_checkpoint", save_and_cut)
        with pytest.raises(RunError, match=rf"^m\.run/data/{file}: has changed while it was used: wanted ") as caught:
            resume("m.run")
    one_line(caught)
    resume("m.run")
    assert (folder / "m.safetensors").read_bytes() == whole


def test_a_generator_of_pairs_is_trained_on_like_a_file(folder, whole, monkeypatch):
    (folder / "whole.safetensors").write_bytes(whole)
    wanted = read_tensors(folder / "whole.safetensors")[0]

    def has_wanted_weights(path):
        found = read_tensors(folder / path)[0]
        return found.keys() == wanted.keys() and all((found[name] == wanted[name]).all() for name in wanted)

    pairs = [(word, word[::-1].upper()) for word in words(300)]
    train((pair for pair in pairs), out="g.safetensors", **SETTINGS)
    assert has_wanted_weights("g.safetensors")
    save = run_module.save_checkpoint

    def save_and_break(path, state, metadata):
        save(path, state, metadata)
        raise KeyError("break")

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "save_checkpoint", save_and_break)
        with pytest.raises(KeyError):
            train(({"source": source, "target": target} for source, target in pairs), out="k.safetensors", **SETTINGS)
    shutil.move("k.run", "l.run")
    shutil.rmtree("l.run/data")
    resume("l.run")
    assert has_wanted_weights("l.safetensors")
    train(pairs, pairs[:9], "l.safetensors", overwrite=True, **SETTINGS)
    assert len((folder / "l.run/dev.jsonl").read_text().splitlines()) == 9
    assert "9 dev pairs of 9 sources" in json.loads((folder / "l.run/data/prepared.json").read_text())["report"][0]


def test_pairs_that_cannot_be_used_leave_an_older_run_as_it_was(folder):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for pairs, message in [
        ([("a", "b"), ("c", 5)], "train: wanted two texts, got ('c', 5) as number 2"),
        ([], "train: wanted at least one pair, got none"),
        ([("a", "b"), ("c", " ")], "train, number 2: wanted two texts that are not empty, got ('c', ' ')"),
    ]:
        for out in ("m.safetensors", "new.safetensors"):
            with pytest.raises((ArgumentError, DataError)) as caught:
                train(pairs, out=out, overwrite=True, **SETTINGS)
            assert one_line(caught) == message
    with pytest.raises(ZeroDivisionError):
        train((1 / 0 for _ in range(3)), out="m.safetensors", overwrite=True, **SETTINGS)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert predictions(resume("m.run"))
