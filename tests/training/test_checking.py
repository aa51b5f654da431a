"""Tests of `peephole.check` against plain loops over the pairs in memory; wrong counts are rejected."""

from __future__ import annotations

import json
import random
import wave
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import peephole
from peephole.cli.check import command, lines_of
from peephole.data import hash_sample, scan, side_scan
from peephole.data.scan import PairScan
from peephole.data.side_scan import SideScan
from peephole.errors import ConfigError, DataError
from peephole.training import checking, plan
from rejection import rejected_by_comparison

SMALL = {"hidden_size": 8, "embedding_size": 4, "steps": 10}


def make_pairs(count: int, seed: int = 1) -> list[tuple[str, str]]:
    """Return pairs of short words, some of them equal and some with the same source."""
    rng = random.Random(seed)

    def word() -> str:
        return "".join(rng.choices("abcdAB", k=rng.choice((1, 1, 2, 3))))

    return [(word(), word()[:2]) for _ in range(count)]


def write(path: Path, pairs: list[tuple[str, str]]) -> Path:
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs), encoding="utf-8")
    return path


def findings(check: Any, role: str = "train") -> dict[str, Any]:
    """Return the findings of one file by kind."""
    [file] = [file for file in check.files if file.role == role]
    return {finding.kind: finding for finding in file.findings}


def check_counts(folder: Path) -> None:
    """Compare the counts of duplicates, several targets and overlaps with those of loops over all pairs."""
    data = {role: make_pairs(count, seed) for role, count, seed in (("train", 400, 1), ("dev", 90, 2), ("test", 60, 3))}
    paths = {role: write(folder / f"{role}.tsv", pairs) for role, pairs in data.items()}
    found = peephole.check(**paths, **SMALL)
    for role, pairs in data.items():
        of_file = findings(found, role)
        assert of_file["duplicates"].count == len(pairs) - len(set(pairs))
        targets = {source: {t for s, t in pairs if s == source} for source, _ in pairs}
        assert of_file["sources with several targets"].count == sum(len(t) > 1 for t in targets.values())
        first = next(line for line, pair in enumerate(pairs, 1) if pair in pairs[: line - 1])
        assert (
            of_file["duplicates"]
            .examples[0]
            .startswith(f"line {first} repeats line {pairs.index(pairs[first - 1]) + 1}: {pairs[first - 1][0]!r}")
        )
    for overlap in found.overlaps:
        one, two = data[overlap.first], data[overlap.second]
        assert overlap.of == len({source for source, _ in two})
        assert overlap.sources == len({source for source, _ in one} & {source for source, _ in two})
        assert overlap.pairs == len(set(one) & set(two))
        folded = {source.lower() for source, _ in one}
        assert overlap.folded_sources == sum(source.lower() in folded for source in {source for source, _ in two})
    assert [(overlap.first, overlap.second) for overlap in found.overlaps] == [
        *(("train", "dev"), ("train", "test"), ("dev", "test"))
    ]


def test_counts_are_those_of_loops(tmp_path: Path) -> None:
    check_counts(tmp_path)


def only_sources(self: PairScan, source: str, target: str, line: int) -> None:
    right_compare(self, source, "", line)


right_compare = PairScan._compare
WRONG: dict[str, tuple[Any, str, Any]] = {
    "pairs are compared by source": (PairScan, "_compare", only_sources),
    "case counts": (scan, "fold", str),
    "one target of each source": (scan, "MOST_TARGETS", 1),
    "hashes of the first letter": (scan, "source_hash", lambda text: hash_sample.source_hash(text[:1])),
    "lines from 0": (PairScan, "_compare", lambda self, s, t, line: right_compare(self, s, t, line - 1)),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_counts_are_rejected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setattr(*WRONG[name])
    if name == "lines from 0":  # the text of line 0 does not exist; without texts the lines themselves are compared
        monkeypatch.setattr(checking, "texts_of", lambda *given: dict.fromkeys(range(-1, 500), ("", "")))
    with rejected_by_comparison():
        check_counts(tmp_path)


def test_a_sample_estimates_what_does_not_fit(tmp_path: Path) -> None:
    """600 sources, each twice and with two targets, in samples of 300 numbers."""
    pairs = [(f"s{i}", target) for i in range(600) for target in ("a", "a", "b")]
    random.Random(1).shuffle(pairs)
    sample = PairScan(SideScan("source", list), SideScan("target", list), most=300)
    for line, pair in enumerate(pairs, 1):
        sample.add(peephole.data.Pair(*pair, line))
    assert sample.sources.share < 0.25
    assert sum(map(len, sample.sources.values.values())) <= 300
    found = {f.kind: f for f in sample.findings(dict(enumerate([("", ""), *pairs])))}
    for kind in ("duplicates", "sources with several targets"):
        assert found[kind].is_estimate
        assert found[kind].message.startswith("about ")
        assert found[kind].count == pytest.approx(600, rel=0.35)
    whole = PairScan(None, SideScan("target", list))
    for line, pair in enumerate(pairs, 1):
        whole.add(peephole.data.Pair(*pair, line))
    keys = list(whole.sources.common(sample.sources))
    assert len(keys) == len(sample.sources.values)  # the sample holds the same sources whatever the rest


def test_characters_and_lengths(tmp_path: Path) -> None:
    texts = ["  ab", "ba ", "a\u200bb", "cafe\u0301", "caf\u00e9", "а", "a" * 300, "ab\ufffd", *["ab"] * 60]
    pairs = [(text, f"{'xy' * (1 + i % 2)}") for i, text in enumerate(texts)]
    found = findings(peephole.check(write(tmp_path / "train.tsv", pairs), **SMALL))
    assert found["long sources"].count == 1
    assert found["long sources"].examples[0].startswith("300 characters, line 7")
    assert found["ratios of lengths"].examples[0].startswith("line 7: ")
    assert found["sources: outer spaces"].count == 2
    assert [e.split(":")[0] for e in found["sources: outer spaces"].examples] == ["line 1", "line 2"]
    assert (found["sources: decomposed"].count, found["sources: decomposed"].examples[0][:7]) == (1, "line 4:")
    assert found["source control characters"].count == 2
    assert "U+200B ZERO WIDTH SPACE, 1 time, line 3" in found["source control characters"].examples
    [alike] = found["source characters that look alike"].examples
    assert "LATIN SMALL LETTER A (" in alike
    assert "CYRILLIC SMALL LETTER A (1 time, line 6)" in alike
    once = {symbol for symbol, count in Counter("".join(map(str.strip, texts))).items() if count == 1}
    assert {"а", "\u200b", "\ufffd"} <= once
    assert found["rare source symbols"].count == 3
    assert "target characters that look alike" not in found


def test_symbols_that_training_does_not_see_are_named(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", [("ab", "A B"), ("ba", "B A"), ("aab", "A A B"), ("bb", "B B")] * 3)
    dev = write(tmp_path / "dev.tsv", [("ax", "A X"), ("ab", "A B")])
    found = findings(peephole.check(train, dev, **SMALL), "dev")
    assert found["unknown source symbols"].examples == ("'x' U+0078 LATIN SMALL LETTER X, line 1",)
    assert found["unknown target symbols"].count == 1


def test_the_plan_is_that_of_a_dry_run(tmp_path: Path) -> None:
    path = write(tmp_path / "train.tsv", sorted(set(make_pairs(200))))
    found, planned = peephole.check(path, **SMALL).plan, plan(path, **SMALL)
    assert found is not None
    assert found.report == planned.report
    assert (found.memory, found.steps, found.num_parameters) == (planned.memory, planned.steps, planned.num_parameters)


def test_bad_lines_are_counted_and_a_problem_is_told(tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    path.write_bytes(b"a\tb\na\t\n\n\xff\tb\na\tb\tc\na\tb\n")
    found = peephole.check(path)
    assert found.plan is None
    assert found.problem == f"{path}: only duplicates of one pair, wanted at least two different pairs"
    lines = found.files[0].lines
    assert len(lines) == 4
    assert f"1 pair skipped: empty side (first: {path}, line 2)" in lines
    assert f"1 pair skipped: invalid UTF-8 (first: {path}, line 4)" in lines
    assert findings(found)["duplicates"].count == 1


def test_pairs_from_python_are_checked(tmp_path: Path) -> None:
    pairs = make_pairs(50)
    found = peephole.check(pairs, dev=iter([("a", "b"), (" ", "b"), ("c", " d")]), **SMALL)
    assert (found.files[0].num_pairs, found.files[1].num_pairs) == (50, 2)
    assert findings(found, "dev")["targets: outer spaces"].count == 1


def write_sound(path: Path, seconds: float) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(np.random.default_rng(1).integers(-999, 999, int(16000 * seconds), np.int16).tobytes())


def test_files_of_a_manifest_are_read(tmp_path: Path) -> None:
    for name, seconds in (("a", 0.5), ("b", 1.0), ("c", 2.0)):
        write_sound(tmp_path / f"{name}.wav", seconds)
    (tmp_path / "d.wav").write_bytes(b"RIFF no sound")
    (tmp_path / "f.wav").mkdir()
    names = ["a", "b", "c", "d", "e", "a", "f"]
    path = write(tmp_path / "manifest.tsv", [(f"{name}.wav", "up" if name < "c" else "down") for name in names])
    found = peephole.check(path, **SMALL, input_size=80)
    of_file = findings(found)
    assert of_file["missing files"].examples == ("line 5: e.wav: no such file", "line 7: f.wav: no such file")
    [damaged] = of_file["damaged files"].examples
    assert damaged.startswith("line 4: d.wav: cannot be read as sound: ")
    assert of_file["duplicates"].count == 1
    lengths = found.files[0].lengths["source"]
    assert (lengths.unit, lengths.shortest, lengths.longest) == ("seconds", 0.5, 2.0)
    assert lengths.total == pytest.approx(4.0)
    assert found.plan is not None
    assert "characters" in found.files[0].lengths["target"].unit


def test_tables_of_series_are_checked(tmp_path: Path) -> None:
    steps = np.arange(60)
    rows = [[np.sin(step), 3.0, step if step != 7 else np.nan] for step in steps]
    rows[40][0] = 1e6
    for name, part in (("train", rows), ("dev", rows[30:])):
        lines = [",".join("" if np.isnan(v) else f"{v:.6g}" for v in row) for row in part]
        (tmp_path / f"{name}.csv").write_text("x,y,z\n" + "\n".join(lines) + "\n", encoding="utf-8")
    found = peephole.check(tmp_path / "train.csv", tmp_path / "dev.csv", horizon=4, history=8, **SMALL)
    of_file = findings(found)
    assert (of_file["missing numbers"].count, of_file["constant columns"].count) == (1, 1)
    assert of_file["missing numbers"].examples == ("column 'z': 1 missing number, at most 1 in a row",)
    assert "1000000 in row 41" in of_file["far numbers"].examples[0]
    assert (found.overlaps[0].sources, found.overlaps[0].of) == (30, 30)
    assert found.plan is not None


def test_lengths_are_printed_with_all_digits(tmp_path: Path) -> None:
    found = peephole.check(write(tmp_path / "train.tsv", [*make_pairs(80), ("x" * 2_000_000, "b")]), **SMALL)
    [line] = [line for line in lines_of(found) if line.startswith("  sources: ")]
    assert " to 2,000,000 characters, half up to " in line


def test_the_command_prints_findings_and_exits_with_0(tmp_path: Path) -> None:
    path = write(tmp_path / "train.tsv", [*make_pairs(80), ("x\u202ey", "b")])
    settings = [part for name, value in SMALL.items() for part in ("--set", f"{name}={value}")]
    shown = CliRunner().invoke(command, [str(path), "--test", str(path), *settings])
    assert shown.exit_code == 0
    assert "  * " in shown.stdout
    assert "\u202e" not in shown.stdout
    assert "sources of test are also in train" in shown.stdout
    assert "an epoch: " in shown.stdout
    as_json = CliRunner().invoke(command, [str(path), "--test", str(path), *settings, "--json"])
    wanted = json.loads(json.dumps(peephole.check(path, test=path, **SMALL).to_dict()))
    got = json.loads(as_json.stdout)
    for tree in (got, wanted):
        tree["plan"] |= {"seconds_per_epoch": None, "seconds": None}  # measured
    assert got == wanted


@pytest.mark.parametrize(
    ("content", "settings", "error", "message"),
    [
        (None, {}, DataError, "no such file"),
        ("", {}, DataError, "no pairs in it"),
        ("a\tb\n", {"beams": 1}, ConfigError, "unknown key 'beams'"),
    ],
)
def test_unreadable_input_is_an_error(
    tmp_path: Path, content: str | None, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    path = tmp_path / "train.tsv"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(error, match=message):
        peephole.check(path, **settings)


def quantiles_by_sorting(values: list[int]) -> Callable[[float], int]:
    return lambda share: sorted(values)[max(0, int(np.ceil(share * len(values))) - 1)]


def test_quantiles_and_fences() -> None:
    rng = random.Random(3)
    values = [rng.randint(1, 40) for _ in range(57)]
    wanted = quantiles_by_sorting(values)
    for share in (0, 0.25, 0.5, 0.99, 1):
        assert side_scan.quantile(Counter(values), share) == wanted(share)
    low, high = side_scan.fences(Counter(values), float)
    width = wanted(0.75) - wanted(0.25)
    assert (low, high) == (wanted(0.25) - 3 * width, wanted(0.75) + 3 * width)
