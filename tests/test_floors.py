"""The architecture: a package imports only from lower floors, and what needs no PyTorch does without."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import peephole

ROOT = Path(peephole.__file__).parent
LONGEST_FILE = 400  # lines

# The parts of the package by floor, the lowest first; those on the lowest floor may import each other
FLOORS = [
    {"errors", "config", "lazy"},
    {"symbols"},
    {"evaluation"},
    {"nn"},
    {"storage"},
    {"search"},
    {"data"},
    {"engine"},
    {"model"},
    {"inspect"},
    {"training"},
    {"export"},
    {"cli"},
]
FLOOR_OF = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}
FRONT = {"__init__", "__main__"}  # above all floors
WITHOUT_TORCH = {
    *("errors", "config", "lazy", "symbols", "evaluation", "storage", "data", "model", "inspect"),
    *("nn/__init__", "nn/schema", "search/__init__", "search/hypothesis"),
    *(
        "engine/__init__",
        "engine/abi",
        "engine/structures",
        "engine/problems",
        "engine/packed",
        "engine/choice",
        "engine/kinds",
    ),
}
"""Packages, and modules of packages, that do without PyTorch."""
LAZY = [
    "peephole.cli",
    "peephole.cli.main",
    "peephole.cli.options",
    "peephole.cli.lines",
    "peephole.cli.train",
    "peephole.cli.export",
]

FILES = sorted(ROOT.rglob("*.py"))


def does_without_torch(path: Path) -> bool:
    """Return whether a file must not import PyTorch."""
    relative = path.relative_to(ROOT)
    return part_of(path) in WITHOUT_TORCH or relative.with_suffix("").as_posix() in WITHOUT_TORCH


def part_of(path: Path) -> str:
    """Return the part of the package that a file belongs to: the module or the folder right under the root."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the full name of each module or name imported, wherever in a file, and the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "wanted absolute imports"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def complaints(part: str, source: str, *, without_torch: bool = True) -> list[str]:
    """Return what is wrong with the imports of a file."""
    wrong = []
    for name, line in imported(ast.parse(source)):
        top, *rest = name.split(".")
        if top in {"torch", "lightning_fabric"} and without_torch:
            wrong.append(f"line {line}: {part} imports {top}")
        if top != "peephole" or part in FRONT or name == "peephole.__version__":
            continue
        other = rest[0] if rest else ""
        if other not in FLOOR_OF:
            wrong.append(f"line {line}: {part} imports {name}, which is on no floor")
        elif other != part and not (FLOOR_OF[other] < FLOOR_OF[part] or FLOOR_OF[other] == FLOOR_OF[part] == 0):
            wrong.append(f"line {line}: {part} imports {other}, which is not on a lower floor")
    return wrong


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_from_lower_floors(path: Path) -> None:
    part = part_of(path)
    assert part in FLOOR_OF.keys() | FRONT, "give it a floor"
    assert complaints(part, path.read_text(encoding="utf-8"), without_torch=does_without_torch(path)) == []


def test_every_part_on_a_floor_exists() -> None:
    assert FLOOR_OF.keys() | FRONT == {part_of(path) for path in FILES}


@pytest.mark.parametrize(
    ("part", "source", "message"),
    [
        ("nn", "from peephole.engine import available", "nn imports engine, which is not on a lower floor"),
        ("evaluation", "import peephole.model", "evaluation imports model"),
        ("symbols", "def f():\n    import torch.nn", "line 2: symbols imports torch"),
        ("training", "from peephole.export import export_onnx", "training imports export"),
        ("model", "from peephole import train", "model imports peephole.train, which is on no floor"),
        ("nn", "from peephole.cli import main", "nn imports cli"),
    ],
)
def test_wrong_imports_are_seen(part: str, source: str, message: str) -> None:
    [wrong] = complaints(part, source)
    assert message in wrong


def test_importing_what_needs_no_torch_does_not_import_it() -> None:
    """Also not by way of another package; a process of its own knows what was imported."""
    modules = sorted(
        "peephole." + ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in FILES
        if does_without_torch(path)
    )
    assert len(modules) > 10
    program = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    assert "torch" not in sys.modules, name
"""
    subprocess.run([sys.executable, "-c", program, "peephole", *LAZY, *modules], check=True)


def test_importing_peephole_alone_is_quick() -> None:
    program = "import sys, peephole\nprint(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "click", "tokenizers", "pyarrow"} & set(done.stdout.split())
    assert set(dir(peephole)) >= {"__version__", "__all__"}


@pytest.mark.parametrize("module", ["errors", "config", "symbols", "search.hypothesis", "storage.header"])
def test_what_every_prediction_needs_imports_only_the_standard_library(module: str) -> None:
    """So that starting is quick: NumPy takes longer to load than all of these together."""
    program = f"import sys\nbefore = set(sys.modules)\nimport peephole.{module}\nprint(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert loaded - sys.stdlib_module_names == {"peephole"}
    assert not {"difflib", "tomllib"} & loaded


def test_the_public_names_are_where_they_are_said_to_be() -> None:
    for name in peephole.__all__:
        assert getattr(peephole, name).__name__ in (name, f"peephole.{name}")
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        peephole.trian  # noqa: B018


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_fits_in_a_head(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= LONGEST_FILE
    if path.name != "__init__.py" or lines:
        assert ast.get_docstring(ast.parse("\n".join(lines))), "wanted a docstring that says what the file is for"
