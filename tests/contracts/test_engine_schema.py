"""Tests that the schemas in C++ and Python list the same names, shapes and roles in the same order."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from peephole.errors import ConfigError
from peephole.nn.schema import Architecture, tensors

from .test_engine_model_file import build, compiler

pytestmark = pytest.mark.skipif(compiler is None, reason="issue 11: without a compiler there is no engine")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build and return the program that prints the tensors of architectures."""
    return build("show_schema", tmp_path_factory.mktemp("schema"))


def described(program: Path, lines: list[tuple[int, int, dict[str, Any]]]) -> list[list[str]]:
    """Return the lines that the program prints for each pair of vocabulary sizes and architecture."""
    text = "".join(f"{source} {target} {json.dumps(architecture)}\n" for source, target, architecture in lines)
    done = subprocess.run([program], input=text, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return [part.split("\n")[1:-1] for part in done.stdout.split("\x1e")[1:]]


def expected(source: int, target: int, architecture: dict[str, Any]) -> list[str]:
    """Return the same lines, from the schema in Python."""
    specs = tensors(Architecture.from_dict(architecture), source, target)
    return [f"{name} {spec.role.value} {spec.shape}" for name, spec in specs.items()]


def draw_architecture(draw: random.Random) -> dict[str, Any]:
    """Draw a random architecture in which optional keys may be missing."""
    cell, peephole = draw.choice([("lstm", "full"), ("lstm", "diagonal"), ("lstm", "none"), ("gru", "none")])
    context = draw.choice(["attention", "attention", "last", "mean"])
    attention = draw.choice(["additive", "dot", "general", "location", "coverage", "multihead"])
    hidden_size = 2 * draw.randint(1, 9)
    encoder_size = draw.choice([None, hidden_size, 2 * draw.randint(1, 9)])
    if (context, attention) == ("attention", "dot"):
        encoder_size = draw.choice([None, hidden_size])
    values = {
        "context": context,
        "attention": attention,
        "location_channels": draw.randint(1, 9),
        "location_width": 2 * draw.randint(0, 9) + 1,
        "attention_heads": draw.choice([1, 2]),
        "embedding_size": draw.randint(1, 9),
        "decoder_layers": draw.randint(1, 3),
        "bidirectional": draw.random() < 0.5,
        "residual": draw.random() < 0.5,
        "input_feeding": draw.random() < 0.5,
        "attention_symbol": context == "attention" and attention not in ("dot", "general") and draw.random() < 0.5,
        "ngram_rows": draw.choice([0, 1, 30]),
        "layer_norm": draw.random() < 0.5,
        "zoneout_hidden": draw.choice([0, 0.05, 0.25]),
        "input": "symbols",
        "input_size": None,
        "frame_stack": draw.randint(1, 3),
        "convolution_layers": draw.randint(1, 3),
        "convolution_channels": draw.randint(1, 4),
        "output": draw.choice(["symbols", "copy"] if context == "attention" else ["symbols"]),
        "ctc": draw.random() < 0.5,
    }
    kept = ("context", "attention", "attention_heads")
    optional = {key: value for key, value in values.items() if key in kept or draw.random() < 0.9}
    copies = optional.get("output") == "copy"
    if copies:
        optional["ctc"] = False
    elif draw.random() < 0.5:
        optional["ngram_rows"] = 0
        planes = draw.randint(1, 3)
        optional |= {"input": draw.choice(["frames", "convolution"]), "input_size": planes * draw.randint(1, 9)}
        optional |= {"input_planes": planes} if planes > 1 or draw.random() < 0.5 else {}
        if draw.random() < 0.5:
            optional |= {
                "output": draw.choice(["gaussian", "quantile"]),
                "output_size": draw.randint(1, optional["input_size"]),
            }
            optional |= {"quantiles": draw.randint(2, 9), "scaling": draw.choice(["source", "constant"]), "ctc": False}
            optional |= {"feedback": draw.random() < 0.5}
    elif draw.random() < 0.2:
        optional |= {"input": "none", "ctc": False, "ngram_rows": 0, "attention_symbol": False}
    encoder_layers = draw.randint(1, 3)
    return {
        "cell": cell,
        "peephole": peephole,
        "hidden_size": hidden_size,
        "encoder_size": encoder_size,
        "encoder_layers": encoder_layers,
        "encoder_pyramid": 0 if copies else draw.randint(0, encoder_layers - 1),
    } | optional


def test_schemas_of_python_and_engine_agree(program: Path) -> None:
    draw = random.Random(11)
    cases = [(draw.randint(5, 99), draw.randint(5, 99), draw_architecture(draw)) for _ in range(400)]
    cases += [(5, 6, {}), (5, 6, {"cell": "gru", "peephole": "none"})]
    assert described(program, cases) == [expected(*case) for case in cases]


@pytest.mark.parametrize(
    "wrong",
    [
        {"cell": "rnn"},
        {"cell": "gru", "peephole": "full"},
        {"cell": "gru"},  # the peepholes of a file have one default, full
        {"peephole": "some"},
        {"context": "first"},
        {"attention": "luong"},
        {"location_width": 4, "attention": "location"},
        {"location_width": 0},
        {"location_channels": 257},
        {"attention_heads": 3, "attention": "multihead"},
        {"attention_heads": 4, "encoder_size": 6, "attention": "multihead"},
        {"input": "audio"},
        {"input": "none", "ctc": True},
        {"output": "image"},
        {"output": "copy", "context": "mean"},
        {"output": "copy", "input": "frames", "input_size": 3},
        {"output": "copy", "encoder_layers": 2, "encoder_pyramid": 1},
        {"dropout": 0.1},
        {"hidden_size": "256"},
        {"hidden_size": 0},
        {"bidirectional": 1},
        {"residual": 1},
        {"input_feeding": 1},
        {"attention_symbol": 1},
        {"attention_symbol": True, "attention": "dot"},
        {"attention_symbol": True, "attention": "general"},
        {"attention_symbol": True, "context": "last"},
        {"attention_symbol": True, "input": "none"},
        {"ngram_rows": -1},
        {"ngram_rows": 2**20 + 1},
        {"ngram_rows": 3, "input": "frames", "input_size": 4},
        {"layer_norm": 1},
        {"zoneout_hidden": 0.96},
        {"zoneout_cell": "0.1"},
        {"zoneout_cell": 0.1, "cell": "gru", "peephole": "none"},
        {"ctc": 1},
        {"encoder_size": 7},
        {"attention": "dot", "encoder_size": 8},
        {"encoder_pyramid": 1},
        {"encoder_pyramid": -1},
        {"input_size": 0, "input": "frames"},
        {"frame_stack": 0},
        {"input_planes": 0},
        {"input_planes": 3, "input_size": 8, "input": "convolution"},
        {"convolution_layers": 9},
        {"convolution_channels": 0},
    ],
    ids=lambda wrong: "-".join(wrong),
)
def test_python_and_engine_refuse_a_wrong_architecture_and_name_its_key(wrong: dict[str, Any], program: Path) -> None:
    with pytest.raises(ConfigError):
        Architecture.from_dict(wrong)
    [[line]] = described(program, [(5, 5, wrong)])
    assert line.startswith("error architecture")
    key = next(iter(wrong))
    assert key in line
    switches = ("dropout", "bidirectional", "residual", "layer_norm", "input_feeding", "attention_symbol")
    assert str(wrong[key]) in line or key in switches
