"""Tests the layering: parts import only from lower floors, and most parts import without loading PyTorch."""

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

# Parts of the package by floor, lowest first; parts of the lowest floor may import each other
FLOORS = [
    {"errors", "config", "consistency", "sections", "values", "lazy", "memory"},
    {"symbols"},
    {"evaluation"},
    {"nn"},
    {"storage"},
    {"search"},
    {"data"},
    {"engine"},
    {"model"},
    {"training"},
    {"export"},
    {"inspect"},
    {"serve"},
    {"cli"},
]
FLOOR_OF = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}
FRONT = {"__init__", "__main__"}  # above all floors
WITHOUT_TORCH = {
    *(
        "errors",
        "config",
        "consistency",
        "sections",
        "values",
        "lazy",
        "memory",
        "symbols",
        "evaluation",
        "storage",
        "data",
        "model",
        "inspect",
        "serve",
    ),
    "training",
    *("nn/__init__", "nn/schema", "nn/initial", "nn/sites", "search/__init__", "search/hypothesis"),
    *(
        "engine/__init__",
        "engine/abi",
        "engine/structures",
        "engine/problems",
        "engine/packed",
        "engine/session",
        "engine/trace",
        "engine/choice",
        "engine/kinds",
        "engine/trainer",
    ),
}
"""Packages and modules that must not import PyTorch."""
WITH_TORCH = {
    f"training/{name}"
    for name in ("accelerator", "cpu_threads", "precision", "together", "torch_executor", "torch_loss")
}
"""The modules of these packages that may."""
LAZY = [
    "peephole.cli",
    "peephole.cli.main",
    "peephole.cli.options",
    "peephole.cli.lines",
    "peephole.cli.train",
    "peephole.cli.export",
    "peephole.cli.serve",
]

FILES = sorted(ROOT.rglob("*.py"))


def must_not_import_torch(path: Path) -> bool:
    """Return whether a file must not import PyTorch."""
    relative = path.relative_to(ROOT)
    module = relative.with_suffix("").as_posix()
    return module not in WITH_TORCH and bool({part_of(path), module} & WITHOUT_TORCH)


def part_of(path: Path) -> str:
    """Return the part of the package that contains a file: a top-level module or folder."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the full name and line number of every import in a file, including those inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "wanted absolute imports"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def forbidden_imports(part: str, source: str, *, without_torch: bool = True) -> list[str]:
    """Return a message for each forbidden import in a file."""
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
    assert part in FLOOR_OF.keys() | FRONT, "add the part to FLOORS"
    assert forbidden_imports(part, path.read_text(encoding="utf-8"), without_torch=must_not_import_torch(path)) == []


def test_floors_list_exactly_the_existing_parts() -> None:
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
        ("inspect", "from peephole.serve.limits import Limits", "inspect imports serve"),
    ],
)
def test_forbidden_imports_are_found(part: str, source: str, message: str) -> None:
    [wrong] = forbidden_imports(part, source)
    assert message in wrong


def test_modules_without_torch_do_not_load_it_indirectly() -> None:
    """Import them in a new process and inspect sys.modules."""
    modules = sorted(
        "peephole." + ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in FILES
        if must_not_import_torch(path)
    )
    assert len(modules) > 10
    program = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    assert "torch" not in sys.modules, name
"""
    subprocess.run([sys.executable, "-c", program, "peephole", *LAZY, *modules], check=True)


def test_importing_peephole_loads_no_large_library() -> None:
    program = "import sys, peephole\nprint(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "click", "tokenizers", "pyarrow"} & set(done.stdout.split())
    assert set(dir(peephole)) >= {"__version__", "__all__"}


def test_help_of_serve_loads_no_web_framework() -> None:
    program = "import sys, peephole.cli.serve\nprint(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"fastapi", "uvicorn", "starlette", "pydantic", "prometheus_client"} & set(done.stdout.split())


@pytest.mark.parametrize("module", ["errors", "config", "symbols", "search.hypothesis", "storage.header"])
def test_modules_of_every_prediction_import_only_the_standard_library(module: str) -> None:
    """NumPy alone takes longer to load than all of these modules, so they keep the start fast."""
    program = f"import sys\nbefore = set(sys.modules)\nimport peephole.{module}\nprint(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert loaded - sys.stdlib_module_names == {"peephole"}
    assert not {"difflib", "tomllib"} & loaded


def test_every_public_name_is_importable() -> None:
    for name in peephole.__all__:
        assert getattr(peephole, name).__name__ in (name, f"peephole.{name}")
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        peephole.trian  # noqa: B018


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_is_short_and_has_a_docstring(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= LONGEST_FILE
    if path.name != "__init__.py" or lines:
        assert ast.get_docstring(ast.parse("\n".join(lines))), "wanted a docstring that states the purpose of the file"
