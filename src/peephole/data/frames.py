"""Read files of sound, images and numbers as frames: arrays (T, F) of T steps with F numbers each.

Sound becomes log-mel filterbanks, an image its columns of points from left to right, a table its rows. Frames are
float16, in prediction as in training, so that both see the same numbers.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from peephole.errors import DataError

Frames = NDArray[np.float16]
FrameKind = Literal["sound", "image", "numbers"]

SUFFIXES: dict[str, FrameKind] = {
    **dict.fromkeys((".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".au"), "sound"),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"), "image"),
    **dict.fromkeys((".npy", ".csv"), "numbers"),
}
"""The suffix of a file's name, in small letters → what it holds."""

STEP_SECONDS = 0.01  # between two frames of sound
LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class FrameReader:
    """Reads files of one kind.

    Args:
        kind: sound, image or numbers.
        sample_rate: sound: samples a second to which it is resampled.
        mel_bins: sound: F, triangular filters on the mel scale.
        height: images: points to which the height is scaled; the width is scaled likewise.
        colours: images: F is three times the height, red, green and blue, instead of the height, grey.
    """

    kind: FrameKind
    sample_rate: int = 16000
    mel_bins: int = 80
    height: int = 48
    colours: bool = False

    def read(self, path: str | Path, most: int) -> tuple[Frames, bool, list[str]]:
        """Read the frames of a file.

        Args:
            path: the file.
            most: frames; of a longer file only the beginning is read.

        Returns:
            The frames (T, F), whether the file is longer, and what was changed in order to read it.

        Raises:
            DataError: the file is missing, damaged or empty, or holds no finite numbers; the message is one line.
        """
        if not Path(path).is_file():
            raise DataError(f"{path}: no such file")
        read = {"sound": _read_sound, "image": _read_image, "numbers": _read_numbers}[self.kind]
        try:
            frames, is_longer, changes = read(self, Path(path), most)
        except DataError:
            raise
        except Exception as error:  # the readers' exceptions have no common base class
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(f"{path}: cannot be read as {self.kind}: {reason}") from error
        if not len(frames):
            raise DataError(f"{path}: is empty")
        if not np.isfinite(frames).all():
            raise DataError(f"{path}: holds a number that is not finite, in frame {_first_bad(frames) + 1}")
        return np.clip(frames, -LARGEST, LARGEST).astype(np.float16), is_longer, changes


def kind_of_file(name: str) -> FrameKind | None:
    """Return what a file of this name holds, by its suffix; None for text.

    >>> kind_of_file("a/b.WAV"), kind_of_file("hello")
    ('sound', None)
    """
    return SUFFIXES.get(Path(name).suffix.lower())


def _first_bad(frames: NDArray[Any]) -> int:
    return int(np.flatnonzero(~np.isfinite(frames).all(1))[0])


def _read_sound(reader: FrameReader, path: Path, most: int) -> tuple[NDArray[Any], bool, list[str]]:
    """Return log-mel filterbanks of 25 ms every 10 ms, by kaldi-native-fbank, without dither."""
    import kaldi_native_fbank  # type: ignore[import-untyped]
    import soundfile  # type: ignore[import-untyped]

    changes = []
    with soundfile.SoundFile(path) as file:
        rate = file.samplerate
        samples = file.read(int((most + 1) * STEP_SECONDS * rate), dtype="float32", always_2d=True)
        is_longer = file.tell() < file.frames
    if samples.shape[1] > 1:
        changes.append("several channels of sound mixed to one")
    wave = samples.mean(1)
    if rate != reader.sample_rate:
        import soxr  # type: ignore[import-untyped]

        changes.append(f"sound resampled to {reader.sample_rate} Hz")
        wave = soxr.resample(wave, rate, reader.sample_rate)
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = reader.sample_rate
    options.frame_opts.dither = 0.0
    options.frame_opts.snip_edges = False
    options.mel_opts.num_bins = reader.mel_bins
    bank = kaldi_native_fbank.OnlineFbank(options)
    bank.accept_waveform(reader.sample_rate, np.ascontiguousarray(wave * 32768, np.float32))  # as 16-bit numbers
    bank.input_finished()
    frames = [bank.get_frame(index) for index in range(min(bank.num_frames_ready, most))]
    return np.array(frames, np.float32).reshape(-1, reader.mel_bins), is_longer, changes


def _read_image(reader: FrameReader, path: Path, most: int) -> tuple[NDArray[Any], bool, list[str]]:
    """Return the columns of points, 0 for white and 1 for black; transparent points are white."""
    from PIL import Image

    with Image.open(path) as image:  # which refuses more than 179 million points before it decodes them
        width, height = image.size
        scaled_width = max(1, round(width * reader.height / height))
        opaque: Image.Image = image
        if image.mode in ("RGBA", "LA", "PA", "P"):
            shown = image.convert("RGBA")
            opaque = Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown)
        flat = opaque.convert("RGB" if reader.colours else "L")
        flat = flat.resize((scaled_width, reader.height), Image.Resampling.BILINEAR, reducing_gap=3.0)
    points = 1 - np.asarray(flat, np.float32) / 255  # (height, width) or (height, width, 3)
    columns = points.swapaxes(0, 1).reshape(scaled_width, -1)
    return columns[:most], scaled_width > most, []


def _read_numbers(reader: FrameReader, path: Path, most: int) -> tuple[NDArray[Any], bool, list[str]]:
    """Return the rows of a table of numbers; a vector has one number a row."""
    if path.suffix.lower() == ".npy":
        table = np.load(path, allow_pickle=False)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of an empty file, which is reported below
            table = np.loadtxt(path, delimiter=",", ndmin=2, dtype=np.float32, max_rows=most + 1)
    if table.ndim not in (1, 2) or table.dtype.kind not in "fiub":
        raise DataError(f"{path}: wanted numbers of shape (T, F), got {table.dtype} of shape {table.shape}")
    rows = table.reshape(len(table), -1) if table.size else np.empty((0, 1))
    return rows[:most].astype(np.float32), len(rows) > most, []
