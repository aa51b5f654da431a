"""Tests that the Python mirror of the C ABI equals the header, and that only `peephole.engine` calls the library."""

from __future__ import annotations

import ast
import ctypes
import re
import shutil
import subprocess
from enum import IntEnum
from pathlib import Path

import pytest

import peephole.symbols
from peephole.engine import abi, enums, structures

ROOT = Path(__file__).parents[2]
HEADER = ROOT / "engine" / "include" / "peephole.h"
PACKAGE = ROOT / "src" / "peephole"
STRUCTURES = {
    "peephole_lstm": structures.LSTM,
    "peephole_lstm_gradients": structures.LSTMGradients,
    "peephole_decoder_layer": structures.DecoderLayer,
    "peephole_decoder": structures.Decoder,
    "peephole_decoder_layer_gradients": structures.DecoderLayerGradients,
    "peephole_decoder_gradients": structures.DecoderGradients,
    "peephole_linear": structures.Linear,
    "peephole_linear_gradients": structures.LinearGradients,
    "peephole_output_loss": structures.OutputLoss,
    "peephole_output_loss_gradients": structures.OutputLossGradients,
    "peephole_dropout_mask": structures.DropoutMask,
    "peephole_trainer_settings": structures.TrainerSettings,
    "peephole_trainer_tensor": structures.TrainerTensor,
    "peephole_trainer_step": structures.TrainerStep,
    "peephole_request": structures.Request,
    "peephole_trace_request": structures.TraceRequest,
    "peephole_array": structures.NamedArray,
    "peephole_trace": structures.Trace,
    "peephole_forecast": structures.Forecast,
    "peephole_result": structures.Result,
    "peephole_answers": structures.Answers,
}
ENUMS = {
    "peephole_status": enums.Status,
    "peephole_form": enums.Form,
    "peephole_cell": enums.Cell,
    "peephole_zoneout": enums.Zoneout,
    "peephole_operand": enums.Operand,
    "peephole_function": enums.Function,
    "peephole_attention": enums.Attention,
    "peephole_trainer_array": enums.TrainerArray,
    "peephole_trainer_task": enums.TrainerTask,
    "peephole_side": enums.Side,
    "peephole_symbol": enums.Symbol,
    "peephole_search_kind": enums.SearchKind,
    "peephole_fate": enums.Fate,
}
Layout = dict[str, tuple[int, int]]  # offset and size by field; the key "" holds 0 and the size of the structure

compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
needs_compiler = pytest.mark.skipif(compiler is None, reason="issue 11: without a compiler there is no engine")


def run_c(folder: Path, statements: list[str]) -> list[str]:
    """Compile and run a C program that includes the header, and return the lines it prints."""
    body = "\n".join(f"  {statement}" for statement in statements)
    source, program = folder / "layout.c", folder / "layout"
    source.write_text(f'#include <stdio.h>\n#include "peephole.h"\nint main(void) {{\n{body}\n  return 0;\n}}\n')
    command = [str(compiler), "-std=c11", "-Wall", "-Werror", "-I", str(HEADER.parent), str(source), "-o", str(program)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()


def compiled_layouts(folder: Path, fields: dict[str, list[str]]) -> dict[str, Layout]:
    """Return the layouts that the compiler gives structures with these fields."""
    statements, keys = [], []
    for name, members in fields.items():
        keys.append((name, ""))
        statements.append(f'printf("0 %zu\\n", sizeof({name}));')
        for member in members:
            keys.append((name, member))
            size = f"sizeof((({name} *)0)->{member})"
            statements.append(f'printf("%zu %zu\\n", offsetof({name}, {member}), {size});')
    found: dict[str, Layout] = {name: {} for name in fields}
    for (name, member), line in zip(keys, run_c(folder, statements), strict=True):
        offset, size = map(int, line.split())
        found[name][member] = offset, size
    return found


def field_names(structure: type[ctypes.Structure]) -> list[str]:
    """Return the names of a structure's fields."""
    return [field[0] for field in structure._fields_]


def layout(structure: type[ctypes.Structure]) -> Layout:
    """Return the layout that ctypes gives a structure."""
    fields = {name: getattr(structure, name) for name in field_names(structure)}
    return {"": (0, ctypes.sizeof(structure))} | {name: (field.offset, field.size) for name, field in fields.items()}


@needs_compiler
def test_every_structure_has_the_compilers_layout(tmp_path: Path) -> None:
    compiled = compiled_layouts(tmp_path, {name: field_names(structure) for name, structure in STRUCTURES.items()})
    for name, structure in STRUCTURES.items():
        assert layout(structure) == compiled[name], name


class SwappedFields(ctypes.Structure):
    """`peephole_linear` with two fields swapped, which leaves its size unchanged."""

    _fields_ = tuple(
        ({"inputs": "outputs", "outputs": "inputs"}.get(field[0], field[0]), field[1])
        for field in structures.Linear._fields_
    )


class NarrowField(ctypes.Structure):
    """`peephole_dropout_mask` with a narrower field; padding leaves its size unchanged."""

    _fields_ = tuple(
        (field[0], ctypes.c_int16 if field[0] == "keep_rate" else field[1]) for field in structures.DropoutMask._fields_
    )


class MissingField(ctypes.Structure):
    """`peephole_result` without its last field."""

    _fields_ = tuple(structures.Result._fields_)[:-1]


@needs_compiler
@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("peephole_linear", SwappedFields),
        ("peephole_dropout_mask", NarrowField),
        ("peephole_result", MissingField),
    ],
)
def test_a_wrong_structure_is_found(name: str, wrong: type[ctypes.Structure], tmp_path: Path) -> None:
    compiled = compiled_layouts(tmp_path, {name: field_names(wrong)})
    assert layout(wrong) != compiled[name]


def test_every_structure_of_the_header_is_compared() -> None:
    defined = re.findall(r"typedef struct (\w+) \{", HEADER.read_text())
    assert sorted(defined) == sorted(STRUCTURES)
    own = {item for item in vars(structures).values() if isinstance(item, type) and issubclass(item, ctypes.Structure)}
    assert own == set(STRUCTURES.values())


def enumerators(name: str) -> list[str]:
    """Return the names of an enumeration's constants, from the header."""
    found = re.search(rf"enum {name} \{{(.*?)\}};", HEADER.read_text(), re.DOTALL)
    assert found is not None, name
    return re.findall(r"(PEEPHOLE_\w+) =", found[1])


@needs_compiler
def test_every_enumeration_has_the_compilers_values(tmp_path: Path) -> None:
    for name, enum in ENUMS.items():
        names = enumerators(name)
        values = run_c(tmp_path, [f'printf("%d\\n", (int){constant});' for constant in names])
        compiled = [(name.removeprefix("PEEPHOLE_"), int(value)) for name, value in zip(names, values, strict=True)]
        assert [(member.name, member.value) for member in enum] == compiled


def test_every_enumeration_of_the_header_is_compared() -> None:
    assert sorted(re.findall(r"enum (\w+) \{", HEADER.read_text())) == sorted(ENUMS)
    own = {item for item in vars(enums).values() if isinstance(item, type) and issubclass(item, IntEnum)}
    assert own - {IntEnum} == set(ENUMS.values())


@needs_compiler
def test_the_version_equals_that_of_the_header(tmp_path: Path) -> None:
    assert run_c(tmp_path, ['printf("%d\\n", PEEPHOLE_ABI_VERSION);']) == [str(abi.ABI_VERSION)]


def test_special_symbols_equal_those_of_python() -> None:
    assert {symbol.name: symbol.value for symbol in enums.Symbol} == {
        name: getattr(peephole.symbols, name) for name in ("PAD", "BOS", "EOS", "UNK")
    }


def library_uses(source: str) -> list[str]:
    """Return the uses of ctypes and of the loaded library in the source of a module."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] == "ctypes"]
        if isinstance(node, ast.ImportFrom):
            names = {alias.name for alias in node.names}
            if (node.module or "").split(".")[0] == "ctypes":
                found.append("ctypes")
            if (node.module or "").startswith("peephole.engine") and names & {"library", "call", "structures"}:
                found.append(f"from {node.module} import {', '.join(sorted(names))}")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "library":
            found.append("library()")
    return found


def test_only_the_engine_package_calls_the_library() -> None:
    modules = [path for path in PACKAGE.rglob("*.py") if PACKAGE / "engine" not in path.parents]
    assert len(modules) > 30
    assert {str(path): calls for path in modules if (calls := library_uses(path.read_text()))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import ctypes",
        "from ctypes import c_int",
        "from peephole.engine.abi import library",
        "from peephole import engine\nengine.library().peephole_peak(1, 4, b'generic')",
    ],
)
def test_calls_of_the_library_are_found(source: str) -> None:
    assert library_uses(source)
