"""Tests of pairs that are given in Python."""

from __future__ import annotations

import json
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peephole.config import DataConfig
from peephole.data import Pair, Report, check_items, pairs_of, read_pairs
from peephole.data.items import write_items, write_pairs
from peephole.errors import ArgumentError, DataError

Row = namedtuple("Row", ["Index", "source", "target", "note"])  # as DataFrame.itertuples() yields

SIDE = st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip)


@pytest.mark.parametrize(
    "item",
    [
        ("a b", "c"),
        ["a b", "c"],
        (" a b\n", "\tc"),
        {"target": "c", "id": 7, "source": "a b"},
        Row(0, "a b", "c", None),
        Pair("a b", "c", 5),
        np.array(["a b", "c"]),
        np.array(["a b", "c"], dtype=object),
    ],
)
def test_rows_of_many_kinds_are_pairs(item: Any) -> None:
    assert list(pairs_of("train", iter([item]), DataConfig())) == [Pair("a b", "c", 1)]


def test_configured_columns_are_read() -> None:
    rows = [{"en": "cat", "it": "gatto", "source": "x"}]
    assert list(pairs_of("train", rows, DataConfig(source="it", target="en"))) == [Pair("gatto", "cat", 1)]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("ab", "train: wanted two texts, got 'ab' as number 2"),
        (b"ab", "train: wanted two texts, got b'ab' as number 2"),
        (("a",), "train: wanted two texts, got ('a',) as number 2"),
        (("a", "b", "c"), "train: wanted two texts, got ('a', 'b', 'c') as number 2"),
        (("a", None), "train: wanted two texts, got ('a', None) as number 2"),
        (("a", float("nan")), "train: wanted two texts, got ('a', nan) as number 2"),
        ({"source": "a"}, "train: wanted two texts, got {'source': 'a'} as number 2"),
        ({"source": "a", "target": 5}, "train: wanted two texts, got {'source': 'a', 'target': 5} as number 2"),
        ({"a", "b"}, "train: wanted two texts, got {"),
        (5, "train: wanted two texts, got 5 as number 2"),
        (("a", " \n"), "train, number 2: wanted two texts that are not empty, got ('a', ' \\\\n')"),
        (("", "b"), "train, number 2: wanted two texts that are not empty, got ('', 'b')"),
        (("a\ud800", "b"), "train, number 2: half of a surrogate pair in ('a\\\\ud800', 'b')"),
    ],
)
def test_a_bad_item_is_named_by_its_number(item: Any, message: str, tmp_path: Path) -> None:
    for consume in (
        lambda items: list(pairs_of("train", items, DataConfig())),
        lambda items: write_pairs("train", items, tmp_path / "train.jsonl", DataConfig()),
    ):
        with pytest.raises((ArgumentError, DataError)) as caught:
            consume([("a", "b"), item, ("c", "d")])
        assert str(caught.value).startswith(message.replace("\\\\", "\\"))
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@settings(deadline=None)
@given(st.lists(st.tuples(SIDE, SIDE), min_size=1, max_size=8))
def test_any_text_is_written_and_read_back(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    """Tabs, line breaks, quotation marks, control characters: all but empty sides and halves of surrogate pairs."""
    path = tmp_path_factory.getbasetemp() / "train.jsonl"
    write_pairs("train", iter(pairs), path, DataConfig())
    found = list(read_pairs(path, DataConfig(), Report("t")))
    assert found == list(pairs_of("train", pairs, DataConfig()))
    assert [pair[:2] for pair in found] == [(source.strip(), target.strip()) for source, target in pairs]


def test_pairs_that_are_skipped_are_counted_by_the_reader(tmp_path: Path) -> None:
    config = DataConfig(bad_lines="skip", source="en", target="it")
    path = tmp_path / "train.jsonl"
    write_pairs("train", [("a", "b"), ("", "c"), ("\ud800", "d"), (" ", ""), ("e", "f")], path, config)
    report = Report("t")
    assert list(read_pairs(path, config, report)) == [Pair("a", "b", 1), Pair("e", "f", 5)]
    assert [line.split(" (")[0] for line in report.lines()] == [
        "1 pair skipped: empty side",
        "1 pair skipped: invalid UTF-8",
        "1 pair skipped: blank line",
    ]
    with pytest.raises(ArgumentError, match="as number 2"):
        write_pairs("train", [("a", "b"), ("c", 5)], path, config)
    assert len(path.read_text(errors="replace").splitlines()) == 5


def test_items_are_written_one_at_a_time(tmp_path: Path) -> None:
    path, seen = tmp_path / "train.jsonl", []

    def items() -> Any:
        for number in range(3000):
            yield f"{number:0100}", "b"
            seen.append(sum(part.stat().st_size for part in tmp_path.iterdir()))

    write_pairs("train", items(), path, DataConfig())
    assert 0 < seen[1000] < seen[2000] < seen[-1]
    assert json.loads(path.read_text().splitlines()[7]) == {"source": f"{7:0100}", "target": "b"}


@pytest.mark.parametrize("items", [5, None, b"ab", "train.tsv", {"source": "a", "target": "b"}])
def test_other_arguments_are_refused(items: Any) -> None:
    with pytest.raises(ArgumentError, match=r"^train: wanted the name of a file or pairs of texts, got "):
        check_items("train", items)


def test_no_pairs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^train: wanted at least one pair, got none$"):
        write_pairs("train", [], tmp_path / "train.jsonl", DataConfig())
    assert list(tmp_path.iterdir()) == []


def test_names_of_files_are_no_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("0.wav").write_bytes(b"")
    for source in ("0.wav", str(tmp_path / "0.wav")):
        with pytest.raises(ArgumentError, match=r"^train: wanted pairs of texts, got '.*0\.wav', a file of sound: "):
            write_items("train", [(source, "a"), ("1.wav", "b")], tmp_path, DataConfig())
    for source in ("1.wav", "a" * 5000 + ".wav"):  # there are no such files
        write_items("train", [(source, "a"), ("0.wav", "b")], tmp_path, DataConfig())
