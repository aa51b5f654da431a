"""Tests of symbol tables: text to ids and back, on text that naive splitting gets wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import unicodedata

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from peephole.errors import ConfigError, ModelFileError
from peephole.symbols import (
    BOS,
    EOS,
    KINDS,
    PAD,
    SPECIALS,
    UNK,
    CharacterSymbols,
    Symbols,
    WhitespaceSymbols,
    learn_symbols,
    normalize_text,
    split_clusters,
    symbols_from_json,
)
from peephole.symbols import tables as module

FAMILY = "👩\u200d👩\u200d👧"
CLUSTERS = {
    "hello": ["h", "e", "l", "l", "o"],
    "한국어": ["한", "국", "어"],
    "\u1112\u1161\u11ab\u1100\u116e": ["\u1112\u1161\u11ab", "\u1100\u116e"],  # decomposed Korean
    "a" + FAMILY + "b": ["a", FAMILY, "b"],
    "👍🏽🇰🇷🇮🇹": ["👍🏽", "🇰🇷", "🇮🇹"],
    "e\u0301x\u0323\u0307": ["e\u0301", "x\u0323\u0307"],
    "क्षि": ["क्षि"],
    "漢字 かな": ["漢", "字", " ", "か", "な"],
    "か\u3099": ["か\u3099"],
    "©\ufe0f®": ["©\ufe0f", "®"],
    "": [],
}
LINES = ["the cat sat on the mat", "안녕 하세요 안녕", f"café {FAMILY} cafe\u0301", "  outer ", "a  b", "</s> <unk> ₩"]


def learn(kind: str, texts: list[str], vocabulary_size: int = 8000, **settings: object) -> Symbols:
    values = {"min_count": 1, "normalize": "NFC", **settings}
    return learn_symbols(kind, texts, vocabulary_size=vocabulary_size, **values)


@pytest.mark.parametrize("text", CLUSTERS)
def test_clusters_are_perceived_characters(text: str) -> None:
    assert split_clusters(text) == CLUSTERS[text]


def test_code_points_listed_without_clustering_are_clusters() -> None:
    single = [c for c in map(chr, range(0x30000)) if module._SINGLE_CODE_POINT_CLUSTERS.fullmatch(c)]
    assert len(single) > 30_000
    for c in single:
        text = f"{c}x{c}{c}가{c}漢{c}é{c}"
        assert regex.findall(r"\X", text) == list(text), f"U+{ord(c):04X}"


@settings(deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=30))
def test_clusters_are_those_of_the_unicode_rules(text: str) -> None:
    assert split_clusters(text) == regex.findall(r"\X", text)
    assert "".join(split_clusters(text)) == text


def test_special_symbols_have_the_agreed_ids() -> None:
    assert (PAD, BOS, EOS, UNK) == (0, 1, 2, 3)
    assert SPECIALS == ("<pad>", "<s>", "</s>", "<unk>")


@pytest.mark.parametrize("kind", KINDS)
def test_known_text_is_decoded(kind: str) -> None:
    table = learn(kind, LINES * 3)
    for line in LINES:
        expected = normalize_text(line, "NFC")
        if kind == "whitespace":
            expected = " ".join(expected.split())
        elif kind != "characters":
            expected = expected.strip()
        assert table.decode(table.encode(line)) == expected
        assert UNK not in table.encode(line)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=50)
@given(texts=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="▁")), min_size=1, max_size=4))
def test_any_training_text_is_decoded(kind: str, texts: list[str]) -> None:
    table = learn(kind, texts, vocabulary_size=1000)
    for text in texts:
        expected = normalize_text(text, "NFC")
        if kind == "whitespace":
            expected = " ".join(expected.split())
        elif kind != "characters":
            expected = expected.strip()
        assert table.decode(table.encode(text)) == expected


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=50)
@given(
    texts=st.lists(st.text("ab가🙂é \u0301"), min_size=1, max_size=5),
    other=st.text("abc다🙂é \u0301"),
    size=st.integers(8, 30),
    min_count=st.integers(1, 4),
)
def test_ids_stay_below_the_vocabulary_size_and_match_the_strings(
    kind: str, texts: list[str], other: str, size: int, min_count: int
) -> None:
    table = learn(kind, texts, vocabulary_size=size, min_count=min_count)
    assert len(SPECIALS) <= len(table) <= size
    for text in [*texts, other]:
        ids, strings = table.encode(text), table.split(text)
        assert all(UNK <= i < len(table) for i in ids)
        assert len(strings) == len(ids)
        for i, string, name in zip(ids, strings, table.tokens(ids), strict=True):
            assert name == ("<unk>" if i == UNK else string)
        assert table.segment(text) == (ids, strings)
        assert table.token_ids(table.tokens(ids)) == ids


def test_tokens_of_other_segmentations_have_ids() -> None:
    table = learn("bpe", ["the then there"] * 9)
    assert table.token_ids(["▁", "t", "h", "e"]) != table.encode("the")
    assert table.decode(table.token_ids(["▁", "t", "h", "e"])) == "the"
    assert table.token_ids(["never", "<pad>", "</s>"]) == [UNK] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_text_equal_to_a_special_name_is_ordinary(kind: str) -> None:
    table = learn(kind, ["<s> </s> <pad> <unk>"] * 3)
    ids = table.encode("<s> </s> <pad> <unk>")
    assert min(ids) > UNK
    assert table.decode([BOS, *ids, EOS, PAD, PAD]) == "<s> </s> <pad> <unk>"


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_symbols_are_unk_and_keep_their_text(kind: str) -> None:
    table = learn(kind, ["a b", "b a"])
    ids = table.encode("a 漢")
    assert ids[-1] == UNK
    assert UNK not in ids[:-1]
    assert table.split("a 漢")[-1] == "漢"
    assert table.tokens(ids)[-1] == "<unk>"
    assert table.decode(ids) == "a <unk>"
    assert table.tokens([PAD, BOS, EOS, UNK]) == list(SPECIALS)


@pytest.mark.parametrize("kind", KINDS)
def test_both_normal_forms_of_a_text_are_the_same_symbols(kind: str) -> None:
    composed = "한국 café"
    decomposed = unicodedata.normalize("NFD", composed)
    table = learn(kind, [composed])
    assert decomposed != composed
    assert table.encode(decomposed) == table.encode(composed)
    assert UNK not in table.encode(decomposed)
    assert UNK in learn(kind, [composed], normalize="none").encode(decomposed)
    assert learn(kind, ["ﬁ"], normalize="NFKC").decode(learn(kind, ["ﬁ"], normalize="NFKC").encode("ﬁ")) == "fi"


@pytest.mark.parametrize(("kind", "table_type"), [("characters", CharacterSymbols), ("whitespace", WhitespaceSymbols)])
def test_frequent_symbols_come_first_then_code_points(kind: str, table_type: type) -> None:
    texts = ["c", "b", "a", "z", "z"] if kind == "characters" else ["c b a", "z z"]
    table = learn(kind, texts)
    assert isinstance(table, table_type)
    assert table.tokens(range(4, 8)) == ["z", "a", "b", "c"]
    assert learn(kind, texts, vocabulary_size=6).encode("z") == [4]
    assert learn(kind, texts, vocabulary_size=6).encode("b") == [UNK]
    assert learn(kind, texts, min_count=2).encode("z") == [4]
    assert learn(kind, texts, min_count=2).encode("a") == [UNK]


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_subwords_leave_out_rare_characters_but_not_their_neighbours(kind: str) -> None:
    table = learn(kind, ["abab abab ab龘ab"] * 2, min_count=3)
    assert table.decode(table.encode("abab龘 龘ab")) == "abab<unk> <unk>ab"


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_frequent_words_are_fewer_subwords_than_characters(kind: str) -> None:
    words = [f"{a}{b}" for a in ("over", "under", "out") for b in ("come", "take", "run", "go", "do")]
    table = learn(kind, words * 10, vocabulary_size=60)
    assert sum(len(table.encode(word)) for word in words) < sum(map(len, words)) / 1.5


@pytest.mark.parametrize("kind", KINDS)
def test_table_is_restored_from_json(kind: str) -> None:
    table = learn(kind, LINES * 3)
    tree = table.to_json()
    again = symbols_from_json(json.loads(json.dumps(tree)))
    assert again.to_json() == tree
    assert again.kind == kind
    assert again.normalize == "NFC"
    assert len(again) == len(table)
    for line in [*LINES, "unseen 漢"]:
        assert again.encode(line) == table.encode(line)
        assert again.decode(table.encode(line)) == table.decode(table.encode(line))


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"kind": "words", "normalize": "NFC"}, "unknown kind 'words'"),
        ({"kind": "characters", "normalize": "NFD", "symbols": []}, "normalisation 'NFD'"),
        ({"kind": "characters", "normalize": "NFC"}, "wanted a list of symbols, got NoneType"),
        ({"kind": "whitespace", "normalize": "NFC", "symbols": ["a", 5]}, "wanted a list of symbols"),
        ({"kind": "whitespace", "normalize": "NFC", "symbols": ["a", "a"]}, "wanted each symbol once, got 'a' twice"),
        ({"kind": "bpe", "normalize": "NFC", "segmenter": "{}"}, "cannot read the bpe segmenter"),
        ({"kind": "unigram", "normalize": "NFC"}, "cannot read the unigram segmenter"),
        ({"kind": "sound", "normalize": "none", "sample_rate": 0, "mel_bins": 9}, "sample_rate: wanted a whole number"),
        ({"kind": "numbers", "normalize": "none", "size": 2, "columns": ["a"]}, "columns: wanted 2 names, got ['a']"),
        ({"kind": "numbers", "normalize": "none", "size": 1, "columns": [7]}, "columns: wanted 1 name, got [7]"),
    ],
)
def test_a_damaged_table_is_refused(tree: dict[str, object], message: str) -> None:
    with pytest.raises(ModelFileError, match=re.escape(message)):
        symbols_from_json(tree)


def test_kind_auto_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown kind 'auto'"):
        learn("auto", ["a"])


@pytest.mark.parametrize("kind", ["characters", "whitespace", "bpe"])
def test_another_process_learns_the_same_table(kind: str) -> None:
    texts = [f"{a} {b}{a} {c}" for a in ("ab", "ba", "cab") for b in ("x", "yx") for c in ("한국", "국한", "z")]
    program = (
        "import json; from peephole.symbols import learn_symbols; "
        f"table = learn_symbols({kind!r}, {texts!r}, vocabulary_size=40, min_count=1, normalize='NFC'); "
        "print(json.dumps(table.to_json()))"
    )
    found = [
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    ]
    assert json.loads(found[0]) == json.loads(found[1]) == learn(kind, texts, vocabulary_size=40).to_json()
