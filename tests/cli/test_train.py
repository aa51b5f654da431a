"""Tests of `peephole train`: its output, the user's possible mistakes and the messages for them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from models.make import pronounce, toy_words
from peephole.storage.model_file import load_model

from .conftest import Done, Peephole

WORDS = toy_words(30, seed=4)
GOOD = "".join(f"{word}\t{pronounce(word)}\n" for word in WORDS)
SMALL = ["--set", "hidden_size=6", "--set", "embedding_size=3", "--set", "evaluations=1", "--set", "dev_fraction=0.1"]


def train(peephole: Peephole, *arguments: object, **options: Any) -> Done:
    """Train a small model for two steps."""
    return peephole("train", "--out", "m.safetensors", "--steps", "2", *SMALL, *arguments, **options)


def assert_files(peephole: Peephole, *names: str) -> None:
    """Check that the folder holds exactly these files."""
    assert sorted(path.name for path in peephole.folder.iterdir()) == sorted([".streams", *names])


def test_training_writes_a_model(peephole: Peephole) -> None:
    peephole.write("train.tsv", GOOD)
    done = train(peephole, "train.tsv").succeeded()
    assert done.out == ""
    assert "27 training pairs; 3 dev pairs of 3 sources, held out by source" in done.err
    assert "source symbols: characters (" in done.err
    assert "target symbols: whitespace (" in done.err
    assert "step 2: dev loss" in done.err
    model = load_model(peephole.folder / "m.safetensors")
    assert (model.config.train.steps, model.config.model.hidden_size) == (2, 6)
    assert_files(peephole, "train.tsv", "m.safetensors", "m.run")
    entries = [json.loads(line) for line in (peephole.folder / "m.run" / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == [2, 2]
    assert len(peephole("predict", "m.safetensors", stdin="ab\ncab\n").succeeded().lines) == 2


def test_command_line_settings_override_the_file(peephole: Peephole) -> None:
    peephole.write("train.tsv", GOOD)
    peephole.write(
        "c.toml", "[model]\nhidden_size = 4\nembedding_size = 5\n[train]\nepochs = 3\n[symbols]\ntarget = 'bpe'\n"
    )
    arguments = [
        "--config",
        "c.toml",
        "--set",
        "hidden_size=8",
        "--set",
        "epochs=none",
        "--set",
        "steps=9",
        "--steps",
        "1",
    ]
    peephole("train", "train.tsv", "--out", "m.safetensors", *arguments).succeeded()
    config = load_model(peephole.folder / "m.safetensors").config
    assert (config.model.hidden_size, config.model.embedding_size) == (8, 5)
    assert (config.train.steps, config.train.epochs, config.symbols.target) == (1, None, "bpe")


# Errors

BAD_DATA = [
    ("wrong columns", b"a\tAH\nabc\n", "train.tsv, line 2: expected 2 columns, found 1: 'abc'"),
    (
        "three columns",
        b"a\tAH\tx\n",
        "train.tsv, line 1: expected 2 columns, found 3: 'a\\tAH\\tx'; name two of them by data.source and data.target",
    ),
    ("empty source", b"a\tAH\n\tB\n", "train.tsv, line 2: empty source beside 'B'"),
    ("empty target", b"a\tAH\nb\t \n", "train.tsv, line 2: empty target beside 'b'"),
    ("invalid utf-8", b"a\tAH\nb\tB\n\xed\x95\tHAN\n", "train.tsv, line 3: invalid UTF-8: byte 1 is 0xed"),
    ("utf-16", "a\tAH\n".encode("utf-16"), "train.tsv, line 1: invalid UTF-8: byte 1 is 0xff"),
    ("nothing", b"", "train.tsv: no pairs in it"),
    ("blank lines", b"\n \n\t\n", "train.tsv: no pairs in it; 3 pairs skipped: blank line (first: train.tsv, line 1)"),
    ("duplicates", b"a\tAH\n" * 50, "train.tsv: only duplicates of one pair, wanted at least two different pairs"),
    (
        "one source",
        b"a\tAH\na\tEH\n",
        "train.tsv: all pairs have the same source, so none can be held out: give a dev set",
    ),
]


@pytest.mark.parametrize(("content", "message"), [case[1:] for case in BAD_DATA], ids=[case[0] for case in BAD_DATA])
def test_bad_training_data(peephole: Peephole, content: bytes, message: str) -> None:
    peephole.write("train.tsv", content)
    assert train(peephole, "train.tsv").failed(message).out == ""
    peephole.write("train.tsv", GOOD)
    train(peephole, "train.tsv").succeeded()  # the failed command left no files that block the corrected one


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian.tsv"], "trian.tsv: no such file; did you mean 'train.tsv'?"),
        (["folder"], "folder: is a directory, wanted a file"),
        (
            ["data.xml"],
            "data.xml: unknown suffix '.xml'; wanted .tsv, .txt, .csv, .jsonl or .ndjson (also with .gz or .zst), ",
        ),
        (["train.tsv", "--dev", "no.tsv"], "no.tsv: no such file"),
        (["train.tsv", "--dev", "folder"], "folder: is a directory, wanted a file"),
        (["train.tsv", "--dev", "bad.tsv"], "bad.tsv, line 2: expected 2 columns, found 1: 'abc'"),
        (["a.en,b.it"], "b.it: ends after line 1, a.en goes on"),
        (["bad.tsv.gz"], "bad.tsv.gz: cannot be read: damaged or cut off: Not a gzipped file"),
        (["bad.parquet"], "bad.parquet: cannot be read as Parquet: "),
    ],
)
def test_unreadable_files(peephole: Peephole, arguments: list[str], message: str) -> None:
    files = {"train.tsv": GOOD, "data.xml": "a,AH\n", "bad.tsv": "a\tAH\nabc\n", "a.en": "a\nb\n", "b.it": "AH\n"}
    for name, content in (files | {"bad.tsv.gz": GOOD, "bad.parquet": GOOD}).items():
        peephole.write(name, content)
    (peephole.folder / "folder").mkdir()
    done = train(peephole, *arguments)
    assert done.err.startswith(f"peephole: {message}")
    done.failed(done.err.removeprefix("peephole: ").removesuffix("\n"))
    assert done.err.count("\n") == 1
    assert_files(peephole, *files, "bad.tsv.gz", "bad.parquet", "folder")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "hiden_size=3"], "command line: unknown key 'hiden_size'; did you mean 'hidden_size'?"),
        (
            ["--set", "model.hiden_size=3"],
            "command line: unknown key 'model.hiden_size'; did you mean 'model.hidden_size'?",
        ),
        (["--set", "hidden_size"], "--set: wanted KEY=VALUE, got 'hidden_size'"),
        (["--set", "hidden_size=big"], "command line, model.hidden_size: wanted a whole number, got 'big'"),
        (["--set", "cell=ltsm"], "command line, model.cell: wanted lstm|gru, got 'ltsm'; did you mean 'lstm'?"),
        (
            ["--set", "device=cudo"],
            "command line, train.device: wanted auto|cpu|cuda|mps, got 'cudo'; did you mean 'cuda'?",
        ),
        (["--minutes", "soon"], "command line, train.minutes: wanted a number or none, got 'soon'"),
        (
            ["--epochs", "2"],
            "train: wanted one of minutes, epochs, steps; got epochs and steps; all but one can be none",
        ),
        (["--config", "misspelt.toml"], "misspelt.toml, model: unknown key 'hidden_sise'; did you mean 'hidden_size'?"),
        (
            ["--config", "section.toml"],
            "section.toml: unknown section 'modle'; wanted one of data, frames, symbols, model, train, search; "
            "did you mean 'model'?",
        ),
        (["--config", "no.toml"], "no.toml: cannot be read as TOML: No such file or directory"),
        (
            ["--config", "broken.toml"],
            "broken.toml: cannot be read as TOML: Expected ']' at the end of a table declaration ",
        ),
    ],
)
def test_bad_settings(peephole: Peephole, arguments: list[str], message: str) -> None:
    files = {
        "train.tsv": GOOD,
        "misspelt.toml": "[model]\nhidden_sise = 3\n",
        "section.toml": "[modle]\n",
        "broken.toml": "[model\n",
    }
    for name, content in files.items():
        peephole.write(name, content)
    done = train(peephole, "train.tsv", *arguments)
    assert done.err.startswith(f"peephole: {message}")
    done.failed(done.err.removeprefix("peephole: ").removesuffix("\n"))
    assert done.err.count("\n") == 1
    assert_files(peephole, *files)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_missing_gpu(peephole: Peephole) -> None:
    peephole.write("train.tsv", GOOD)
    done = train(peephole, "train.tsv", "--set", "device=cuda")
    done.failed("train.device='cuda': this machine has no GPU that PyTorch can use")
    assert_files(peephole, "train.tsv")


def test_invalid_output_paths(peephole: Peephole) -> None:
    peephole.write("train.tsv", GOOD)
    done = peephole("train", "train.tsv", "--out", "m.bin", *SMALL)
    done.failed("--out m.bin: wanted a file name that ends in .safetensors")
    done = peephole("train", "train.tsv", "--out", "no/m.safetensors", *SMALL)
    done.failed("no/m.safetensors: no such folder: no")
    peephole("train", "--resume", "no.run").failed("no.run: no such folder")
    assert_files(peephole, "train.tsv")


def test_existing_run_is_replaced_only_with_overwrite(peephole: Peephole) -> None:
    peephole.write("train.tsv", GOOD)
    train(peephole, "train.tsv").succeeded()
    before = (peephole.folder / "m.safetensors").read_bytes()
    done = train(peephole, "train.tsv", "--set", "train.seed=2")
    assert done.code == 1
    assert "m.run: exists already; " in done.err
    assert done.err.count("\n") == 1
    assert (peephole.folder / "m.safetensors").read_bytes() == before
    train(peephole, "train.tsv", "--set", "train.seed=2", "--overwrite").succeeded()
    assert (peephole.folder / "m.safetensors").read_bytes() != before


def test_a_full_disk_loses_nothing(peephole: Peephole) -> None:
    """Fill the disk at each write in turn: the old model survives, and training resumes when space is free again."""
    peephole.write("train.tsv", 10 * GOOD)  # so that the prepared data are larger than run.json, which is written first
    train(peephole, "train.tsv").succeeded()
    model, run = peephole.folder / "m.safetensors", peephole.folder / "m.run"
    before, anew = model.read_bytes(), ["train.tsv", "--set", "train.seed=2", "--overwrite"]
    files = ("run.json", "data/source.values.npy", "../m.safetensors", "checkpoint/checkpoint.safetensors")
    sizes = [(run / name).stat().st_size for name in files]
    assert sizes == sorted(sizes)  # each is the first file that is too large
    failures = set()
    for size in sizes:
        model.write_bytes(before)
        done = train(peephole, *anew, limits={"RLIMIT_FSIZE": size - 100})  # times of other lengths take fewer bytes
        assert done.code == 1
        assert "Traceback" not in done.err
        message = done.err.splitlines()[-1]
        assert message.startswith("peephole: ")
        assert "File too large" in message
        assert model.read_bytes() == before or load_model(model).config.train.seed == 2
        failures.add(message)
        # It failed before there was a run to resume
        if not (run / "run.json").exists() or any(name in message for name in ("m.run: cannot", ".m.run.new/")):
            train(peephole, *anew).succeeded()
        else:
            peephole("train", "--resume", "m.run").succeeded()
        assert load_model(model).config.train.seed == 2
    assert len(failures) == 4, failures


# Warnings


def test_dev_sources_in_the_training_data_are_counted(peephole: Peephole) -> None:
    peephole.write("train.tsv", GOOD)
    unseen = "eeeeeee"
    shared = [WORDS[3], WORDS[5], WORDS[5]]
    peephole.write("dev.tsv", "".join(f"{word}\t{pronounce(word)}\n" for word in [unseen, *shared]))
    done = train(peephole, "train.tsv", "--dev", "dev.tsv").succeeded()
    warnings = [line for line in done.err.splitlines() if line.startswith("warning")]
    assert warnings == [
        "warning: 2 of 3 dev sources are also in the training data: dev scores will look better than they are"
    ]
    assert "30 training pairs; 4 dev pairs of 3 sources, from dev.tsv" in done.err


def test_a_line_of_100000_symbols_is_left_out_and_counted(peephole: Peephole) -> None:
    long = "abcde" * 20_000
    peephole.write("train.tsv", GOOD + f"{long}\tAH\n{long[1:]}\tAH\n")
    done = train(peephole, "train.tsv", "--dev", "train.tsv").succeeded()
    assert done.err.splitlines().count("2 pairs left out: longer than 1000 symbols (first: train.tsv, line 31)") == 2
    assert done.err.startswith("30 training pairs; 30 dev pairs of 30 sources, from train.tsv\n")


def test_bad_lines_are_skipped_and_counted_with_bad_lines_skip(peephole: Peephole) -> None:
    bad = b"abc\n\tAH\nd\t\n\xff\tB\nabcd\n"
    peephole.write("train.tsv", b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode() + b"\n" + bad)
    done = train(peephole, "train.tsv", "--set", "bad_lines=skip").succeeded()
    lines = done.err.splitlines()
    assert "27 training pairs; 3 dev pairs of 3 sources, held out by source" in lines
    for line in (
        "1 pair repaired: byte order mark taken off (first: train.tsv, line 1)",
        "1 pair skipped: blank line (first: train.tsv, line 31)",
        "2 pairs skipped: wrong columns (first: train.tsv, line 32)",
        "2 pairs skipped: empty side (first: train.tsv, line 33)",
        "1 pair skipped: invalid UTF-8 (first: train.tsv, line 35)",
    ):
        assert line in lines
    symbols = load_model(peephole.folder / "m.safetensors").source_symbols.to_json()["symbols"]
    assert set(symbols) <= set("abcde한😀")  # neither a byte order mark nor a carriage return


@pytest.mark.parametrize("name", ["train.tsv.gz", "train.jsonl", "a.en,b.it"])
def test_other_formats(peephole: Peephole, name: str) -> None:
    import gzip

    rows = [(word, pronounce(word)) for word in WORDS]
    peephole.write("train.tsv.gz", gzip.compress(GOOD.encode()))
    peephole.write("train.jsonl", "".join(json.dumps({"source": s, "target": t}) + "\n" for s, t in rows))
    peephole.write("a.en", "".join(f"{s}\n" for s, _ in rows))
    peephole.write("b.it", "".join(f"{t}\n" for _, t in rows))
    peephole.write("plain.tsv", GOOD)
    train(peephole, name).succeeded()
    got = load_model(peephole.folder / "m.safetensors")
    train(peephole, "plain.tsv", "--overwrite").succeeded()
    wanted = load_model(peephole.folder / "m.safetensors")
    assert all((got.tensors[key] == wanted.tensors[key]).all() for key in wanted.tensors)


def test_resuming_a_finished_run_writes_its_model_again(peephole: Peephole) -> None:
    peephole.write("train.tsv", GOOD)
    train(peephole, "train.tsv").succeeded()
    path: Path = peephole.folder / "m.safetensors"
    before = path.read_bytes()
    path.unlink()
    peephole("train", "--resume", "m.run").succeeded()
    assert path.read_bytes() == before


def test_resume_is_told_where_moved_data_are(peephole: Peephole) -> None:
    peephole.write("train.tsv", GOOD)
    peephole.write("dev.tsv", f"{WORDS[0]}\t{pronounce(WORDS[0])}\n")
    train(peephole, "train.tsv", "--dev", "dev.tsv").succeeded()
    (peephole.folder / "elsewhere").mkdir()
    for name in ("train.tsv", "dev.tsv"):
        (peephole.folder / name).rename(peephole.folder / "elsewhere" / name)
    shutil.rmtree(peephole.folder / "m.run/data")
    moved = ["--data", "elsewhere/train.tsv", "--dev", "elsewhere/dev.tsv"]
    for arguments in ([], moved[:2], moved[2:]):
        done = peephole("train", "--resume", "m.run", *arguments)
        assert (done.code, done.out) == (1, "")
        assert "no such file" in done.err.splitlines()[-1]
    peephole("train", "--resume", "m.run", *moved).succeeded()
    shutil.rmtree(peephole.folder / "m.run/data")
    peephole("train", "--resume", "m.run").succeeded()  # the places are stored
