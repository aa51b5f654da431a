"""Tests of the `peephole` command: fast help, exit codes, one-line error messages."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

import peephole as library
from peephole import __version__
from peephole.cli.main import VERBS
from peephole.config import describe
from peephole.storage.model_file import read_tensors, write_tensors

from .conftest import Peephole

ROOT = Path(__file__).parents[2]

# Runs a command line in this process and prints whether it imported torch and numpy
PROBE = """
import atexit, sys
from peephole.cli import main
atexit.register(lambda: print("torch" in sys.modules, "numpy" in sys.modules))
main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["train", "--help"], ["train", "--set", "x=1"], ["no"]]
)
def test_commands_without_torch_start_fast(arguments: list[str]) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run([sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=False)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 1  # 0.1 s; importing PyTorch takes 2 s
    assert done.stdout.splitlines()[-1] == "False False"
    assert done.returncode == (2 if arguments in (["train", "--set", "x=1"], ["no"]) else 0)


def test_help_lists_every_verb(peephole: Peephole) -> None:
    with peephole.start("--help") as process:
        out, err = process.communicate()
    assert (process.returncode, err) == (0, b"")
    for verb in VERBS:
        assert f"\n  {verb} ".encode() in out
    assert peephole("-h").succeeded().out == out.decode()
    assert peephole("--version").succeeded().out == f"peephole, version {__version__}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(peephole: Peephole, verb: str) -> None:
    out = peephole(verb, "--help").succeeded().out
    assert out.startswith(f"Usage: peephole {verb} ")


def test_help_names_every_kind_of_data_and_of_export(peephole: Peephole) -> None:
    text = " ".join(peephole("train", "--help").succeeded().out.partition("Options:")[0].split())
    kinds = ("TSV", "CSV", "JSONL", "Parquet", "A,B", "sound, images or numbers", "data.horizon", "model.input=none")
    for kind in kinds:
        assert kind in text
    [line] = [line for line in peephole("--help").succeeded().lines if line.startswith("  export ")]
    assert "ONNX" in line
    assert "browsers" in line


def test_train_help_lists_every_setting(peephole: Peephole) -> None:
    out = peephole("train", "--help").succeeded().out
    for name, *_, help in describe():
        assert f"{name} = " in out
        assert " ".join(help.split()[:4]) in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Usage: peephole"),
        (["tarin"], "No such command 'tarin'"),
        (["predict"], "Missing argument 'MODEL'"),
        (["predict", "m", "--beam-sice", "3"], "No such option '--beam-sice'"),
        (["score", "m", "p", "more"], "unexpected extra argument"),
        (["score", "m"], "Missing argument 'PAIRS'"),
        (["evaluate", "m"], "Missing argument 'TEST'"),
        (["evaluate", "m", "t", "--worst", "many"], "'many' is not a valid integer"),
        (["train"], "wanted TRAIN and --out MODEL, or --from MODEL and --out MODEL, or --resume RUN"),
        (["train", "a.tsv"], "wanted TRAIN and --out MODEL, or --from MODEL and --out MODEL, or --resume RUN"),
        (["train", "a.tsv", "--resume", "a.run"], "--resume uses the run's own settings"),
        (["train", "--resume", "a.run", "--set", "minutes=3"], "give nothing else"),
        (["train", "--resume", "a.run", "--dry-run"], "give nothing else"),
        (["train", "a.tsv", "--out", "m.safetensors", "--data", "b.tsv"], "--data is an option of --resume"),
        (["train", "a.tsv", "--out", "m.safetensors", "--json"], "--json is an option of --dry-run"),
    ],
)
def test_wrong_usage_exits_with_2(peephole: Peephole, arguments: list[str], message: str) -> None:
    done = peephole(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert message in done.err
    assert "Traceback" not in done.err


def test_debug_shows_the_traceback(peephole: Peephole) -> None:
    done = peephole("--debug", "predict", "no.safetensors")
    assert done.code == 1
    assert "Traceback" in done.err
    assert done.err.endswith("ModelFileError: no.safetensors: no such file\n")


def test_missing_torch_is_named(peephole: Peephole, toy_file: Path) -> None:
    """Without the extra [torch], commands print how to install it."""
    hide = "import sys\nsys.modules['torch'] = None\nfrom peephole.cli import main\nmain(sys.argv[1:])\n"
    command = [sys.executable, "-c", hide, "predict", str(toy_file), "--engine", "off"]
    done = subprocess.run(command, input="a\n", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "peephole: this needs torch: pip install 'peephole[torch]'\n"


EMPTY = "wanted the name of a file, got an empty one"
EMPTY_DATA = "wanted the name of a data file, got an empty one"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "", "--out", "m.safetensors"], EMPTY_DATA),
        (["train", "pairs.tsv,", "--out", "m.safetensors"], EMPTY_DATA),
        (["train", "pairs.tsv", "--dev", "", "--out", "m.safetensors"], EMPTY_DATA),
        (["train", "--resume", ""], f"--resume: {EMPTY}"),
        (["predict", "TOY", ""], EMPTY_DATA),
        (["evaluate", "TOY", ""], EMPTY_DATA),
        (["evaluate", "TOY", "pairs.tsv", "--calibrate", ""], f"out: {EMPTY}"),
        (["info", ""], "wanted the name of a model file, got an empty one"),
        (["report", ""], f"RUN: {EMPTY}"),
        (["quickstart", "--folder", ""], f"--folder: {EMPTY}"),
    ],
)
def test_an_empty_name_is_reported_as_one(
    peephole: Peephole, toy_file: Path, arguments: list[str], message: str
) -> None:
    peephole.write("pairs.tsv", "ab\tAH B\n")
    peephole(*(toy_file if word == "TOY" else word for word in arguments)).failed(message)


def test_full_disk_on_stdout(peephole: Peephole, toy_file: Path) -> None:
    peephole.write("pairs.tsv", "ab\tAH B\n")
    for verb in (["predict", toy_file], ["score", toy_file, "pairs.tsv"]):
        peephole(*verb, stdin="ab\n", stdout=Path("/dev/full")).failed("output: No space left on device")


@pytest.mark.parametrize("verb", ["predict {}", "score {} pairs.tsv", "evaluate {} pairs.tsv", "info {0},{0} --json"])
def test_stdout_at_the_limit_of_file_sizes(peephole: Peephole, toy_file: Path, verb: str) -> None:
    """The first 1,000 bytes are written; what follows is an error, whether it is written at once or in parts."""
    peephole.write("pairs.tsv", "ab\tAH B\ncab\tK AH B\n" * 500)
    out = peephole.folder / "out"
    out.write_bytes(b"")
    words = [word.format(toy_file) for word in verb.split()]
    limits = {"RLIMIT_FSIZE": 1000}
    done = peephole(*words, stdin="abcabcabc\n" * 1000, stdout=out, limits=limits)
    assert (done.code, done.err.splitlines()[-1:]) == (1, ["peephole: output: File too large"])
    assert "Traceback" not in done.err
    assert out.stat().st_size == 1000


def test_stdout_without_a_buffer_is_written_completely(toy_file: Path, tmp_path: Path) -> None:
    """PYTHONUNBUFFERED makes Python write once, and ignore how much of it was written."""
    command = f"ulimit -f 1; exec {sys.executable} -m peephole info {toy_file},{toy_file} --json"
    wanted = len(library.info(toy_file).to_dict())
    for unbuffered in ("", "1"):
        environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
        with open(tmp_path / "out", "wb") as file:
            done = subprocess.run(["bash", "-c", command], stdout=file, stderr=-1, env=environment, check=False)
        assert (done.returncode, done.stderr) == (1, b"peephole: output: File too large\n")
        whole = command.replace("ulimit -f 1; ", "")
        done = subprocess.run(["bash", "-c", whole], stdout=-1, env=environment, check=True)
        assert [len(json.loads(line)) for line in done.stdout.splitlines()] == [wanted] * 2
        assert len(done.stdout) > 1024


def test_a_full_pipe_that_does_not_block_is_waited_for(toy_file: Path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    command = [sys.executable, "-m", "peephole", "predict", toy_file, "--json"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=writer, stderr=subprocess.PIPE) as process:
        os.close(writer)
        assert process.stdin is not None
        process.stdin.write(b"abcabcabc\n" * 1000)
        process.stdin.close()
        time.sleep(1)  # the pipe, of 64 KiB, fills
        with open(reader, "rb") as file:
            lines = file.read().splitlines()
        assert process.stderr is not None
        assert (process.wait(), process.stderr.read(), len(lines)) == (0, b"", 1000)


INTERRUPTED = """
import sys

class Interrupted:
    def find_spec(self, name, path, target=None):
        if name == "click":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
"""


@pytest.mark.parametrize(
    "start", ["import runpy; runpy.run_module('peephole', run_name='__main__')", "from {} import {}; {}()"]
)
def test_ctrl_c_during_the_imports_ends_quietly(start: str) -> None:
    """Both as a module and as the installed script."""
    [script] = re.findall('^peephole = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    module, _, name = script.partition(":")
    program = f"{INTERRUPTED}\n{start.format(module, name, name)}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_closed_stdin_or_stdout_is_reported_in_one_line(peephole: Peephole, toy_file: Path) -> None:
    command = f"{sys.executable} -m peephole predict {toy_file}"
    for closed, message in (("<&-", "stdin: is closed; wanted sources, one a line"), (">&-", "stdout is closed")):
        done = subprocess.run(f"echo cat | {command} {closed}", shell=True, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"peephole: {message}\n")


def test_closed_stderr_stops_nothing(toy_file: Path) -> None:
    command = f"echo ZZZ | {sys.executable} -m peephole predict {toy_file} 2>&-"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)


@pytest.mark.parametrize("verb", [["predict"], ["score", "{}", "pairs.tsv"], ["quantize", "{}", "--to", "int8"]])
def test_too_long_file_name_is_reported_in_one_line(peephole: Peephole, verb: list[str]) -> None:
    name = "a" * 300
    arguments = [word.format(name) for word in verb] if len(verb) > 1 else [*verb, name]
    done = peephole(*arguments, stdin="cat\n")
    done.failed(f"{name}: File name too long")


@pytest.mark.parametrize(
    "verb",
    [
        ["predict", "m.safetensors"],
        ["score", "m.safetensors", "pairs.tsv"],
        ["evaluate", "m.safetensors", "pairs.tsv"],
        ["quantize", "m.safetensors", "--to", "int8", "--evaluate", "pairs.tsv"],
    ],
    ids=lambda verb: verb[0],
)
def test_unknown_keys_in_the_config_are_reported_once(peephole: Peephole, toy_file: Path, verb: list[str]) -> None:
    tensors, metadata = read_tensors(toy_file)
    del metadata["checksum"]
    config = json.loads(metadata["config"])
    config["train"]["foo"] = 1
    write_tensors(peephole.folder / "m.safetensors", tensors, metadata | {"config": json.dumps(config)})
    peephole.write("pairs.tsv", "ab\tAH B\n")
    done = peephole(*verb, stdin="ab\n").succeeded()
    assert done.err == "peephole: m.safetensors: config: unknown key train.foo is ignored\n"


@pytest.mark.parametrize(
    "verb",
    [
        "predict {}",
        "predict {toy},{}",
        "score {} p",
        "evaluate {} p",
        "evaluate {toy} p --against {}",
        "quantize {} --to int8",
        "export {} --to onnx",
        "info {}",
    ],
)
def test_a_pipe_as_a_model_is_refused_at_once(peephole: Peephole, toy_file: Path, verb: str) -> None:
    """Nothing writes to the pipe, so reading it would wait forever."""
    os.mkfifo(peephole.folder / "m")
    peephole.write("p", "ab\tAH B\n")
    done = peephole(*(word.format("m", toy=toy_file) for word in verb.split()), stdin="ab\n")
    done.failed("m: wanted a model file, got a pipe")


def test_quickstart_checks_its_time_before_it_writes(peephole: Peephole) -> None:
    peephole("quickstart", "--minutes", "inf").failed("command line, train.minutes: wanted a finite number, got inf")
    assert not (peephole.folder / "quickstart").exists()


ODD_NAME = "a\x1b[31m\nb\u202e"
SHOWN_NAME = r"a\x1b[31m\nb\u202e"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", f"{ODD_NAME}.safetensors"], f"{SHOWN_NAME}.safetensors: no such file"),
        (["score", "TOY", f"{ODD_NAME}.tsv"], f"{SHOWN_NAME}.tsv: no such file"),
        (["train", f"{ODD_NAME}.tsv", "--out", "m.safetensors"], f"{SHOWN_NAME}.tsv: no such file"),
        (
            ["train", "a", "--out", "b.safetensors", "--config", ODD_NAME],
            f"{SHOWN_NAME}: cannot be read as TOML: No such file or directory",
        ),
        (["train", "a", "--out", "b.safetensors", "--set", ODD_NAME], f"--set: wanted KEY=VALUE, got {ODD_NAME!r}"),
        (["train", "--resume", ODD_NAME], None),
        (["export", ODD_NAME, "--to", "onnx"], f"{SHOWN_NAME}: no such file"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_names_are_shown_without_control_characters(
    peephole: Peephole, toy_file: Path, arguments: list[str], message: str | None
) -> None:
    done = peephole(*(toy_file if word == "TOY" else word for word in arguments))
    assert done.code == 1
    assert done.err.removesuffix("\n").isprintable()
    if message is not None:
        done.failed(message)


def test_usage_errors_are_shown_without_control_characters(peephole: Peephole) -> None:
    done = peephole("evaluate", "m", "t", "--worst", ODD_NAME)
    assert done.code == 2
    assert all(line.isprintable() for line in done.err.splitlines())
    assert r"a\x1b[31m" in done.err


def test_notes_are_shown_without_control_characters(peephole: Peephole, toy_file: Path) -> None:
    name = peephole.write(f"{ODD_NAME}.tsv", "a\tAH\nab\tAH\n" * 2)
    for verb in (["score", toy_file], ["evaluate", toy_file]):
        peephole.write(name, "a\tAH\nx\x1b[31my\tAH\nbc\n")
        done = peephole(*verb, name, "--bad-lines", "skip").succeeded()
        assert SHOWN_NAME in done.err
        assert all(line.isprintable() for line in (done.out + done.err).splitlines())
