"""Tests reading tables of series: headers, times, missing numbers, errors; and windows of them."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from peephole.config import Config, DataConfig
from peephole.data import Report, batches
from peephole.data.prepared import prepare
from peephole.data.series import Series, check_series, read_series, series_of
from peephole.data.windows import recognise_series, split_series
from peephole.errors import ConfigError, DataError

NAN = float("nan")


def read(tmp_path, text, name="t.csv", **settings):
    """Return the series in a file, and the lines of the report."""
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    report = Report(name, "number")
    return read_series(path, DataConfig(**settings), report), report.lines()


@pytest.mark.parametrize(
    ("text", "columns", "time", "values"),
    [
        ("1\n2\n", ("1",), None, [[1], [2]]),
        ("a,b\n1,2\n3,4\n", ("a", "b"), None, [[1, 2], [3, 4]]),
        ("a;b\n1;2.5\n", ("a", "b"), None, [[1, 2.5]]),
        ("a\tb\n1\t-2e3\n", ("a", "b"), None, [[1, -2000]]),
        ("\n\nday,load\n2020-01-01,5\n2020-01-02,6\n\n \n", ("load",), "day", [[5], [6]]),
        ('load,"the, day"\n5,"1. 1."\n', ("load",), "the, day", [[5]]),
        ("\ufeffa\r\n1\r\n", ("a",), None, [[1]]),
    ],
)
def test_headers_times_and_separators_are_recognised(tmp_path, text, columns, time, values):
    for name in ("t.csv", "t.csv.gz"):
        found, report = read(tmp_path, text, name)
        assert (found.columns, found.time, found.values.tolist()) == (columns, time, values)
        assert report == []


def test_a_column_of_times_that_are_numbers_is_named(tmp_path):
    found, _ = read(tmp_path, "year,spots\n1700,5\n1701,11\n", time="year")
    assert (found.columns, found.time, found.values.tolist()) == (("spots",), "year", [[5], [11]])
    with pytest.raises(DataError, match=r"t\.csv: wanted a column 'date' \(data\.time\), got year, spots"):
        read(tmp_path, "year,spots\n1700,5\n", time="date")


def test_missing_numbers_are_counted_with_their_lines_and_filled(tmp_path):
    found, report = read(tmp_path, "a,b\n,1\n2,NA\ninf,3\n4,nan\n")
    np.testing.assert_array_equal(found.values, [[NAN, 1], [2, NAN], [NAN, 3], [4, NAN]])
    assert found.filled().tolist() == [[2, 1], [2, 1], [2, 3], [4, 3]]
    assert report == ["4 numbers repaired: missing; the one before it is read (first: t.csv, line 2)"]


@pytest.mark.parametrize("end", ["", "\n", "\n\n \r\n\n"])
@pytest.mark.parametrize("header", ["", "a\n"])
def test_a_blank_line_of_one_column_is_a_missing_number(tmp_path, header, end):
    found, report = read(tmp_path, f"\n{header}1\n\n\r\n4\n \n6{end}")
    np.testing.assert_array_equal(found.values, [[1], [NAN], [NAN], [4], [NAN], [6]])
    line = 4 if header else 3
    assert report == [f"3 numbers repaired: missing; the one before it is read (first: t.csv, line {line})"]
    found, _ = read(tmp_path, "a\n\n2\n")
    np.testing.assert_array_equal(found.values, [[NAN], [2]])


def test_a_blank_line_of_several_columns_is_no_row_and_counted(tmp_path):
    found, report = read(tmp_path, "a,b\n\n1,2\n\n\n3,4\n\n")
    assert (found.values.tolist(), report) == (
        [[1, 2], [3, 4]],
        ["3 numbers skipped: blank line (first: t.csv, line 2)"],
    )
    found, report = read(tmp_path, "a\tb\n1\t2\n\t\n3\t4\n")  # tabs are cells
    np.testing.assert_array_equal(found.values, [[1, 2], [NAN, NAN], [3, 4]])
    assert report == ["2 numbers repaired: missing; the one before it is read (first: t.csv, line 3)"]


def test_wrong_rows_are_errors_or_missing(tmp_path):
    text = "a,b\n1,2\n3\nx,4\n5,6\n"
    with pytest.raises(DataError, match=r"t\.csv, line 3: wanted 2 columns, got 1$"):
        read(tmp_path, text)
    with pytest.raises(DataError, match=r"t\.csv, line 3, column 'a': wanted a number, got 'x'$"):
        read(tmp_path, "a,b\n1,2\nx,4\n")
    found, report = read(tmp_path, text, bad_lines="skip")
    np.testing.assert_array_equal(found.values, [[1, 2], [NAN, NAN], [NAN, 4], [5, 6]])
    assert report[:2] == [
        "1 number skipped: wrong number of columns (first: t.csv, line 3)",
        "1 number skipped: no number (first: t.csv, line 4)",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,b\n", "has a header and no rows"),
        ("a,b\n1,\n2,nan\n", "column 'b': wanted numbers, got none in 2 rows"),
        ("day\nmonday\n", "wanted a table of numbers, got 0 rows of 0 columns"),
        (
            "a,b\n1," + "2" * 200_000 + "\n",
            r"t\.csv, line 2: invalid CSV: field larger than field limit \(131072\): '1,2",
        ),
        ('"a\n(kW)",b\n1,2\n', r"t\.csv, line 1: invalid CSV: unexpected end of data: '\"a'"),
    ],
)
def test_tables_without_numbers_are_errors(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, text)


def test_arrays_and_parquet_files_are_tables(tmp_path):
    np.save(tmp_path / "t.npy", np.arange(3))
    found = read_series(tmp_path / "t.npy", DataConfig(), Report("t"))
    assert (found.columns, found.values.tolist()) == (("1",), [[0], [1], [2]])
    table = pyarrow.table({"day": ["a", "b"], "x": [1, None], "y": [0.5, 2.0]})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    report = Report("t.parquet", "number")
    found = read_series(tmp_path / "t.parquet", DataConfig(), report)
    np.testing.assert_array_equal(found.values, [[1, 0.5], [NAN, 2]])
    assert (found.columns, found.time) == (("x", "y"), "day")
    assert report.lines() == ["1 number repaired: missing; the one before it is read (first: t.parquet, line 2)"]
    with pytest.raises(DataError, match=r"train: wanted numbers of shape .*, got float64 of shape \(1, 1, 1\)"):
        series_of("train", np.zeros((1, 1, 1)))
    np.save(tmp_path / "t.npy", np.array(["a"]))
    with pytest.raises(DataError, match=r"t\.npy: wanted numbers of shape .*, got <U1"):
        read_series(tmp_path / "t.npy", DataConfig(), Report("t"))
    (tmp_path / "t.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match=r"t\.npy: cannot be read as a table: no complete .npy file of numbers$"):
        read_series(tmp_path / "t.npy", DataConfig(), Report("t"))


@pytest.mark.parametrize("shape", [(0,), (0, 1), (0, 3), (3, 0)])
def test_arrays_without_numbers_are_errors_in_plain_words(tmp_path, shape):
    np.save(tmp_path / "t.npy", np.empty(shape))
    rows, columns = (*shape, 1)[:2]
    with pytest.raises(DataError, match=rf"t\.npy: wanted a table of numbers, got {rows} rows of {columns} columns$"):
        read_series(tmp_path / "t.npy", DataConfig(), Report("t"))
    np.save(tmp_path / "t.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(DataError, match=r"t\.npy: cannot be read as a table: no complete \.npy file of numbers$"):
        read_series(tmp_path / "t.npy", DataConfig(), Report("t"))


@pytest.mark.parametrize("cell", ["1_05", "١٢", "1,5", "0x10"])
def test_cells_that_python_would_read_otherwise_are_no_numbers(tmp_path, cell):
    with pytest.raises(DataError, match=rf"t\.csv, line 3, column 'a': wanted a number, got '{cell}'"):
        read(tmp_path, f"a;b\n1;2\n{cell};3\n")


@pytest.mark.parametrize("text", ["a,b,a\n1,2,3\n", "t;a; a\nx;2;3\n", "a,a,b\nx,y,1\n"])
def test_two_columns_of_one_name_are_refused(tmp_path, text):
    with pytest.raises(DataError, match=r"t\.csv: wanted one column 'a', got 2$"):
        read(tmp_path, text)


def test_columns_without_a_name_are_numbered_and_those_of_one_name_refused_in_parquet(tmp_path):
    assert read(tmp_path, "a,,\n1,2,3\n")[0].columns == ("a", "", " (2)")
    table = pyarrow.table([pyarrow.array([1.0]), pyarrow.array([2.0])], names=["a", "a"])
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet: wanted one column 'a', got 2$"):
        read_series(tmp_path / "t.parquet", DataConfig(), Report("t"))


def test_numbers_keep_the_digits_of_float64(tmp_path):
    values = np.array([1e9, 1e9 + 1, 1e9 + 2.5])
    np.save(tmp_path / "t.npy", values)
    pyarrow.parquet.write_table(pyarrow.table({"a": values}), tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text("a\n1000000000\n1000000001\n1000000002.5\n")
    for name in ("t.npy", "t.parquet", "t.csv"):
        assert read_series(tmp_path / name, DataConfig(), Report(name)).values.ravel().tolist() == values.tolist()
    found, report = read(tmp_path, "a\n1e39\n-1e39\n")
    assert (found.values.ravel().tolist(), report) == ([1e39, -1e39], [])


def test_numbers_that_would_overflow_are_errors(tmp_path):
    with pytest.raises(
        DataError, match=r"t\.csv, line 3, column 'a': wanted a number from -1e300 to 1e300, got -1e\+308"
    ):
        read(tmp_path, "a\n1\n-1e308\n")
    with pytest.raises(DataError, match=r"^t, line 1, column '1': wanted a number from -1e300 to 1e300, got 1e\+308"):
        check_series(series_of("t", np.array([1e308, 1])), "t", Report("t"))


def windows(train, dev=None, in_own_units=False, **settings):
    config = DataConfig(**{"horizon": 2, "history": 3, "dev_fraction": 0.1} | settings)
    return split_series(train, dev, config, "t.csv", in_own_units=in_own_units)


def table(rows, columns=("a",)):
    values = np.arange(rows * len(columns), dtype=np.float64).reshape(rows, len(columns))
    return Series(values, columns)


def all_pairs(found):
    sources, targets = found.pairs(list(range(len(found))))
    return [(s.tolist(), t.tolist()) for s, t in zip(sources, targets, strict=True)]


def test_no_target_of_training_is_held_out():
    train, dev, line = windows(table(12))
    assert all_pairs(train) == [([[n], [n + 1], [n + 2]], [[n + 3], [n + 4]]) for n in range(4)]
    assert all_pairs(dev) == [([[n], [n + 1], [n + 2]], [[n + 3], [n + 4]]) for n in range(5, 8)]
    assert train.num_target_symbols == 8
    assert line == (
        "12 steps, one column of numbers; 4 windows of 3 steps and 2 to forecast, 3 dev windows of the last 4 steps"
    )


def test_columns_are_series_of_their_own_or_components():
    train, _, line = windows(table(12, ("a", "b")))
    assert "2 columns of numbers, each a series of its own" in line
    assert all_pairs(train)[:2] == [([[0], [2], [4]], [[6], [8]]), ([[1], [3], [5]], [[7], [9]])]
    train, _, line = windows(table(12, ("a", "b")), columns="joint")
    assert "2 columns of numbers, one series of vectors" in line
    assert all_pairs(train)[0] == ([[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9]])


def test_missing_numbers_are_filled_in_sources_and_left_out_of_targets():
    values = np.array([0, 1, NAN, 3, NAN, 5, 6, 7, 8, 9, 10, 11])[:, None]
    train, _, _ = windows(Series(values, ("a",)))
    sources, targets = train.pairs([0, 1])
    assert [s.ravel().tolist() for s in sources] == [[0, 1, 1], [1, 1, 3]]
    np.testing.assert_array_equal(np.ravel(targets), [3, NAN, NAN, 5])


@pytest.mark.parametrize(("level", "scale"), [(0, 1), (1e9, 1), (-1e9, 64), (0, 1e40), (1e-40, 2e-45)])
def test_windows_in_their_own_units_have_no_level_and_no_scale(level, scale):
    numbers = np.random.default_rng(1).integers(0, 9, (30, 2))
    steps = level + float(scale) * numbers
    train, _, _ = windows(Series(steps, ("a", "b")), in_own_units=True, columns="joint")
    for start, (source, target) in enumerate(zip(*train.pairs(list(range(len(train)))), strict=True)):
        window = numbers[start : start + 3]
        mean, deviation = window.mean(0), window.std(0)
        still = deviation == 0  # such a component is only shifted
        deviation = np.where(still, 1, deviation)
        np.testing.assert_allclose(source, (window - mean) / deviation, rtol=1e-6, atol=1e-7)
        wanted = (numbers[start + 3 : start + 5] - mean) / deviation * np.where(still, scale, 1)
        wanted = np.where(abs(wanted) < 3e38, wanted, np.copysign(np.inf, wanted))
        np.testing.assert_allclose(target, wanted, rtol=1e-6, atol=1e-7)
        assert (source.dtype, target.dtype) == (np.float32, np.float32)


@pytest.mark.parametrize("scale", [1.0, -(2.0**60), 2.0**-60])
def test_a_component_that_only_rounding_varies_is_shifted_alone(scale):
    steps = scale * np.array([0.3, 0.1 + 0.2, 0.3, 0.3, 7.3, 0.3, 0.3, 0.1 + 0.2, 0.3, 0.3])
    assert np.unique(steps).size == 3
    train, _, _ = windows(Series(steps[:, None], ("a",)), in_own_units=True)
    sources, targets = train.pairs([0, 1])
    assert sources[0].tolist() == [[0], [0], [0]]
    np.testing.assert_allclose(targets[0], [[0], [7 * scale]], rtol=1e-6)


def test_the_constants_of_a_column_that_does_not_vary_only_shift_it():
    steps = np.stack([np.full(300, 0.3), np.where(np.arange(300) % 7, 0.3, 0.1 + 0.2), np.arange(300)], 1)
    assert (steps.std(0) > 0).all()  # NumPy's mean of 0.3 is rounded
    train, _, _ = windows(Series(steps, ("a", "b", "c")), in_own_units=False, columns="joint")
    mean, deviation = train.statistics()
    np.testing.assert_allclose(mean[:2], 0.3)
    assert deviation[:2] == [1, 1]
    end = 270  # the others are held out
    np.testing.assert_allclose((mean[2], deviation[2]), (np.arange(end).mean(), np.arange(end).std()))


def test_constant_units_refuse_a_level_that_float32_does_not_hold(tmp_path):
    config = Config().with_values({"data.horizon": 2, "data.history": 3, "model.scaling": "constant"})
    for level, is_error in ((1e4, False), (1e9, True), (1e39, True)):
        np.save(tmp_path / "t.npy", level + np.arange(40) % 9)
        if not is_error:
            prepare(tmp_path / "t.npy", None, config, tmp_path / "data")
            continue
        with pytest.raises(DataError, match=r"column '1': numbers up to 1e\+.. lose digits in float32, which model\.s"):
            prepare(tmp_path / "t.npy", None, config, tmp_path / "data")
    np.save(tmp_path / "t.npy", np.full(40, 0.1))  # does not vary, so that its rounding does not matter
    prepare(tmp_path / "t.npy", None, config, tmp_path / "data")


def test_a_dev_table_has_windows_of_its_own():
    train, dev, line = windows(table(9), table(7))
    assert (len(train), len(dev)) == (5, 3)
    assert line.endswith("3 dev windows of another table")
    with pytest.raises(DataError, match=r"dev: wanted the columns of t\.csv, a; got b"):
        windows(table(9), table(7, ("b",)))


@pytest.mark.parametrize("rows", [8, 4])
def test_too_short_a_table_is_an_error(rows):
    with pytest.raises(DataError, match=rf"t\.csv: wanted at least 9 steps, .* 4 held out; got {rows}"):
        windows(table(rows))
    with pytest.raises(DataError, match="dev: wanted at least 5 steps"):
        windows(table(12), table(4))


def test_targets_without_a_number_are_an_error():
    values = table(12).values
    with pytest.raises(DataError, match=r"^dev: wanted a number in the steps to forecast, 9 to 12, got none$"):
        windows(Series(np.where(np.arange(12)[:, None] < 8, values, NAN), ("a",)))
    with pytest.raises(DataError, match=r"^t\.csv: wanted a number in the steps to forecast, 4 to 8, got none$"):
        windows(Series(np.where(np.arange(12)[:, None] % 8 < 3, values, NAN), ("a",)))
    with pytest.raises(DataError, match=r"^dev: wanted a number in the steps to forecast, 4 to 12, got none$"):
        windows(table(12), Series(np.where(np.arange(12)[:, None] < 3, values, NAN), ("a",)))
    windows(Series(np.where(np.arange(12)[:, None] < 9, values, NAN), ("a",)))  # one in dev is enough


def test_dev_windows_are_spread_and_so_is_the_beginning_of_their_list():
    _, dev, _ = windows(table(9), table(404))
    starts = [int(source[0, 0]) for source, _ in dev.spread(40)]
    assert len(set(starts)) == 40
    assert (min(starts), max(starts)) == (0, 399)
    assert max(starts[:10]) - min(starts[:10]) > 200
    assert len(dev.spread(10**6)) == 400


def test_batches_hold_every_window_once_in_an_order_of_the_epoch():
    train, _, _ = windows(table(40))
    seen = list(batches(train, seed=1, epoch=0, batch_symbols=9))
    assert {batch.source.shape[1:] for batch in seen} == {(3, 1)}
    assert {batch.target.dtype for batch in seen} == {np.dtype(np.float32)}
    starts = [int(start) for batch in seen for start in batch.source[:, 0, 0]]
    assert sorted(starts) == list(range(len(train)))
    assert [int(t) for batch in seen for t in batch.target[:, 0, 0]] == [start + 3 for start in starts]
    other = [
        int(start) for batch in batches(train, seed=1, epoch=1, batch_symbols=9) for start in batch.source[:, 0, 0]
    ]
    assert starts != other


def test_the_table_decides_input_and_output():
    config = Config().with_values({"data.horizon": 2})
    found = recognise_series("t.csv", config, table(9, ("a", "b")))
    assert (found.model.input, found.model.output, found.model.input_size) == ("frames", "gaussian", 1)
    assert (found.frames.kind, found.train.dev_metric) == ("numbers", "loss")
    assert recognise_series("t.csv", found, table(9, ("a", "b"))) == found  # a run that goes on
    joint = config.with_values({"data.columns": "joint", "model.output": "quantile"})
    found = recognise_series("t.csv", joint, table(9, ("a", "b")))
    assert (found.model.output, found.model.input_size, found.model.output_size) == ("quantile", 2, 2)
    with pytest.raises(ConfigError, match=r"model\.input_size: wanted 1, the numbers of a step of t\.csv, got 3"):
        recognise_series("t.csv", config.with_values({"model.input_size": 3}), table(9))


@pytest.mark.parametrize(
    ("columns", "noted"), [("year,load", True), ("load,year", False), ("year", False), ("uneven,load", False)]
)
def test_times_that_are_numbers_are_pointed_out(tmp_path: Path, columns: str, noted: bool) -> None:
    values = {"year": lambda t: 1990 + 0.1 * t, "load": lambda t: t * t % 7, "uneven": lambda t: t * t}
    names = columns.split(",")
    rows = [",".join(str(values[name](step)) for name in names) for step in range(40)]
    table = tmp_path / "t.csv"
    table.write_text("\n".join([columns, *rows]) + "\n", encoding="utf-8")
    line = "column 'year' rises evenly: if it holds times, leave it out with data.time=year"
    for time, expected in ((None, noted), ("year", False)) if noted else ((None, False),):
        chosen = recognise_series(table, Config().with_values({"data.horizon": 2, "data.time": time}))
        report = prepare(table, None, chosen, tmp_path / "data").report
        assert [found for found in report if "rises evenly" in found] == [line] * expected
