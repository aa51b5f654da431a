"""Run the doctests in the recipes' docstrings."""

import subprocess
import sys
from pathlib import Path

import pytest

RECIPES = Path(__file__).parents[2] / "recipes"
FILES = sorted([*RECIPES.glob("*.py"), *RECIPES.glob("*/*.py")])
SCRIPTS = [path for path in FILES if ">>> " in path.read_text(encoding="utf-8")]


def test_recipes_have_examples():
    assert len(SCRIPTS) > 1


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_examples(script):
    done = subprocess.run(
        [sys.executable, "-m", "doctest", script.name], cwd=script.parent, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
