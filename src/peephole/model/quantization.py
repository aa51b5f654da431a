"""Write a smaller file of a model, with matrices as int8 or bfloat16, and measure the loss of accuracy."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from peephole.data.files import data_files, is_stream
from peephole.errors import ArgumentError, ConfigError, ModelFileError, PeepholeError, check_path, nearest
from peephole.model.evaluation import ModelEvaluation, Progress, Reading, check_function, check_settings, evaluate
from peephole.model.handle import Model
from peephole.model.loading import read_model
from peephole.model.pairs import PairsArgument, files_read, iterate_pairs
from peephole.storage.model_file import ModelFile, load_model, save_model
from peephole.storage.outputs import check_output
from peephole.storage.quantization import Stored, largest_rounding_error

FORMATS: dict[str, Stored] = {"int8": "int8", "bf16": "bfloat16"}
METRICS = ("exact_match", "symbol_error_rate")  # of texts; language models and series have their own


@dataclass(frozen=True)
class Quantization:
    """The result of `quantize`.

    Attributes:
        model: the file that was read.
        out: the file that was written.
        to: "int8" or "bf16".
        bytes_before, bytes_after: sizes of the two files.
        largest_rounding_error: the largest error of a weight as a share of the largest weight in its row.
        largest_rounding_error_tensor: the tensor with that weight.
        before, after: both files evaluated on the same pairs; None if no pairs were given.
        notes: settings in the file that are not used, one line each.
    """

    model: str
    out: str
    to: str
    bytes_before: int
    bytes_after: int
    largest_rounding_error: float
    largest_rounding_error_tensor: str
    before: ModelEvaluation | None = None
    after: ModelEvaluation | None = None
    notes: tuple[str, ...] = ()

    @property
    def num_different(self) -> int | None:
        """Return the number of sources with different predictions by the two files.

        None if no pairs were given, or if the model predicts no texts.
        """
        if self.before is None or self.after is None or not self.before.predictions:
            return None
        return sum(old != new for old, new in zip(self.before.predictions, self.after.predictions, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain JSON values, as `peephole quantize --json` prints them."""
        result = {name: value for name, value in vars(self).items() if name not in ("before", "after", "notes")}
        if self.before is not None and self.after is not None:
            scores = {
                name: {"before": score.value, "after": self.after.scores[name].value}
                for name, score in self.before.scores.items()
            }
            result["evaluation"] = {
                "pairs": self.before.test,
                "num_sources": len(self.before.sources),
                "num_different": self.num_different,
                **scores,
            }
        return result


def quantize(
    model: Model | str | Path,
    to: Literal["int8", "bf16"],
    out: str | Path | None = None,
    *,
    pairs: PairsArgument | None = None,
    progress: Progress | None = None,
    on_read: Callable[[Reading], None] | None = None,
    **search: Any,
) -> Quantization:
    """Write a model with its matrices as int8, a quarter of the size, or as bf16 (bfloat16), half of it.

    Args:
        model: the name of a file with float32 weights, or a model loaded from one.
        to: "int8" or "bf16".
        out: the file to write; None: the model's name with .int8 or .bf16 in it.
        pairs: if given, both files are evaluated on these pairs, as `peephole.evaluate` reads them.
        progress: as in `peephole.evaluate`.
        on_read: likewise, called for the model that is quantized.
        search: settings for `peephole.evaluate`.

    Raises:
        ModelFileError: the model's file is missing, damaged, or has no float32 weights.
        ConfigError: `out` is a file that is read, or exists and is no calibrated or quantized model (see
            `peephole.storage.outputs`); `to` is another format, or a setting is unknown or impossible.
        DataError: the file of pairs is missing, or a pair cannot be read.
        ArgumentError: an argument has another type.

    Everything is checked, and the model measured, before the file is written.
    """
    if not isinstance(model, (Model, str, os.PathLike)):
        raise ArgumentError(f"model: wanted a Model or the name of its file, got {model!r}")
    if not isinstance(to, str) or to not in FORMATS:
        raise ConfigError(f"to: wanted {' or '.join(FORMATS)}, got {to!r}{nearest(str(to), FORMATS)}")
    if out is not None:
        check_path("out", out)
    check_function("progress", progress)
    check_function("on_read", on_read)
    source = model if isinstance(model, Model) else read_model([os.fspath(model)])
    if len(source.files) != 1:
        raise PeepholeError(f"quantize: wanted a model with one file, got one with {len(source.files)}")
    file = source.model_file()
    check_settings("quantize", file.config, search)
    target = str(source.files[0].with_suffix(f".{to}.safetensors")) if out is None else os.fspath(out)
    check_output(target, "model", files_read(source, pairs, search))
    if isinstance(pairs, (str, os.PathLike)):
        if any(map(is_stream, data_files(os.fspath(pairs), once=True))):
            pairs = list(iterate_pairs(pairs, source))  # read several times
    elif isinstance(pairs, Iterable):
        pairs = list(pairs)  # likewise
    if file.stored != "float32":
        raise ModelFileError(f"{source.name}: wanted a model with float32 weights, got one with {file.stored}")
    if pairs is None:
        return _write(source, file, target, to)
    is_of_texts = not (source.is_language_model or source.config.model.predicts_vectors)
    how: dict[str, Any] = {"metrics": METRICS if is_of_texts else None, "worst": 0, "progress": progress, **search}
    before = evaluate(source, pairs, exposure_gap=False, on_read=on_read, **how)
    result = _write(source, file, target, to)
    return replace(result, before=before, after=evaluate(target, pairs, exposure_gap=False, **how))


def _write(source: Model, file: ModelFile, out: str, to: str) -> Quantization:
    name = str(source.name)
    try:
        save_model(out, replace(file, stored=FORMATS[to]))
    except ModelFileError as error:
        raise ModelFileError(f"{name}, {error}") from error
    rounding, tensor = largest_rounding_error(file.tensors, load_model(out).tensors)
    return Quantization(
        model=name,
        out=out,
        to=to,
        bytes_before=source.num_bytes,
        bytes_after=Path(out).stat().st_size,
        largest_rounding_error=rounding,
        largest_rounding_error_tensor=tensor,
        notes=source.notes,
    )
