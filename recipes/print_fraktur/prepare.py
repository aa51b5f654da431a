"""Write lines of Fraktur print, images and their texts, as train, dev and test files.

    python recipes/print_fraktur/prepare.py FOLDER

FOLDER holds `training` and `testing`, each with images of lines, NAME.bin.png, and their texts, NAME.gt.txt: the lines
published with ocropy's Fraktur model of the books of 1805 to 1936. This repository does not contain them.

Writes recipes/print_fraktur/data/{train,dev,test,train_all}.tsv: the path of an image, a tab, its text. The images stay
where they are.

Texts are in Unicode's form NFC; runs of white space are one space, and there is none at the ends, as ocropy compares
texts, too. Nothing else is changed: ſ, quotation marks and ′ count as they are.

The test lines are the published ones. Names begin with the book; every book of a test line has training lines, too. So
that reading an unseen book can be measured, dev consists of the training lines of four small books with many test lines
(grosserkrieg20, ploen1909, wuerttemberg1936, zedlitz), and train.tsv has none of them. unseen.tsv is their part of the
test lines. train_all.tsv is train.tsv and dev.tsv together: what the published model was trained on.
"""

import argparse
import unicodedata
from collections.abc import Iterable
from pathlib import Path

DATA = Path(__file__).parent / "data"
DEV_BOOKS = ("grosserkrieg20", "ploen1909", "wuerttemberg1936", "zedlitz")

Lines = list[tuple[Path, str]]


def clean(text: str) -> str:
    """Return a line's text in NFC with single spaces.

    >>> clean(" a\u0308b  c\\n")
    'äb c'
    """
    return " ".join(unicodedata.normalize("NFC", text).split())


def book(image: Path) -> str:
    """Return the book of an image of a line.

    >>> book(Path("training/zedlitz_43f8.bin.png"))
    'zedlitz'
    """
    return image.name.removesuffix(".bin.png").split("_")[0]


def read_folder(folder: Path) -> Lines:
    """Read the lines of a folder, ordered by name.

    Raises:
        SystemExit: there are no texts, or a text is empty or has no image.
    """
    texts = sorted(folder.glob("*.gt.txt"))
    if not texts:
        raise SystemExit(f"{folder}: no file *.gt.txt; see --help")
    found = []
    for path in texts:
        image = path.with_name(path.name.removesuffix(".gt.txt") + ".bin.png")
        text = clean(path.read_text(encoding="utf-8"))
        if not image.is_file():
            raise SystemExit(f"{image}: no such file")
        if not text:
            raise SystemExit(f"{path}: is empty")
        found.append((image.absolute(), text))
    return found


def split_by_book(training: Iterable[tuple[Path, str]], testing: Lines) -> dict[str, Lines]:
    """Return the lines of each file that the module's docstring describes."""
    lines = list(training)
    return {
        "train": [line for line in lines if book(line[0]) not in DEV_BOOKS],
        "dev": [line for line in lines if book(line[0]) in DEV_BOOKS],
        "test": testing,
        "unseen": [line for line in testing if book(line[0]) in DEV_BOOKS],
        "train_all": lines,
    }


def main() -> None:
    """Write the files and print their counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the published lines")
    parser.add_argument("--out", type=Path, default=DATA, help=f"folder to write (default: {DATA})")
    arguments = parser.parse_args()

    split = split_by_book(*(read_folder(arguments.folder / name) for name in ("training", "testing")))
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, part in split.items():
        text = "".join(f"{image}\t{text}\n" for image, text in part)
        (arguments.out / f"{name}.tsv").write_text(text, encoding="utf-8")
        print(
            f"{arguments.out / name}.tsv: {len(part):,} lines of {len({book(image) for image, _ in part})} books, "
            f"{sum(len(text) for _, text in part):,} characters"
        )


if __name__ == "__main__":
    main()
