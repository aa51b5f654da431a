"""Tests the documentation: code blocks run, links and names exist, generated pages are up to date."""

import ast
import os
import re
import runpy
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks_of(page):
    """Return the language and text of each runnable code block of a page in docs/."""
    return BLOCK.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))


@pytest.mark.slow
def test_guide_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shim = tmp_path / "bin" / "peephole"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m peephole "$@"\n')
    shim.chmod(0o755)
    path = f"{shim.parent}{os.pathsep}{os.environ['PATH']}"
    blocks = blocks_of("guide.md")
    assert len(blocks) >= 7
    names: dict[str, object] = {}
    for kind, text in blocks:
        if kind == "python":
            exec(compile(text, "guide.md", "exec"), names)
            continue
        for line in text.splitlines():
            assert line.startswith("$ "), line
            done = subprocess.run(
                line[2:], shell=True, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{line}\n{done.stderr}"


@pytest.mark.parametrize("page", ["model-file.md", "extend.md", "traces.md"])
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "tests" / "models" / "lstm_v3_float32.safetensors", "model.safetensors")
    blocks = blocks_of(page)
    assert blocks
    names: dict[str, object] = {}
    for kind, text in blocks:
        assert kind == "python"
        exec(compile(text, page, "exec"), names)


def missing_names(text, root):
    """Return the files and functions named in the table rows of a page that do not exist.

    A row names a file in its first column and, where the second column is in backticks, a function, a class or a
    method of it.
    """
    missing = []
    for file, name in re.findall(r"^\| `([\w/]+\.(?:py|cpp|h))` \| (?:`([\w.]+)` \|)?", text, re.MULTILINE):
        path = root / file if file.startswith(("engine/src/", "engine/wasm/")) else root / "src" / "peephole" / file
        if not path.is_file():
            missing.append(file)
        elif name and name not in defined_names(ast.parse(path.read_text(encoding="utf-8"))):
            missing.append(f"{file}: {name}")
    return missing


def defined_names(tree, owner=""):
    """Return the names of functions and classes, and of methods as `Class.method`."""
    names = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(owner + node.name)
        if isinstance(node, ast.ClassDef):
            names |= defined_names(node, f"{node.name}.")
    return names


@pytest.mark.parametrize("page", ["tour.md", "extend.md"])
def test_files_and_functions_in_tables_exist(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert text.count("\n| `") > 10
    assert missing_names(text, ROOT) == []


@pytest.mark.parametrize(("page", "folder"), [("docs/tour.md", "src/peephole"), ("engine/README.md", "engine/src")])
def test_every_source_file_is_in_the_list_of_files(page, folder):
    """A file may be named with another ending as `name.*`, or one of a group as `kernels_*.cpp`."""
    named = re.findall(r"[\w*]+\.(?:py|h|cpp|\*)", (ROOT / page).read_text(encoding="utf-8"))
    files = [path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".h", ".cpp") if path.stem[0] != "_"]
    assert len(files) > 90
    assert [path.name for path in files if not any(fnmatch(path.name, name) for name in named)] == []


def test_missing_files_and_functions_are_found():
    rows = ["`config.py` | `Config`", "`config.py` | `Config.fly`", "`engine/src/no.h` | x", "`no.py` | x"]
    text = "".join(f"| {row} | x |\n" for row in rows)
    assert missing_names(text, ROOT) == ["config.py: Config.fly", "engine/src/no.h", "no.py"]


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/equations.md", "docs/guarantees.md", "docs/extend.md"])
def test_repository_paths_in_pages_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    paths = re.findall(r"`((?:tests|engine/(?:src|tests)|benchmarks|recipes|src|docs)/[\w./*]+)`", text)
    assert paths
    assert [path for path in paths if not any(ROOT.glob(path))] == []


def test_settings_page_is_up_to_date():
    page = runpy.run_path(str(ROOT / "docs" / "make_settings.py"))["settings_page"]()
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == page, "run docs/make_settings.py"


PAGES = [
    *ROOT.glob("*.md"),
    *(p for f in ("docs", "engine", "benchmarks", "examples", "recipes") for p in (ROOT / f).rglob("*.md")),
]


@pytest.mark.parametrize("name", [page.relative_to(ROOT).as_posix() for page in PAGES if "data" not in page.parts])
def test_relative_links_exist(name):
    file = ROOT / name
    for target in re.findall(r"\]\(([^)#]+)\)", file.read_text(encoding="utf-8")):
        assert "://" in target or (file.parent / target).exists(), f"{name}: {target}"


PEERS = ("opennmt", "joeynmt", "yoyodyne")  # their workers need virtual environments of their own
SCRIPTS = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("benchmarks", "recipes")
    for path in (ROOT / folder).rglob("*.py")
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    and not (path.name.endswith("_worker.py") and path.stem.startswith(PEERS))
)


PRINT_USAGES = """
import os, runpy, sys, traceback
import lightning_fabric, torch  # what takes long is imported once

for script in sys.argv[1:]:
    child = os.fork()
    if not child:
        sys.argv, sys.path[0] = [script, "--help"], os.path.dirname(script)
        code = 1
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            code = bool(end.code)
        except Exception:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)  # an ordinary exit takes a second: it frees all of PyTorch
    _, status = os.waitpid(child, 0)
    print(end=f"\x1f{status}\x1e", flush=True)
"""


@pytest.fixture(scope="module")
def usages():
    """Return the output and the exit status of each script with `--help`, and the errors of all."""
    program = [sys.executable, "-c", PRINT_USAGES, *(ROOT / script for script in SCRIPTS)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed = [part.split("\x1f") for part in done.stdout.split("\x1e")[:-1]]
    return dict(zip(SCRIPTS, printed, strict=True)), done.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_prints_its_usage(script, usages):
    outputs, errors = usages
    output, status = outputs[script]
    assert status == "0", errors
    assert output.startswith("usage:")
