"""Tests of what commands may write: no file that they read, no file of another kind."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import peephole as library
from peephole.errors import ConfigError

from .conftest import Peephole

PAIRS = "ab\tAH B\nba\tB AH\ncab\tK AH B\nbc\tB K\nabc\tAH B K\nac\tAH K\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a model, its run, and files beside them."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "pairs.tsv").write_text(PAIRS)
    (folder / "more.tsv").write_text(PAIRS)
    (folder / "notes.txt").write_text("notes of a year\n")
    settings = {"hidden_size": 8, "embedding_size": 4, "steps": 2, "threads": 1, "quiet": True}
    for name in ("swap", "other"):
        library.train(folder / "pairs.tsv", folder / "more.tsv", folder / f"{name}.safetensors", **settings)
    library.quantize(folder / "other.safetensors", "int8")
    return folder


@pytest.fixture
def files(peephole: Peephole, trained: Path) -> Path:
    """Return the folder in which commands run, with a copy of these files."""
    shutil.copytree(trained, peephole.folder, dirs_exist_ok=True)
    (peephole.folder / "link.tsv").symlink_to("more.tsv")
    os.link(peephole.folder / "more.tsv", peephole.folder / "second_name.tsv")
    return peephole.folder


ANOTHER = "wanted another file to write than"
NO_PAGE = "wanted an HTML page or no file to replace by a page, got another file"
NO_MODEL = "wanted a calibrated or quantized model or no file to replace by one, got"


@pytest.mark.parametrize(
    ("command", "out", "message"),
    [
        ("inspect swap.safetensors ab -o {}", "swap.safetensors", f"{ANOTHER} the model's own"),
        (
            "inspect swap.safetensors ab --with other.safetensors -o {}",
            "other.safetensors",
            f"{ANOTHER} the model's own",
        ),
        ("inspect swap.safetensors ab -o {}", "pairs.tsv", NO_PAGE),
        ("report swap.run -o {}", "swap.safetensors", f"{ANOTHER} the model's own"),
        ("report swap.run --test more.tsv -o {}", "./more.tsv", f"{ANOTHER} that of the dev pairs"),
        ("report swap.run -o {}", "pairs.tsv", f"{ANOTHER} that of the training pairs"),
        ("report other.run --test notes.txt -o {}", "notes.txt", f"{ANOTHER} that of the test pairs"),
        ("report swap.run -o {}", "swap.run/log.jsonl", NO_PAGE),
        ("report swap.run -o {}", "notes.txt", NO_PAGE),
        ("evaluate swap.safetensors more.tsv --calibrate {}", "more.tsv", f"{ANOTHER} that of the pairs"),
        ("evaluate swap.safetensors more.tsv --calibrate {}", "link.tsv", f"{ANOTHER} that of the pairs"),
        ("evaluate swap.safetensors more.tsv --calibrate {}", "second_name.tsv", f"{ANOTHER} that of the pairs"),
        ("evaluate swap.safetensors more.tsv --calibrate {}", "swap.safetensors", f"{ANOTHER} the model's own"),
        (
            "evaluate swap.safetensors more.tsv --against other.int8.safetensors --calibrate {}",
            "other.int8.safetensors",
            f"{ANOTHER} the second model's",
        ),
        ("evaluate swap.safetensors more.tsv --calibrate {}", "notes.txt", f"{NO_MODEL} another file"),
        (
            "evaluate swap.safetensors more.tsv --calibrate {}",
            "other.safetensors",
            f"{NO_MODEL} a model as training wrote it",
        ),
        (
            "quantize swap.safetensors --to int8 --evaluate pairs.tsv --out {}",
            "pairs.tsv",
            f"{ANOTHER} that of the pairs",
        ),
        ("quantize swap.safetensors --to int8 --out {}", "notes.txt", f"{NO_MODEL} another file"),
        (
            "quantize swap.safetensors --to bf16 --out {}",
            "other.safetensors",
            f"{NO_MODEL} a model as training wrote it",
        ),
        ("export model.safetensors --to web -o . #{}", "model.safetensors", f"{ANOTHER} the model's own"),
        (
            "train data.safetensors,pairs.tsv --out {} --overwrite --steps 2",
            "data.safetensors",
            f"{ANOTHER} that of the train pairs",
        ),
        (
            "train pairs.tsv --out {} --overwrite --steps 2",
            "notes.safetensors",
            "wanted a model or no file to replace by one, got another file",
        ),
    ],
)
def test_what_would_be_destroyed_is_refused(
    peephole: Peephole, files: Path, command: str, out: str, message: str
) -> None:
    if out == "model.safetensors":
        shutil.copy(files / "swap.safetensors", files / out)
    if out in ("data.safetensors", "notes.safetensors"):
        (files / out).write_text(PAIRS)
    before = {path: path.read_bytes() for path in files.rglob("*") if path.is_file() and ".streams" not in path.parts}
    words = command.format(out).partition("#")[0].split()
    done = peephole(*words)
    assert (done.code, done.err.splitlines()[-1], done.out) == (1, f"peephole: {out}: {message}", "")
    after = {path: path.read_bytes() for path in files.rglob("*") if path.is_file() and ".streams" not in path.parts}
    assert after == before


def test_save_replaces_only_models_and_empty_files(files: Path) -> None:
    model = library.load(files / "swap.safetensors")
    for name, content in (("pairs.tsv", None), ("short", b"123"), ("cut", b"\x10" + bytes(7) + b"{")):
        if content is not None:
            (files / name).write_bytes(content)
        before = (files / name).read_bytes()
        with pytest.raises(ConfigError, match="wanted a model or no file to replace by one, got another file"):
            model.save(files / name)
        assert (files / name).read_bytes() == before
    damaged = bytearray((files / "other.safetensors").read_bytes())
    damaged[-1] ^= 1
    (files / "damaged").write_bytes(damaged)
    (files / "empty").write_bytes(b"")
    for name in ("damaged", "empty", "other.safetensors", "other.int8.safetensors", "new"):
        model.save(files / name)
        assert library.load(files / name).config == model.config


def test_a_model_in_place_of_its_run_is_refused(peephole: Peephole, files: Path) -> None:
    """The message names the run, where it is beside the model."""
    message = "wanted the folder of a run, got a file"
    for command in (["report"], ["train", "--resume"]):
        peephole(*command, "swap.safetensors").failed(f"swap.safetensors: {message}; did you mean 'swap.run'?")
        peephole(*command, "other.int8.safetensors").failed(f"other.int8.safetensors: {message}")
    peephole("report", "no.run").failed("no.run: no such folder")


def test_first_weights_of_a_run_from_a_model_are_not_set(peephole: Peephole, files: Path) -> None:
    command = ("train", "--from", "swap.safetensors", "--out", "new.safetensors", "--steps", "1", "--set")
    for name, own in (("initial_range", 0), ("forget_bias", 1), ("embedding_std", 1)):
        done = peephole(*command, f"{name}=0.25")
        assert (done.code, done.err.splitlines()[-1]) == (
            1,
            f"peephole: model.{name}: wanted {own}, as swap.safetensors has it, got 0.25; the first weights are those "
            "of the model",
        )
        assert not (files / "new.run").exists()
    peephole(*command, "initial_range=0").succeeded()


def test_files_of_the_same_kind_and_empty_files_are_replaced(peephole: Peephole, files: Path) -> None:
    (files / "empty").write_bytes(b"")
    (files / "old.htm").write_bytes(b"\xef\xbb\xbf\n<!DOCTYPE html><title>old</title>")
    for out in ("empty", "empty", "old.htm", "new"):
        peephole("inspect", "swap.safetensors", "ab", "--without-model", "-o", out).succeeded()
        assert b"peephole-page" in (files / out).read_bytes()
        peephole("report", "swap.run", "-o", out).succeeded()
        assert b"peephole-page" not in (files / out).read_bytes()
    (files / "empty").write_bytes(b"")
    for out in ("empty", "new.safetensors", "other.int8.safetensors"):
        for _ in range(2):
            peephole("quantize", "swap.safetensors", "--to", "int8", "--out", out).succeeded()
        peephole("evaluate", "swap.safetensors", "more.tsv", "--calibrate", out, "--worst", "0").succeeded()
        assert library.load(files / out).config.search.calibration != 1
        peephole("quantize", "swap.safetensors", "--to", "bf16", "--out", out).succeeded()


def test_a_page_is_written_whole_or_not_at_all(peephole: Peephole, files: Path) -> None:
    command = ("inspect", "swap.safetensors", "ab", "-o", "page.html")
    peephole(*command, "--without-model").succeeded()
    before = (files / "page.html").read_bytes()
    done = peephole(*command, limits={"RLIMIT_FSIZE": len(before) - 1})
    done.failed("page.html: cannot be written: File too large")
    assert (files / "page.html").read_bytes() == before
    assert not list(files.glob(".page*"))
    peephole("inspect", "swap.safetensors", "ab", "-o", "no/page.html").failed("no/page.html: no such folder: no")
