"""Calibrate a model: measure its reliability, and fit the temperature of its probabilities on dev pairs.

The temperature is the setting `search.calibration` of the written file. The search does not use it, so predictions and
their order stay the same; see `peephole.model.calibrated`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peephole.data import Report
from peephole.data.files import shown_name
from peephole.errors import ArgumentError, ConfigError, PeepholeError, check_path, describe_value
from peephole.evaluation.calibration import Reliability, fit_temperature, reliability, symbol_events
from peephole.evaluation.metrics import is_reference
from peephole.model.evaluation import Progress, Reading, check_function, check_settings, predict_best
from peephole.model.handle import Model
from peephole.model.loading import read_model
from peephole.model.pairs import PairsArgument, check_has_texts, files_read, group_by_source
from peephole.model.prediction import Prediction
from peephole.model.reading import Notices, read_sources
from peephole.storage.model_file import save_model
from peephole.storage.outputs import check_output
from peephole.symbols import FrameSymbols


@dataclass(frozen=True)
class Calibration:
    """The result of `calibrate`.

    Attributes:
        model: the file that was read; None for a model in memory.
        out: the file that was written.
        pairs: the name of the file of pairs; None for pairs given in Python.
        temperature: T of (63), the new `search.calibration`; below 1 the probabilities are too low without it.
        loss_before, loss_after: mean -log p of the symbols of the references, </s> included, in nats.
        symbols_before, symbols_after: reliability of the symbols of the best predictions.
        predictions_before, predictions_after: reliability of the best predictions as a whole.
        num_sources: sources.
    """

    model: str | None
    out: str
    pairs: str | None
    temperature: float
    loss_before: float
    loss_after: float
    symbols_before: Reliability
    symbols_after: Reliability
    predictions_before: Reliability
    predictions_after: Reliability
    num_sources: int

    def to_dict(self) -> dict[str, Any]:
        """Return the calibration as plain JSON values, as `peephole evaluate --calibrate --json` prints them."""
        return {
            name: value.to_dict() if isinstance(value, Reliability) else value for name, value in vars(self).items()
        }


def calibrate(
    model: Model | str | Path,
    pairs: PairsArgument,
    out: str | Path,
    *,
    progress: Progress | None = None,
    on_read: Callable[[Reading], None] | None = None,
    **search: Any,
) -> Calibration:
    """Write a model whose probabilities are calibrated on some pairs that it was not trained on.

    One temperature T from 0.1 to 10 divides the scores of the output, (63): the one with the lowest mean -log p of the
    references. Predictions and their order stay the same: only `log_prob`, `symbol_log_probs` and `Model.score` change.
    "before" are the probabilities without a temperature. A model that copies, (27), has the scores of its vocabulary
    divided and keeps its probability of copying.

    Args:
        model: the model, or the name of its file.
        pairs: dev pairs, as `peephole.evaluate` reads them.
        out: the file to write.
        progress: as in `peephole.evaluate`.
        on_read: likewise.
        search: settings as in `peephole.evaluate`.

    Raises:
        ModelFileError: the model's file is missing or damaged.
        ConfigError: `out` is a file that is read, or exists and is no calibrated or quantized model (see
            `peephole.storage.outputs`); the model is of series or a language model, or a setting is unknown or
            impossible.
        DataError: a pair cannot be read, or there is none.
        RunError: `out` cannot be written.
        PeepholeError: the model is an ensemble.
        ArgumentError: an argument has another type.
    """
    if not isinstance(model, (Model, str, os.PathLike)):
        raise ArgumentError(f"model: wanted a Model or the name of its file, got {describe_value(model)}")
    check_function("progress", progress)
    check_function("on_read", on_read)
    source = model if isinstance(model, Model) else read_model([os.fspath(model)])
    check_calibration(source, pairs, out, **search)
    settings = check_settings("calibrate", source.config, search)
    test = os.fspath(pairs) if isinstance(pairs, (str, os.PathLike)) else None
    report = Report(shown_name(test or "pairs"))
    sources, references, lines = group_by_source(pairs, source, report)
    reading = Reading(Notices(), lines, report.lines())
    before = predict_best(source, sources, settings | {"calibration": 1.0}, "before", reading, progress, on_read)
    loss = _loss_of(source, sources, references, settings)
    temperature = fit_temperature(loss)
    unread = Reading(Notices(), [], [])  # reported before the first search
    after = predict_best(source, sources, settings | {"calibration": temperature}, "after", unread, progress)
    file = source.model_file("calibrate")
    save_model(out, replace(file, config=file.config.with_values({"search.calibration": temperature}), notes=()))
    how = (references, source)
    symbols_before, predictions_before = measure_reliability(before, *how)
    symbols_after, predictions_after = measure_reliability(after, *how)
    return Calibration(
        model=source.name,
        out=os.fspath(out),
        pairs=test,
        temperature=temperature,
        loss_before=loss(1.0),
        loss_after=loss(temperature),
        symbols_before=symbols_before,
        symbols_after=symbols_after,
        predictions_before=predictions_before,
        predictions_after=predictions_after,
        num_sources=len(sources),
    )


def measure_reliability(
    predictions: Sequence[Prediction], references: Sequence[Sequence[str]], model: Model, seed: int = 1
) -> tuple[Reliability, Reliability]:
    """Return the reliability of the symbols of predictions, and that of whole predictions.

    Args:
        predictions: one a source.
        references: one or more a source.
        model: the model that made them.
        seed: of the bootstrap.
    """
    symbols = model.target_symbols
    split = [[symbols.split(text) for text in choices] for choices in references]
    events = [
        symbol_events(p.tokens, p.symbol_log_probs, choices) for p, choices in zip(predictions, split, strict=True)
    ]
    whole = [min(1.0, math.exp(p.log_prob)) for p in predictions]
    right = [
        is_reference(p.text, choices, symbols.normalize) for p, choices in zip(predictions, references, strict=True)
    ]
    return (
        reliability([found[0] for found in events], [found[1] for found in events], seed),
        reliability([[p] for p in whole], [[is_right] for is_right in right], seed),
    )


def _loss_of(
    model: Model, sources: Sequence[str], references: Sequence[Sequence[str]], settings: dict[str, Any]
) -> Callable[[float], float]:
    """Return the function from a temperature to the mean -log p of the symbols of references, </s> included."""
    symbols, given = model.source_symbols, list[Any](sources)
    if isinstance(symbols, FrameSymbols):  # files are read once, not for each temperature
        read = read_sources(symbols, sources, Notices(), longest=model.config.frames.max_frames)
        given = [source.ids for source in read]
    repeated = [source for source, targets in zip(given, references, strict=True) for _ in targets]
    targets = [target for choices in references for target in choices]
    num_symbols = sum(len(model.target_symbols.split(target)) + 1 for target in targets)
    how = {name: settings[name] for name in ("threads", "batch_size", "engine") if name in settings}

    def loss(temperature: float) -> float:
        return -sum(model.score(repeated, targets, notices=Notices(), calibration=temperature, **how)) / num_symbols

    return loss


def check_calibration(
    model: Model, pairs: PairsArgument, out: str | Path, *, against: Model | None = None, **search: Any
) -> None:
    """Check that a model can be calibrated and that writing `out` destroys no file.

    Args:
        model: the model.
        pairs: as in `calibrate`.
        out: likewise.
        against: a second model that the same command reads.
        search: as in `calibrate`.

    Raises:
        ConfigError, PeepholeError: as in `calibrate`.
    """
    check_path("out", out)
    name = model.name or "model"
    if len(model.members) != 1:
        raise PeepholeError(f"calibrate: wanted one model, got an ensemble of {len(model.members)}")
    check_has_texts(model)
    if model.is_language_model:
        raise ConfigError(f"{name}: wanted a model that predicts targets of sources, got a language model")
    check_output(out, "model", files_read(model, pairs, search, against))
