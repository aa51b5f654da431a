"""Write CMU's AN4, spoken letters, numbers and dates, as train, dev and test files.

    python recipes/speech_an4/prepare.py FOLDER

FOLDER is CMU's distribution of the features: it holds `etc/an4_train.fileids`, `etc/an4_train.transcription`, the same
for test, and `feat/**/*.mfc`. This repository does not contain it.

Writes recipes/speech_an4/data/{train,dev,test}.tsv: the path of a file of features, a tab, the text; and the features
below recipes/speech_an4/data/features: NumPy files, float32 (T, F), 100 frames a second.

An .mfc file holds 13 mel cepstra a frame (big-endian: the count of numbers, then float32). There are no waveforms. A
frame is the 13, less their mean over the utterance, their deltas and the deltas of these, over two frames on either
side (the formula of Kaldi and HTK): 39 numbers. The smoothed spectrum that the 13 describe (40 bands, by the inverse of
the cosine transform) was tried: CTC learned from it three times slower, through a matrix or through convolutions.

Texts are in small letters; a space stands between words, and between letters that are spelled out (`r u b o u t`).

The test set is the published one: 130 utterances of 10 speakers. Dev is taken out of the 948 published training
utterances by speaker, md5(speaker) % 100 below 21: 87 utterances of 7 speakers. A digit at the end of a speaker's name
is not part of the key, so that mdcs and mdcs2 are in one file.
"""

import argparse
import re
from collections.abc import Iterator
from hashlib import md5
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DATA = Path(__file__).parent / "data"
NUM_CEPSTRA = 13
DELTA_WINDOW = 2  # frames on either side

FloatArray = NDArray[np.float64]


class Utterance(NamedTuple):
    """Hold an utterance's name (an251-fash-b), its speaker, its file of cepstra and its text."""

    name: str
    speaker: str
    cepstra: Path
    text: str


def read_utterances(folder: Path, part: str) -> list[Utterance]:
    """Read the published list "train" or "test".

    Raises:
        SystemExit: a file is missing, or the two lists do not name the same utterances in the same order.
    """
    paths = read_lines(folder / f"etc/an4_{part}.fileids")
    found = []
    for path, (text, name) in zip(paths, read_texts(folder / f"etc/an4_{part}.transcription"), strict=True):
        if Path(path).name != name:
            raise SystemExit(f"{folder}/etc/an4_{part}.transcription: wanted the text of {path}, got that of {name}")
        cepstra = folder / "feat" / f"{path}.mfc"
        if not cepstra.is_file():
            raise SystemExit(f"{cepstra}: no such file")
        found.append(Utterance(name, Path(path).parent.name, cepstra, text))
    return found


def read_lines(path: Path) -> list[str]:
    """Read the lines of a file of the distribution.

    Raises:
        SystemExit: there is no such file.
    """
    if not path.is_file():
        raise SystemExit(f"{path}: no such file; see --help")
    return path.read_text(encoding="utf-8").splitlines()


def read_texts(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the text in small letters and the name of each utterance of a list of transcriptions."""
    for line in read_lines(path):
        text, name = line.rsplit(" ", 1)
        words = [word.lower() for word in text.split() if not re.fullmatch(r"<.*>|\+\+.*\+\+", word)]
        yield " ".join(words), name.strip("()")


def is_dev(speaker: str) -> bool:
    """Return whether a training speaker is one of the dev set.

    >>> is_dev("mscg2"), is_dev("fash")
    (True, False)
    """
    return int(md5(speaker.rstrip("0123456789").encode()).hexdigest(), 16) % 100 < 21


def read_cepstra(path: Path) -> FloatArray:
    """Read a file of cepstra (T, 13).

    Raises:
        SystemExit: the file is damaged.
    """
    data = path.read_bytes()
    values = np.frombuffer(data[4:], ">f4") if len(data) % 4 == 0 else np.empty(0)
    if len(values) % NUM_CEPSTRA or not len(values) or int.from_bytes(data[:4], "big") != len(values):
        raise SystemExit(f"{path}: wanted a count and as many numbers, {NUM_CEPSTRA} a frame; got {len(data)} bytes")
    return values.reshape(-1, NUM_CEPSTRA).astype(np.float64)


def deltas(frames: FloatArray) -> FloatArray:
    """Return the slope of each number over the neighbouring frames; the first and last frame are repeated outside.

    >>> deltas(np.arange(6.0)[:, None])[2:4].ravel().tolist()
    [1.0, 1.0]
    """
    padded = np.pad(frames, ((DELTA_WINDOW, DELTA_WINDOW), (0, 0)), mode="edge")
    steps = range(1, DELTA_WINDOW + 1)
    size = len(frames)
    slopes = sum(n * (padded[DELTA_WINDOW + n :][:size] - padded[DELTA_WINDOW - n :][:size]) for n in steps)
    result: FloatArray = slopes / (2 * sum(n * n for n in steps))
    return result


def with_deltas(cepstra: FloatArray) -> FloatArray:
    """Return cepstra (T, 13) beside their deltas and the deltas of these: (T, 39)."""
    slopes = deltas(cepstra)
    return np.concatenate([cepstra, slopes, deltas(slopes)], axis=1)


def main() -> None:
    """Write the features and the three files, and print their counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the published features")
    parser.add_argument("--out", type=Path, default=DATA, help=f"folder to write (default: {DATA})")
    arguments = parser.parse_args()

    published = read_utterances(arguments.folder, "train")
    split = {
        "train": [one for one in published if not is_dev(one.speaker)],
        "dev": [one for one in published if is_dev(one.speaker)],
        "test": read_utterances(arguments.folder, "test"),
    }
    for name, part in split.items():
        folder = Path("features") / name
        (arguments.out / folder).mkdir(parents=True, exist_ok=True)
        lines, num_frames = [], 0
        for one in part:
            cepstra = read_cepstra(one.cepstra)
            num_frames += len(cepstra)
            features = with_deltas(cepstra - cepstra.mean(axis=0)).astype(np.float32)
            np.save(arguments.out / folder / f"{one.name}.npy", features)
            lines.append(f"{folder / one.name}.npy\t{one.text}\n")
        (arguments.out / f"{name}.tsv").write_text("".join(lines), encoding="utf-8")
        print(
            f"{arguments.out / name}.tsv: {len(part):,} utterances of {len({one.speaker for one in part})} speakers, "
            f"{num_frames / 6000:.1f} minutes, {sum(len(one.text) for one in part):,} characters, "
            f"{sum(len(one.text.split()) for one in part):,} words"
        )


if __name__ == "__main__":
    main()
