"""Tests of the commands on sources that are files of sound, images or numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from peephole.config import Config
from peephole.errors import DataError
from peephole.model import ChangedSourceWarning, Model, load
from peephole.model.evaluation import evaluate
from peephole.nn import build_seq2seq
from peephole.symbols import CharacterSymbols, FrameSymbols

from .conftest import Peephole

RNG = np.random.default_rng(5)


@pytest.fixture
def model(peephole: Peephole, tmp_path: Path) -> Path:
    """Return a model of tables of 3 numbers with random weights; three tables and a manifest of them are beside it."""
    settings = {"frames.kind": "numbers", "model.input": "frames", "input_size": 3, "hidden_size": 8}
    config = Config().with_values(settings | {"embedding_size": 4, "max_length_factor": 0.0, "max_frames": 6})
    letters = CharacterSymbols(list("abc"), "NFC")
    network = build_seq2seq(config.model, 4, len(letters), torch.Generator().manual_seed(1))
    Model(config, FrameSymbols("numbers", size=3), letters, [network.eval()]).save(tmp_path / "m.safetensors")
    (tmp_path / "t").mkdir()
    for name in "xyz":
        np.savetxt(tmp_path / f"t/{name}.csv", RNG.normal(size=(5, 3)), delimiter=",")
    (tmp_path / "t/pairs.tsv").write_text("x.csv\tab\ny.csv\tc\nz.csv\tba\n")
    return tmp_path / "m.safetensors"


def texts(model: Path, *names: str) -> list[str]:
    """Return the predictions of some tables."""
    return [best.text for [best] in load(model).predict([model.parent / f"t/{name}.csv" for name in names])]


def test_files_are_sources_or_lists_of_sources(peephole: Peephole, model: Path) -> None:
    wanted = texts(model, "y", "x")
    assert peephole("predict", model, "t/y.csv", "t/x.csv").succeeded().lines == wanted
    assert peephole("predict", model, stdin="t/y.csv\nt/x.csv\n").succeeded().lines == wanted
    peephole.write("t/list.txt", "y.csv\nx.csv\n")  # relative to its own folder
    assert peephole("predict", model, "t/list.txt").succeeded().lines == wanted
    [line] = peephole("predict", model, "t/y.csv", "--json").succeeded().lines
    found = json.loads(line)
    assert (found["source"], found["predictions"][0]["text"]) == ("t/y.csv", wanted[0])


def test_a_file_of_another_kind_is_refused(peephole: Peephole, model: Path) -> None:
    for name, got in (("x.WAV", "sound"), ("x.png", "image")):
        peephole.write(name, b"RIFF\n")
        peephole("predict", model, name).failed(
            f"{name}: wanted a file of numbers, or a list of their names, got one of {got}"
        )
        peephole("predict", model, stdin=f"{name}\n").failed(
            f"stdin, line 1: {name}: wanted a file of numbers, got one of {got}"
        )
    with pytest.raises(DataError, match=r"x\.png: wanted a file of numbers, got one of image"):
        load(model).predict([model.parent / "x.png"])


def test_lines_that_name_no_table_stop_or_are_counted(peephole: Peephole, model: Path) -> None:
    peephole.write("t/bad.csv", "1,2\n")
    peephole.write("t/long.csv", "1,2,3\n" * 7)
    lines = "t/x.csv\n\nt/no.csv\nt/bad.csv\nt/long.csv\n"
    done = peephole("predict", model, stdin=lines).failed("stdin, line 3: t/no.csv: no such file")
    assert done.lines == [*texts(model, "x"), ""]
    done = peephole("predict", model, "--bad-lines", "skip", stdin=lines).succeeded()
    assert done.lines[:4] == [*texts(model, "x"), "", "", ""]
    assert "2 lines skipped: source cannot be read (first: stdin, line 3)" in done.err
    assert "line 5: more than 6 frames; only the first 6 are read (frames.max_frames)" in done.err
    peephole("predict", model, "t/bad.csv").failed("t/bad.csv: wanted frames of 3 numbers, got 2")


def test_what_is_changed_to_read_a_file_is_said_once_and_counted(peephole: Peephole, model: Path) -> None:
    wanted = texts(model, "x")
    for name in ("h", "k"):
        peephole.write(f"t/{name}.csv", "a,b,c\n" + (model.parent / "t/x.csv").read_text())
    peephole.write("t/headed.tsv", "x.csv\tab\nh.csv\tc\nk.csv\tba\n")
    reason = "the first row holds names and is not read"
    done = peephole("predict", model, stdin="t/x.csv\nt/h.csv\nt/k.csv\n").succeeded()
    assert done.lines == 3 * wanted
    notes = [f"peephole: stdin, line 2: {reason}", f"peephole: 2 sources in all: {reason}"]
    assert done.err.splitlines() == notes
    done = peephole("predict", model, "t/h.csv").succeeded()
    assert done.err == f"peephole: t/h.csv, line 1: {reason}\npeephole: 1 source in all: {reason}\n"
    assert f"t/headed.tsv, line 2: {reason}" in peephole("score", model, "t/headed.tsv").succeeded().err
    assert f"2 sources in all: {reason}" in peephole("evaluate", model, "t/headed.tsv").succeeded().err
    headed = model.parent / "t/h.csv"
    with pytest.warns(ChangedSourceWarning, match=f"^sources changed when they are read: 1 of 2; the first: {reason}$"):
        load(model).predict([model.parent / "t/x.csv", headed])


def test_evaluate_score_and_info(peephole: Peephole, model: Path) -> None:
    wanted = load(model).score([model.parent / f"t/{name}.csv" for name in "xyz"], ["ab", "c", "ba"])
    done = peephole("score", model, "t/pairs.tsv").succeeded()
    np.testing.assert_allclose([float(line) for line in done.lines], wanted, atol=1e-5)
    done = peephole("evaluate", model, "t/pairs.tsv", "--json").succeeded()
    assert json.loads(done.out)["test"] == "t/pairs.tsv"
    assert "none: numbers\n" in peephole("info", model).succeeded().out


@pytest.mark.parametrize("verb", ["score", "evaluate"])
def test_unreadable_files_of_pairs_stop_with_their_line_or_are_skipped(
    peephole: Peephole, model: Path, verb: str
) -> None:
    peephole.write("t/bad.csv", "1,2\n")
    rows = (model.parent / "t/pairs.tsv").read_text().splitlines(keepends=True)
    peephole.write("t/some.tsv", "".join([rows[0], "no.csv\ta\n", *rows[1:], "bad.csv\tb\n", "no.csv\tb\n"]))
    json_lines = ["--json"] if verb == "evaluate" else []
    peephole(verb, model, "t/some.tsv").failed("t/some.tsv, line 2: t/no.csv: no such file")
    done = peephole(verb, model, "t/some.tsv", "--bad-lines", "skip", *json_lines).succeeded()
    assert done.err == "peephole: 3 pairs skipped: source cannot be read (first: t/some.tsv, line 2)\n"
    wanted = peephole(verb, model, "t/pairs.tsv", *json_lines).succeeded().out
    assert done.out.replace("some.tsv", "pairs.tsv") == wanted
    piped = "".join([rows[0], "no.csv\ta\n"]).replace("x.csv", "t/x.csv")
    peephole(verb, model, "-", stdin=piped).failed("stdin, line 2: no.csv: no such file")
    peephole.write("t/none.tsv", "no.csv\ta\n")
    if verb == "evaluate":
        peephole(verb, model, "t/none.tsv", "--bad-lines", "skip").failed(
            "pairs: wanted at least one pair, got none; "
            "1 pair skipped: source cannot be read (first: t/none.tsv, line 1)"
        )


def test_quantize_names_the_line_of_an_unreadable_file_before_it_writes(peephole: Peephole, model: Path) -> None:
    peephole.write("t/some.tsv", "x.csv\tab\nno.csv\ta\n")
    peephole("quantize", model, "--to", "int8", "--out", "q.safetensors", "--evaluate", "t/some.tsv").failed(
        "t/some.tsv, line 2: t/no.csv: no such file"
    )
    assert not (model.parent / "q.safetensors").exists()


def test_python_pairs_with_unreadable_files_are_numbered(model: Path) -> None:
    given = [(str(model.parent / "t/x.csv"), "ab"), ("no.csv", "a"), ("no.csv", "b")]
    with pytest.raises(DataError, match=r"^pairs, number 2: no\.csv: no such file$"):
        evaluate(model, given)
    skipping = load(model)
    skipping.config = skipping.config.with_values({"bad_lines": "skip"})
    found = evaluate(skipping, given)
    assert (found.sources, found.skipped) == (
        [given[0][0]],
        ["2 pairs skipped: source cannot be read (first: pairs, line 2)"],
    )
