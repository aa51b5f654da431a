"""Tests of manifests: the files that they name become frames, statistics and dev frames, or one clear line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from peephole.config import Config
from peephole.data import Prepared, batches, prepare, reopen
from peephole.data.frames import read_frames
from peephole.data.manifest import frame_symbols, recognise_sources
from peephole.errors import ConfigError, DataError
from peephole.symbols import FrameSymbols, symbols_from_json

NUMBERS = FrameSymbols("numbers", size=3)
RNG = np.random.default_rng(3)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Return a manifest of tables of 3 numbers, 2 to 9 rows each, beside it in a folder."""
    (tmp_path / "tables").mkdir()
    lines = []
    for number in range(12):
        np.save(tmp_path / f"tables/{number}.npy", RNG.normal(100, 7, (2 + number % 8, 3)).astype(np.float32))
        lines.append(f"tables/{number}.npy\tw{number % 5}\n")
    return write(tmp_path / "train.tsv", lines)


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(lines), encoding="utf-8")
    return path


def prepared(train: Path, dev: Path | None = None, **settings: Any) -> Prepared:
    config = recognise_sources(train, Config().with_values(settings))
    return prepare(train, dev, config, train.parent / "data")


def frames_of(folder: Path, name: str) -> Any:
    return read_frames(folder / name, NUMBERS, 1000)[0]


def test_the_kind_is_recognised_by_the_files_that_the_first_lines_name(manifest: Path, tmp_path: Path) -> None:
    config = recognise_sources(manifest, Config())
    assert (config.frames.kind, config.model.input, config.model.input_size) == ("numbers", "frames", 3)
    Image.new("L", (30, 24)).save(tmp_path / "a.png")
    soundfile.write(tmp_path / "a.wav", np.zeros(1000), 8000)
    images = write(tmp_path / "images.tsv", ["a.png\tx\n"] * 3 + ["b.png\ty\n"])
    config = recognise_sources(images, Config())
    assert (config.frames.kind, config.model.input, config.model.input_size) == ("image", "convolution", 48)
    config = recognise_sources(images, Config().with_values({"colours": True, "height": 10, "model.input": "frames"}))
    assert (config.model.input, config.model.input_size) == ("frames", 30)
    sound = write(tmp_path / "sound.jsonl", ['{"source": "a.wav", "target": "x"}\n'])
    assert recognise_sources(sound, Config()).model.input_size == 80


def test_texts_stay_texts(tmp_path: Path) -> None:
    texts = write(tmp_path / "texts.tsv", ["hello\tx\n", "see a.png\ty\n", "b\tz\n", "no.wav\tz\n"])
    assert recognise_sources(texts, Config()) == Config()
    names = write(tmp_path / "names.tsv", ["a.png\tx\n", "b.png\ty\n"])
    as_text = Config().with_values({"frames.kind": "text"})
    assert recognise_sources(names, as_text) == as_text


@pytest.mark.parametrize(
    ("lines", "settings", "message"),
    [
        (["a.png\tx\n", "b.png\ty\n"], {}, r"line 1: .*/a\.png: no such file; the names of files are relative to the"),
        (["tables/0.npy\tx\n", "b.wav\ty\n"], {}, r"wanted files of one kind as sources, got numbers \(line 1: tables"),
        (["tables/0.npy\tx\n"], {"model.input_size": 4}, r"model\.input_size: wanted 3, the numbers in a frame of "),
        (["hello\tx\n"], {"model.input": "frames"}, r"model\.input='frames' reads frames: wanted a frames\.kind of"),
        (
            ["tables/0.npy\tx\n"],
            {"frames.speeds": "three"},
            r"frames\.speeds: wanted 'one', except for sound and images",
        ),
        (["hello\tx\n", "b\ty\n"], {"frames.kind": "image"}, r"line 1: .*/hello: no such file; the names of files are"),
        (["no.csv\tx\n"], {"frames.kind": "numbers"}, r"line 1: .*/no\.csv: no such file"),
    ],
)
def test_what_cannot_be_recognised_is_one_line(
    lines: list[str], settings: dict[str, Any], message: str, manifest: Path
) -> None:
    path = write(manifest.parent / "bad.tsv", lines)
    with pytest.raises((DataError, ConfigError), match=message) as caught:
        recognise_sources(path, Config().with_values(settings))
    assert "\n" not in str(caught.value)


def test_a_kind_that_was_given_needs_one_of_the_files_unless_bad_lines_are_skipped(manifest: Path) -> None:
    Image.new("L", (30, 24)).save(manifest.parent / "b.png")
    settings = {"frames.kind": "image"}
    some = write(manifest.parent / "some.tsv", ["a.png\tx\n", "b.png\ty\n"])
    assert recognise_sources(some, Config().with_values(settings)).model.input_size == 48
    none = write(manifest.parent / "none.tsv", ["a.png\tx\n"])
    assert recognise_sources(none, Config().with_values(settings | {"bad_lines": "skip"})).model.input_size == 48


def test_the_corpus_holds_the_frames_and_their_statistics(manifest: Path, tmp_path: Path) -> None:
    dev = write(tmp_path / "dev.tsv", ["tables/3.npy\tw0\n", "tables/1.npy\tw1\n", "tables/3.npy\tw2\n"])
    found = prepared(manifest, dev)
    sources, targets = found.train.pairs(list(range(12)))
    wanted = [frames_of(tmp_path, f"tables/{number}.npy") for number in range(12)]
    for source, frames in zip(sources, wanted, strict=True):
        assert source.dtype == np.float32
        assert source.tolist() == frames.tolist()
    assert [found.target_symbols.decode(ids.tolist()) for ids in targets] == [f"w{number % 5}" for number in range(12)]
    every = np.concatenate(wanted).astype(np.float64)
    assert found.statistics is not None
    np.testing.assert_allclose(found.statistics.mean, every.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.statistics.deviation, every.std(0), rtol=1e-9)
    assert [(frames.tolist(), targets) for frames, targets in found.dev_pairs] == [
        (wanted[3].tolist(), ("w0", "w2")),
        (wanted[1].tolist(), ("w1",)),
    ]
    assert "sources: files of numbers, 3 numbers a frame" in found.report


def test_batches_pad_frames_with_zeros_and_keep_their_limit(manifest: Path) -> None:
    found = prepared(manifest, manifest)
    batch_list = list(batches(found.train, seed=1, epoch=0, batch_symbols=1000, batch_frames=20))
    assert sorted(np.concatenate([batch.examples for batch in batch_list]).tolist()) == list(range(12))
    assert len(batch_list) > 3
    for batch in batch_list:
        rows, steps, size = batch.source.shape
        assert size == 3
        assert rows * steps <= 20
        for example, source, length in zip(batch.examples, batch.source, batch.source_lengths, strict=True):
            frames = frames_of(manifest.parent, f"tables/{example}.npy")
            assert source[:length].tolist() == frames.tolist()
            assert not source[length:].any()


def test_bad_files_stop_or_are_counted(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "tables/2.npy").unlink()
    (tmp_path / "tables/7.npy").write_bytes(b"\x93NUMPY")
    np.save(tmp_path / "tables/9.npy", np.full((4, 3), np.nan))
    np.save(tmp_path / "tables/10.npy", np.zeros((4, 2)))
    np.save(tmp_path / "tables/11.npy", np.zeros((30, 3)))
    with pytest.raises(DataError, match=rf"^{re.escape(str(manifest))}, line 3: .*tables/2\.npy: no such file$"):
        prepared(manifest, manifest)
    found = prepared(manifest, manifest, bad_lines="skip", max_frames=20)
    assert len(found.train) == 7
    assert f"4 pairs skipped: source cannot be read (first: {manifest}, line 3)" in found.report
    assert f"1 pair left out: longer than 20 frames (first: {manifest}, line 12)" in found.report


def test_a_name_that_the_system_refuses_is_an_error_of_its_line(manifest: Path) -> None:
    name = "x" * 300 + ".npy"
    with open(manifest, "a", encoding="utf-8") as file:
        file.write(f"{name}\tw\ntables\tw\n")
    with pytest.raises(DataError, match=rf"train\.tsv, line 13: .*{name}: cannot be read: File name too long$"):
        prepared(manifest, manifest)
    found = prepared(manifest, manifest, bad_lines="skip")
    assert f"2 pairs skipped: source cannot be read (first: {manifest}, line 13)" in found.report
    with pytest.raises(DataError, match=r"tables: is no regular file$"):
        frames_of(manifest.parent, "tables")


def test_without_a_dev_file_some_files_are_held_out(manifest: Path) -> None:
    found = prepared(manifest, dev_fraction=0.3)
    assert len(found.train) + len(found.dev_pairs) == 12
    assert found.dev_pairs


def test_three_speeds_give_three_examples_of_a_sound(tmp_path: Path) -> None:
    for name in "abc":
        soundfile.write(tmp_path / f"{name}.wav", RNG.normal(0, 0.1, 16000), 16000)
    train = write(tmp_path / "train.tsv", [f"{name}.wav\t{name}\n" for name in "abc"])
    found = prepared(train, train, **{"frames.speeds": "three"})
    lengths = found.train.locate(np.arange(9)).source.lengths.tolist()
    assert lengths == [111, 100, 91] * 3
    assert len(found.dev_pairs) == 3
    for name in "abc":
        Image.new("L", (100, 48)).save(tmp_path / f"{name}.png")
    images = write(tmp_path / "images.tsv", [f"{name}.png\t{name}\n" for name in "abc"])
    narrower = prepared(images, images, **{"frames.speeds": "three"})
    assert narrower.train.locate(np.arange(3)).source.lengths.tolist() == [111, 100, 91]
    _, targets = found.train.pairs([0, 1, 2, 3])
    assert [found.target_symbols.decode(ids.tolist()) for ids in targets] == ["a", "a", "a", "b"]


def test_other_sizes_of_the_named_files_are_noticed_and_missing_ones_are_not_needed(manifest: Path) -> None:
    config = recognise_sources(manifest, Config())
    prepare(manifest, manifest, config, manifest.parent / "data")
    again = reopen(manifest, manifest, config, manifest.parent / "data")
    assert again is not None
    (manifest.parent / "tables/5.npy").rename(manifest.parent / "away")
    again = reopen(manifest, manifest, config, manifest.parent / "data")
    assert again is not None
    assert "1 of the files that it names is missing" in again.report[-1]
    np.save(manifest.parent / "tables/5.npy", np.zeros((3, 3)))
    assert reopen(manifest, manifest, config, manifest.parent / "data") is None


NAMED = FrameSymbols("numbers", size=2, columns=["load", "온도"])


@pytest.mark.parametrize(
    "table", [FrameSymbols("sound", mel_bins=40), FrameSymbols("image", colours=True), NUMBERS, NAMED]
)
def test_the_description_of_frames_survives_json(table: FrameSymbols) -> None:
    assert symbols_from_json(table.to_json()) == table


def test_frame_symbols_are_those_of_the_settings() -> None:
    config = Config().with_values({"frames.kind": "sound", "sample_rate": 8000, "mel_bins": 23})
    assert frame_symbols(config) == FrameSymbols("sound", sample_rate=8000, mel_bins=23)


@pytest.mark.parametrize("settings", [{"train.time_masks": 1}, {"train.feature_masks": 2}, {"frames.speeds": "three"}])
def test_settings_of_frames_are_refused_for_texts(settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("a\tb\nc\td\n", encoding="utf-8")
    assert recognise_sources(tmp_path / "t.tsv", Config()) == Config()
    [name] = settings
    with pytest.raises(ConfigError, match=rf"^{name}: wanted .* text"):
        recognise_sources(tmp_path / "t.tsv", Config().with_values(settings))
