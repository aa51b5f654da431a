"""Tests training on frames from a manifest to predictions, and that masks are noise like any other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import peephole
from peephole.errors import ArgumentError, DataError
from peephole.model import Notices
from peephole.nn import Noise
from peephole.nn.masking import Masking, masked_frames
from peephole.storage.model_file import read_tensors
from peephole.training import resume

from .short_runs import break_at

SETTINGS = {
    "hidden_size": 24,
    "embedding_size": 12,
    "batch_symbols": 100,
    "batch_frames": 500,
    "threads": 1,
    "steps": 220,
    "evaluations": 2,
    "dropout": 0.0,
    "learning_rate": 0.01,
    "symbols.target": "characters",
    "quiet": True,
    "frame_stack": 2,
    "ema_decay": 0.9,
}


def write_sequences(folder, count=60, first=0):
    """Write a manifest whose sources are tables: each letter of the target is 4 rows in which one number is high."""
    folder.mkdir(exist_ok=True)
    lines = []
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        text = "".join(rng.permutation(list("abcd"))[: rng.integers(1, 5)])
        rows = np.repeat([[50 * (letter == other) for other in "abcd"] for letter in text], 4, 0)
        np.savetxt(folder / f"{number}.csv", rows + rng.normal(0, 3, rows.shape), delimiter=",", fmt="%.3f")
        lines.append(f"{number}.csv\t{text}\n")
    path = folder / f"{first}.tsv"
    path.write_text("".join(lines))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a manifest for training, one for dev, and the model trained on them."""
    folder = tmp_path_factory.mktemp("frames")
    train, dev = write_sequences(folder, 80), write_sequences(folder, 20, first=1000)
    peephole.train(train, dev, folder / "m.safetensors", **SETTINGS)
    return folder


def test_a_model_learns_to_read_tables(folder):
    model = peephole.load(folder / "m.safetensors")
    result = peephole.evaluate(model, folder / "1000.tsv", exposure_gap=False)
    assert result.scores["exact_match"].value >= 90
    assert result.sources[0] == str(folder / "1000.csv")


def test_files_and_arrays_are_predicted_alike_by_engine_and_definition(folder):
    model = peephole.load(folder / "m.safetensors")
    files = [folder / f"{number}.csv" for number in range(1000, 1006)]
    arrays = [np.loadtxt(file, delimiter=",", dtype=np.float32, ndmin=2) for file in files]
    wanted = model.predict(files)
    assert [[p.text for p in found] for found in model.predict(arrays)] == [[p.text for p in found] for found in wanted]
    for mine, [best] in zip(model.predict([str(f) for f in files], engine="off"), wanted, strict=True):
        assert mine[0].text == best.text
        np.testing.assert_allclose(mine[0].log_prob, best.log_prob, atol=1e-4)
        np.testing.assert_allclose(mine[0].attention, best.attention, atol=1e-5)
    assert wanted[0][0].attention.shape == (len(wanted[0][0].tokens), -(-len(arrays[0]) // 2))
    scores = model.score(files, [found[0].text for found in wanted])
    np.testing.assert_allclose(scores, [found[0].log_prob for found in wanted], atol=1e-4)


def test_empty_long_and_wrong_sources(folder):
    model = peephole.load(folder / "m.safetensors")
    notices = Notices()
    found = model.predict(["", np.zeros((5000, 4))], notices=notices, max_length_factor=0.0)
    assert (found[0][0].text, found[1][0].truncated) == ("", True)
    assert [(notice.source_index, notice.length, notice.num_read) for notice in notices.texts] == [(1, 5000, 4000)]
    for source, kind, message in [
        (7, ArgumentError, "wanted names of files of numbers, or arrays of frames, got 7"),
        (np.zeros((3, 5)), DataError, "sources: wanted frames of 4 numbers, got 5"),
        (np.zeros(4), ArgumentError, r"wanted frames \(T, 4\), got shape \(4,\)"),
        (np.full((2, 4), np.nan), DataError, "holds a number that is not finite, in frame 1"),
        (np.zeros((2, 4), complex), ArgumentError, "wanted frames of numbers, got an array of complex128"),
        (np.full((2, 4), "1"), ArgumentError, "wanted frames of numbers, got an array of <U1"),
        (np.full((2, 4), 10**30, object), ArgumentError, "wanted frames of numbers, got an array of object"),
        ("no.csv", DataError, r"no\.csv: no such file"),
    ]:
        with pytest.raises(kind, match=message):
            model.predict([source])


def test_the_model_file_holds_statistics_and_how_files_are_read(folder):
    rows = [np.loadtxt(folder / f"{number}.csv", delimiter=",", ndmin=2) for number in range(80)]
    every = np.concatenate(rows).astype(np.float32).astype(np.float64)
    tensors, _ = read_tensors(folder / "m.safetensors")
    np.testing.assert_allclose(tensors["frontend.mean"], every.mean(0), rtol=1e-6)
    np.testing.assert_allclose(tensors["frontend.scale"], 1 / every.std(0), rtol=1e-6)
    assert peephole.load(folder / "m.safetensors").source_symbols.to_json()["size"] == 4


def test_a_level_does_not_hide_the_changes_of_numbers(folder, tmp_path):
    for name in ("0.tsv", "1000.tsv"):
        lines = (folder / name).read_text().splitlines()
        for line in lines:
            table = np.loadtxt(folder / line.split("\t")[0], delimiter=",", ndmin=2)
            np.savetxt(tmp_path / line.split("\t")[0], table / 64 + 101_325, delimiter=",")  # air pressure, in pascal
        (tmp_path / name).write_text("\n".join(lines))
    model = peephole.train(tmp_path / "0.tsv", tmp_path / "1000.tsv", tmp_path / "m.safetensors", **SETTINGS)
    assert peephole.evaluate(model, tmp_path / "1000.tsv").scores["exact_match"].value > 90


@pytest.mark.parametrize("masks", [{}, {"time_masks": 2, "time_mask_size": 4, "feature_masks": 1}])
def test_a_resumed_training_ends_with_the_same_bits(masks, folder, tmp_path, monkeypatch):
    settings = {**SETTINGS, "steps": 12, "checkpoint_seconds": 0, "dropout": 0.1, **masks}
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    peephole.train(folder / "0.tsv", folder / "1000.tsv", whole, **settings)
    break_at(monkeypatch, 5, lambda: peephole.train(folder / "0.tsv", folder / "1000.tsv", broken, **settings))
    resume(tmp_path / "broken.run", quiet=True)
    assert whole.read_bytes() == broken.read_bytes()
    if masks:
        peephole.train(folder / "0.tsv", folder / "1000.tsv", whole, **settings | {"time_masks": 0}, overwrite=True)
        assert whole.read_bytes() != broken.read_bytes()


def masked(lengths, examples, masking, steps=40, features=9, step=0):
    """Return which of T x F points are masked for sources of ones."""
    frames = torch.ones(len(lengths), steps, features)
    noise = Noise(seed=1, step=step, examples=torch.tensor(examples), rate=0.0)
    return masked_frames(frames, torch.tensor(lengths), masking, noise) == 0


def test_masks_are_spans_within_their_sizes_and_depend_on_the_example_alone():
    masking = Masking(time_masks=1, time_mask_size=6, feature_masks=0, feature_mask_size=4)
    widths, starts = set(), set()
    for step in range(60):
        found = masked([40, 20], [7, 8], masking, step=step)
        alone = masked([20], [8], masking, steps=20, step=step)
        assert torch.equal(found[1, :20], alone[0])
        for row, length, most in ((0, 40, 6), (1, 20, 4)):  # at most a fifth of the source
            steps = found[row].all(1)
            assert torch.equal(found[row].any(1), steps)
            places = steps.nonzero()[:, 0].tolist()
            assert places == list(range(places[0], places[-1] + 1)) if places else True
            assert len(places) <= most
            assert not places or places[-1] < length
            widths.add((row, len(places)))
            starts |= set(places[:1])
    assert {width for row, width in widths if row == 0} == set(range(7))
    assert {width for row, width in widths if row == 1} == set(range(5))
    assert len(starts) > 20


def test_bands_of_features_are_masked_in_all_steps():
    found = torch.stack(
        [masked([40], [3], Masking(feature_masks=2, feature_mask_size=3), step=step)[0] for step in range(50)]
    )
    assert torch.equal(found.any(1), found.all(1))
    counts = found.all(1).sum(1)
    assert set(counts.tolist()) <= set(range(7))
    assert counts.max() > 3
    assert not masked([40], [3], Masking()).any()


def test_a_report_names_or_counts_the_unreadable_files_of_its_test_pairs(tmp_path):
    train = write_sequences(tmp_path, 8)
    test = tmp_path / "test.tsv"
    test.write_text("no.csv\tab\n" + train.read_text(), encoding="utf-8")
    settings = SETTINGS | {"steps": 2, "hidden_size": 4}
    peephole.train(train, train, tmp_path / "m.safetensors", **settings)
    with pytest.raises(DataError, match=r"test\.tsv, line 1: .*no\.csv: no such file$"):
        peephole.report(tmp_path / "m.run", test)
    peephole.train(train, train, tmp_path / "s.safetensors", **settings, bad_lines="skip")
    found = peephole.report(tmp_path / "s.run", test)
    assert [(measured.name, measured.num_all) for measured in found.sets] == [("dev", 8), ("test", 8)]
    assert f"test: 1 pair skipped: source cannot be read (first: {test}, line 1)" in found.missing
