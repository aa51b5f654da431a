"""Tests that every byte of prepared data is covered by a digest, and that files are known by their content."""

from __future__ import annotations

import importlib
import json
import os
import random
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peephole.config import HIGHEST_COUNT, Config, DataConfig
from peephole.data import Pair, Prepared, Report, open_prepared, prepare, prepare_again, read_pairs, reopen
from peephole.data.corpus import FILE_NAMES
from peephole.data.stamp import file_digest
from peephole.errors import DataError, RunError

module = importlib.import_module("peephole.data.prepared")

FILES = (*FILE_NAMES, "prepared.json")
WORDS = [a + b + c for a in "bcdfg" for b in "aeiou" for c in "lmnrst"]


def write(path: Path, words: list[str]) -> Path:
    path.write_text("".join(f"{word}\t{' '.join(word.upper())}\n" for word in words), encoding="utf-8")
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def flip_bit(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a training file and the folder of its prepared data; a test must leave both as they were."""
    folder = tmp_path_factory.mktemp("prepared")
    train = write(folder / "train.tsv", WORDS)
    prepare(train, None, Config(), folder / "data")
    return train, folder / "data"


@settings(deadline=None)
@given(name=st.sampled_from(FILES), data=st.data())
def test_a_flipped_bit_anywhere_is_noticed(prepared: tuple[Path, Path], name: str, data: st.DataObject) -> None:
    train, folder = prepared
    before = (folder / name).read_bytes()
    flip_bit(folder / name, data.draw(st.integers(0, 8 * len(before) - 1)))
    try:
        assert reopen(train, None, Config(), folder) is None
    finally:
        (folder / name).write_bytes(before)
    assert reopen(train, None, Config(), folder) is not None


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_mended(prepared: tuple[Path, Path], name: str) -> None:
    train, folder = prepared
    before, digest = files_of(folder), open_prepared(folder).digest
    flip_bit(folder / name, random.randrange(8 * len(before[name])))
    mended = prepare_again(train, None, Config(), folder, digest=digest)
    assert mended is not None
    line = f"{folder}: its data were damaged or missing, and are prepared again from the same pairs"
    assert mended.report[-1] == line
    assert mended.digest == digest
    assert files_of(folder) == before


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("change", ["gone", "cut", "longer", "empty"])
def test_a_file_of_another_length_is_noticed(
    name: str, change: str, prepared: tuple[Path, Path], tmp_path: Path
) -> None:
    train, whole = prepared
    folder = Path(shutil.copytree(whole, tmp_path / "data"))
    path = folder / name
    content = path.read_bytes()
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes({"cut": content[:-4], "longer": content + b"\0\0\0\0", "empty": b""}[change])
    assert reopen(train, None, Config(), folder) is None
    assert prepare_again(train, None, Config(), folder, digest=open_prepared(whole).digest) is not None
    assert files_of(folder) == files_of(whole)


def test_files_are_known_by_content_wherever_they_are(prepared: tuple[Path, Path], tmp_path: Path) -> None:
    train, whole = prepared
    folder = Path(shutil.copytree(whole, tmp_path / "data"))
    other = Path(shutil.copyfile(train, tmp_path / "other.txt"))
    os.utime(other, (0, 0))
    found = reopen(other, None, Config(), folder)
    assert found is not None
    assert found.report == open_prepared(whole).report
    other.write_text(other.read_text().replace("bal\tB A L", "bal\tB A M"))  # of the same length
    assert reopen(other, None, Config(), folder) is None
    assert prepare_again(other, None, Config(), folder) is None
    assert files_of(folder) == files_of(whole)  # so that the right file can be put back


def test_equal_data_have_equal_digests(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", WORDS)
    quoted = tmp_path / "train.csv"
    quoted.write_text("".join(f'"{word}","{" ".join(word.upper())}"\n' for word in WORDS))
    digests = {prepare(path, None, Config(), tmp_path / path.suffix[1:]).digest for path in (train, quoted)}
    assert len(digests) == 1
    for number, values in enumerate([{"dev_fraction": 0.3}, {"normalize": "none", "vocabulary_size": 12}]):
        digests.add(prepare(train, None, Config().with_values(values), tmp_path / str(number)).digest)
    digests.add(prepare(train, write(tmp_path / "dev.tsv", ["new"]), Config(), tmp_path / "dev").digest)
    assert len(digests) == 4


def test_damaged_data_of_another_file_are_not_accepted(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", WORDS)
    digest = prepare(train, None, Config(), tmp_path / "data").digest
    shutil.rmtree(tmp_path / "data")
    write(train, WORDS[:-1])
    for _ in range(2):  # the second time, whole data of the wrong file are there
        assert prepare_again(train, None, Config(), tmp_path / "data", digest=digest) is None
    write(train, WORDS)
    found = prepare_again(train, None, Config(), tmp_path / "data", digest=digest)
    assert found is not None
    assert found.digest == digest


def test_data_of_other_settings_with_the_same_result_are_accepted(tmp_path: Path) -> None:
    """Such settings are those that a later version adds."""
    train = write(tmp_path / "train.tsv", WORDS)
    digest = prepare(train, None, Config(), tmp_path / "data").digest
    other = Config().with_values({"dev_limit": 1999})
    assert reopen(train, None, other, tmp_path / "data") is None
    found = prepare_again(train, None, other, tmp_path / "data", digest=digest)
    assert found is not None
    assert found.digest == digest
    assert prepare_again(train, None, Config().with_values({"dev_fraction": 0.4}), tmp_path / "data") is None


def test_without_a_stamp_and_a_digest_nothing_is_known(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", WORDS)
    assert prepare_again(train, None, Config(), tmp_path / "data") is None
    with pytest.raises(RunError, match="data: holds no prepared data"):
        open_prepared(tmp_path / "data")


def test_the_digest_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"ab" * 3_000_000)
    assert file_digest(tmp_path / "f") == sha256(b"ab" * 3_000_000).hexdigest()


def test_a_stamp_is_json(prepared: tuple[Path, Path]) -> None:
    stamp = json.loads((prepared[1] / "prepared.json").read_text(encoding="utf-8"))
    assert stamp["files"] == {name: file_digest(prepared[1] / name) for name in FILE_NAMES}
    assert [size for size, _ in stamp["made_from"]["train"]] == [prepared[0].stat().st_size]


@pytest.mark.parametrize("which", ["train", "dev"])
@pytest.mark.parametrize("change", ["grows", "grows by half a line", "shrinks", "changes", "is replaced", "vanishes"])
def test_a_file_that_changes_while_it_is_read_is_a_one_line_error(
    which: str, change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Change it between the first reading and the second."""
    train, dev = write(tmp_path / "train.tsv", WORDS), write(tmp_path / "dev.tsv", ["new", "newer"])
    path = {"train": train, "dev": dev}[which]
    content = path.read_text()

    def learn(*arguments: Any, **settings: Any) -> Any:
        if change == "vanishes":
            path.unlink(missing_ok=True)
        elif change == "is replaced":
            write(path.with_name("new"), WORDS[::-1]).replace(path)
        else:
            path.write_text(
                {
                    "grows": content + "zal\tZ A L\n",
                    "grows by half a line": content + "zal",
                    "shrinks": content[:-8],
                    "changes": content.replace("e", "a", 1),
                }[change]
            )
        return original(*arguments, **settings)

    original = module.learn_symbols
    monkeypatch.setattr(module, "learn_symbols", learn)
    with pytest.raises(DataError) as caught:
        prepare(train, dev, Config(), tmp_path / "data")
    message = f"{train} or {dev}: has changed while it was read; train when it is complete"
    assert str(caught.value) == (f"{path}: no such file" if change == "vanishes" else message)
    assert not (tmp_path / "data/prepared.json").exists()


def test_the_largest_limit_is_no_limit(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", WORDS)
    values = {"dev_limit": HIGHEST_COUNT, "dev_fraction": 0.5}
    assert 50 < len(prepare(train, None, Config().with_values(values), tmp_path / "data").dev_pairs) < 100


def test_an_interrupted_preparation_reads_no_file_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = write(tmp_path / "train.tsv", WORDS)
    digested: list[object] = []

    def pairs(*_: Any, **__: Any) -> Iterator[Pair]:
        monkeypatch.setattr(module, "content_of", digested.append)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "read_pairs", pairs)
    with pytest.raises(KeyboardInterrupt):
        prepare(train, None, Config(), tmp_path / "data")
    assert digested == []


def test_prepared_data_are_those_of_the_files(prepared: tuple[Path, Path]) -> None:
    found: Prepared = open_prepared(prepared[1])
    read = [pair[:2] for pair in read_pairs(prepared[0], DataConfig(), Report("t"))]
    held_out = {source for source, _ in found.dev_pairs}
    assert len(found.train) == sum(source not in held_out for source, _ in read)
