"""Tests of `peephole predict`: one output line per input line, notes, errors and streaming."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.make import SOUNDS, pronounce, toy_words
from peephole.model import load
from peephole.storage.model_file import load_model, read_tensors, save_model, write_tensors

from .conftest import Peephole

WORDS = ["a", "abc", "한b😀e", "", "cab", "e"]
TARGETS = [pronounce(word) for word in WORDS]


def notes(err: str) -> list[str]:
    """Return the lines of stderr without the name of the program."""
    assert all(line.startswith("peephole: ") for line in err.splitlines())
    return [line.removeprefix("peephole: ") for line in err.splitlines()]


EMPTY = ["stdin, line 4: is empty; the target of an empty source is empty", "1 line in all was empty"]


@pytest.mark.parametrize(
    "stdin",
    [
        "\n".join(WORDS) + "\n",
        "\n".join(WORDS),  # no newline at the end
        "\r\n".join(WORDS) + "\r\n",
        "\ufeff" + "\n".join(WORDS) + "\n",
        " \t\n".join(WORDS) + "  \n",  # leading and trailing whitespace is stripped, as in training
    ],
    ids=["plain", "no end", "crlf", "bom", "blanks"],
)
@pytest.mark.parametrize("options", [[], ["--batch-size", "1"], ["--beam-size", "1", "--batch-size", "2"]])
def test_each_line_has_its_prediction(peephole: Peephole, toy_file: Path, stdin: str, options: list[str]) -> None:
    done = peephole("predict", toy_file, *options, stdin=stdin).succeeded()
    assert done.lines == TARGETS
    assert notes(done.err) == EMPTY


def test_no_input_no_output(peephole: Peephole, toy_file: Path) -> None:
    done = peephole("predict", toy_file).succeeded()
    assert (done.out, done.err) == ("", "")


def test_only_a_newline_ends_a_line(peephole: Peephole, toy_file: Path) -> None:
    done = peephole("predict", toy_file, stdin="a\x85b\u2028c\x0b\n\na\n").succeeded()
    assert len(done.lines) == 3
    assert done.lines[1:] == ["", "AH"]
    assert notes(done.err)[0].startswith("stdin, line 1: '\\x85' was not seen in training")


def test_many_lines_keep_their_order(peephole: Peephole, toy_file: Path) -> None:
    words = toy_words(1500, seed=3)  # more lines than one read takes
    done = peephole("predict", toy_file, "--beam-size", "2", stdin="\n".join(words)).succeeded()
    expected = [best.text for [best] in load(toy_file).predict(words, beam_size=2)]
    assert done.lines == expected
    assert sum(line == pronounce(word) for line, word in zip(done.lines, words, strict=True)) > 1400


def test_nbest_is_numbered(peephole: Peephole, toy_file: Path) -> None:
    done = peephole("predict", toy_file, "--nbest", "3", stdin="ab\n\ncab\n").succeeded()
    [ab, _, cab] = load(toy_file).predict(["ab", "", "cab"], nbest=3)
    expected = [f"1\t{p.log_prob:.4f}\t{p.text}" for p in ab] + ["2\t0.0000\t"]
    assert done.lines == expected + [f"3\t{p.log_prob:.4f}\t{p.text}" for p in cab]


def test_json_holds_every_field_of_the_predictions(peephole: Peephole, toy_file: Path) -> None:
    done = peephole("predict", toy_file, "--json", "--nbest", "2", stdin="\n".join(WORDS)).succeeded()
    expected = load(toy_file).predict(WORDS, nbest=2)
    assert len(done.lines) == len(WORDS)
    for line, word, predictions in zip(done.lines, WORDS, expected, strict=True):
        entry = json.loads(line)
        assert entry.keys() == {"source", "predictions"}
        assert entry["source"] == word
        assert word in line  # not as \u escapes
        for got, wanted in zip(entry["predictions"], predictions, strict=True):
            assert got["text"] == wanted.text
            assert got["tokens"] == wanted.tokens
            assert got["source_tokens"] == wanted.source_tokens == list(word)
            assert got["finished"] is wanted.finished is True
            assert got["log_prob"] == pytest.approx(wanted.log_prob, abs=1e-5)
            assert got["symbol_log_probs"] == pytest.approx(wanted.symbol_log_probs, abs=1e-5)
            assert wanted.attention is not None
            assert got["attention"] == [pytest.approx(row, abs=6e-6) for row in wanted.attention.tolist()]


def test_samples_follow_from_the_seed(peephole: Peephole, toy_file: Path) -> None:
    stdin = "abc\ncab\nabc\n"

    def sample(*options: str) -> list[tuple[str, str]]:
        """Return (number of the line, text) of each sample."""
        options = ("--temperature", "3", "--nbest", "9", *options)
        lines = peephole("predict", toy_file, *options, stdin=stdin).succeeded().lines
        return [(number, text) for number, _, text in (line.split("\t") for line in lines)]

    first = sample("--seed", "7")
    assert [number for number, _ in first] == ["1"] * 9 + ["2"] * 9 + ["3"] * 9
    assert len({text for _, text in first}) > 9
    assert sample("--seed", "7") == first
    assert sample("--seed", "7", "--batch-size", "1") == first  # seeded by line number, not by batch
    assert sample("--seed", "8") != first
    assert (
        sample("--seed", "7", "--top-k", "1") == [("1", "AH B K")] * 9 + [("2", "K AH B")] * 9 + [("3", "AH B K")] * 9
    )


def test_several_models_are_an_ensemble(peephole: Peephole, toy_file: Path) -> None:
    done = peephole("predict", f"{toy_file},{toy_file}", "--nbest", "2", stdin="cab\n").succeeded()
    assert done.lines == peephole("predict", toy_file, "--nbest", "2", stdin="cab\n").succeeded().lines


def test_the_output_is_utf8_in_any_locale(peephole: Peephole, toy_file: Path) -> None:
    done = peephole("predict", toy_file, "--json", stdin="한😀\n", encoding="euc-kr").succeeded()
    assert json.loads(done.out)["source"] == "한😀"


def test_a_target_with_line_breaks_stays_on_its_line(peephole: Peephole, toy_file: Path) -> None:
    """JSONL and Parquet can hold such targets, so a model can learn them."""
    model = load_model(toy_file)
    table = model.target_symbols.to_json()
    table["kind"] = "characters"
    table["symbols"] = ["\n", "\r", *table["symbols"][2:]]  # in place of EH and K, the symbols of e and c
    tensors, metadata = read_tensors(toy_file)
    del metadata["checksum"]
    metadata["target_symbols"] = json.dumps(table)
    write_tensors(peephole.folder / "breaks.safetensors", tensors, metadata)
    done = peephole("predict", "breaks.safetensors", stdin="aeb\ncb\n").succeeded()
    assert done.lines == ["AH B", " B"]
    done = peephole("predict", "breaks.safetensors", "--nbest", "2", stdin="aeb\n").succeeded()
    assert [line.split("\t")[0] for line in done.lines] == ["1", "1"]
    done = peephole("predict", "breaks.safetensors", "--json", stdin="aeb\n").succeeded()
    assert json.loads(done.out)["predictions"][0]["text"] == "AH\nB"


# Input that the model cannot read in full


def test_unknown_symbols_are_counted_and_reported_once(peephole: Peephole, toy_file: Path) -> None:
    stdin = "ab\n" + "axbx\nqa\n" * 600
    done = peephole("predict", toy_file, "--beam-size", "1", stdin=stdin).succeeded()
    assert len(done.lines) == 1201
    assert notes(done.err) == [
        "stdin, line 2: 'x' was not seen in training; such symbols are read as <unk>",
        "1,800 unknown symbols in all were read as <unk>",
    ]


def write_short_model(toy_file: Path, path: Path) -> None:
    """Write a model with max_length 20."""
    model = load_model(toy_file)
    config = model.config.with_values({"max_length": 20, "max_length_factor": 1})
    save_model(path, replace(model, config=config))


def test_a_line_of_100000_symbols_is_read_in_part(peephole: Peephole, toy_file: Path) -> None:
    write_short_model(toy_file, peephole.folder / "short.safetensors")
    long = "abcde" * 20_000
    done = peephole("predict", "short.safetensors", stdin=f"cab\n{long}\nab\n{long}").succeeded()
    assert [done.lines[0], done.lines[2]] == ["K AH B", "AH B"]
    assert done.lines[1] == done.lines[3] == load(toy_file).predict([long[:20]], max_length_factor=1)[0][0].text
    assert notes(done.err) == [
        "stdin, line 2: 100000 symbols; only the first 20 are read (data.max_length)",
        "2 lines in all were too long and read in part",
    ]


def test_invalid_utf8_stops_after_the_lines_before_it(peephole: Peephole, toy_file: Path) -> None:
    done = peephole("predict", toy_file, stdin=b"a\nab\nb\xffc\ncab\n")
    done.failed("stdin, line 3: wanted UTF-8, got byte 0xff at position 2")
    assert done.lines == ["AH", "AH B"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--beam-size", "0"], "command line, search.beam_size: wanted a number from 1 to 1000000, got '0'"),
        (["--beam-size", "many"], "command line, search.beam_size: wanted a whole number, got 'many'"),
        (["--nbest", "6"], "search.nbest: wanted at most beam_size = 5, got 6"),
        (["--temperature", "inf"], "command line, search.temperature: wanted a finite number, got 'inf'"),
    ],
)
def test_invalid_search_settings(peephole: Peephole, toy_file: Path, options: list[str], message: str) -> None:
    assert peephole("predict", toy_file, *options, stdin="a\n").failed(message).out == ""


# Files that are not valid models


def damaged(toy_file: Path, kind: str) -> tuple[str | None, bytes | None, str]:
    """Return (None, content, start of the error message) of a damaged model file."""
    whole = toy_file.read_bytes()
    flipped = bytearray(whole)
    flipped[-100] ^= 4
    return {
        "missing": (None, None, "m.safetensors: no such file"),
        "truncated": (None, whole[:-50], "m.safetensors: not a whole safetensors file: "),
        "empty": (None, b"", "m.safetensors: not a whole safetensors file: "),
        "text": (None, b"I am no model\n" * 99, "m.safetensors: not a whole safetensors file: "),
        "foreign": (None, b"\x02" + b"\0" * 7 + b"{}", "m.safetensors: wanted a model saved by peephole, got another "),
        "flipped": (None, bytes(flipped), "m.safetensors: damaged: wanted checksum "),
    }[kind]


@pytest.mark.parametrize("kind", ["missing", "truncated", "empty", "text", "foreign", "flipped"])
@pytest.mark.parametrize("verb", [["predict"], ["score"], ["evaluate"]])
def test_files_that_are_not_models(peephole: Peephole, toy_file: Path, kind: str, verb: list[str]) -> None:
    _, content, message = damaged(toy_file, kind)
    if content is not None:
        peephole.write("m.safetensors", content)
    peephole.write("pairs.tsv", "a\tAH\n")
    done = peephole(*verb, "m.safetensors", *([] if verb == ["predict"] else ["pairs.tsv"]), stdin="a\n")
    assert done.err.startswith(f"peephole: {message}")
    assert done.failed(done.err.removeprefix("peephole: ").removesuffix("\n")).out == ""
    assert done.err.count("\n") == 1


def test_directory_as_model(peephole: Peephole) -> None:
    peephole("predict", ".", stdin="a\n").failed(".: wanted a model file, got a directory")


def write_with_metadata(toy_file: Path, path: Path, **changes: str) -> None:
    """Write the toy model with changed metadata."""
    tensors, metadata = read_tensors(toy_file)
    del metadata["checksum"]
    write_tensors(path, tensors, metadata | changes)


def test_newer_format_version(peephole: Peephole, toy_file: Path) -> None:
    write_with_metadata(toy_file, peephole.folder / "m.safetensors", format_version="4")
    message = "m.safetensors: wanted format version 3 or older, got '4'; a newer peephole reads it"
    peephole("predict", "m.safetensors", stdin="a\n").failed(message)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"hidden_size": 10**9}, "metadata: config, model.hidden_size: wanted a number from 1 to 65536, got"),
        (
            {"encoder_layers": 10**6},
            "metadata: config, model.encoder_layers: wanted a number from 1 to 64, got",
        ),
        (
            {"hidden_size": 2**16, "decoder_layers": 64},
            "tensor 'decoder.attention.vector': wanted float32 (65536,), got",
        ),
    ],
)
def test_absurd_sizes_cost_no_memory(peephole: Peephole, toy_file: Path, sizes: dict[str, Any], message: str) -> None:
    config = load_model(toy_file).config.to_dict()
    config["model"].update(sizes)
    write_with_metadata(toy_file, peephole.folder / "m.safetensors", config=json.dumps(config))
    done = peephole("predict", "m.safetensors", stdin="a\n", limits={"RLIMIT_AS": 8 << 30, "RLIMIT_CPU": 60})
    assert message in done.err
    assert done.failed(done.err.removeprefix("peephole: ").removesuffix("\n")).err.count("\n") == 1


def test_ensemble_with_different_symbols(peephole: Peephole, toy_file: Path) -> None:
    table = json.dumps({"kind": "characters", "normalize": "NFC", "symbols": list(SOUNDS)})
    write_with_metadata(toy_file, peephole.folder / "m.safetensors", source_symbols=table)
    done = peephole("predict", f"{toy_file},m.safetensors", stdin="a\n")
    done.failed(f"m.safetensors: its source_symbols differ from those of {toy_file}; an ensemble needs the same")


# In a pipeline: these tests start a new interpreter


def test_each_line_is_predicted_before_the_next_is_read_until_ctrl_c(peephole: Peephole, toy_file: Path) -> None:
    with peephole.start("predict", toy_file, "--batch-size", "1") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        for word in ("ab", "", "한", "cab"):
            process.stdin.write(word.encode() + b"\n")
            process.stdin.flush()
            assert process.stdout.readline().decode() == pronounce(word) + "\n"  # otherwise both processes would block
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        err = process.stderr.read().decode()
        assert [line for line in err.splitlines() if line] == [
            "peephole: stdin, line 2: is empty; the target of an empty source is empty"
        ]


def test_memory_does_not_grow_and_a_closed_output_ends_quietly(peephole: Peephole, toy_file: Path) -> None:
    write_short_model(toy_file, peephole.folder / "short.safetensors")
    line = b"ab" * 10_000 + b"\n"
    options = ["--beam-size", "1", "--batch-size", "1", "--max-length-factor", "0", "--max-length-extra", "2"]
    with peephole.start("predict", "short.safetensors", *options) as process:
        lines, outputs = process.stdin, process.stdout
        assert lines is not None
        assert outputs is not None
        assert process.stderr is not None

        def feed() -> None:
            for _ in range(500):
                with contextlib.suppress(BrokenPipeError):
                    lines.write(line)
            with contextlib.suppress(BrokenPipeError):
                lines.close()

        feeder = threading.Thread(target=feed)
        feeder.start()

        def resident_after(count: int) -> int:
            """Read this many output lines; return the resident memory of the process in bytes."""
            for _ in range(count):
                assert outputs.readline() == b"AH B\n"
            return 1024 * int(Path(f"/proc/{process.pid}/status").read_text().split("VmRSS:")[1].split()[0])

        before = resident_after(50)
        assert resident_after(300) < before + 300 * len(line) / 2
        outputs.close()
        assert process.wait() == 141
        feeder.join()
        assert len(notes(process.stderr.read().decode())) == 1  # the first line was too long
