"""`peephole quantize`."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from peephole.cli.evaluate import predict_all, read_references
from peephole.data import data_files
from peephole.errors import ConfigError, ModelFileError
from peephole.evaluation import evaluate_predictions
from peephole.model import load
from peephole.storage.header import check_exists
from peephole.storage.model_file import load_model, save_model
from peephole.storage.quantization import Stored, largest_rounding_error

FORMATS: dict[str, Stored] = {"int8": "int8", "bf16": "bfloat16"}
METRICS = ("exact_match", "symbol_error_rate")
SEARCH = {"nbest": 1, "temperature": None}  # the best is measured, whatever the model was trained with


@click.command()
@click.argument("model", metavar="MODEL")
@click.option("--to", "to", type=click.Choice(list(FORMATS)), required=True, help="Number format of the matrices.")
@click.option("--out", metavar="FILE", help="Where to write.  [default: MODEL with .int8 or .bf16 in its name]")
@click.option("--evaluate", "pairs", metavar="PAIRS", help="Measure what is lost, on a file of pairs.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
def command(model: str, to: str, out: str | None, pairs: str | None, as_json: bool) -> None:
    """Write MODEL with its matrices as int8, a quarter of the size, or as bf16 (bfloat16), half of it.

    Predictions differ a little from those of MODEL; --evaluate says how much.
    """
    check_exists(model)
    if pairs is not None:
        data_files(pairs)  # before anything is written
    target = str(Path(model).with_suffix(f".{to}.safetensors")) if out is None else out
    result = write_quantized(model, target, to)
    if pairs is not None:
        result["evaluation"] = {"pairs": pairs, **measure_loss(model, target, pairs)}
    if as_json:
        sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
    else:
        sys.stdout.writelines(line + "\n" for line in describe(result))


def write_quantized(model: str, out: str, to: str) -> dict[str, Any]:
    """Write the smaller file; return sizes in bytes, and the largest rounding error over its row's largest weight."""
    file = load_model(model)
    if file.stored != "float32":
        raise ModelFileError(f"{model}: wanted a model with float32 weights, got one with {file.stored}")
    if Path(out).exists() and Path(out).samefile(model):
        raise ConfigError(f"--out {out}: wanted another file than MODEL")
    try:
        save_model(out, replace(file, stored=FORMATS[to]))
    except ModelFileError as error:
        raise ModelFileError(f"{model}, {error}") from error
    rounding, name = largest_rounding_error(file.tensors, load_model(out).tensors)
    return {
        "model": model,
        "out": out,
        "to": to,
        "bytes_before": Path(model).stat().st_size,
        "bytes_after": Path(out).stat().st_size,
        "largest_rounding_error": rounding,
        "largest_rounding_error_tensor": name,
    }


def measure_loss(model: str, quantized: str, pairs: str) -> dict[str, Any]:
    """Return the scores of both files in %, and how many sources they predict differently."""
    before = load(model)
    sources, references = read_references(pairs, before)
    found = [predict_all(before, sources, SEARCH, model), predict_all(load(quantized), sources, SEARCH, quantized)]
    scores = [
        evaluate_predictions(sources, texts, references, before.target_symbols, METRICS, num_worst=0).scores
        for texts in found
    ]
    return {
        "num_sources": len(sources),
        "num_different": sum(old != new for old, new in zip(*found, strict=True)),
        **{name: {"before": scores[0][name].value, "after": scores[1][name].value} for name in METRICS},
    }


def describe(result: dict[str, Any]) -> list[str]:
    """Return the lines that a person reads."""
    before, after = result["bytes_before"], result["bytes_after"]
    lines = [
        f"{result['model']}: {before:,} bytes",
        f"{result['out']}: {after:,} bytes, {100 * after / before:.0f} % of it",
        f"largest rounding error: {100 * result['largest_rounding_error']:.2f} % of the largest weight in its row "
        f"({result['largest_rounding_error_tensor']})",
    ]
    if "evaluation" in result:
        loss = result["evaluation"]
        for name in METRICS:
            lines.append(f"{name}: {loss[name]['before']:.2f} % before, {loss[name]['after']:.2f} % after")
        lines.append(f"predictions that differ: {loss['num_different']} of {loss['num_sources']}")
    return lines
