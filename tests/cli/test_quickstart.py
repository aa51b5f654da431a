"""Test of `peephole quickstart` on a few words in place of CMUdict."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from peephole.cli.quickstart import command
from peephole.data import cmudict
from peephole.errors import RunError


def test_it_ends_with_a_page_and_a_report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = [f"{i:b}".replace("0", "a").replace("1", "b") for i in range(2, 150)]
    pairs = [(word, " ".join({"a": "AH", "b": "B"}[letter] for letter in word)) for word in words]
    split = {"train": pairs, "dev": pairs[::7], "test": pairs[3::5]}
    monkeypatch.setattr(cmudict, "cmudict_split", lambda: split)
    folder = tmp_path / "first <b>"
    done = CliRunner().invoke(command, ["--minutes", "0.02", "--folder", str(folder)], catch_exceptions=False)
    assert done.exit_code == 0
    assert (folder / "attention.png").stat().st_size > 1000
    for name, title in (("page.html", "<h1>"), ("report.html", "<h1>Training report: g2p.run</h1>")):
        assert f"{folder}/{name}" in done.stdout.replace("\n", " ")
        assert title in (folder / name).read_text(encoding="utf-8")
    assert 'id="errors-on-test"' in (folder / "report.html").read_text(encoding="utf-8")


def test_files_of_the_user_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    split = {"train": [("ab", "AH B")], "dev": [("b", "B")], "test": [("a", "AH")]}
    monkeypatch.setattr(cmudict, "cmudict_split", lambda: split)
    for _ in range(2):  # its own files are no obstacle
        cmudict.write_cmudict(tmp_path)
    assert (tmp_path / "dev.tsv").read_bytes() == b"b\tB\n"
    (tmp_path / "train.tsv").unlink()
    (tmp_path / "test.tsv").write_text("mine\tMINE\n")
    with pytest.raises(RunError, match=r"test\.tsv: wanted no file, or the words of CMUdict, .* got another file$"):
        cmudict.write_cmudict(tmp_path)
    assert (tmp_path / "test.tsv").read_text() == "mine\tMINE\n"
    assert not (tmp_path / "train.tsv").exists()
