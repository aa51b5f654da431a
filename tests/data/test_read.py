"""Tests of reading pairs: equal pairs from every format, and errors that name line, wanted and got."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peephole.config import DataConfig
from peephole.data import Pair, Report, read_pairs
from peephole.errors import DataError

PAIRS = [("hello", "HH AH L OW"), ("한국", "k o"), ("a\u2028b\x85c", "👩\u200d👧"), ("x" * 100_000, "long")]


def read(path: str | Path, **settings: object) -> tuple[list[Pair], list[str]]:
    report = Report(str(path))
    return list(read_pairs(path, DataConfig(**settings), report)), report.lines()


def tsv(pairs: list[tuple[str, str]], end: str = "\n") -> bytes:
    return "".join(f"{source}\t{target}{end}" for source, target in pairs).encode()


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def jsonl(pairs: list[tuple[str, str]]) -> bytes:
    return "".join(json.dumps({"source": s, "id": 7, "target": t}) + "\n" for s, t in pairs).encode()


def write_parallel(folder: Path) -> str:
    (folder / "a.en").write_bytes("".join(s + "\n" for s, _ in PAIRS).encode())
    (folder / "b.it.gz").write_bytes(gzip.compress("".join(t + "\n" for _, t in PAIRS).encode(), mtime=0))
    return f"{folder / 'a.en'},{folder / 'b.it.gz'}"


def write_parquet(folder: Path, text: pa.DataType) -> str:
    path = folder / "p.parquet"
    columns = {name: pa.array([p[i] for p in PAIRS]).cast(text) for i, name in ((1, "target"), (0, "source"))}
    pq.write_table(pa.table(columns), path, row_group_size=3)
    return str(path)


def write(name: str, data: bytes) -> Callable[[Path], str]:
    def to(folder: Path) -> str:
        (folder / name).write_bytes(data)
        return str(folder / name)

    return to


@pytest.mark.parametrize(
    "make",
    [
        write("p.tsv", tsv(PAIRS)),
        write("P.TXT", tsv(PAIRS)),
        write("p.tsv", tsv(PAIRS, end=" \r\n")),
        write("p.tsv", tsv(PAIRS).rstrip(b"\n")),
        write("p.tsv.gz", gzip.compress(tsv(PAIRS[:2])) + gzip.compress(tsv(PAIRS[2:]))),
        write("p.tsv.zst", zstd(tsv(PAIRS[:2])) + zstd(tsv(PAIRS[2:]))),
        write("p.jsonl", jsonl(PAIRS)),
        write("p.ndjson.zst", zstd(jsonl(PAIRS))),
        write_parallel,
        lambda folder: write_parquet(folder, pa.string()),
        lambda folder: write_parquet(folder, pa.large_string()),
        lambda folder: write_parquet(folder, pa.dictionary(pa.int32(), pa.string())),
    ],
)
def test_every_format_gives_the_same_pairs(make: Callable[[Path], str], tmp_path: Path) -> None:
    pairs, lines = read(make(tmp_path))
    assert pairs == [Pair(source, target, line) for line, (source, target) in enumerate(PAIRS, start=1)]
    assert lines == []


SIDE = st.text(st.characters(codec="utf-8", exclude_characters="\t\n"), min_size=1).filter(str.strip)


@settings(deadline=None)
@given(st.lists(st.tuples(SIDE, SIDE), min_size=1, max_size=8))
def test_written_pairs_are_read_back(tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.getbasetemp() / "property.tsv"
    path.write_bytes(tsv(pairs))
    start_is_mark = pairs[0][0].startswith("\ufeff")
    expected = [(source.strip(), target.strip()) for source, target in pairs]
    if not start_is_mark:
        assert [pair[:2] for pair in read(path)[0]] == expected


BAD_LINES = [
    ("p.tsv", b"abc\n", "wrong columns", "expected 2 columns, found 1: 'abc'"),
    ("p.tsv", b"a\tb\tc\r\n", "wrong columns", r"expected 2 columns, found 3: 'a\tb\tc'"),
    ("p.tsv", b"w" * 99 + b"\n", "wrong columns", "expected 2 columns, found 1: '" + "w" * 39 + "…'"),
    ("p.tsv", b" \tb\n", "empty side", "empty source beside 'b'"),
    ("p.tsv", b"a\t\n", "empty side", "empty target beside 'a'"),
    ("p.tsv", b"ab\t\xff\xfe\n", "invalid UTF-8", "invalid UTF-8: byte 4 is 0xff"),
    ("p.tsv", b"a\xc3\tb\n", "invalid UTF-8", "invalid UTF-8: byte 2 is 0xc3"),
    ("p.jsonl", b'{"source": "a"\n', "invalid JSON", "invalid JSON at its end: Expecting ',' delimiter: '{"),
    ("p.jsonl", b'{"source": a}\n', "invalid JSON", "invalid JSON at character 12: Expecting value: '{"),
    ("p.jsonl", b"[" * 100_000 + b"\n", "invalid JSON", "invalid JSON: brackets are nested too deeply: '[["),
    ("p.jsonl", b"1" * 5000 + b"\n", "invalid JSON", "invalid JSON: a number has more than 4,300 digits: '11"),
    ("p.jsonl", b'["a", "b"]\n', "wrong columns", """expected an object with columns, found '["a", "b"]'"""),
    ("p.jsonl", b'{"source": "a", "tagret": "b"}\n', "wrong columns", "did you mean 'tagret'?"),
    ("p.jsonl", b"{}\n", "wrong columns", "expected column 'source', found none"),
    ("p.jsonl", b'{"source": "a", "target": 5}\n', "wrong columns", "column 'target': expected text, found 5"),
    ("p.jsonl", b'{"source": "a", "target": null}\n', "wrong columns", "expected text, found null"),
    ("p.jsonl", b'{"source": "a", "target": " "}\n', "empty side", "empty target beside 'a'"),
    ("p.jsonl", b'{"source": "\\ud800", "target": "b"}\n', "invalid UTF-8", "half of a surrogate pair"),
    ("p.jsonl", b'{"source": "a\xff", "target": "b"}\n', "invalid UTF-8", "byte 14 is 0xff"),
]


@pytest.mark.parametrize(("name", "line", "reason", "message"), BAD_LINES)
def test_bad_line_raises_or_is_counted(name: str, line: bytes, reason: str, message: str, tmp_path: Path) -> None:
    good = tsv([("good", "one")]) if name == "p.tsv" else jsonl([("good", "one")])
    path = tmp_path / name
    path.write_bytes(good + line + good + line)
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}, line 2: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    pairs, lines = read(path, bad_lines="skip")
    assert pairs == [Pair("good", "one", 1), Pair("good", "one", 3)]
    assert lines == [f"2 pairs skipped: {reason} (first: {path}, line 2)"]


@pytest.mark.parametrize(("name", "good"), [("p.tsv", b"a\tb\n"), ("p.jsonl", jsonl([("a", "b")]))])
def test_blank_lines_are_counted_and_never_raise(name: str, good: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(good + b"\n" + good + b" \r\n")
    pairs, lines = read(tmp_path / name)
    assert [pair.line for pair in pairs] == [1, 3]
    assert lines == [f"2 pairs skipped: blank line (first: {tmp_path / name}, line 2)"]


def test_byte_order_mark_is_removed_and_counted(tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_bytes(b"\xef\xbb\xbf" + tsv([("a", "b"), ("\ufeffc", "d")]))
    pairs, lines = read(tmp_path / "p.tsv")
    assert pairs == [Pair("a", "b", 1), Pair("\ufeffc", "d", 2)]
    assert lines == [f"1 pair repaired: byte order mark taken off (first: {tmp_path / 'p.tsv'}, line 1)"]


def test_bad_rows_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    broken = pa.Array.from_buffers(pa.string(), 4, pa.array([b"a", b"\xff", b"c", b"d"]).buffers())
    pq.write_table(pa.table({"source": broken, "target": ["w", "x", None, "z"]}), path)
    with pytest.raises(DataError, match=re.escape(f"{path}, line 2: invalid UTF-8: byte 1 is 0xff")):
        read(path)
    pairs, lines = read(path, bad_lines="skip")
    assert pairs == [Pair("a", "w", 1), Pair("d", "z", 4)]
    assert lines == [
        f"1 pair skipped: invalid UTF-8 (first: {path}, line 2)",
        f"1 pair skipped: empty side (first: {path}, line 3)",
    ]


def test_named_columns_are_read(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"en": "cat", "it": "gatto"}\n', encoding="utf-8")
    pq.write_table(pa.table({"en": ["cat"], "it": ["gatto"], "n": [1]}), tmp_path / "p.parquet")
    for name in ("p.jsonl", "p.parquet"):
        assert read(tmp_path / name, source="it", target="en")[0] == [Pair("gatto", "cat", 1)]
    with pytest.raises(DataError, match=r"p.parquet: expected column 'itt', found 'en', 'it', 'n'; did you mean 'it'"):
        read(tmp_path / "p.parquet", source="itt")
    with pytest.raises(DataError, match=r"p.parquet: column 'n': expected text, found int64"):
        read(tmp_path / "p.parquet", source="n", target="en")


def test_a_bad_line_of_parallel_files_names_its_file(tmp_path: Path) -> None:
    a, b = tmp_path / "a.en", tmp_path / "b.it"
    a.write_bytes(b"one\ntwo\n\nfour\n")
    b.write_bytes(b"uno\n\xff\n\nquattro\n")
    with pytest.raises(DataError, match="^" + re.escape(f"{b}, line 2: invalid UTF-8: byte 1 is 0xff")):
        read(f"{a},{b}")
    pairs, lines = read(f"{a},{b}", bad_lines="skip")
    assert pairs == [Pair("one", "uno", 1), Pair("four", "quattro", 4)]
    assert lines[0] == f"1 pair skipped: invalid UTF-8 (first: {b}, line 2)"


@pytest.mark.parametrize("longer", ["a.en", "b.it"])
def test_parallel_files_of_different_length_are_refused(longer: str, tmp_path: Path) -> None:
    for name in ("a.en", "b.it"):
        (tmp_path / name).write_bytes(b"x\n" * (3 if name == longer else 2))
    shorter = "b.it" if longer == "a.en" else "a.en"
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / shorter}: ends after line 2")):
        read(f"{tmp_path / 'a.en'},{tmp_path / 'b.it'}", bad_lines="skip")


def test_file_name_may_contain_a_comma(tmp_path: Path) -> None:
    (tmp_path / "a,b.tsv").write_bytes(b"x\ty\n")
    assert read(tmp_path / "a,b.tsv")[0] == [Pair("x", "y", 1)]


def test_missing_file_suggests_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_bytes(b"a\tb\n")
    expected = f"{tmp_path / 'trian.tsv'}: no such file; did you mean '{tmp_path / 'train.tsv'}'?"
    with pytest.raises(DataError, match=re.escape(expected)):
        read(tmp_path / "trian.tsv")
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'no' / 'b.it'}: no such file")):
        read(f"{tmp_path / 'train.tsv'},{tmp_path / 'no' / 'b.it'}")


def test_directory_and_fifo_are_refused(tmp_path: Path) -> None:
    (tmp_path / "d.tsv").mkdir()
    os.mkfifo(tmp_path / "f.tsv")
    with pytest.raises(DataError, match=r"d.tsv: is a directory, wanted a file"):
        read(tmp_path / "d.tsv")
    with pytest.raises(DataError, match=r"f.tsv: not a regular file"):
        read(tmp_path / "f.tsv")


@pytest.mark.parametrize("name", ["p", "p.xml", "p.gz", "p.xml.zst", "p.parquet.gz"])
def test_an_unknown_suffix_is_refused_before_reading(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"a\tb\n")
    with pytest.raises(DataError, match=r"unknown suffix '\.?\w*'; wanted .tsv"):
        read_pairs(tmp_path / name, DataConfig(), Report("p"))


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_a_file_without_pairs_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_bytes(data)
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'p.tsv'}: no pairs in it")):
        read(tmp_path / "p.tsv")


def test_error_counts_skipped_lines_when_all_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_bytes(b"a\nb\n")
    with pytest.raises(DataError, match=r"no pairs in it; 2 pairs skipped: wrong columns \(first: .*p.tsv, line 1\)"):
        read(tmp_path / "p.tsv", bad_lines="skip")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("p.tsv.gz", b"a\tb\n"),
        ("p.tsv.gz", gzip.compress(tsv(PAIRS), mtime=0)[:-20]),
        ("p.tsv.zst", b"a\tb\n"),
        ("p.tsv.zst", zstd(tsv(PAIRS))[:-10]),
        ("p.parquet", b"a\tb\n"),
        ("p.parquet", b""),
    ],
)
def test_damaged_file_is_reported_in_one_line(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=r"^.*p\.[a-z.]+(, after line \d+)?: cannot be read.*$") as caught:
        read(tmp_path / name, bad_lines="skip")
    assert "\n" not in str(caught.value)


def test_file_without_read_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "p.tsv").write_bytes(b"a\tb\n")

    def refuse(name: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("peephole.data.files._open", refuse)  # simulated, since root may read any file
    with pytest.raises(DataError, match=r"p.tsv: cannot be read: Permission denied$"):
        read(tmp_path / "p.tsv")


def test_duplicate_parquet_column(tmp_path: Path) -> None:
    text = pa.array(["a"])
    table = pa.Table.from_arrays([text, text, text], names=["source", "source", "target"])
    pq.write_table(table, tmp_path / "p.parquet")
    with pytest.raises(DataError, match=r"p\.parquet: expected one column 'source', found 2$"):
        list(read_pairs(tmp_path / "p.parquet", DataConfig(), Report("p")))


def test_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").symlink_to("b.tsv")
    with pytest.raises(DataError, match=r"a\.tsv: no such file; it is a link to 'b\.tsv'$"):
        read_pairs(tmp_path / "a.tsv", DataConfig(), Report("a"))
