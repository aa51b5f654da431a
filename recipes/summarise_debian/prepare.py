"""Write Debian's long package descriptions and their one-line synopses as train, dev and test files.

    python recipes/summarise_debian/prepare.py

Writes recipes/summarise_debian/data/{train,dev,test}.tsv: a description, a tab, its synopsis; and
dev.packages.txt and test.packages.txt, the source package of each line.

The texts are apt's indices Packages and Translation-en, from the package sources that the machine is configured with.
`apt-get update` downloads them (about 20 MB) into a temporary folder: no root rights are needed, and the machine's own
lists do not change.

A description is the prose of a package: its paragraphs without those that hold a list or an example (lines that Debian
indents by a second space). The program keeps descriptions of at least 15 words whose synopsis has 3 to 14, of each
source package the one with the longest description, and of this the first 120 words (5 % have more). Punctuation at the
ends of words is separated by spaces, so that words can be symbols; ROUGE, which ignores punctuation, is the same.

The split is by source package: md5(source) % 100 below 5 test, 5 to 9 dev. Descriptions that are in the training file,
too, are taken out of dev and test, and second ones out of a file.
"""

import argparse
import re
import sys
from collections.abc import Mapping
from hashlib import md5
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))
from debian import clean, download_indices, read_descriptions, read_sources, split_description

DATA = Path(__file__).parent / "data"
FEWEST_WORDS, MOST_WORDS = 15, 120  # of a description
SYNOPSIS_WORDS = range(3, 15)
_PUNCTUATION = re.compile(r"^(?P<before>[(\[\"'`]*)(?P<word>.*?)(?P<after>[.,;:!?)\]\"'`…]*)$")
FAMILIES = re.compile(r"(rust|golang|haskell|r-(cran|bioc|other))-.*|lib.*-perl")


class Summary(NamedTuple):
    """Hold a source package, its description and its synopsis."""

    package: str
    description: str
    synopsis: str


def prose(paragraphs: list[list[str]]) -> str:
    """Return the text of the paragraphs that hold no list or example.

    >>> prose([["One two", "three."], ["Lists:", " * a"], ["Four."]])
    'One two three. Four.'
    """
    kept = [lines for lines in paragraphs if not any(line.startswith(" ") for line in lines)]
    return clean(" ".join(line for lines in kept for line in lines))


def separate(text: str) -> str:
    """Return a text with the punctuation at the ends of its words separated by spaces.

    >>> separate('A C++ library (for "fast" parsing), e.g. of XML.')
    'A C++ library ( for " fast " parsing ) , e.g . of XML .'
    """
    tokens: list[str] = []
    for word in text.split():
        found = _PUNCTUATION.match(word)
        tokens += [*found["before"], *filter(None, [found["word"]]), *found["after"]] if found else [word]
    return " ".join(tokens)


def is_formulaic(package: str) -> bool:
    """Return whether a source package is of a family of libraries whose synopses follow a formula.

    >>> [is_formulaic(name) for name in ("rust-log", "libdbi-perl", "r-cran-zoo", "rustc", "perl")]
    [True, True, True, False, False]
    """
    return FAMILIES.fullmatch(package) is not None


def read_summaries(packages: str, english: str) -> list[Summary]:
    """Return the summaries of two indices that meet the conditions of the module's docstring, one a source package."""
    sources = read_sources(packages)
    longest: dict[str, Summary] = {}
    for package, description in read_descriptions(english, "en").values():
        if package not in sources:
            continue
        synopsis, paragraphs = split_description(description)
        found = Summary(sources[package], prose(paragraphs), synopsis)
        if len(found.description.split()) < FEWEST_WORDS or len(synopsis.split()) not in SYNOPSIS_WORDS:
            continue
        known = longest.get(found.package)
        if known is None or len(known.description) < len(found.description):
            longest[found.package] = found
    return [
        Summary(one.package, separate(" ".join(one.description.split()[:MOST_WORDS])), separate(one.synopsis))
        for one in longest.values()
    ]


def split_by_package(summaries: list[Summary]) -> dict[str, list[Summary]]:
    """Distribute the summaries over train, dev and test, each description once."""
    split: dict[str, dict[str, Summary]] = {"train": {}, "dev": {}, "test": {}}
    for one in summaries:
        h = int(md5(one.package.encode()).hexdigest(), 16) % 100
        split["test" if h < 5 else "dev" if h < 10 else "train"].setdefault(one.description, one)
    seen: Mapping[str, Summary] = split["train"]
    return {
        name: [one for one in part.values() if name == "train" or one.description not in seen]
        for name, part in split.items()
    }


def main() -> None:
    """Write the files and print their counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=DATA, help=f"folder to write (default: {DATA})")
    arguments = parser.parse_args()

    split = split_by_package(read_summaries(*download_indices("en")))
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, part in split.items():
        lines = "".join(f"{one.description}\t{one.synopsis}\n" for one in part)
        (arguments.out / f"{name}.tsv").write_text(lines, encoding="utf-8")
        if name != "train":
            packages = "".join(f"{one.package}\n" for one in part)
            (arguments.out / f"{name}.packages.txt").write_text(packages, encoding="utf-8")
        formulaic = sum(is_formulaic(one.package) for one in part)
        print(f"{arguments.out / name}.tsv: {len(part):,} descriptions, {formulaic:,} of the formulaic families")


if __name__ == "__main__":
    main()
