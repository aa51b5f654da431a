"""Tests of recipes/g2p_cmudict/further_words.py: which words are added to the training words."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

RECIPE = Path(__file__).parents[2] / "recipes" / "g2p_cmudict"


def test_words_are_new_and_come_once(further_words):
    names, words = {"ABEL", "ZOE", "BAKER"}, {"BAKER", "CAT", "CAT'S", "DON'T", "ÉTUDE", "EEL", "X-RAY"}
    assert sorted(further_words.further_words({"ABEL", "CAT"}, names, words, 9)) == ["BAKER", "DON'T", "EEL", "ZOE"]
    assert len(further_words.further_words({"ABEL", "CAT"}, names, words - {"BAKER"}, 1)) == 3


def test_words_without_a_phone_are_left_out_and_counted(further_words, tmp_path, monkeypatch, capsys):
    for name, pair in (("train", "CAT\tK AE T"), ("dev", "EEL\tIY L"), ("test", "OWL\tAW L")):
        (tmp_path / f"{name}.tsv").write_text(f"{pair}\n")
    found = further_words.main.__globals__
    monkeypatch.setitem(found, "download", lambda: ({"ZOE"}, {"CAT", "OWL", "PSST"}))
    pronounced = {"ZOE": "Z OW IY", "PSST": ""}

    def predict(words, **options):
        return [[SimpleNamespace(text=pronounced[word])] for word in words]

    monkeypatch.setitem(found, "load", lambda *models: SimpleNamespace(predict=predict))
    monkeypatch.setattr(sys, "argv", ["further_words.py", "a.safetensors", "--data", str(tmp_path)])
    further_words.main()
    assert (tmp_path / "train_further.tsv").read_text() == "CAT\tK AE T\nZOE\tZ OW IY\n"
    assert "1 pairs and 1 further words; 1 without a phone left out" in capsys.readouterr().out


def test_missing_files_are_named(further_words, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["further_words.py", str(tmp_path / "a.safetensors"), "--data", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"train\.tsv: no such file; run prepare\.py first"):
        further_words.main()
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.tsv").write_text("CAT\tK AE T\n")
    with pytest.raises(SystemExit, match=r"a\.safetensors: "):
        further_words.main()
