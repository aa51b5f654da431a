"""More words for the recipe g2p_cmudict: none that it is measured on."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "recipes" / "g2p_cmudict" / "more_words.py"


@pytest.fixture
def recipe(tmp_path):
    shutil.copy(SCRIPT, tmp_path)
    (tmp_path / "data").mkdir()
    for side, pairs in {"train": "AB\tA B\nCD'S\tK\n", "dev": "BA\tB A\n", "test": "DAD\tD\nDAD\tD A\n"}.items():
        (tmp_path / "data" / f"{side}.tsv").write_text(pairs)
    return tmp_path


def run(recipe, *arguments):
    command = [sys.executable, recipe / "more_words.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_words_that_no_file_has(recipe):
    (recipe / "names").write_text("Dad 0.1\nAbba 0.2\n\nAB 0.3\nCab 1\nÄBC 2\nBad's 3\nabba 4\n")
    (recipe / "words").write_text("cab\nBACCA\nzebra\nb'cd\n")
    done = run(recipe, recipe / "names", recipe / "words")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == ["ABBA", "B'CD", "BACCA", "CAB"]
    assert done.stderr == f"{recipe}/names: 7 words, 2 taken\n{recipe}/words: 4 words, 2 taken\n"
    fewer = run(recipe, recipe / "names", recipe / "words", "--most", "1").stdout.split()
    assert len(fewer) == 2
    assert set(fewer) < {"ABBA", "B'CD", "BACCA", "CAB"}


def test_bad_lists_and_missing_data_are_one_line(recipe):
    (recipe / "latin1").write_bytes(b"caf\xe9\n")
    for name in ("latin1", "missing", "data"):
        done = run(recipe, recipe / name)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"{recipe}/{name}: not a list of words in UTF-8: ")
        assert done.stderr.count("\n") == 1
    (recipe / "data" / "dev.tsv").unlink()
    assert run(recipe, recipe / "latin1").stderr == f"{recipe}/data/dev.tsv: no such file; run prepare.py first\n"
