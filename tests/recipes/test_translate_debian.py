"""Tests of the recipe translate_debian: the pairs it makes from apt's indices, and its reports."""

import runpy
import subprocess
import sys
import time
from collections import Counter
from hashlib import md5
from pathlib import Path
from types import SimpleNamespace

import pytest

from peephole.symbols import learn_symbols

RECIPE = Path(__file__).parents[2] / "recipes" / "translate_debian"

PACKAGES = """\
Package: apache2
Version: 2.4.57-2
Description: Apache HTTP Server
Description-md5: d02426bc360345e5acd45367716dc35c
Tag: implemented-in::c, interface::daemon,
 works-with::text

Package: 0ad-data-common
Source: 0ad-data (0.0.26-1)
Description: two: colons
Description-md5: 8d014b839c4c4e9b6f82c7512d7e3496
"""
ENGLISH = """\
Package: apache2
Description-md5: d02426bc360345e5acd45367716dc35c
Description-en: Apache HTTP Server
 The Apache HTTP Server Project's goal is to build a secure, efficient and
 extensible HTTP server as standards-compliant open source software. The
 result has long been the number one web server on the Internet.
 .
 Features of the server include these:
  * support for modules
  * support for CGI, as specified long ago
 .
 It is used by many. It is fast.

Package: 0ad-data-common
Description-md5: 8d014b839c4c4e9b6f82c7512d7e3496
Description-en: Real-time strategy game: the common data

Package: gone
Description-md5: 00000000000000000000000000000001
Description-en: not in the index of packages

Package: untranslated
Description-md5: 00000000000000000000000000000002
Description-en: a package without any translation
"""
ITALIAN = """\
Package: apache2
Description-md5: d02426bc360345e5acd45367716dc35c
Description-it: server HTTP Apache
 L'obiettivo dell'Apache HTTP Server Project è di realizzare un server HTTP
 sicuro, efficiente, estensibile, open source e che segue gli standard.
 Apache è, ormai da lungo tempo, il più utilizzato server web su Internet.
 .
 Tra le caratteristiche ci sono queste:
  * supporto per moduli
  * supporto per CGI
 .
 È usato da molti ed è veloce.

Package: 0ad-data-common
Description-md5: 8d014b839c4c4e9b6f82c7512d7e3496
Description-it: gioco di strategia: i dati comuni

Package: gone
Description-md5: 00000000000000000000000000000001
Description-it: non nell'indice dei pacchetti
"""


def test_sentences_of_indices(prepare):
    dropped = Counter()
    indices = prepare.Indices(PACKAGES, ENGLISH, ITALIAN)
    assert list(prepare.make_sentences(indices, "it", dropped)) == [
        ("apache2", "Apache HTTP Server", "server HTTP Apache"),
        (
            "apache2",
            "The Apache HTTP Server Project's goal is to build a secure, efficient and extensible HTTP server as "
            "standards-compliant open source software.",
            "L'obiettivo dell'Apache HTTP Server Project è di realizzare un server HTTP sicuro, efficiente, "
            "estensibile, open source e che segue gli standard.",
        ),
        (
            "apache2",
            "The result has long been the number one web server on the Internet.",
            "Apache è, ormai da lungo tempo, il più utilizzato server web su Internet.",
        ),
        ("0ad-data", "Real-time strategy game: the common data", "gioco di strategia: i dati comuni"),
    ]
    assert dropped == {
        "paragraphs: a list or an example": 1,
        "paragraphs: not as many sentences": 1,
        "descriptions: of no package in the index Packages": 1,
        "descriptions: not translated": 1,
    }


def test_a_missing_paragraph_leaves_the_synopsis(prepare):
    dropped = Counter()
    english, italian = "a b c\n One two three.\n .\n Four five six.", "d e f\n Uno due tre."
    assert list(prepare.pair_sentences(english, italian, dropped)) == [("a b c", "d e f")]
    assert dropped == {"descriptions (but for the synopsis): not as many paragraphs": 1}


@pytest.mark.parametrize(
    ("paragraph", "sentences"),
    [
        ("It works. Then it\nstops! Why?", ["It works.", "Then it stops!", "Why?"]),
        ("See e.g. the manual, version 2.0 or later.", ["See e.g. the manual, version 2.0 or later."]),
        ("It ends. (Or not.) È così.", ["It ends.", "(Or not.) È così."]),
        ("Uses 3 cores. 64 bits only.", ["Uses 3 cores.", "64 bits only."]),
        ("빠릅니다. 작습니다.", ["빠릅니다.", "작습니다."]),
    ],
)
def test_split_sentences(prepare, paragraph, sentences):
    assert prepare.split_sentences(paragraph.split("\n")) == sentences


@pytest.mark.parametrize(
    ("words", "other_words", "reason"),
    [
        (2, 3, "under 3"),
        (3, 2, "under 3"),
        (3, 3, None),
        (40, 40, None),
        (41, 40, "over 40"),
        (40, 41, "over 40"),
        (4, 10, None),
        (10, 4, None),
        (4, 11, "factor"),
        (11, 4, "factor"),
    ],
)
def test_filters(prepare, words, other_words, reason):
    found = prepare.why_dropped("a " * words, "b " * other_words)
    assert found is None if reason is None else reason in found


@pytest.mark.parametrize(
    ("package", "remainder", "side"), [("elisa", 3, "test"), ("bc", 4, "dev"), ("di", 7, "dev"), ("ceph", 8, "train")]
)
def test_side(prepare, package, remainder, side):
    assert int(md5(package.encode()).hexdigest(), 16) % 100 == remainder
    assert prepare.side(package) == side


def test_split_by_source(prepare):
    dropped = Counter()
    sentences = [
        prepare.Sentence("ceph", "a library", "una libreria"),
        prepare.Sentence("ceph", "a library", "una libreria"),
        prepare.Sentence("ceph", "a library", "libreria"),
        prepare.Sentence("elisa", "a library", "una biblioteca"),
        prepare.Sentence("elisa", "a player", "un lettore"),
        prepare.Sentence("elisa", "a player", "lettore"),
        prepare.Sentence("di", "a player", "un lettore"),
        prepare.Sentence("di", "a library", "libreria"),
        prepare.Sentence("di", "a library", "una libreria"),
    ]
    assert prepare.split_by_source(iter(sentences), dropped) == {
        "train": [("a library", "una libreria"), ("a library", "libreria")],
        "dev": [("a player", "un lettore")],
        "test": [("a player", "un lettore"), ("a player", "lettore")],
    }
    assert dropped == {
        "pairs: in the same file already": 1,
        "pairs of dev: English sentence of the training file": 2,
        "pairs of test: English sentence of the training file": 1,
    }


def test_files_are_written_whole_or_not_at_all(prepare, tmp_path, monkeypatch):
    split = {"train": [("a", "b")], "dev": [("c", "d"), ("e", "f")], "test": [("g", "h")]}
    prepare.write_files(split, tmp_path / "new" / "folder")
    assert (tmp_path / "new/folder/dev.tsv").read_text() == "c\td\ne\tf\n"
    assert sorted(p.name for p in (tmp_path / "new/folder").iterdir()) == ["dev.tsv", "test.tsv", "train.tsv"]

    monkeypatch.setattr("os.replace", lambda *_: pytest.fail("killed"))
    with pytest.raises(pytest.fail.Exception):
        prepare.write_files({**split, "train": [("x" * 9, "y")]}, tmp_path / "new" / "folder")
    assert (tmp_path / "new/folder/train.tsv").read_text() == "a\tb\n"


def test_without_apt_one_line_and_exit_code_1(tmp_path):
    done = subprocess.run(
        [sys.executable, str(RECIPE / "prepare.py"), "--out", str(tmp_path / "data")],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "apt-get not found: this recipe gets its data with apt, Debian's own\n"
    assert not (tmp_path / "data").exists()


@pytest.fixture
def modules(monkeypatch):
    """Put the recipe's folders on the path, and unload its modules afterwards."""
    monkeypatch.syspath_prepend(str(RECIPE))
    before = set(sys.modules)
    yield
    for name in {"fetch", "report", "run", "run_options", "stages", "tables"} - before:
        sys.modules.pop(name, None)
    sys.path[:] = [folder for folder in sys.path if folder != str(RECIPE.parent)]


@pytest.fixture
def report(modules):
    return SimpleNamespace(**runpy.run_path(str(RECIPE / "report.py")))


def test_tables_hold_the_systems_that_have_run(report, tmp_path, capsys):
    results = tmp_path / "60-minutes"
    results.mkdir()
    sources = [f"{'word ' * (n - 1)}{n}" for n in range(3, 41)]
    (tmp_path / "test.tsv").write_text("".join(f"{s}\t{s} tradotta con cura\n" for s in sources))
    attention, fixed, _ = report.SYSTEMS
    beam = attention.searches[1]
    # always right with two seeds; right up to nine words
    for system, seed, cut in ((attention, 1, 41), (attention, 2, 41), (fixed, 1, 10)):
        texts = [f"{s} tradotta con cura" if len(s.split()) < cut else "altro" for s in sources]
        path = sys.modules["stages"].predictions_path(results, system, seed, beam)
        path.write_text("".join(f"{text}\n" for text in texts))
    report.report(results, tmp_path / "test.tsv")
    text = (results / "report.md").read_text()
    assert text in capsys.readouterr().out
    assert (results / "by_length.png").read_bytes().startswith(b"\x89PNG")

    whole = "100.00 [100.00, 100.00]"
    assert f"| attention, beam 5 | {whole} (100.00-100.00) | {whole} (100.00-100.00) |" in text
    assert "| the English sentence, copied | " in text
    assert "OpenNMT" not in text
    assert "greedy" not in text
    assert "| attention minus fixed context, beam 5 | +" in text
    assert "| copying minus attention" not in text
    lengths = text[text.index("| English words |") :].splitlines()[2:]
    assert [line.split("|")[2].strip() for line in lengths] == ["3", "4", "5", "5", "7", "14"]
    assert [line.split("|")[4].split("[")[0].strip() for line in lengths] == ["100.00", "100.00", *["0.00"] * 4]


def test_report_without_predictions(report, tmp_path):
    (tmp_path / "test.tsv").write_text("a\tb\n")
    with pytest.raises(SystemExit, match=r"2-minutes: no predictions there; run run.py first$"):
        report.report(tmp_path / "2-minutes", tmp_path / "test.tsv")


@pytest.fixture
def opennmt(modules):
    """Return the definitions of opennmt.py."""
    return SimpleNamespace(**runpy.run_path(str(RECIPE / "opennmt.py")))


def test_subwords_for_opennmt_can_be_joined_again(opennmt, tmp_path):
    texts = ["una libreria C per XML", "libreria C++ (documentazione)", "È una libreria."]
    symbols = learn_symbols("bpe", texts, vocabulary_size=40, min_count=1, normalize="NFC")
    opennmt.write_segmented(tmp_path / "train.tgt", [*texts, "una Ω"], symbols)
    lines = (tmp_path / "train.tgt").read_text(encoding="utf-8").splitlines()
    assert [opennmt.join_subwords(line) for line in lines] == [*texts, "una <unk>"]
    known = set(opennmt.ordinary_symbols(symbols))
    assert len(known) == len(symbols) - 4
    assert {symbol for line in lines for symbol in line.split(" ")} <= known | {"<unk>"}


def test_failed_stage_reports_its_last_line(opennmt, tmp_path, capsys):
    log = tmp_path / "stage.log"
    with pytest.raises(SystemExit, match=r"stage.log: ended with exit code 3: it went wrong"):
        opennmt.run_logged(["sh", "-c", "echo it went $HOW >&2; exit 3"], log, {"HOW": "wrong"})
    opennmt.run_logged(["sh", "-c", "echo better"], log)
    assert log.read_text() == "it went wrong\nbetter\n"
    assert f"output in {log}" in capsys.readouterr().out


def test_sigterm_reaches_the_stage(tmp_path):
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from stages import run_logged; from pathlib import Path;"
        "run_logged(['sh', '-c', 'trap \"echo saved; exit 9\" TERM; echo ready; while :; do sleep 0.05; done'],"
        " Path(sys.argv[2]))"
    )
    log = tmp_path / "stage.log"
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(RECIPE.parent), str(log)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    while not log.exists() or "ready" not in log.read_text():
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert log.read_text() == "ready\nsaved\n"
    assert err.decode() == f"{log}: ended with exit code 9: saved\n"
    assert process.returncode == 1
