"""Tests `symbols.shared`: one table of symbols for both sides, learned from both."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peephole.config import Config
from peephole.data import KnownSymbols, Prepared, prepare, reopen
from peephole.data.stamp import settings_of
from peephole.errors import ConfigError
from peephole.symbols import UNK, CharacterSymbols, learn_symbols
from peephole.training import plan

BPE = {"symbols.source": "bpe", "vocabulary_size": 30}
KOREAN = [("대한민국 정부", "정부"), ("서울 특별시", "서울"), ("대한민국 서울", "서울 대한민국")]


def prepared(folder: Path, pairs: list[tuple[str, str]], known: KnownSymbols | None = None, **values: Any) -> Prepared:
    """Prepare pairs that are also the dev set, so that none is held out."""
    path = folder / "pairs.tsv"
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs), encoding="utf-8")
    config = Config().with_values({"symbols.shared": True, **values})
    return prepare(path, path, config, folder / "data", known)


def ids(found: Prepared) -> list[list[list[int]]]:
    return [
        [side.tolist() for side in sides]
        for sides in zip(*found.train.pairs(list(range(len(found.train)))), strict=True)
    ]


def test_both_sides_have_one_table_of_the_symbols_of_both(tmp_path: Path) -> None:
    found = prepared(tmp_path, [("ab", "bc"), ("ba", "c가")])
    assert found.source_symbols.to_json() == found.target_symbols.to_json()
    assert found.target_symbols.tokens(range(4, 8)) == ["b", "a", "c", "가"]  # by their counts on both sides together
    assert ids(found) == [[[5, 4], [4, 6]], [[4, 5], [6, 7]]]
    reasons = [f"{side}: single words or unspaced text: 1.0 tokens a line" for side in ("source", "target")]
    assert found.report[1] == f"symbols of both sides: characters ({'; '.join(reasons)}); 8 with the specials"
    assert not any(line.startswith(("source symbols", "target symbols")) for line in found.report)


def test_counts_and_size_are_those_of_both_sides_together(tmp_path: Path) -> None:
    """`a` occurs once on each side, `b` only in sources, `c` once."""
    pairs = [("ab", "xa"), ("bx", "xc"), ("b", "x")]
    found = prepared(tmp_path, pairs, min_count=2)
    assert found.source_symbols.tokens(range(4, len(found.source_symbols))) == ["x", "b", "a"]
    found = prepared(tmp_path, pairs, vocabulary_size=10)
    assert len(found.source_symbols) == 8
    assert not any(UNK in side for pair in ids(found) for side in pair)
    (tmp_path / "many.tsv").write_text("abcdef\tghijkl\nghi\tabc\n")
    limited = Config().with_values({"symbols.shared": True, "vocabulary_size": 10})
    many = prepare(tmp_path / "many.tsv", tmp_path / "many.tsv", limited, tmp_path / "many")
    assert many.target_symbols.tokens(range(4, 10)) == list("abcghi")


@pytest.mark.parametrize("kind", ["bpe", "unigram", "whitespace", "characters"])
def test_korean_words_are_the_same_symbols_on_both_sides(kind: str, tmp_path: Path) -> None:
    """Subwords of the two sides alone would differ: one has words that the other lacks."""
    found = prepared(tmp_path, KOREAN * 20, **{"symbols.source": kind, "vocabulary_size": 24})
    assert found.source_symbols.kind == found.target_symbols.kind == kind
    assert found.report[1].startswith(f"symbols of both sides: {kind} (as configured); ")
    apart = found.source_symbols.encode("서울"), found.target_symbols.encode("서울")
    assert apart[0] == apart[1]
    assert UNK not in apart[0]
    joint = learn_symbols(
        kind, [text for pair in KOREAN * 20 for text in pair], vocabulary_size=24, min_count=1, normalize="NFC"
    )
    assert found.target_symbols.to_json() == joint.to_json()


def test_one_given_kind_is_that_of_both_sides(tmp_path: Path) -> None:
    for side in ("source", "target"):
        found = prepared(tmp_path, KOREAN * 9, **{f"symbols.{side}": "bpe", "vocabulary_size": 30})
        assert found.source_symbols.kind == found.target_symbols.kind == "bpe"


def test_texts_of_two_kinds_are_refused_in_one_line(tmp_path: Path) -> None:
    phones = [("".join(word), " ".join(word.upper())) for word in ("abba", "cab", "bacca", "acab")]
    message = (
        "symbols.shared: wanted one kind of symbols on both sides, or symbols.source to set it; got characters for "
        "the source (single words or unspaced text: 1.0 tokens a line) and whitespace for the target "
        "(4.0 tokens a line, only 3 different ones)"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        prepared(tmp_path, phones)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model.input": "none"}, "wanted texts on both sides, got model.input='none'"),
        ({"model.input": "frames", "input_size": 3}, "wanted texts on both sides, got model.input='frames'"),
        ({"frames.kind": "sound"}, "wanted texts on both sides, got frames.kind='sound'"),
        ({"data.horizon": 24}, "wanted texts on both sides, got data.horizon=24"),
        (
            {"symbols.source": "bpe", "symbols.target": "characters"},
            "wanted symbols.source and symbols.target of one kind, got 'bpe' and 'characters'",
        ),
    ],
)
def test_settings_that_leave_no_texts_of_one_kind_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^symbols.shared: {re.escape(message)}$"):
        Config().with_values({"symbols.shared": True, **values})


def test_a_manifest_of_files_is_refused(tmp_path: Path) -> None:
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, np.ones((4, 3), np.float32))
    (tmp_path / "manifest.tsv").write_text("a.npy\tone\nb.npy\ttwo\n")
    with pytest.raises(ConfigError, match=r"^symbols\.shared: wanted texts on both sides, got model\.input='frames'$"):
        plan(tmp_path / "manifest.tsv", **{"symbols.shared": True})


def test_a_model_that_copies_has_every_source_symbol(tmp_path: Path) -> None:
    found = prepared(tmp_path, KOREAN * 9, **BPE, **{"model.output": "copy"})
    size = len(found.source_symbols) - 4
    assert f"copying: {size} of {size} source symbols are target symbols" in found.report[2]
    for source, _ in ids(found):
        assert all(read == copied for read, copied in source)  # one id, whether it is read or copied


def test_prepared_data_are_not_those_of_two_tables(tmp_path: Path) -> None:
    first = prepared(tmp_path, KOREAN * 9, **BPE)
    path = tmp_path / "pairs.tsv"
    assert reopen(path, path, Config().with_values(BPE), tmp_path / "data") is None
    again = reopen(path, path, Config().with_values({"symbols.shared": True, **BPE}), tmp_path / "data")
    assert again is not None
    assert again.digest == first.digest
    assert "shared" not in settings_of(Config(), None)["symbols"]  # data prepared before it existed stay valid


def test_the_table_of_a_model_grows_by_the_new_symbols_of_both_sides(tmp_path: Path) -> None:
    table = CharacterSymbols(["a", "b"], "NFC")
    found = prepared(tmp_path, [("ax", "xb"), ("bx", "가"), ("a", "y")], KnownSymbols(table, table), min_count=1)
    assert found.source_symbols.to_json() == found.target_symbols.to_json()
    assert found.target_symbols.tokens(range(4, 9)) == ["a", "b", "x", "y", "가"]
    assert found.report[1] == (
        "symbols of both sides: characters, the model's 6 and 3 new: 'x' (3), 'y' (1), '가' (1); 9 with the specials"
    )
    found = prepared(tmp_path, [("ax", "xb"), ("bx", "가"), ("a", "y")], KnownSymbols(table, table), min_count=2)
    assert found.source_symbols.tokens(range(6, len(found.source_symbols))) == ["x"]


def test_a_plan_counts_one_table(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{source}\t{target}\n" for source, target in KOREAN))
    found = plan(path, path, **{"symbols.shared": True, "symbols.source": "characters"})
    assert found.num_source_symbols == found.num_target_symbols == 4 + len(set("대한민국 정부서울특별시"))
    assert found.report[1].startswith("symbols of both sides: characters")
