"""Tests reading sound, images and tables as frames."""

from __future__ import annotations

import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile
import soxr
from PIL import Image

from peephole.data.files import kind_of_file
from peephole.data.frames import check_frames, read_frames
from peephole.errors import DataError
from peephole.symbols import FrameSymbols

SOUND, IMAGE = FrameSymbols("sound"), FrameSymbols("image")


def tone(hertz: float, rate: int, seconds: float = 1.0) -> Any:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


def test_sound_is_read_as_filterbanks_whose_loudest_follows_the_pitch(tmp_path: Path) -> None:
    loudest = []
    rng = np.random.default_rng(2)
    for hertz in (300, 1000, 3000):
        noise = rng.normal(0, 0.01, 16000)  # whose mean is taken off, so that only half of the sound has the tone
        soundfile.write(tmp_path / "a.wav", noise + tone(hertz, 16000) * (np.arange(16000) > 8000), 16000)
        frames, is_longer, changes = read_frames(tmp_path / "a.wav", SOUND, 1000)
        assert (frames.shape, frames.dtype, is_longer, changes) == ((100, 80), np.float16, False, [])
        loudest.append(int(frames[75].argmax()))
        np.testing.assert_allclose(frames.astype(np.float64).mean(0), 0, atol=1e-3)
    assert loudest == sorted(set(loudest))


@pytest.mark.parametrize(("rate", "channels", "suffix"), [(8000, 1, "wav"), (44100, 2, "flac"), (48000, 1, "ogg")])
def test_other_rates_and_channels_give_nearly_the_same_frames(
    rate: int, channels: int, suffix: str, tmp_path: Path
) -> None:
    noise = np.random.default_rng(4).normal(0, 0.1, 16000) * (1 + np.sin(np.arange(16000) / 500))
    soundfile.write(tmp_path / "a.wav", noise, 16000)
    other = soxr.resample(noise, 16000, rate)
    soundfile.write(tmp_path / f"b.{suffix}", np.stack([other] * channels, 1), rate)
    wanted, _, _ = read_frames(tmp_path / "a.wav", SOUND, 1000)
    frames, _, changes = read_frames(tmp_path / f"b.{suffix}", SOUND, 1000)
    assert changes == ["several channels of sound mixed to one"] * (channels > 1) + ["sound resampled to 16000 Hz"]
    assert len(frames) == len(wanted) == 100
    difference = np.abs(frames.astype(float) - wanted.astype(float))[5:-5, :45]  # below 3.4 kHz
    most = 0.4 if suffix == "ogg" else 0.2  # which is lossy
    assert difference.mean() < most < 0.5 < wanted.astype(float).std()


def test_only_the_beginning_of_a_long_sound_is_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1000, 8000, 20), 8000)
    frames, is_longer, _ = read_frames(tmp_path / "a.wav", SOUND, 50)
    assert (frames.shape, is_longer) == ((50, 80), True)


@pytest.mark.parametrize("rate", [8000, 16000])
def test_a_sound_of_one_frame_too_many_is_longer(rate: int, tmp_path: Path) -> None:
    for samples, wanted in ((rate // 2, False), (rate // 2 + rate // 100, True)):
        soundfile.write(tmp_path / "a.wav", tone(1000, rate)[:samples], rate)
        frames, is_longer, _ = read_frames(tmp_path / "a.wav", SOUND, 50)
        assert (len(frames), is_longer) == (50, wanted)


def test_an_image_is_read_column_by_column_with_black_as_1(tmp_path: Path) -> None:
    points = np.full((48, 20), 255, np.uint8)
    points[10:30, 4] = 0
    Image.fromarray(points).save(tmp_path / "a.png")
    frames, _, _ = read_frames(tmp_path / "a.png", IMAGE, 1000)
    assert frames.shape == (20, 48)
    assert frames[4, 10:30].tolist() == [1] * 20
    assert float(frames.sum()) == 20


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK"])
def test_images_of_every_mode_are_read(mode: str, tmp_path: Path) -> None:
    suffix = "tif" if mode == "CMYK" else "png"
    image = Image.new("L", (30, 24), 255)
    image.paste(0, (10, 0, 20, 24))
    image.convert(mode).save(tmp_path / f"a.{suffix}")
    frames, _, changes = read_frames(tmp_path / f"a.{suffix}", IMAGE, 1000)
    assert frames.shape == (60, 48)
    assert frames[[10, 30, 50], 24].tolist() == [0, 1, 0]
    assert changes == []


@pytest.mark.parametrize("kind", [np.uint16, np.int32])
def test_points_of_16_bits_are_scaled(kind: type, tmp_path: Path) -> None:
    points = np.repeat(np.array([0, 30_000, 65_535]), 48)[None].repeat(48, 0).astype(kind)
    Image.fromarray(points).save(tmp_path / "a.tif")
    frames, _, _ = read_frames(tmp_path / "a.tif", IMAGE, 1000)
    np.testing.assert_allclose(frames[[20, 70, 120], 24], [1, 1 - 30_000 / 65_535, 0], atol=0.004)


@pytest.mark.parametrize(
    "points", [np.full((4, 4), 0.5, np.float32), np.full((4, 4), 70_000, np.int32)], ids=["F", "I"]
)
def test_points_of_an_unknown_range_are_refused(points: Any, tmp_path: Path) -> None:
    Image.fromarray(points).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"cannot be read as image: wanted points of at most 16 bits, got mode [FI]$"):
        read_frames(tmp_path / "a.tif", IMAGE, 10)


def test_a_photograph_is_turned_upright(tmp_path: Path) -> None:
    image = Image.new("L", (96, 48), 255)
    image.paste(0, (0, 0, 48, 48))  # the left half, which the camera held at the bottom
    exif = Image.Exif()
    exif[0x0112] = 8  # turn by 90° against the clock
    image.save(tmp_path / "a.jpg", exif=exif)
    frames, _, _ = read_frames(tmp_path / "a.jpg", IMAGE, 1000)
    assert frames.shape == (24, 48)
    assert (frames[:, :22] < 0.1).all()
    assert (frames[:, 26:] > 0.9).all()


def test_transparent_points_are_white_and_colours_have_three_numbers(tmp_path: Path) -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.putpixel((2, 5), (255, 0, 0, 255))
    image.save(tmp_path / "a.png")
    frames, _, changes = read_frames(tmp_path / "a.png", FrameSymbols("image", height=8, colours=True), 1000)
    assert changes == ["transparent points are read as white"]
    assert frames.shape == (8, 24)
    assert frames[2].reshape(3, 8)[:, 5].tolist() == [0, 1, 1]
    assert float(frames.sum()) == 2


def test_tables_are_read_row_by_row(tmp_path: Path) -> None:
    table = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.save(tmp_path / "a.npy", table)
    np.savetxt(tmp_path / "a.csv", table, delimiter=",")
    np.save(tmp_path / "b.npy", table[:, 0])
    for name, wanted in (("a.npy", table), ("a.csv", table), ("b.npy", table[:, :1])):
        frames, is_longer, _ = read_frames(tmp_path / name, FrameSymbols("numbers", size=wanted.shape[1]), 3)
        assert (frames.tolist(), is_longer) == (wanted[:3].tolist(), True)


@pytest.mark.parametrize(("level", "change"), [(5000, 1), (1e6, 10), (-1e30, 1e25), (0, 1e-12)])
def test_tables_of_any_level_keep_their_changes(level: float, change: float, tmp_path: Path) -> None:
    table = np.array([[level], [level + change], [level + 2 * change]], np.float32)
    np.save(tmp_path / "a.npy", table)
    how = FrameSymbols("numbers", size=1)
    for frames in (read_frames(tmp_path / "a.npy", how, 3)[0], check_frames("sources", table.astype(np.float64), how)):
        assert frames.dtype == np.float32
        np.testing.assert_array_equal(frames, table)
    assert len(np.unique(table)) == 3


def test_the_names_of_columns_are_left_out_and_reported(tmp_path: Path) -> None:
    for text in ("x,y\n1,2\n3,4\n", "\ufeffx, y\n1,2\n3,4\n", "\ufeff1,2\n3,4\n"):
        (tmp_path / "a.csv").write_text(text, encoding="utf-8")
        frames, is_longer, changes = read_frames(tmp_path / "a.csv", FrameSymbols("numbers", size=2), 2)
        assert (frames.tolist(), is_longer) == ([[1, 2], [3, 4]], False)
        assert changes == (["the first row holds names and is not read"] if "x" in text else [])


def test_parquet_is_read_row_by_row(tmp_path: Path) -> None:
    table = pyarrow.table({"x": [1, 2, None], "y": pyarrow.array([0.5, -1, 3]), "day": ["Mon", "Tue", "Wed"]})
    pyarrow.parquet.write_table(table.drop_columns(["day"]), tmp_path / "a.parquet")
    frames, is_longer, _ = read_frames(tmp_path / "a.parquet", FrameSymbols("numbers", size=2), 2)
    assert (frames.tolist(), is_longer) == ([[1, 0.5], [2, -1]], True)
    with pytest.raises(DataError, match=r"a\.parquet: holds a number that is not finite, in frame 3$"):
        read_frames(tmp_path / "a.parquet", FrameSymbols("numbers", size=2), 10)
    pyarrow.parquet.write_table(table, tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b\.parquet, column 'day': wanted numbers, got string$"):
        read_frames(tmp_path / "b.parquet", FrameSymbols("numbers", size=2), 10)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("no.wav", None, "no such file"),
        ("x" * 300 + ".wav", None, "cannot be read: File name too long"),
        ("a.wav", b"", "cannot be read as sound: .*"),
        ("a.wav", b"RIFF\0\0\0\0WAVE", "cannot be read as sound: .*"),
        ("a.png", b"\x89PNG\r\n", "cannot be read as image: .*"),
        ("a.npy", b"\x93NUMPY", "cannot be read as numbers: no complete .npy file of numbers"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"1,2\n\nx,3\n", "cannot be read as numbers: line 3, column 1: wanted a number, got 'x'"),
        ("a.csv", b"1,2\n3\n", "cannot be read as numbers: line 2: wanted 2 columns, got 1"),
        ("a.csv", b"a,b\n1,2\n3,1_05\n", "cannot be read as numbers: line 3, column 2: wanted a number, got '1_05'"),
        ("a.csv", b"1,2\n3,nan\n", "holds a number that is not finite, in frame 2"),
        ("a.csv", b"1,2,3\n", "wanted frames of 2 numbers, got 3"),
        ("a.csv", b"1,inf\n", "holds a number that is not finite, in frame 1"),
        ("a.csv", b"x,1\n2,3\n", "cannot be read as numbers: line 1, column 1: wanted a number, got 'x'"),
        ("a.csv", b"x,y\n", "wanted rows of numbers with commas between them, got one of names, 'x,y'"),
        ("a.csv", b"1;2\n", "wanted rows of numbers with commas between them, got one of names, '1;2'"),
        ("a.csv", b'"1","2"\n\n', 'wanted rows of numbers with commas between them, got one of names, \'"1","2"\''),
        ("a.csv", b"\n# 1,2\n \n", "is empty"),
        (
            "a.csv",
            b"\xff,y\n1,2\n",
            r"cannot be read as numbers: wanted \.npy, \.parquet, or text in UTF-8, got byte 0xff",
        ),
        ("a.csv", b"x,y\n\n1,2\n#\n1,2,3\n", "cannot be read as numbers: line 5: wanted 2 columns, got 3"),
        ("a.parquet", b"PAR1", "cannot be read as numbers: .*"),
    ],
)
def test_a_bad_file_is_one_line(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    kind = kind_of_file(name)
    assert kind is not None
    with pytest.raises(DataError, match=rf"^{re.escape(str(path))}: {message}$") as caught:
        read_frames(path, FrameSymbols(kind, size=2), 1000)
    assert "\n" not in str(caught.value)


def test_empty_sound_huge_images_and_other_arrays_are_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 16000)
    with pytest.raises(DataError, match="is empty"):
        read_frames(tmp_path / "a.wav", SOUND, 10)
    Image.new("1", (20_000, 10_000)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"^.*a\.png: cannot be read as image: Image size \(200000000 "):
        read_frames(tmp_path / "a.png", IMAGE, 10)
    np.save(tmp_path / "a.npy", np.zeros((2, 2, 2)))
    with pytest.raises(DataError, match=r"wanted numbers of shape \(T, F\), got float64 of shape \(2, 2, 2\)"):
        read_frames(tmp_path / "a.npy", FrameSymbols("numbers"), 10)
    np.save(tmp_path / "b.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"cannot be read as numbers: no complete \.npy file of numbers"):
        read_frames(tmp_path / "b.npy", FrameSymbols("numbers"), 10)


@pytest.mark.parametrize(
    ("suffix", "settings"),
    [("wav", {}), ("wav", {"endian": "BIG"}), ("wav", {"format": "RF64"}), ("aiff", {}), ("au", {}), ("flac", {})],
    ids=["RIFF", "RIFX", "RF64", "AIFF", "AU", "FLAC"],
)
def test_a_sound_that_is_cut_off_is_refused(suffix: str, settings: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, tone(1000, 16000, 0.25), 16000, **settings)
    assert len(read_frames(path, SOUND, 1000)[0]) == 25
    path.write_bytes(path.read_bytes()[:1044])
    reason = "" if suffix == "flac" else r"cut off: wanted 8,0\d\d bytes of sound, as its header says, got [\d,]+$"
    for most in (1000, 2) if suffix != "flac" else (1000,):
        with pytest.raises(DataError, match=rf"a\.{suffix}: cannot be read as sound: {reason}"):
            read_frames(path, SOUND, most)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF000, 8044], ids=["0", "most", "sox", "with the header"])
def test_a_stream_whose_header_lacks_the_size_is_read(size: int, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1000, 16000, 0.25), 16000)
    wanted, _, _ = read_frames(tmp_path / "a.wav", SOUND, 1000)
    content = (tmp_path / "a.wav").read_bytes()
    assert content[36:40] == b"data"
    sizes = (0xFFFFFFFF if size else 8).to_bytes(4, "little"), size.to_bytes(4, "little")
    (tmp_path / "b.wav").write_bytes(content[:4] + sizes[0] + content[8:40] + sizes[1] + content[44:])
    frames, _, _ = read_frames(tmp_path / "b.wav", SOUND, 1000)
    assert frames.tolist() == wanted.tolist()


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.full(4000, 1e30), r"wanted samples from -1e\+10 to 1e\+10, got one of size 1e\+30"),
        (np.full(4000, np.nan), "holds a sample that is not finite"),
        (np.r_[np.zeros(4000), -np.inf], "holds a sample that is not finite"),
        (np.zeros(10), "is too short: a frame needs 80 samples at 16000 Hz, got 10"),
        (np.zeros(79), "is too short: a frame needs 80 samples at 16000 Hz, got 79"),
    ],
)
def test_sound_without_usable_samples_is_one_line_without_a_warning(samples: Any, message: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    with pytest.raises(DataError, match=rf"a\.wav: {message}$"):  # and the tests' warnings are errors
        read_frames(tmp_path / "a.wav", SOUND, 1000)


def test_eighty_samples_are_a_frame(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "b.wav", np.zeros(1), 48000)
    with pytest.raises(DataError, match=r"b\.wav: is too short: a frame needs 240 samples at 48000 Hz, got 1$"):
        read_frames(tmp_path / "b.wav", SOUND, 1000)
    soundfile.write(tmp_path / "a.wav", tone(1000, 16000)[:80], 16000)
    assert len(read_frames(tmp_path / "a.wav", SOUND, 1000)[0]) == 1


def test_a_large_image_is_read_without_a_warning_in_several_threads(tmp_path: Path) -> None:
    Image.new("1", (9500, 9500), 1).save(tmp_path / "a.png")  # more than 89 million points, of which pillow warns
    filters = list(warnings.filters)
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda _: read_frames(tmp_path / "a.png", IMAGE, 1000)[0].shape, range(3)))
    assert found == [(48, 48)] * 3
    assert warnings.filters == filters


def test_a_warning_about_the_header_of_an_image_is_not_shown(tmp_path: Path) -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\x12\0\x03"  # cut off
    Image.new("L", (10, 48)).save(tmp_path / "a.jpg", exif=exif)
    assert read_frames(tmp_path / "a.jpg", IMAGE, 1000)[0].shape == (10, 48)


@pytest.mark.parametrize("text", ["1,2\n\n3,4\n", "\nx,y\n \t\n\n1,2\n3,4\n\n", "1,2\n# made by hand\n3,4 # 5\n\n"])
def test_blank_lines_within_a_table_are_reported(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    frames, is_longer, changes = read_frames(tmp_path / "a.csv", FrameSymbols("numbers", size=2), 2)
    assert (frames.tolist(), is_longer) == ([[1, 2], [3, 4]], False)
    wanted = ["the first row holds names and is not read"] if "x" in text else []
    assert changes == wanted + ["blank lines between the rows are not read"] * ("#" not in text)


@pytest.mark.parametrize("suffix", ["gif", "tif", "png", "webp"])
def test_a_file_of_several_images_is_reported(suffix: str, tmp_path: Path) -> None:
    images = [Image.new("RGB", (10, 48), color) for color in ("black", "white")]
    images[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=images[1:])
    frames, _, changes = read_frames(tmp_path / f"a.{suffix}", IMAGE, 1000)
    assert (frames.shape, changes) == ((10, 48), ["only the first image of the file is read"])
    assert frames.min() > 0.9
    images[0].save(tmp_path / f"b.{suffix}")
    assert read_frames(tmp_path / f"b.{suffix}", IMAGE, 1000)[2] == []


def test_the_previews_of_a_photograph_are_not_reported(tmp_path: Path) -> None:
    images = [Image.new("RGB", (10, 48)), Image.new("RGB", (5, 24))]
    images[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=images[1:])
    with Image.open(tmp_path / "a.jpg") as image:
        assert (image.format, image.n_frames) == ("MPO", 2)  # type: ignore[attr-defined]  # of such files
    assert read_frames(tmp_path / "a.jpg", IMAGE, 1000)[2] == []
