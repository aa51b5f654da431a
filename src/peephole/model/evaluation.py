"""Evaluating a model on pairs: metrics, worst errors, exposure gap, and comparison with a second model."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from peephole.config import HIGHEST_COUNT, Config
from peephole.consistency import check_given_search
from peephole.data import Report
from peephole.data.files import shown_name
from peephole.errors import ArgumentError, ConfigError, check_type, check_whole_number, describe_value, nearest
from peephole.evaluation import Comparison, Evaluation, ExposureGap, Mistake, Score, compare, evaluate_predictions
from peephole.evaluation import exposure_gap as measure_exposure_gap
from peephole.evaluation.evaluate import check_metrics
from peephole.model.handle import Model
from peephole.model.loading import load
from peephole.model.pairs import PairsArgument, group_by_source
from peephole.model.perplexity import check_language_request, measure_perplexity
from peephole.model.prediction import Prediction
from peephole.model.reading import Notices, check_texts

BEST_ONLY: dict[str, Any] = {"nbest": 1, "temperature": None, "top_k": None, "top_p": None}
"""Measure the single best prediction, independently of nbest and sampling in the model's config."""
EVALUATION_SETTINGS = (
    "beam_size",
    "length_penalty",
    "ctc_weight",
    "length_reward",
    "coverage_penalty",
    "min_length",
    "no_repeat_ngram",
    "language_model",
    "language_model_weight",
    "max_length_factor",
    "max_length_extra",
    "batch_size",
    "threads",
    "engine",
)
Progress = Callable[[str, int, int], None]
"""A function of the name of a part of the work, the sources done since the last call, and all its sources."""


class Reading(NamedTuple):
    """Unknown symbols, truncated and empty sources, and skipped lines of one evaluation.

    Attributes:
        notices: sources; their indices are those of `lines`.
        lines: the line, or the number from 1, of each source's first pair.
        skipped: one line for each kind of line of the file that was skipped or repaired.
    """

    notices: Notices
    lines: list[int]
    skipped: list[str]


@dataclass(frozen=True, repr=False)
class ModelEvaluation:
    """The result of `evaluate`.

    Attributes:
        model: the names of the model's files; None for a model in memory.
        test: the name of the file of pairs; None for pairs given in Python.
        sources: each source once.
        references: its different targets.
        predictions: the best prediction for each source.
        lines: the line, or the number from 1, of each source's first pair.
        evaluation: metrics with their intervals, and the worst errors.
        exposure_gap: gain in accuracy when the model is fed gold symbols; None if it was not requested.
        against: the names of the second model's files; None without a second model, or for one in memory.
        comparison: the differences to the second model; None without one.
        notices: unknown symbols and truncated sources; their indices are those of `sources`.
        notices_against: the same of the second model.
        skipped: one line for each kind of line of the file that was skipped or repaired.
        notes: information in the models' files that is not used, one line each.
    """

    model: str | None
    test: str | None
    sources: list[str]
    references: list[tuple[str, ...]]
    predictions: list[str]
    lines: list[int]
    evaluation: Evaluation
    exposure_gap: ExposureGap | None
    against: str | None
    comparison: Comparison | None
    notices: Notices
    notices_against: Notices
    skipped: list[str]
    notes: tuple[str, ...] = ()

    @property
    def scores(self) -> dict[str, Score]:
        """Return the score of each metric, with its interval."""
        return self.evaluation.scores

    @property
    def worst(self) -> tuple[Mistake, ...]:
        """Return the predictions with most edits, worst first."""
        return self.evaluation.worst

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics as plain JSON values: what `peephole evaluate --json` prints."""
        result = {"model": self.model, "test": self.test, **self.evaluation.to_dict()}
        if self.exposure_gap is not None:
            result["exposure_gap"] = self.exposure_gap.to_dict()
        if self.comparison is not None:
            result["against"] = {"model": self.against, **self.comparison.to_dict()}
        return result

    def __repr__(self) -> str:
        lines = [f"{self.model or 'model'} on {self.test or 'pairs'}: {self.evaluation.counts_in_words[0]}"]
        for score in self.scores.values():
            unit = " %" if score.unit == "%" else ""
            value, low, high = map(score.shown, (score.value, score.low, score.high))
            lines.append(f"  {score.label} {value}{unit} [{low}, {high}]")
        if self.exposure_gap is not None:
            lines.append(f"  {describe_gap(self.exposure_gap)}")
        if self.comparison is not None:
            for found in self.comparison.differences.values():
                change = f"{found.difference:+.2f} [{found.low:+.2f}, {found.high:+.2f}], p {found.p_bootstrap:.3f}"
                lines.append(f"  {found.label} of {self.against or 'the second model'}: {change}")
        return "\n".join(lines)


def describe_gap(gap: ExposureGap) -> str:
    """Return an exposure gap on one line, in error rates: one above 100 % is usual for a bad model.

    The accuracy of such a model, 100 % less its error rate, would be a percentage below 0.
    """
    return (
        f"exposure gap {gap.gap:.2f} [{gap.low:.2f}, {gap.high:.2f}]: symbol error rate {100 - gap.free_running:.2f} % "
        f"when fed its own symbols, {100 - gap.teacher_forced:.2f} % when fed gold"
    )


def evaluate(
    model: Model | str | Path,
    pairs: PairsArgument,
    *,
    against: Model | str | Path | None = None,
    metrics: Sequence[str] | None = None,
    worst: int = 10,
    exposure_gap: bool = True,
    season: int | None = None,
    progress: Progress | None = None,
    on_read: Callable[[Reading], None] | None = None,
    **search: Any,
) -> ModelEvaluation:
    """Measure a model on pairs it was not trained on, as `peephole evaluate` does.

    Pairs with the same source are one source with several references. A language model is measured by its perplexity
    on all targets; it makes no predictions. A model of series forecasts the steps of a table, `data.horizon` at a
    time; its result has the windows as sources.

    Args:
        model: a model, or the name of its file.
        pairs: the name of a file as `peephole.train` reads, stdin (`-`) or another pipe, or pairs (source, target) of
            texts. For a model of series: a table, or an array (T,) or (T, C).
        against: a second model, to be compared with the first.
        metrics: keys of `peephole.evaluation.metrics.METRICS`; None or none: the usual ones for the target's symbols.
        worst: number of worst errors to keep.
        exposure_gap: whether to measure it, by a greedy search and a teacher-forced pass.
        season: steps of a season of series, for MASE and the seasonal naive forecast; None: `data.horizon`.
        progress: called with a part's name, the sources done since the last call, and all its sources: at the part's
            beginning with 0 done, and as it goes on.
        on_read: called before a model's first search with what it could not read; first for `model`, then for
            `against`.
        search: beam_size, length_penalty, threads, … as in `Model.predict`.

    Raises:
        ConfigError: an unknown metric, or an unknown or impossible setting; or one that is not for this kind of model.
        DataError: a pair cannot be read, or there is none.
        ModelFileError: a model file is missing or damaged.
        ArgumentError: an argument has another type.
    """
    check_whole_number("worst", worst, 0, HIGHEST_COUNT)
    check_type("exposure_gap", exposure_gap, bool, "True or False")
    check_function("progress", progress)
    check_function("on_read", on_read)
    names = None if metrics is None else check_texts("metrics", metrics)
    model = as_model("model", model)
    other = None if against is None else as_model("against", against)
    if model.config.model.predicts_vectors:
        if against is not None:
            raise ConfigError("against: wanted none, since forecasts of two models are not compared; got a model")
        return _evaluate_series(model, pairs, season, names, progress, on_read, search)
    if season is not None:
        raise ConfigError(f"season: wanted none, since {model.name or 'the model'} is not of series, got {season}")
    if model.is_language_model:
        check_language_request(names, against, search)
        return _evaluate_language_model(model, pairs, on_read, search)
    if other is not None and other.is_language_model:
        raise ConfigError("against: wanted another model of texts with a source, got a language model")
    check_metrics(names, model.target_symbols)
    settings = check_settings("evaluate", model.config, search)
    test = _test_name(pairs)
    report = Report(shown_name(test or "pairs"))
    sources, references, lines = group_by_source(pairs, model, report)
    read, read_against = (Reading(Notices(), lines, report.lines()) for _ in range(2))
    predictions = predict_best(model, sources, settings, "beam search", read, progress, on_read)
    gap = measure_gap(model, sources, references, settings, progress) if exposure_gap else None
    texts = [best.text for best in predictions]
    comparison = None
    if other is not None:
        name = other.name or "second model"
        theirs = [best.text for best in predict_best(other, sources, settings, name, read_against, progress, on_read)]
        comparison = compare(sources, texts, theirs, references, model.target_symbols, names)
    evaluation = evaluate_predictions(sources, texts, references, model.target_symbols, names, num_worst=worst)
    return ModelEvaluation(
        model=model.name,
        test=test,
        sources=sources,
        references=references,
        predictions=texts,
        lines=lines,
        evaluation=evaluation,
        exposure_gap=gap,
        against=None if other is None else other.name,
        comparison=comparison,
        notices=read.notices,
        notices_against=read_against.notices,
        skipped=read.skipped,
        notes=model.notes + (() if other is None else other.notes),
    )


def _evaluate_language_model(
    model: Model, pairs: PairsArgument, on_read: Callable[[Reading], None] | None, search: dict[str, Any]
) -> ModelEvaluation:
    """Return the perplexity on the targets of some pairs, or on the lines of a file; arguments as in `evaluate`."""
    report, notices = Report(shown_name(_test_name(pairs) or "pairs")), Notices()
    texts, lines, evaluation = measure_perplexity(model, pairs, report, notices, **search)
    if on_read is not None:
        on_read(Reading(notices, lines, report.lines()))
    references: list[tuple[str, ...]] = [(text,) for text in texts]
    return _without_predictions(model, pairs, texts, references, lines, evaluation, notices, report)


def _evaluate_series(
    model: Model,
    table: PairsArgument,
    season: int | None,
    metrics: list[str] | None,
    progress: Progress | None,
    on_read: Callable[[Reading], None] | None,
    search: dict[str, Any],
) -> ModelEvaluation:
    """Return the errors of the forecasts of a table; arguments as in `evaluate`."""
    from peephole.model.series import SeriesModel
    from peephole.model.series_evaluation import measure_forecasts, report_of

    assert isinstance(model, SeriesModel)
    report = report_of(table)
    windows, evaluation = measure_forecasts(
        model, table, report, season=season, metrics=metrics, progress=progress, **search
    )
    lines = [window.first for window in windows]
    if on_read is not None:
        on_read(Reading(Notices(), lines, report.lines()))
    names = [window.name for window in windows]
    return _without_predictions(model, table, names, [()] * len(names), lines, evaluation, Notices(), report)


def _without_predictions(
    model: Model,
    pairs: PairsArgument,
    sources: list[str],
    references: list[tuple[str, ...]],
    lines: list[int],
    evaluation: Evaluation,
    notices: Notices,
    report: Report,
) -> ModelEvaluation:
    """Return the result for a model that predicts no texts."""
    return ModelEvaluation(
        model=model.name,
        test=_test_name(pairs),
        sources=sources,
        references=references,
        predictions=[],
        lines=lines,
        evaluation=evaluation,
        exposure_gap=None,
        against=None,
        comparison=None,
        notices=notices,
        notices_against=Notices(),
        skipped=report.lines(),
        notes=model.notes,
    )


def _test_name(pairs: PairsArgument) -> str | None:
    """Return the name of a file of pairs; None for pairs given in Python."""
    return os.fspath(pairs) if isinstance(pairs, (str, os.PathLike)) else None


def as_model(argument: str, model: object) -> Model:
    """Return the given model, or load its file.

    Raises:
        ArgumentError: the argument of that name is neither.
    """
    if isinstance(model, Model):
        return model
    if isinstance(model, (str, os.PathLike)):
        return load(os.fspath(model))
    raise ArgumentError(f"{argument}: wanted a Model or the name of its file, got {describe_value(model)}")


def check_function(argument: str, given: object) -> None:
    """Raise ArgumentError unless the argument of that name is a function or None."""
    check_type(argument, given, (type(None), Callable), "a function")  # type: ignore[arg-type]  # an ABC


def check_settings(call: str, config: Config, search: dict[str, Any]) -> dict[str, Any]:
    """Return the search settings for the single best prediction, changed by those of a call.

    Args:
        call: the name of the called function, which begins each message.
        config: the model's settings.
        search: settings of the call.

    Raises:
        ConfigError: one is unknown, impossible, or changes what is measured.
    """
    check_given_search(config.model, search)
    for name in search:
        if name not in EVALUATION_SETTINGS:
            wanted = f"wanted one of {', '.join(EVALUATION_SETTINGS)}{nearest(name, EVALUATION_SETTINGS)}"
            raise ConfigError(f"{call}: unknown setting {name!r}; {wanted}")
    settings = BEST_ONLY | search
    config.with_values({f"search.{name}": value for name, value in settings.items()}, call)
    return settings


def predict_best(
    model: Model,
    sources: list[str],
    settings: dict[str, Any],
    part: str,
    read: Reading,
    progress: Progress | None,
    on_read: Callable[[Reading], None] | None = None,
) -> list[Prediction]:
    """Return the best prediction for each source.

    Args:
        model: the model.
        sources: source texts.
        settings: search settings.
        part: name of this part of the work, for `progress`.
        read: its notices collect unknown symbols and truncated or empty sources.
        progress: see `evaluate`.
        on_read: likewise.
    """

    def advance(count: int) -> None:
        if not count and on_read is not None:
            on_read(read)
        if progress is not None:
            progress(part, count, len(sources))

    found = model.predict(sources, attention=False, progress=advance, notices=read.notices, **settings)
    return [predictions[0] for predictions in found]


def measure_gap(
    model: Model,
    sources: list[str],
    references: list[tuple[str, ...]],
    settings: dict[str, Any],
    progress: Progress | None,
) -> ExposureGap:
    """Compare the model fed gold symbols, (13), with its greedy predictions, (14), by the symbols it predicted.

    Both sides compare the predicted tokens with the tokens of the reference.
    """
    unread = Reading(Notices(), [], [])  # reported by the first search
    greedy = predict_best(model, sources, {**settings, "beam_size": 1}, "greedy search", unread, progress)
    pairs = [(source, target) for source, targets in zip(sources, references, strict=True) for target in targets]
    how = {name: settings[name] for name in ("threads", "batch_size", "engine") if name in settings}
    forced = iter(model.teacher_forced(*map(list, zip(*pairs, strict=True)), notices=Notices(), **how))
    split = model.target_symbols.split
    return measure_exposure_gap(
        [[next(forced) for _ in targets] for targets in references],
        [best.tokens for best in greedy],
        [[split(target) for target in targets] for targets in references],
    )
