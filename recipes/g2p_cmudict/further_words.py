"""Have models pronounce words that none of the recipe's files has, and add them to the training words.

    python recipes/g2p_cmudict/further_words.py three.safetensors rdrop.safetensors

Writes recipes/g2p_cmudict/data/train_further.tsv: train.tsv, then the further words with what the models together
pronounce with beam 5; words to which they give no phone are left out and counted. The words are American first names
and surnames, those of PyPI's package `names`, from the census of 1990, and words taken at random from the list of
Debian's package `wamerican-huge`, without forms with 's: 106,248 together.
"""

import argparse
import random
import re
import sys
import tempfile
from pathlib import Path

from prepare import DATA, read_columns

sys.path.insert(0, str(Path(__file__).parents[1]))
from fetch import debian_package, pypi_files
from stages import BEAM, write_text

from peephole import load
from peephole.errors import PeepholeError

NAMES_PACKAGE = "names==0.3.0"
NAMES = ["names/dist.all.last", "names/dist.female.first", "names/dist.male.first"]  # a name and its frequencies a line
WORDS_PACKAGE = "wamerican-huge"
NUM_WORDS = 64_174  # taken from the list


def further_words(known: set[str], names: set[str], words: set[str], count: int) -> list[str]:
    """Return the names and `count` of the words, in random order, without known ones; all are in capitals."""
    generator = random.Random(1)
    plain = sorted(word for word in words - known if re.fullmatch("[A-Z']+", word) and not word.endswith("'S"))
    generator.shuffle(plain)
    chosen = sorted((names - known) | set(plain[:count]))
    generator.shuffle(chosen)
    return chosen


def download() -> tuple[set[str], set[str]]:
    """Download the packages into a temporary folder and return their names and words, in capitals."""
    with tempfile.TemporaryDirectory() as folder:
        lists = pypi_files(NAMES_PACKAGE, NAMES, Path(folder))
        files = debian_package(WORDS_PACKAGE, Path(folder))
        words = (files / "usr/share/dict/american-english-huge").read_text(encoding="utf-8")
    return {line.split()[0] for text in lists for line in text.splitlines()}, set(words.upper().split())


def main() -> None:
    """Download the words, pronounce them, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, help="models that pronounce the words together")
    parser.add_argument("--data", type=Path, default=DATA, help=f"folder of prepare.py's files (default: {DATA})")
    parser.add_argument("--threads", type=int, help="CPU threads (default: as `peephole predict` chooses)")
    arguments = parser.parse_args()

    paths = {name: arguments.data / f"{name}.tsv" for name in ("train", "dev", "test")}
    for path in paths.values():
        if not path.is_file():
            raise SystemExit(f"{path}: no such file; run prepare.py first")
    try:
        teacher = load(*arguments.models)
    except PeepholeError as error:
        raise SystemExit(str(error)) from None
    files = {name: list(read_columns(path)) for name, path in paths.items()}
    known = {word for pairs in files.values() for word, _ in pairs}
    words = further_words(known, *download(), NUM_WORDS)
    options = {"nbest": 1, "attention": False, "threads": arguments.threads, **BEAM.options}
    found = teacher.predict(words, **options)
    pairs = [(word, best.text) for word, [best] in zip(words, found, strict=True) if best.text]
    out = arguments.data / "train_further.tsv"
    write_text(out, "".join(f"{word}\t{phones}\n" for word, phones in [*files["train"], *pairs]))
    silent = len(words) - len(pairs)
    print(f"{out}: {len(files['train']):,} pairs and {len(pairs):,} further words; {silent:,} without a phone left out")


if __name__ == "__main__":
    main()
