"""Tests of `peephole score` and `peephole evaluate`."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from models.make import pronounce, toy_words
from peephole.model import load
from peephole.storage.model_file import load_model, read_tensors, save_model, write_tensors

from .conftest import Peephole

WORDS = toy_words(40, seed=8)


def pairs(rows: list[tuple[str, str]]) -> str:
    return "".join(f"{source}\t{target}\n" for source, target in rows)


# score


def test_each_pair_has_its_score(peephole: Peephole, toy_file: Path) -> None:
    rng = random.Random(1)
    rows = [(word, pronounce(rng.choice([word, word[::-1]]))) for word in WORDS] * 40  # more pairs than one read takes
    rng.shuffle(rows)
    peephole.write("pairs.tsv", pairs(rows))
    done = peephole("score", toy_file, "pairs.tsv").succeeded()
    assert done.err == ""
    wanted = dict(zip(rows, load(toy_file).score(*map(list, zip(*rows, strict=True))), strict=True))
    assert [float(line) for line in done.lines] == pytest.approx([wanted[row] for row in rows], abs=6e-7)
    assert all(len(line.split(".")[1]) == 6 for line in done.lines)


def test_json_scores(peephole: Peephole, toy_file: Path) -> None:
    peephole.write("pairs.jsonl", json.dumps({"source": "한b", "target": "HAN B"}, ensure_ascii=False))
    done = peephole("score", toy_file, "pairs.jsonl", "--json").succeeded()
    [log_prob] = load(toy_file).score(["한b"], ["HAN B"])
    assert json.loads(done.out) == {"source": "한b", "target": "HAN B", "log_prob": pytest.approx(log_prob, abs=1e-5)}
    assert "한b" in done.out


def test_unknown_symbols_are_counted_on_both_sides(peephole: Peephole, toy_file: Path) -> None:
    peephole.write("pairs.tsv", "ab\tAH B\nxbx\tQ B\nab\tAH Q\n" * 700)
    done = peephole("score", toy_file, "pairs.tsv").succeeded()
    assert len(done.lines) == 2100
    assert done.err.splitlines() == [
        "peephole: pairs.tsv, line 2: 'x' was not seen in training; such symbols are read as <unk>",
        "peephole: 2,800 unknown symbols in all were read as <unk>",
    ]


def test_scores_do_not_depend_on_threads(peephole: Peephole, toy_file: Path) -> None:
    peephole.write("pairs.tsv", pairs([(word, pronounce(word)) for word in WORDS]))
    wanted = peephole("score", toy_file, "pairs.tsv").succeeded().out
    assert peephole("score", toy_file, "pairs.tsv", "--threads", 2, "--batch-size", 3).succeeded().out == wanted
    tokens = peephole("score", toy_file, "pairs.tsv", "--tokens", "--threads", 1).succeeded().out
    assert tokens == wanted  # the target symbols are separated by spaces, so text and tokens are equal
    message = "command line, search.threads: wanted a number from 1 to 1024, got '0'"
    for verb in ("score", "evaluate"):
        assert peephole(verb, toy_file, "pairs.tsv", "--threads", 0).failed(message).out == ""


@pytest.mark.parametrize("verb", ["score", "evaluate", "predict"])
def test_missing_engine_is_reported_once(verb: str, toy_file: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text(pairs([("ab", "AH B")] * 1500), encoding="utf-8")
    program = (
        "import sys, peephole.engine.abi as abi\n"
        "abi.library_path = lambda: None\n"
        "from peephole.cli import main\nmain(sys.argv[1:])"
    )
    command = [sys.executable, "-c", program, verb, str(toy_file), *(["pairs.tsv"] if verb != "predict" else [])]
    done = subprocess.run(command, cwd=tmp_path, input="ab\n", capture_output=True, text=True, check=True)
    text = "peephole: peephole was installed without its engine: prediction runs in PyTorch, many times slower\n"
    assert done.stderr == text


@pytest.mark.parametrize("verb", ["score", "evaluate"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "pairs.tsv: no such file"),
        (b"ab\tAH B\nabc\n", "pairs.tsv, line 2: expected 2 columns, found 1: 'abc'"),
        (b"ab\t\n", "pairs.tsv, line 1: empty target beside 'ab'"),
        (b"a\xff\tAH\n", "pairs.tsv, line 1: invalid UTF-8: byte 2 is 0xff"),
        (b"", "pairs.tsv: no pairs in it"),
    ],
)
def test_bad_pairs(peephole: Peephole, toy_file: Path, verb: str, content: bytes | None, message: str) -> None:
    if content is not None:
        peephole.write("pairs.tsv", content)
    assert peephole(verb, toy_file, "pairs.tsv").failed(message).out == ""


@pytest.mark.parametrize("verb", ["score", "evaluate"])
def test_bad_lines_are_skipped_if_the_model_config_skips_them(peephole: Peephole, toy_file: Path, verb: str) -> None:
    write_with_settings(toy_file, peephole.folder / "m.safetensors", {"bad_lines": "skip"})
    peephole.write("pairs.tsv", "ab\tAH B\nabc\ncab\tK AH B\n\n")
    done = peephole(verb, "m.safetensors", "pairs.tsv", *(["--json"] if verb == "evaluate" else [])).succeeded()
    assert len(done.lines) == (2 if verb == "score" else 1)
    assert done.err.splitlines() == [
        "peephole: 1 pair skipped: wrong columns (first: pairs.tsv, line 2)",
        "peephole: 1 pair skipped: blank line (first: pairs.tsv, line 4)",
    ]


# evaluate


def write_with_settings(toy_file: Path, path: Path, values: dict[str, Any]) -> None:
    """Write the toy model with changed settings."""
    model = load_model(toy_file)
    save_model(path, type(model)(model.tensors, model.config.with_values(values), *list(vars(model).values())[2:]))


def evaluate(peephole: Peephole, *arguments: object) -> dict[str, Any]:
    """Return the JSON result of `peephole evaluate`."""
    done = peephole("evaluate", *arguments, "--json").succeeded()
    assert done.err == ""
    assert len(done.lines) == 1
    return dict(json.loads(done.out))


def test_references_are_grouped_by_source(peephole: Peephole, toy_file: Path) -> None:
    model = load(toy_file)
    rows = [(word, pronounce(word)) for word in WORDS]
    wrong = [(word, pronounce(word) + " B") for word in WORDS]
    found = [best.text for [best] in model.predict(WORDS)]
    right = sum(text == target for text, (_, target) in zip(found, rows, strict=True))
    peephole.write("one.tsv", pairs(rows))
    peephole.write("wrong.tsv", pairs(wrong[:20]))
    peephole.write("both.tsv", pairs(wrong + rows + rows))
    one = evaluate(peephole, toy_file, "one.tsv")
    assert one["num_sources"] == one["num_references"] == 40
    assert one["scores"]["exact_match"]["value"] == pytest.approx(100 * right / 40)
    assert one["test"] == "one.tsv"
    both = evaluate(peephole, toy_file, "both.tsv")
    assert (both["num_sources"], both["num_references"]) == (40, 80)
    assert both["scores"]["exact_match"]["value"] >= 100 * right / 40
    none = evaluate(peephole, toy_file, "wrong.tsv", "--worst", "3")
    assert none["scores"]["exact_match"]["value"] < 20
    assert len(none["worst"]) == 3
    assert none["exposure_gap"]["num_sources"] == 20


def write_swapped(toy_file: Path, path: Path) -> None:
    """Write the toy model with the target symbols B and D swapped."""
    tensors, metadata = read_tensors(toy_file)
    del metadata["checksum"]
    table = json.loads(metadata["target_symbols"])
    swap = {"B": "D", "D": "B"}
    table["symbols"] = [swap.get(symbol, symbol) for symbol in table["symbols"]]
    write_tensors(path, tensors, metadata | {"target_symbols": json.dumps(table)})


def test_the_difference_of_two_models(peephole: Peephole, toy_file: Path) -> None:
    peephole.write("test.tsv", pairs([(word, pronounce(word)) for word in WORDS]))
    write_swapped(toy_file, peephole.folder / "swapped.safetensors")
    result = evaluate(peephole, toy_file, "test.tsv", "--against", "swapped.safetensors", "--metric", "exact_match")
    assert [*result["scores"]] == ["exact_match"]
    other = evaluate(peephole, "swapped.safetensors", "test.tsv", "--metric", "exact_match")
    assert other["scores"]["exact_match"]["value"] < result["scores"]["exact_match"]["value"] - 30
    against = result["against"]
    assert against["model"] == "swapped.safetensors"
    text = json.dumps(against)
    assert str(other["scores"]["exact_match"]["value"])[:5] in text
    same = evaluate(peephole, toy_file, "test.tsv", "--against", toy_file)["against"]
    assert same["differences"]["exact_match"]["difference"] == 0


def test_table_shows_scores_errors_and_exposure_gap(peephole: Peephole, toy_file: Path) -> None:
    rows = [(word, pronounce(word)) for word in WORDS]
    peephole.write("test.tsv", pairs([*rows, ("abcab", "SMILE SMILE SMILE SMILE SMILE SMILE")]))
    done = peephole("evaluate", toy_file, "test.tsv", "--worst", "1").succeeded()
    assert done.err == ""
    assert "41 sources, 41 references" in done.out
    for name in ("exact match", "sequence error rate", "symbol error rate"):
        assert f"\n  {name}" in done.out
    assert "\nabcab  " in done.out
    assert "AH B K AH B" in " ".join(done.out.split())
    assert "\nexposure gap " in done.out
    write_swapped(toy_file, peephole.folder / "s.safetensors")
    done = peephole("evaluate", toy_file, "test.tsv", "--worst", "0", "--against", "s.safetensors").succeeded()
    assert "s.safetensors" in done.out
    assert "abcab" not in done.out


def test_nbest_and_temperature_of_the_model_do_not_change_the_scores(peephole: Peephole, toy_file: Path) -> None:
    peephole.write("test.tsv", pairs([(word, pronounce(word)) for word in WORDS]))
    plain = evaluate(peephole, toy_file, "test.tsv")
    for number, values in enumerate(({"nbest": 4}, {"temperature": 9.0})):
        path = peephole.folder / f"{number}.safetensors"
        write_with_settings(toy_file, path, values)
        other = evaluate(peephole, path, "test.tsv")
        assert {**other, "model": ""} == {**plain, "model": ""}
        evaluate(peephole, path, "test.tsv", "--beam-size", "1")


def test_unknown_and_long_sources_are_counted_once(peephole: Peephole, toy_file: Path) -> None:
    write_with_settings(toy_file, peephole.folder / "m.safetensors", {"max_length": 4})
    peephole.write("test.tsv", "ab\tAH B\nxx\tAH B\nxx\tB\nabcab\tAH\nccccc\tK\n")
    done = peephole("evaluate", "m.safetensors", "test.tsv", "--json").succeeded()
    assert done.err.splitlines() == [
        "peephole: test.tsv, line 2: 'x' was not seen in training; such symbols are read as <unk>",
        "peephole: test.tsv, line 4: 5 symbols; only the first 4 are read (data.max_length)",
        "peephole: 2 unknown symbols in all were read as <unk>",
        "peephole: 2 lines in all were too long and read in part",
    ]


def test_what_cannot_be_read_is_said_before_the_search(toy_file: Path, tmp_path: Path) -> None:
    """A search that Ctrl-C ends at once has said it."""
    (tmp_path / "test.tsv").write_text("ab\tAH B\nxx\tB\n", encoding="utf-8")
    program = (
        "import sys, peephole.engine.abi as abi, peephole.search.torch as search\n"
        "abi.library_path = lambda: None\n"
        "def find(*arguments, **settings):\n    raise KeyboardInterrupt\n"
        "search.DefinitionSearch.find = find\n"
        "from peephole.cli import main\nmain(sys.argv[1:])"
    )
    command = [sys.executable, "-c", program, "evaluate", str(toy_file), "test.tsv"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr.splitlines()[:3] == [
        "peephole: peephole was installed without its engine: prediction runs in PyTorch, many times slower",
        "peephole: test.tsv, line 2: 'x' was not seen in training; such symbols are read as <unk>",
        "peephole: 2 unknown symbols in all were read as <unk>",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--metric", "exact_mach"],
            "evaluation: unknown metric 'exact_mach'; wanted one of exact_match, sequence_error_rate, "
            "symbol_error_rate, word_error_rate, character_error_rate, bleu, chrf, rouge_1, rouge_2, rouge_l; "
            "did you mean 'exact_match'?",
        ),
        (["--against", "no.safetensors"], "no.safetensors: no such file"),
        (["--beam-size", "-1"], "command line, search.beam_size: wanted a number from 1 to 1000000, got '-1'"),
    ],
)
def test_invalid_options(peephole: Peephole, toy_file: Path, arguments: list[str], message: str) -> None:
    peephole.write("test.tsv", "ab\tAH B\n")
    assert peephole("evaluate", toy_file, "test.tsv", *arguments).failed(message).out == ""


def test_unknown_symbols_of_the_second_model_are_reported(peephole: Peephole, toy_file: Path) -> None:
    tensors, metadata = read_tensors(toy_file)
    del metadata["checksum"]
    table = json.loads(metadata["source_symbols"])
    table["symbols"][table["symbols"].index("b")] = "x"
    write_tensors(peephole.folder / "x.safetensors", tensors, metadata | {"source_symbols": json.dumps(table)})
    peephole.write("test.tsv", pairs([("ac", "AH K"), ("bab", "B AH B")]))
    done = peephole("evaluate", toy_file, "test.tsv", "--worst", "0", "--against", "x.safetensors").succeeded()
    assert done.err == (
        "peephole: the second model: test.tsv, line 2: 'b' was not seen in training; such symbols are read as <unk>\n"
        "peephole: the second model: 2 unknown symbols in all were read as <unk>\n"
    )


def test_file_names_may_contain_commas(peephole: Peephole, toy_file: Path) -> None:
    peephole.write("u,v.safetensors", toy_file.read_bytes())
    peephole.write("test.tsv", pairs([("ac", "AH K")]))
    for names in ("u,v.safetensors", f"{toy_file},{toy_file}"):
        assert len(peephole("score", names, "test.tsv").succeeded().lines) == 1
        assert peephole("predict", names, stdin="ac\n").succeeded().lines == ["AH K"]
        assert evaluate(peephole, names, "test.tsv")["model"] == names


def test_file_name_with_brackets_on_a_terminal(peephole: Peephole, toy_file: Path) -> None:
    """Check that the progress display does not read brackets in a file name as markup."""
    peephole.write("test.tsv", pairs([("ac", "AH K")]))
    (peephole.folder / "[").mkdir()
    peephole.write("[/x].safetensors", toy_file.read_bytes())
    command = [sys.executable, "-m", "peephole", "evaluate", str(toy_file), "test.tsv", "--against", "[/x].safetensors"]
    master, terminal = os.openpty()
    with subprocess.Popen(
        [*command, "--json"], cwd=peephole.folder, stdout=subprocess.PIPE, stderr=terminal
    ) as process:
        os.close(terminal)
        output, _ = process.communicate(timeout=120)
    os.close(master)
    assert process.returncode == 0
    assert json.loads(output)["against"]["model"] == "[/x].safetensors"


def test_pairs_from_pipes_are_read_like_those_of_a_file(peephole: Peephole, toy_file: Path) -> None:
    text = "ab\tAH B\nba\tB\n"
    peephole.write("pairs.tsv", text)
    expected = peephole("score", toy_file, "pairs.tsv").succeeded().out
    assert len(expected.splitlines()) == 2
    os.mkfifo(peephole.folder / "pipe")
    threading.Thread(target=(peephole.folder / "pipe").write_text, args=(text,), daemon=True).start()
    assert peephole("score", toy_file, "pipe").succeeded().out == expected
    for name in ("-", "/dev/stdin"):
        assert peephole("score", toy_file, name, stdin=text).succeeded().out == expected
    peephole("score", toy_file, "-", stdin="ab\n").failed("stdin, line 1: expected 2 columns, found 1: 'ab'")
    whole = json.loads(peephole("evaluate", toy_file, "pairs.tsv", "--json").succeeded().out)
    assert json.loads(peephole("evaluate", toy_file, "-", "--json", stdin=text).succeeded().out) == {
        **whole,
        "test": "-",
    }
    quantize = ("quantize", toy_file, "--to", "int8", "--out", "q.safetensors", "--json", "--evaluate")
    whole = json.loads(peephole(*quantize, "pairs.tsv").succeeded().out)["evaluation"]
    piped = json.loads(peephole(*quantize, "-", stdin=text).succeeded().out)["evaluation"]
    assert piped == {**whole, "pairs": None}
