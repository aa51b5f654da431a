"""The documentation is true: its blocks run, its links and names exist, and generated pages are up to date."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks_of(page):
    """Return the kind and text of each block of a page in docs/ that can be run."""
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


@pytest.mark.parametrize("page", ["model-file.md"])
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "tests" / "models" / "lstm_v1.safetensors", "model.safetensors")
    blocks = blocks_of(page)
    assert blocks
    names: dict[str, object] = {}
    for kind, text in blocks:
        assert kind == "python"
        exec(compile(text, page, "exec"), names)


def test_settings_page_is_what_the_config_says():
    page = runpy.run_path(str(ROOT / "docs" / "make_settings.py"))["settings_page"]()
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == page, "run docs/make_settings.py"


PAGES = [
    *ROOT.glob("*.md"),
    *(p for f in ("docs", "engine", "benchmarks", "examples", "recipes") for p in (ROOT / f).rglob("*.md")),
]


@pytest.mark.parametrize("name", [page.relative_to(ROOT).as_posix() for page in PAGES if "data" not in page.parts])
def test_links_lead_somewhere(name):
    file = ROOT / name
    for target in re.findall(r"\]\(([^)#]+)\)", file.read_text(encoding="utf-8")):
        assert "://" in target or (file.parent / target).exists(), f"{name}: {target}"


PEERS = ("opennmt", "joeynmt", "yoyodyne")  # their workers run in environments of their own
SCRIPTS = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("benchmarks", "recipes")
    for path in (ROOT / folder).rglob("*.py")
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    and not (path.name.endswith("_worker.py") and path.stem.startswith(PEERS))
)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_starts_and_says_what_it_does(script):
    done = subprocess.run([sys.executable, ROOT / script, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage:")
