"""Score a list of predictions, each score with a bootstrap interval.

The interval covers the choice of the test sources: how much the score could differ on other sources of the same kind.
It does not cover other training seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any, Literal

from peephole.errors import ConfigError, DataError, nearest, plural
from peephole.evaluation.alignment import Mistake, worst_mistakes
from peephole.evaluation.bootstrap import CONFIDENCE, RESAMPLES, interval, resample
from peephole.evaluation.metrics import METRICS, FloatArray, sacrebleu_signature
from peephole.symbols import Symbols, normalize_text

_SUBWORD_METRICS = ("bleu", "chrf", "rouge_1", "rouge_2", "rouge_l", "exact_match")
DEFAULT_METRICS = {
    "characters": ("exact_match", "symbol_error_rate", "chrf"),
    "whitespace": ("exact_match", "sequence_error_rate", "symbol_error_rate"),
    "bpe": _SUBWORD_METRICS,
    "unigram": _SUBWORD_METRICS,
}


@dataclass(frozen=True)
class Score:
    """A score with its 95 % bootstrap interval and its definition.

    Attributes:
        value: the score of the whole corpus.
        low, high: ends of the interval.
        unit: "%" or "points" (0 to 100); "" for perplexity; "number" for errors of numbers, which may be of any size.
        better: the direction in which it improves; "" if it should be near a given value.
        label: its name in tables.
        definition: its definition in one line.
        signature: sacrebleu's settings and version; empty for metrics that are not sacrebleu's.
    """

    value: float
    low: float
    high: float
    unit: Literal["%", "points", "", "number"]
    better: Literal["higher", "lower", ""]
    label: str
    definition: str
    signature: str = ""

    def shown(self, value: float) -> str:
        """Return a value of the score as text."""
        return f"{value:.4g}" if self.unit == "number" else f"{value:.2f}"


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate_predictions`.

    Attributes:
        scores: name in `peephole.evaluation.metrics.METRICS` → score, in the requested order.
        num_sources: sources evaluated.
        num_references: references of all of them.
        resamples: bootstrap resamples behind the intervals.
        seed: of the resamples.
        worst: the predictions with most edits, worst first.
        counted: what the two numbers count.
    """

    scores: dict[str, Score]
    num_sources: int
    num_references: int
    resamples: int
    seed: int
    worst: tuple[Mistake, ...]
    counted: tuple[str, str] = ("sources", "references")

    def to_dict(self) -> dict[str, Any]:
        """Return the evaluation as plain JSON values."""
        return {
            "scores": {name: asdict(score) for name, score in self.scores.items()},
            **{f"num_{name}": count for name, count in zip(self.counted, self.counts, strict=True)},
            "resamples": self.resamples,
            "seed": self.seed,
            "worst": [mistake.to_dict() for mistake in self.worst],
            "confidence": CONFIDENCE,
        }

    @property
    def counts(self) -> tuple[int, int]:
        """The numbers of sources and references."""
        return self.num_sources, self.num_references

    @property
    def counts_in_words(self) -> tuple[str, str]:
        """Both with their nouns, such as 1 source and 2 references."""
        first, second = (plural(count, name[:-1]) for count, name in zip(self.counts, self.counted, strict=True))
        return first, second


def evaluate_predictions(
    sources: Sequence[str],
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    symbols: Symbols,
    metrics: Sequence[str] | None = None,
    seed: int = 1,
    *,
    resamples: int = RESAMPLES,
    num_worst: int = 10,
) -> Evaluation:
    """Score predictions against references.

    Texts are compared in the Unicode normal form of the symbols, as the model reads them.

    Args:
        sources: each once; pairs with the same source are one source with several references.
        predictions: one a source; may be empty texts.
        references: one or more a source.
        symbols: the target's symbol table; one edit of the symbol error rate and of the worst errors is one symbol.
        metrics: keys of `METRICS`; None or none: `DEFAULT_METRICS` for this kind of symbols.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        num_worst: number of worst errors to keep.

    Raises:
        DataError: no source, lists of different lengths, or a source without reference.
        ConfigError: an unknown metric; the message lists the known ones.
    """
    check(sources, references, predictions)
    statistics = measure(predictions, references, symbols, metrics)
    sums = resample(list(statistics.values()), resamples=resamples, seed=seed)
    return Evaluation(
        scores={
            name: _score(name, rows, resampled, references)
            for (name, rows), resampled in zip(statistics.items(), sums, strict=True)
        },
        num_sources=len(sources),
        num_references=sum(map(len, references)),
        resamples=resamples,
        seed=seed,
        worst=worst_mistakes(sources, predictions, references, symbols.split, most=num_worst),
    )


def check(sources: Sequence[str], references: Sequence[Sequence[str]], *systems: Sequence[str]) -> None:
    """Check that the lists of sources, references and predictions have equal lengths.

    Raises:
        DataError: no source, lists of different lengths, or a source without a list of references.
    """
    if not sources:
        raise DataError("evaluation: wanted at least one source, got none")
    for what, given in (("references", references), *(("predictions", system) for system in systems)):
        if len(given) != len(sources):
            raise DataError(f"evaluation: wanted {what} for {len(sources)} sources, got {len(given)}")
    for i, (source, choices) in enumerate(zip(sources, references, strict=True), start=1):
        if isinstance(choices, str):  # would be read as a list of references of one character
            raise DataError(f"evaluation, source {i}: wanted a list of references, got the text {choices!r}")
        if not choices:
            raise DataError(f"evaluation, source {i}: wanted at least one reference, got none: {source!r}")


def measure(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    symbols: Symbols,
    metrics: Sequence[str] | None,
) -> dict[str, FloatArray]:
    """Return the statistics (sources, columns) of each requested metric.

    Raises:
        ConfigError: an unknown metric; the message lists the known ones.
    """
    names = check_metrics(metrics, symbols)
    texts = [normalize_text(text, symbols.normalize) for text in predictions]
    wanted = [[normalize_text(text, symbols.normalize) for text in choices] for choices in references]
    return {name: METRICS[name].statistics(texts, wanted, symbols.split) for name in names}


def check_metrics(metrics: Sequence[str] | None, symbols: Symbols) -> tuple[str, ...]:
    """Return the requested metrics, each once; None or none: the defaults for this kind of symbols.

    ROUGE is a default only where rouge-score is installed.

    Raises:
        ConfigError: an unknown metric; the message lists the known ones.
    """
    defaults = [name for name in DEFAULT_METRICS[symbols.kind] if not name.startswith("rouge") or has_rouge()]
    names = tuple(dict.fromkeys(metrics or defaults))
    for name in names:
        if name not in METRICS:
            wanted = f"wanted one of {', '.join(METRICS)}{nearest(name, METRICS)}"
            raise ConfigError(f"evaluation: unknown metric {name!r}; {wanted}")
    return names


def _score(name: str, rows: FloatArray, sums: FloatArray, references: Sequence[Sequence[str]]) -> Score:
    metric = METRICS[name]
    low, high = interval(metric.score(sums))
    return Score(
        value=float(metric.score(rows.sum(axis=0, keepdims=True))[0]),
        low=low,
        high=high,
        unit=metric.unit,
        better=metric.better,
        label=metric.label,
        definition=metric.definition,
        signature=sacrebleu_signature(name, references) if name in ("bleu", "chrf") else "",
    )


def has_rouge() -> bool:
    """Return whether the package rouge-score is installed."""
    return find_spec("rouge_score") is not None
