"""Tests checkpoints: the state of a training is restored bit for bit, and damaged files are refused."""

from __future__ import annotations

import json
import os
import re
import resource

import numpy as np
import pytest

from peephole.config import TrainConfig
from peephole.errors import ModelFileError, RunError
from peephole.storage.model_file import read_tensors, write_tensors
from peephole.training.state import (
    TrainState,
    load_checkpoint,
    load_latest_checkpoint,
    previous_checkpoint,
    save_checkpoint,
)

from .toy import Training, make_corpus, make_executor, make_network, same, words


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the state of a training that fills every part of a checkpoint."""
    corpus = make_corpus(tmp_path_factory.mktemp("corpus"), words(40))
    config = TrainConfig(steps=12, evaluations=4, average_last=2, ema_decay=0.9, dev_metric="loss")
    training = Training(corpus, config, dropout=0.3, values=[4.0, 2.5, 3.0], stop_after=10).run()
    state = training.state
    assert len(state.recent) == 2
    assert not same(state.best, state.executor.weights)
    return state


def fresh(**settings):
    """Return the state of an untrained network."""
    return TrainState(make_executor(make_network(seed=99, **settings), TrainConfig(learning_rate=0.1)))


MADE_WITH = {"PyTorch": "2.6", "engine": None}


@pytest.fixture
def path(trained, tmp_path):
    save_checkpoint(tmp_path / "c.safetensors", trained, MADE_WITH)
    return tmp_path / "c.safetensors"


def test_a_state_is_restored_bit_for_bit(trained, path):
    state = fresh()
    assert load_checkpoint(path, state) == MADE_WITH
    assert same(state.executor.weights, trained.executor.weights)
    assert same(state.executor.average, trained.executor.average)
    assert same(state.best, trained.best)
    assert len(state.recent) == len(trained.recent)
    assert all(same(got, wanted) for got, wanted in zip(state.recent, trained.recent, strict=True))
    assert state.position == trained.position
    got, wanted = (s.executor.moments() for s in (state, trained))
    assert got.keys() == wanted.keys() == trained.executor.weights.keys()
    for name, moments in wanted.items():
        assert same(got[name], moments)
        assert {key: array.shape for key, array in got[name].items()} == {k: a.shape for k, a in moments.items()}
    again = path.with_name("again.safetensors")
    save_checkpoint(again, state, MADE_WITH)
    assert again.read_bytes() == path.read_bytes()


def test_a_state_before_the_first_update_is_restored(tmp_path):
    state, other = fresh(), fresh()
    save_checkpoint(tmp_path / "c.safetensors", state, {})
    next(iter(other.executor.weights.values()))[:] = 0
    load_checkpoint(tmp_path / "c.safetensors", other)
    assert same(state.executor.weights, other.executor.weights)
    assert (other.best, other.recent, other.executor.moments()) == ({}, [], {})


def test_floats_of_a_position_are_restored_exactly(trained, tmp_path):
    state, other = fresh(), fresh()
    state.position.seconds, state.position.best_value = 0.1 + 0.2, 1 / 3
    save_checkpoint(tmp_path / "c.safetensors", state, {})
    load_checkpoint(tmp_path / "c.safetensors", other)
    assert other.position == state.position


def test_a_checkpoint_with_parameter_names_of_earlier_versions_is_read(path, trained):
    state = trained
    tensors, metadata = read_tensors(path)
    old = {full.replace("frontend.embedding", "encoder.embedding"): tensor for full, tensor in tensors.items()}
    renamed = {full for full in old if "encoder.embedding" in full}
    assert {full.split("/")[0].split(" ")[0] for full in renamed} >= {"network", "average", "optimizer"}
    del metadata["checksum"]
    write_tensors(path, old, metadata)
    other = fresh()
    load_checkpoint(path, other)
    assert same(other.executor.weights, state.executor.weights)
    assert same(other.executor.average, state.executor.average)
    save_checkpoint(path, other, MADE_WITH)
    again, _ = read_tensors(path)
    assert again.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(again[name], tensor)


def one_line(error):
    """Return the message of an error, after checking that it is one line."""
    text = str(error.value)
    assert "\n" not in text
    return text


def test_a_missing_checkpoint_is_an_error(tmp_path):
    with pytest.raises(ModelFileError, match="no such file") as caught:
        load_checkpoint(tmp_path / "c.safetensors", fresh())
    assert one_line(caught).startswith(f"{tmp_path / 'c.safetensors'}: ")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_checkpoint_is_an_error(path, share):
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(ModelFileError, match=re.escape(str(path))) as caught:
        load_checkpoint(path, fresh())
    one_line(caught)


@pytest.mark.parametrize("content", [b"abc", b"\xff" * 1000, b"a\tb\n" * 100], ids=["short", "ones", "text"])
def test_another_kind_of_file_is_an_error(path, content):
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=re.escape(str(path))) as caught:
        load_checkpoint(path, fresh())
    one_line(caught)


def test_a_model_file_is_refused_as_checkpoint(tmp_path):
    path = tmp_path / "model.safetensors"
    write_tensors(path, {"x": np.zeros(3, np.float32)}, {"format": "peephole"})
    with pytest.raises(RunError, match="wanted a checkpoint, got another file") as caught:
        load_checkpoint(path, fresh())
    one_line(caught)


@pytest.mark.parametrize("settings", [{"hidden_size": 18}, {"peephole": "none"}, {"decoder_layers": 2}], ids=str)
def test_a_checkpoint_of_another_model_is_refused(path, settings):
    with pytest.raises(RunError, match=r"network/\S+: wanted shape .*, got ") as caught:
        load_checkpoint(path, fresh(**settings))
    one_line(caught)


def rewrite(path, change):
    """Change a checkpoint's tensors and metadata, and write it with a correct checksum."""
    tensors, metadata = read_tensors(path)
    change(tensors, metadata)
    metadata.pop("checksum", None)
    write_tensors(path, tensors, metadata)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, metadata: metadata.pop("position"),
        lambda tensors, metadata: metadata.update(position='{"step": 1'),
        lambda tensors, metadata: metadata.update(position='{"steps": 1}'),
        lambda tensors, metadata: [tensors.pop(name) for name in list(tensors) if name.startswith("average/")],
        lambda tensors, metadata: tensors.pop("best/decoder.output.bias"),
        lambda tensors, metadata: tensors.pop("recent 0/decoder.output.bias"),
        lambda tensors, metadata: tensors.update({"average/decoder.output.bias": np.zeros(1, np.float32)}),
        lambda tensors, metadata: tensors.pop("optimizer decoder.output.bias/step"),
    ],
)
def test_a_checkpoint_with_a_missing_part_is_refused(path, change):
    rewrite(path, change)
    with pytest.raises(RunError, match=re.escape(str(path))) as caught:
        load_checkpoint(path, fresh())
    one_line(caught)


def test_a_failed_write_keeps_the_old_checkpoint(trained, path):
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    trained.position.seconds += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(RunError, match="cannot be written: File too large") as caught:
            save_checkpoint(path, trained, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert one_line(caught).startswith(f"{path}: ")
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.fixture
def two(trained, tmp_path):
    """Return the newer of two checkpoints, of steps 9 and 10; they have different weights."""
    path, older = tmp_path / "checkpoint.safetensors", fresh()
    older.position.step = 9
    save_checkpoint(path, older, MADE_WITH)
    save_checkpoint(path, trained, MADE_WITH)
    assert files(path) == {"checkpoint.safetensors", "previous.safetensors"}
    return path


def files(path):
    return {file.name for file in path.parent.iterdir()}


def latest(path):
    """Return the state of the latest whole checkpoint, and the notice."""
    state = fresh()
    made_with, notice = load_latest_checkpoint(path, state)
    assert made_with == MADE_WITH
    assert notice is None or "\n" not in notice
    return state, notice


def test_the_newer_of_two_checkpoints_is_used(two, trained):
    state, notice = latest(two)
    assert (state.position.step, notice) == (10, None)
    assert same(state.executor.weights, trained.executor.weights)


def test_no_checkpoint_is_no_error(tmp_path):
    state = fresh()
    assert load_latest_checkpoint(tmp_path / "no/checkpoint.safetensors", state) == (None, None)
    assert same(state.executor.weights, fresh().executor.weights)


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "text", "another model"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(two, damage):
    older = fresh()
    load_checkpoint(previous_checkpoint(two), older)
    if damage == "missing":
        two.unlink()
    elif damage == "another model":
        other = fresh(hidden_size=18)
        save_checkpoint(two.parent.parent / "other.safetensors", other, {})
        os.replace(two.parent.parent / "other.safetensors", two)
    else:
        whole = two.read_bytes()
        two.write_bytes({"empty": b"", "truncated": whole[:-1], "text": b"a\tb\n" * 1000}[damage])
    state, notice = latest(two)
    assert notice.startswith(f"{two}")
    assert notice.endswith("; the checkpoint before it is used, that of step 9")
    assert state.position == older.position
    assert same(state.executor.weights, older.executor.weights)
    assert same(state.executor.average, older.executor.average)
    assert (state.best, state.recent) == (older.best, older.recent) == ({}, [])
    assert latest(two)[1] is None  # it is said once
    assert files(two) == {"checkpoint.safetensors"}


def test_every_flipped_bit_is_found_or_changes_nothing(path):
    """Flip bits of the sizes, names and metadata at the beginning, and of tensors."""
    whole, (wanted, metadata) = path.read_bytes(), read_tensors(path)
    header = 8 + int.from_bytes(whole[:8], "little")
    rng = np.random.default_rng(0)
    positions = [*range(64), *rng.integers(64, 8 * header, 150), *rng.integers(8 * header, 8 * len(whole), 150)]
    harmless = 0
    for position in map(int, positions):
        changed = bytearray(whole)
        changed[position // 8] ^= 1 << position % 8
        path.write_bytes(changed)
        try:
            got, described = read_tensors(path)
        except ModelFileError:
            continue
        harmless += 1
        assert {**described, "checksum": metadata["checksum"]} == metadata, position
        assert got.keys() == wanted.keys()
        assert all(got[name].tobytes() == wanted[name].tobytes() for name in wanted), position
    assert harmless < len(positions) / 100


def test_the_checkpoint_after_a_damaged_one_does_not_replace_the_whole_one(two, trained):
    """Between the two renamings of a write, a kill must leave a whole checkpoint, too."""
    os.truncate(two, 1000)
    state, _ = latest(two)
    replaced = os.replace

    def kill(source, target):
        if target == two:
            raise KeyboardInterrupt
        replaced(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", kill)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(two, trained, MADE_WITH)
    assert latest(two)[0].position.step == 9
    save_checkpoint(two, trained, MADE_WITH)
    two.unlink()
    assert latest(two)[0].position == state.position


def test_two_damaged_checkpoints_are_one_line(two):
    for path in (two, previous_checkpoint(two)):
        os.truncate(path, 1000)
    before = {path: path.read_bytes() for path in two.parent.iterdir()}
    with pytest.raises(RunError) as caught:
        load_latest_checkpoint(two, fresh())
    assert one_line(caught).count("not a whole safetensors file") == 2
    assert {path: path.read_bytes() for path in two.parent.iterdir()} == before


def test_a_single_damaged_checkpoint_is_one_line(path):
    os.truncate(path, 1000)
    with pytest.raises(ModelFileError) as caught:
        load_latest_checkpoint(path, fresh())
    one_line(caught)


def test_the_average_of_a_new_state_is_a_copy():
    state = fresh()
    for weights in state.executor.weights.values():
        weights += 1
    assert not same(state.executor.average, state.executor.weights)


def test_the_position_is_stored_as_json(path):
    _, metadata = read_tensors(path)
    position = json.loads(metadata["position"])
    assert (position["step"], position["finished"], position["best_value"]) == (10, False, 2.5)
    assert metadata["format"] == "peephole checkpoint"
    assert json.loads(metadata["made_with"]) == MADE_WITH
