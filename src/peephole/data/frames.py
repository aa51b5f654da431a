"""Read files of sound, images and numbers as frames: arrays (T, F) of T steps with F numbers each.

Sound becomes log-mel filterbanks, an image its columns of points from left to right, a table its rows. Frames have one
number format in prediction and in training, so that both see the same numbers: float16 for sound and images, whose
numbers are small, and float32 for tables, whose numbers may have any level and scale.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peephole.data.cut_sound import check_is_whole
from peephole.data.files import import_pyarrow, kind_of_file
from peephole.errors import DataError, shorten
from peephole.symbols import FrameSymbols

Frames = NDArray[np.float16] | NDArray[np.float32]
STEP_SECONDS = 0.01  # between two frames of sound
LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
LOUDEST = 1e10  # of samples; sound is from -1 to 1, or from -2^31 to 2^31 where a program left integers unscaled
ORIENTATION = 0x0112  # of the camera, among the EXIF tags
BLANK_LINES = "blank lines between the rows are not read"
_one_filters_warnings = threading.Lock()


def read_frames(path: str | Path, how: FrameSymbols, most: int, speed: float = 1.0) -> tuple[Frames, bool, list[str]]:
    """Read the frames of a file.

    Args:
        path: the file.
        how: what it holds and how it is read.
        most: frames; of a longer file only the beginning is read.
        speed: sound: times the speed at which it was recorded; its pitch changes with it. Images: they become as many
            times narrower.

    Returns:
        The frames (T, F), whether the file is longer, and what was changed in order to read it.

    Raises:
        DataError: the file is missing, damaged or empty, or holds no finite numbers or another number of them in a
            frame; the message is one line.
    """
    frames, is_longer, changes = _read(Path(path), how, most, speed)
    return check_frames(str(path), frames, how), is_longer, changes


def table_width(path: str | Path) -> int:
    """Return F of a table of numbers; errors as `read_frames`."""
    return int(_read(Path(path), FrameSymbols("numbers"), 1, 1.0)[0].shape[1])


def frame_format(how: FrameSymbols) -> type[np.float16] | type[np.float32]:
    """Return the number format of frames."""
    return np.float32 if how.kind == "numbers" else np.float16


def _read(path: Path, how: FrameSymbols, most: int, speed: float) -> tuple[NDArray[Any], bool, list[str]]:
    try:
        is_file = path.is_file()
    except OSError as error:  # its folder may not be read, or its name is too long
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if not is_file:
        raise DataError(f"{path}: {'is no regular file' if path.exists() else 'no such file'}")
    given = kind_of_file(str(path))
    if given not in (None, how.kind):
        raise DataError(f"{path}: wanted a file of {how.kind}, got one of {given}")
    try:
        if how.kind == "numbers":
            frames, is_longer, changes = _read_numbers(path, most)
        else:
            read = {"sound": _read_sound, "image": _read_image}[how.kind]
            frames, is_longer, changes = read(how, path, most, speed)
    except DataError:
        raise
    except ModuleNotFoundError as error:
        extra = "audio" if how.kind == "sound" else "image"
        raise DataError(f"{path}: cannot be read without {error.name}: pip install 'peephole[{extra}]'") from error
    except Exception as error:  # the readers' exceptions have no common base class
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: cannot be read as {how.kind}: {reason}") from error
    if not len(frames):
        raise DataError(f"{path}: is empty")
    return frames, is_longer, changes


def check_frames(name: str, frames: NDArray[Any], how: FrameSymbols) -> Frames:
    """Return frames in their number format; numbers beyond the range of float16 become its largest.

    Raises:
        DataError: a number is not finite in float32, or the frames have another number of them.
    """
    if frames.shape[1] != how.size:
        raise DataError(f"{name}: wanted frames of {how.size} numbers, got {frames.shape[1]}")
    _check_finite(name, frames)
    number_format = frame_format(how)
    largest = np.finfo(number_format).max
    found: Frames = np.clip(frames, -largest, largest).astype(number_format)
    return found


def _check_finite(name: str, frames: NDArray[Any]) -> None:
    """Check that frames are finite in float32, before they are converted, which would warn of an overflow."""
    is_wide = frames.dtype.kind == "f" and frames.dtype.itemsize > 4
    is_finite = np.abs(frames) <= LARGEST_FLOAT32 if is_wide else np.isfinite(frames)
    if not is_finite.all():
        frame = int(np.argmin(is_finite.all(1))) + 1
        raise DataError(f"{name}: holds a number that is not finite, in frame {frame}")


@np.errstate(over="ignore", invalid="ignore")  # samples near the largest float32 give no finite frames, an error
def _read_sound(how: FrameSymbols, path: Path, most: int, speed: float) -> tuple[NDArray[Any], bool, list[str]]:
    """Return log-mel filterbanks of 25 ms every 10 ms, by kaldi-native-fbank, without dither.

    Each filter's mean over the file is subtracted, so that loudness and the colour of a microphone do not count.
    """
    import kaldi_native_fbank  # type: ignore[import-untyped]  # has no type information
    import soundfile  # type: ignore[import-untyped]  # likewise

    changes = []
    with soundfile.SoundFile(path) as file:
        check_is_whole(path)
        rate = file.samplerate
        samples = file.read(int((most + 1) * STEP_SECONDS * rate * speed), dtype="float32", always_2d=True)
        has_more = file.tell() < file.frames
    _check_samples(path, samples)
    if samples.shape[1] > 1:
        changes.append("several channels of sound mixed to one")
    wave = samples.mean(1)
    if rate != how.sample_rate:
        changes.append(f"sound resampled to {how.sample_rate} Hz")
    if rate * speed != how.sample_rate:
        import soxr  # type: ignore[import-untyped]  # likewise

        wave = soxr.resample(wave, rate * speed, how.sample_rate)
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = how.sample_rate
    options.frame_opts.dither = 0.0
    options.frame_opts.snip_edges = False
    options.mel_opts.num_bins = how.mel_bins
    bank = kaldi_native_fbank.OnlineFbank(options)
    bank.accept_waveform(how.sample_rate, np.ascontiguousarray(wave * 32768, np.float32))  # as 16-bit numbers
    bank.input_finished()
    if len(samples) and not bank.num_frames_ready:
        least = math.ceil(STEP_SECONDS / 2 * rate * speed)
        raise DataError(f"{path}: is too short: a frame needs {least} samples at {rate} Hz, got {len(samples)}")
    frames = [bank.get_frame(index) for index in range(min(bank.num_frames_ready, most))]
    table = np.array(frames, np.float32).reshape(-1, how.mel_bins)
    is_longer = has_more or bank.num_frames_ready > most
    return table - table.mean(0) if len(table) else table, is_longer, changes


def _check_samples(path: Path, samples: NDArray[np.float32]) -> None:
    """Raise DataError if a file of floating-point samples has one that is not finite, or beyond `LOUDEST`."""
    peak = float(np.abs(samples).max(initial=0))
    if not np.isfinite(peak):
        raise DataError(f"{path}: holds a sample that is not finite")
    if peak > LOUDEST:
        raise DataError(f"{path}: wanted samples from -{LOUDEST:g} to {LOUDEST:g}, got one of size {peak:.3g}")


def _read_image(how: FrameSymbols, path: Path, most: int, speed: float) -> tuple[NDArray[Any], bool, list[str]]:
    """Return the columns of points, 0 for white and 1 for black; transparent points are white.

    A picture is turned as its camera says.
    """
    from PIL import Image, ImageOps

    changes = []
    opened, has_more = _open_image(path)
    if has_more:
        changes.append("only the first image of the file is read")
    with opened as file:
        is_turned = file.getexif().get(ORIENTATION, 1) != 1
        image: Image.Image = ImageOps.exif_transpose(file) if is_turned else file
        width, height = image.size
        scaled_width = max(1, round(width * how.height / height / speed))
        opaque = image
        if image.mode == "F" or image.mode.startswith("I"):
            opaque = _in_bytes(path, image)
        elif image.mode in ("RGBA", "LA", "PA", "P"):
            shown = image.convert("RGBA")
            if np.asarray(shown.getchannel("A")).min() < 255:
                changes.append("transparent points are read as white")
            opaque = Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown)
        flat = opaque.convert("RGB" if how.colours else "L")
        flat = flat.resize((scaled_width, how.height), Image.Resampling.BILINEAR, reducing_gap=3.0)
    points = 1 - np.asarray(flat, np.float32) / 255  # (height, width) or (height, width, 3)
    columns = points.T if points.ndim == 2 else points.transpose(1, 2, 0).reshape(scaled_width, -1)
    return columns[:most], scaled_width > most, changes


def _open_image(path: Path) -> tuple[Any, bool]:
    """Return an image whose points are not decoded yet, and whether its file holds more than one.

    One of more than 179 million points is refused.

    Pillow issues warnings about large images and about details of a header. Python's list of warning filters belongs
    to all threads, so only one of them at a time changes it.
    """
    from PIL import Image

    with _one_filters_warnings, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = Image.open(path)
        try:
            image.getexif()  # which the image keeps
            has_more = getattr(image, "is_animated", False) and image.format != "MPO"  # a photograph with previews
        except BaseException:
            image.close()
            raise
    return image, has_more


def _in_bytes(path: Path, image: Any) -> Any:
    """Return an image of 16 bits a point as one of 8, which pillow by itself does not scale."""
    from PIL import Image

    points = np.asarray(image)
    if points.dtype.kind == "f" or points.min() < 0 or points.max() >= 1 << 16:
        raise DataError(f"{path}: cannot be read as image: wanted points of at most 16 bits, got mode {image.mode}")
    return Image.fromarray((points // 257).astype(np.uint8))


def read_array(path: str | Path) -> NDArray[Any]:
    """Return the array of a `.npy` file.

    Raises:
        ValueError: it holds Python objects, or is no such file, or is cut off.
    """
    with open(path, "rb") as file:
        try:
            return np.lib.format.read_array(file, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError("no complete .npy file of numbers") from error


def _read_numbers(path: Path, most: int) -> tuple[NDArray[Any], bool, list[str]]:
    """Return the rows of a table of numbers; a vector has one number a row."""
    changes: list[str] = []
    if path.suffix.lower() == ".npy":
        table = read_array(path)
    elif path.suffix.lower() == ".parquet":
        table = _read_parquet(path, most)
    else:
        table, changes = _read_csv(path, most + 1)
    if table.ndim not in (1, 2) or table.dtype.kind not in "fiub":
        raise DataError(f"{path}: wanted numbers of shape (T, F), got {table.dtype} of shape {table.shape}")
    rows = table.reshape(len(table), -1) if table.size else np.empty((0, 1))
    _check_finite(str(path), rows[:most])
    return rows[:most].astype(np.float32), len(rows) > most, changes


def _read_csv(path: Path, most: int) -> tuple[NDArray[np.float32], list[str]]:
    """Return the first rows of a CSV without a first row of names, and what was left out."""
    changes: list[str] = []
    with open(path, encoding="utf-8-sig") as file:
        rows = (line for _, line in _content(file, changes))
        try:
            first = next(rows, None)
            if first is None:
                return np.empty((0, 1), np.float32), changes
            if _is_header(first):
                changes.append("the first row holds names and is not read")
                names, first = first, next(rows, None)
                if first is None:
                    got = shorten(repr(names.strip()), 40)
                    raise DataError(f"{path}: wanted rows of numbers with commas between them, got one of names, {got}")
            table = np.loadtxt(chain([first], rows), np.float32, delimiter=",", ndmin=2, max_rows=most)
            return table, changes
        except UnicodeDecodeError as error:
            found = f"byte 0x{error.object[error.start]:02x}"
            raise ValueError(f"wanted .npy, .parquet, or text in UTF-8, got {found}") from error
        except DataError:
            raise
        except ValueError as error:
            raise ValueError(_wrong_line(path) or str(error)) from error


def _content(lines: Iterable[str], changes: list[str]) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line with cells; a blank line between two is noted as a change.

    Comments after # are no cells; loadtxt leaves them out.
    """
    is_first, blank = True, False
    for number, line in enumerate(lines, start=1):
        if not line.split("#")[0].strip():
            blank = blank or not (is_first or line.strip())
            continue
        if blank and BLANK_LINES not in changes:
            changes.append(BLANK_LINES)
        is_first = False
        yield number, line


def _is_header(line: str) -> bool:
    """Return whether a line of a CSV holds no number at all."""
    cells = line.split(",")
    return bool(cells[0].strip()) and all(parse_number(cell) is None for cell in cells)


def _wrong_line(path: Path) -> str | None:
    """Return the error of the first line of a CSV without numbers or with another count of them; None without one."""
    columns = None
    with open(path, encoding="utf-8-sig") as file:
        for index, (number, line) in enumerate(_content(file, [])):
            if index == 0 and _is_header(line):
                continue
            cells = line.split("#")[0].rstrip("\r\n").split(",")
            if columns not in (None, len(cells)):
                return f"line {number}: wanted {columns} columns, got {len(cells)}"
            columns = len(cells)
            for place, cell in enumerate(cells, start=1):
                if parse_number(cell) is None:
                    return f"line {number}, column {place}: wanted a number, got {shorten(repr(cell.strip()))}"
    return None


def parse_number(text: str) -> float | None:
    """Return the number that a text is; None for other texts.

    >>> parse_number(" 1.5e3 "), parse_number("1_05"), parse_number("x")
    (1500.0, None, None)
    """
    if "_" in text or not text.isascii():  # Python reads 1_05 as 105
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _read_parquet(path: Path, most: int) -> NDArray[np.float64]:
    """Return the first rows, one more than `most` if there are so many."""
    pyarrow = import_pyarrow(str(path))
    file = pyarrow.parquet.ParquetFile(path)
    schema, batches, count = file.schema_arrow, [], 0
    for column in schema.names:
        if not is_number_column(schema, column):
            raise DataError(f"{path}, column {column!r}: wanted numbers, got {schema.field(column).type}")
    for batch in file.iter_batches(batch_size=most + 1):
        batches.append(batch)
        count += len(batch)
        if count > most:
            break
    return parquet_numbers(pyarrow.Table.from_batches(batches, schema), schema.names)[: most + 1]


def is_number_column(schema: Any, column: str) -> bool:
    """Return whether a column of a Parquet table has numbers, given pyarrow's schema."""
    types, kind = import_pyarrow("").types, schema.field(column).type
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


def parquet_numbers(table: Any, columns: Sequence[str]) -> NDArray[np.float64]:
    """Return columns of a Parquet table, as pyarrow holds it, as (T, C); a missing number is NaN."""
    found = [table[column].cast("float64", safe=False).to_numpy() for column in columns]
    return np.stack(found, 1) if found else np.empty((table.num_rows, 0))
