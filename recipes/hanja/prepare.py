"""Write Korean words in hanja and their reading in hangul as train, dev and test files.

    python recipes/hanja/prepare.py                 download Debian's package libhangul-data with apt-get
    python recipes/hanja/prepare.py hanja.txt       read the file `hanja.txt` of that package

Writes recipes/hanja/data/{train,dev,test}.tsv: the word as it is written (可能), a tab, its reading (가능).

The lines of hanja.txt are `reading:word:gloss`. The program keeps the pairs whose reading consists of hangul and whose
word is as long as its reading, at least 2 symbols, all of them between U+3400 and U+FAFF: 274,913 pairs of
Debian's 0.1.0+git20191003. That range includes hangul syllables: 237,742 of the pairs consist of hanja,
37,162 are partly hangul (山버들, whose native part is copied) and 9 have a private-use symbol.
lookup.py also scores the words that consist of hanja separately.

The direction is hanja to hangul, because this direction is nearly a function: only 1.3 % of the words have more than
one reading (女子 is 여자, in the North 녀자), while 28 % of the pairs share their reading with another word. Each
reading is a line of its own: training uses all of them, and in dev and test they are the references of one word, any
of which counts as right.

The split is by the word in hanja, so all its readings are in one file: md5(word) % 100 below 5 test, 5 to 9 dev.
"""

import argparse
import re
import sys
import tempfile
from hashlib import md5
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from fetch import debian_package

DATA = Path(__file__).parent / "data"
PACKAGE = "libhangul-data"

Pairs = list[tuple[str, str]]


def download() -> str:
    """Download Debian's package into a temporary folder and return the dictionary's text."""
    with tempfile.TemporaryDirectory() as folder:
        files = debian_package(PACKAGE, Path(folder), "give the path of hanja.txt instead")
        return (files / "usr/share/libhangul/hanja/hanja.txt").read_text(encoding="utf-8")


def read_pairs(text: str) -> Pairs:
    """Return the pairs (word, reading) that meet the conditions of the module's docstring, in the file's order."""
    entries = [line.split(":") for line in text.splitlines() if line and not line.startswith("#")]
    return [
        (word, reading)
        for reading, word, *_gloss in entries
        if len(word) == len(reading) >= 2
        and re.fullmatch("[\u3400-\ufaff]+", word)
        and re.fullmatch("[가-힣]+", reading)
    ]


def split_by_word(pairs: Pairs) -> dict[str, Pairs]:
    """Send each pair to train, dev or test by the md5 of its word."""
    split: dict[str, Pairs] = {"train": [], "dev": [], "test": []}
    for word, reading in pairs:
        h = int(md5(word.encode()).hexdigest(), 16) % 100
        split["test" if h < 5 else "dev" if h < 10 else "train"].append((word, reading))
    return split


def main() -> None:
    """Write the three files and print their counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hanja_txt", nargs="?", type=Path, help="the dictionary; default: download it")
    parser.add_argument("--out", type=Path, default=DATA, help=f"folder to write (default: {DATA})")
    arguments = parser.parse_args()

    if arguments.hanja_txt and not arguments.hanja_txt.is_file():
        raise SystemExit(f"{arguments.hanja_txt}: no such file")
    text = arguments.hanja_txt.read_text(encoding="utf-8") if arguments.hanja_txt else download()
    pairs = read_pairs(text)
    arguments.out.mkdir(parents=True, exist_ok=True)
    print(f"{len(pairs):,} pairs of {len({word for word, _ in pairs}):,} words")
    for name, part in split_by_word(pairs).items():
        lines = "".join(f"{word}\t{reading}\n" for word, reading in part)
        (arguments.out / f"{name}.tsv").write_text(lines, encoding="utf-8")
        print(f"{arguments.out / name}.tsv: {len({word for word, _ in part}):,} words, {len(part):,} pairs")


if __name__ == "__main__":
    main()
