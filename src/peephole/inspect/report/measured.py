"""Measure a model on pairs for a report: metrics, errors and their kinds, calibration, exposure gap, speed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from peephole.evaluation import Evaluation, ExposureGap, Mistake, Reliability, evaluate_predictions
from peephole.evaluation.confusions import Confusions, LengthGroup, count_confusions, quality_by_length
from peephole.evaluation.metrics import is_reference
from peephole.model import Model, Notices, Prediction
from peephole.model.calibration import measure_reliability
from peephole.model.evaluation import BEST_ONLY, Progress, measure_gap
from peephole.model.frame_sources import read_frame_source
from peephole.symbols import FrameSymbols

MOST_SOURCES = 2000  # that are measured of each set
MOST_SCORED = 500  # wrong predictions whose kind of error is found
NUM_WORST = 20
SEARCH_ERROR, MODEL_ERROR = "search error", "model error"


class Scores(NamedTuple):
    """log p of a wrong prediction, and the highest one of its references."""

    prediction: float
    reference: float

    @property
    def kind(self) -> str:
        """Return SEARCH_ERROR if a reference is more probable: the search lost it. Else MODEL_ERROR."""
        return SEARCH_ERROR if self.reference > self.prediction else MODEL_ERROR


@dataclass(frozen=True)
class ErrorCase:
    """A wrong prediction, aligned with its closest reference, and the scores; None for an empty source."""

    mistake: Mistake
    scores: Scores | None

    def to_dict(self) -> dict[str, Any]:
        """Return the case as plain JSON values."""
        known = {} if self.scores is None else {"kind": self.scores.kind, **self.scores._asdict()}
        return {"mistake": self.mistake.to_dict(), "log_probs": known}


@dataclass(frozen=True)
class Measured:
    """A model measured on one set of pairs.

    Attributes:
        name: "dev" or "test".
        num_all: sources of the set; at most `MOST_SOURCES` of them, evenly spread, were measured.
        evaluation: metrics with their intervals.
        exposure_gap: see `peephole.evaluation.exposure`.
        symbols: reliability of the symbols' probabilities.
        predictions: reliability of p(Y | X).
        confusions: symbols taken for others.
        lengths: exact matches by length of the source.
        unit: of these lengths, "symbols" or "frames".
        errors: wrong predictions by kind; of at most `MOST_SCORED`, evenly spread.
        worst: the predictions with most edits.
        seconds: of the search.
    """

    name: str
    num_all: int
    evaluation: Evaluation
    exposure_gap: ExposureGap
    symbols: Reliability
    predictions: Reliability
    confusions: Confusions
    lengths: list[LengthGroup]
    unit: str
    errors: dict[str, int]
    worst: list[ErrorCase]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the measurements as plain JSON values."""
        return {
            **{f: getattr(self, f) for f in ("name", "num_all", "errors", "seconds")},
            "evaluation": self.evaluation.to_dict(),
            "exposure_gap": self.exposure_gap.to_dict(),
            "calibration": {"symbols": self.symbols.to_dict(), "predictions": self.predictions.to_dict()},
            "confusions": [asdict(error) for error in self.confusions.errors],
            "lengths": [asdict(group) for group in self.lengths],
            "worst": [case.to_dict() for case in self.worst],
        }


def measure_set(
    name: str,
    model: Model,
    sources: Sequence[str],
    references: Sequence[tuple[str, ...]],
    progress: Progress | None = None,
) -> Measured:
    """Measure a model on some sources and their references.

    Args:
        name: of the set.
        model: predicts targets of sources.
        sources: each once; for a model of sound, images or numbers the names of files.
        references: one or more a source.
        progress: as in `peephole.evaluate`.
    """
    rows = spread(len(sources), MOST_SOURCES)
    chosen, wanted = [sources[row] for row in rows], [references[row] for row in rows]
    started = time.monotonic()

    def advance(count: int) -> None:
        if progress is not None:
            progress(f"{name}: search", count, len(chosen))

    found = model.predict(chosen, attention=False, notices=Notices(), progress=advance, **BEST_ONLY)
    seconds = time.monotonic() - started
    best = [predictions[0] for predictions in found]
    symbols = model.target_symbols
    evaluation = evaluate_predictions(chosen, [p.text for p in best], wanted, symbols, num_worst=NUM_WORST)
    right = [is_reference(p.text, choices, symbols.normalize) for p, choices in zip(best, wanted, strict=True)]
    scored = score_errors(model, chosen, best, wanted, [row for row, is_right in enumerate(right) if not is_right])
    of_symbols, whole = measure_reliability(best, wanted, model)
    split = [[symbols.split(text) for text in choices] for choices in wanted]
    kinds = [scores.kind for scores in scored.values()]
    return Measured(
        name=name,
        num_all=len(sources),
        evaluation=evaluation,
        exposure_gap=measure_gap(model, chosen, wanted, dict(BEST_ONLY), progress),
        symbols=of_symbols,
        predictions=whole,
        confusions=count_confusions([p.tokens for p in best], split),
        lengths=quality_by_length(_lengths(model, chosen, best), right),
        unit="frames" if isinstance(model.source_symbols, FrameSymbols) else "symbols",
        errors={kind: kinds.count(kind) for kind in (SEARCH_ERROR, MODEL_ERROR)},
        worst=_worst(evaluation, chosen, best, wanted, scored, model),
        seconds=seconds,
    )


def _lengths(model: Model, sources: Sequence[str], predictions: Sequence[Prediction]) -> list[int]:
    """Return the number of symbols, or of frames, that were read of each source."""
    how = model.source_symbols
    if not isinstance(how, FrameSymbols):
        return [len(p.source_tokens) for p in predictions]
    return [len(read_frame_source(how, source, model.config.frames.max_frames)[0]) for source in sources]


def score_errors(
    model: Model,
    sources: Sequence[str],
    predictions: Sequence[Prediction],
    references: Sequence[tuple[str, ...]],
    wrong: Sequence[int],
) -> dict[int, Scores]:
    """Return for wrong predictions their log p and the highest one of their references.

    Both are without the temperature of a calibrated model, as the search compares hypotheses.

    Args:
        model: the model.
        sources: all sources.
        predictions: one a source.
        references: one or more a source.
        wrong: the indices of the wrong predictions; at most `MOST_SCORED` of them, evenly spread, are scored.
    """
    rows = [wrong[i] for i in spread(len(wrong), MOST_SCORED) if len(predictions[wrong[i]].symbol_log_probs)]
    if not rows:
        return {}
    targets: list[tuple[int, str | list[str]]] = [(row, predictions[row].tokens) for row in rows]
    targets += [(row, text) for row in rows for text in references[row]]
    repeated, wanted = [sources[row] for row, _ in targets], [target for _, target in targets]
    scores = model.score(repeated, wanted, notices=Notices(), calibration=1.0)
    best: dict[int, float] = {}
    for (row, _), score in zip(targets[len(rows) :], scores[len(rows) :], strict=True):
        best[row] = max(score, best.get(row, score))
    return {row: Scores(score, best[row]) for row, score in zip(rows, scores, strict=False)}


def spread(count: int, most: int) -> list[int]:
    """Return the indices of some of `count` things, at most `most`, evenly spread.

    >>> spread(3, 5), spread(100, 3)
    ([0, 1, 2], [0, 50, 99])
    """
    return sorted(set(np.linspace(0, count - 1, min(most, count)).round().astype(int).tolist())) if count else []


def _worst(
    evaluation: Evaluation,
    sources: Sequence[str],
    predictions: Sequence[Prediction],
    references: Sequence[tuple[str, ...]],
    scored: dict[int, Scores],
    model: Model,
) -> list[ErrorCase]:
    """Return the worst predictions; those that were not scored before are scored now."""
    place = {source: row for row, source in enumerate(sources)}
    rows = [place[mistake.source] for mistake in evaluation.worst]
    known = scored | score_errors(model, sources, predictions, references, [row for row in rows if row not in scored])
    return [ErrorCase(mistake, known.get(row)) for mistake, row in zip(evaluation.worst, rows, strict=True)]
