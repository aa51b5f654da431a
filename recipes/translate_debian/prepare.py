"""Write sentences of Debian's package descriptions and their translations as train, dev and test files.

    python recipes/translate_debian/prepare.py             English to Italian
    python recipes/translate_debian/prepare.py --to de     English to another language, by apt's name of it

Writes recipes/translate_debian/data/en-it/{train,dev,test}.tsv: an English sentence, a tab, its translation.

The texts are apt's indices Translation-en and Translation-it, translated by people, from the package sources that
the machine is configured with. `apt-get update` downloads them (about 20 MB) into a temporary folder: no root rights
are needed, and the machine's own lists do not change.

The two descriptions of a package are joined by the md5 of the English one. A description consists of a synopsis and
paragraphs. The program keeps the synopses, and the sentences of those paragraphs that have the same number of sentences
in both languages; of these, the pairs whose sides have 3 to 40 words each and whose lengths in words differ by a factor
of at most 2.5. Lines that Debian indents by a second space (lists, examples) are not sentences, so their paragraphs are
left out.

The split is by source package, so that all packages of one source are in one file: md5(source) % 100 below 4 test,
4 to 7 dev. Within a file each pair occurs once; dev and test contain no English sentence of the training file. A
sentence with several translations in dev or test is one source with several references.
"""

import argparse
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from hashlib import md5
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))
from debian import clean, download_indices, read_descriptions, read_sources, split_description

DATA = Path(__file__).parent / "data"
WORDS = range(3, 41)  # of a side
FACTOR = 2.5  # between the numbers of words of the two sides

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-ZÀ-Ý가-힣0-9\"'(])")


class Indices(NamedTuple):
    """Hold apt's indices, each the text of all package sources together."""

    packages: str
    english: str
    translated: str


class Sentence(NamedTuple):
    """Hold a pair and the source package that it comes from."""

    package: str
    english: str
    translated: str


def download(language: str) -> Indices:
    """Download the indices with apt's own client and return their texts.

    Raises:
        SystemExit: apt is missing or failed, or its sources have no translations into the language.
    """
    if not re.fullmatch(r"[a-z]{2,3}(_[A-Za-z]+)?", language):
        raise SystemExit(f"--to {language}: wanted a language as apt names it: it, de, pt_BR")
    return Indices(*download_indices("en", language))


def split_sentences(lines: list[str]) -> list[str]:
    """Split a paragraph after `.`, `!` or `?` before a capital, hangul, digit, quote or bracket."""
    return _SENTENCE_END.split(clean(" ".join(lines)))


def pair_sentences(english: str, translated: str, dropped: Counter[str]) -> Iterator[tuple[str, str]]:
    """Yield the pairs of synopses and sentences of two descriptions; count the reasons for leaving out others."""
    (synopsis, paragraphs), (other_synopsis, other_paragraphs) = map(split_description, (english, translated))
    yield synopsis, other_synopsis
    if len(paragraphs) != len(other_paragraphs):
        dropped["descriptions (but for the synopsis): not as many paragraphs"] += 1
        return
    for lines, other_lines in zip(paragraphs, other_paragraphs, strict=True):
        if any(line.startswith(" ") for line in (*lines, *other_lines)):
            dropped["paragraphs: a list or an example"] += 1
            continue
        sentences, other_sentences = split_sentences(lines), split_sentences(other_lines)
        if len(sentences) != len(other_sentences):
            dropped["paragraphs: not as many sentences"] += 1
            continue
        yield from zip(sentences, other_sentences, strict=True)


def why_dropped(english: str, translated: str) -> str | None:
    """Return the reason for leaving out a pair, or None if it is kept."""
    words, other_words = len(english.split()), len(translated.split())
    for number in (words, other_words):
        if number < WORDS.start:
            return f"pairs: a side under {WORDS.start} words"
        if number >= WORDS.stop:
            return f"pairs: a side over {WORDS.stop - 1} words"
    if max(words, other_words) > FACTOR * min(words, other_words):
        return f"pairs: lengths differ by more than a factor of {FACTOR}"
    return None


def make_sentences(indices: Indices, language: str, dropped: Counter[str]) -> Iterator[Sentence]:
    """Yield the kept pairs in the order of the English index; count the others by reason."""
    sources = read_sources(indices.packages)
    translations = read_descriptions(indices.translated, language)
    for checksum, (package, english) in read_descriptions(indices.english, "en").items():
        if checksum not in translations:
            dropped["descriptions: not translated"] += 1
        elif package not in sources:
            dropped["descriptions: of no package in the index Packages"] += 1
        else:
            for pair in pair_sentences(english, translations[checksum][1], dropped):
                reason = why_dropped(*pair)
                if reason:
                    dropped[reason] += 1
                else:
                    yield Sentence(sources[package], *pair)


def side(package: str) -> str:
    """Return the name of the file for the pairs of a source package."""
    h = int(md5(package.encode()).hexdigest(), 16) % 100
    return "test" if h < 4 else "dev" if h < 8 else "train"


def split_by_source(sentences: Iterator[Sentence], dropped: Counter[str]) -> dict[str, list[tuple[str, str]]]:
    """Distribute the pairs over train, dev and test, each once, without training sentences in dev and test."""
    split: dict[str, dict[tuple[str, str], None]] = {"train": {}, "dev": {}, "test": {}}
    for package, english, translated in sentences:
        part = split[side(package)]
        if (english, translated) in part:
            dropped["pairs: in the same file already"] += 1
        part[english, translated] = None
    seen = {english for english, _ in split["train"]}
    for name in ("dev", "test"):
        dropped[f"pairs of {name}: English sentence of the training file"] = sum(en in seen for en, _ in split[name])
    return {name: [pair for pair in part if name == "train" or pair[0] not in seen] for name, part in split.items()}


def write_files(split: dict[str, list[tuple[str, str]]], folder: Path) -> None:
    """Write the files under temporary names first, so that an interruption leaves no partial file."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, pairs in split.items():
        text = "".join(f"{english}\t{translated}\n" for english, translated in pairs)
        (folder / f"{name}.tsv.part").write_text(text, encoding="utf-8")
    for name in split:
        os.replace(folder / f"{name}.tsv.part", folder / f"{name}.tsv")


def main() -> None:
    """Write the three files; print their counts and the number of pairs left out for each reason."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", default="it", metavar="LANGUAGE", help="language to translate to (default: it)")
    parser.add_argument("--out", type=Path, help=f"folder to write (default: {DATA}/en-LANGUAGE)")
    arguments = parser.parse_args()

    dropped: Counter[str] = Counter()
    indices = download(arguments.to)
    split = split_by_source(make_sentences(indices, arguments.to, dropped), dropped)
    if not all(split.values()):
        raise SystemExit(f"--to {arguments.to}: too few translations for a split: {split_sizes(split)}")
    folder = arguments.out or DATA / f"en-{arguments.to}"
    write_files(split, folder)
    print("dropped")
    for reason, count in sorted(dropped.items()):
        print(f"{count:9,}  {reason}")
    for name, pairs in split.items():
        print(
            f"{folder / name}.tsv: {len(pairs):,} pairs, {len({english for english, _ in pairs}):,} English sentences"
        )


def split_sizes(split: dict[str, list[tuple[str, str]]]) -> str:
    """Return the numbers of pairs of the three files."""
    return ", ".join(f"{len(pairs)} {name}" for name, pairs in split.items())


if __name__ == "__main__":
    main()
