"""Metrics of predictions, computed from predicted and reference texts, without a model.

Every metric is computed in two steps. `statistics` turns each source into a row of numbers; the rows of several sources
are summed; `score` turns a sum into the corpus score. So the score of any part of a corpus, or of a resample of it,
costs one sum and is exact, not a mean of scores.

A source has one or more references; their number may differ from source to source.

Publications use "WER" for three different numbers. Here each has a separate name:

- `sequence_error_rate`: share of the sources whose prediction is none of the references. The WER of papers on
  grapheme-to-phoneme conversion, where a source is a word.
- `word_error_rate`: edits over whitespace-separated words ÷ words of the reference. The WER of speech
  recognition.
- `symbol_error_rate`: the same over the symbols of the model: PER where they are phones, CER where they are
  characters.

Scores are percentages, or points from 0 to 100. An error rate can exceed 100, by insertions.

Known limits: BLEU's tokenizer (13a) takes a line of Chinese or Japanese for one word: use chrF instead. ROUGE ignores
punctuation and emoji, as the original does.

sacrebleu and rouge-score are imported on first use; the latter belongs to the extra `rouge`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal, TypeVar

import numpy as np
import regex  # type: ignore[import-untyped]
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from peephole.errors import DataError, plural
from peephole.symbols import normalize_text, split_clusters

FloatArray = NDArray[np.float64]
Texts = Sequence[str]
References = Sequence[Sequence[str]]
Split = Callable[[str], Sequence[str]]
T = TypeVar("T")


def exact_match(predictions: Sequence[T], references: Sequence[Sequence[T]]) -> float:
    """Return the percentage of sources whose prediction is one of its references.

    Args:
        predictions: one a source, texts or lists of symbols.
        references: one or more a source, of the same type.

    Raises:
        DataError: no source, lists of different lengths, or a source without reference.

    >>> exact_match(["color", "gray"], [["colour", "color"], ["grey"]])
    50.0
    """
    _check_corpus(predictions, references)
    return float(_percentage(match_statistics(predictions, references).sum(axis=0, keepdims=True))[0])


def is_reference(text: str, references: Sequence[str], normalize: str) -> bool:
    """Return whether a text is one of its references, in a Unicode normalization form as in `normalize_text`.

    >>> is_reference("e\N{COMBINING ACUTE ACCENT}", ["e", "\N{LATIN SMALL LETTER E WITH ACUTE}"], "NFC")
    True
    """
    return normalize_text(text, normalize) in {normalize_text(reference, normalize) for reference in references}


def symbol_error_rate(
    predictions: Sequence[Sequence[Hashable]], references: Sequence[Sequence[Sequence[Hashable]]]
) -> float:
    """Return 100 × edits ÷ symbols of the closest reference, both summed over the corpus.

    Args:
        predictions: one list of symbols a source.
        references: one or more lists of symbols a source.

    Raises:
        DataError: as in `exact_match`.

    >>> dog = [["D", "AO", "G"], ["D", "AA", "G"]]
    >>> round(symbol_error_rate([["K", "AH", "T"], ["D", "AO"]], [[["K", "AE", "T"]], dog]), 2)
    33.33
    """
    _check_corpus(predictions, references)
    return float(_percentage(edit_statistics(predictions, references).sum(axis=0, keepdims=True))[0])


def corpus_bleu(predictions: Texts, references: References) -> float:
    """Return sacrebleu's corpus BLEU with its default settings.

    >>> references = [["a small house by the sea", "the hut by the sea"]]
    >>> round(corpus_bleu(["a small hut by the sea"], references), 2)  # 100 (6/6 · 4/5 · 2/4 · 1/3)^¼
    60.43
    """
    return corpus_score("bleu", predictions, references)


def corpus_chrf(predictions: Texts, references: References) -> float:
    """Return sacrebleu's corpus chrF2 with its default settings.

    >>> corpus_chrf(["바다"], [["바다", "대양"]])
    100.0
    """
    return corpus_score("chrf", predictions, references)


def rouge(predictions: Texts, references: References) -> dict[str, float]:
    """Return ROUGE-1, ROUGE-2 and ROUGE-L: F1 by rouge-score against the best reference, mean over sources.

    Differs: rouge-score's own tokenizer deletes every letter but a-z; see `rouge_tokens`.

    >>> rouge(["the red fox"], [["the fox", "a cat"]])
    {'rouge_1': 80.0, 'rouge_2': 0.0, 'rouge_l': 80.0}
    """
    return {name: corpus_score(name, predictions, references) for name in ("rouge_1", "rouge_2", "rouge_l")}


def corpus_score(name: str, predictions: Texts, references: References, split: Split = str.split) -> float:
    """Return one of `METRICS` over a corpus.

    Args:
        name: a key of METRICS.
        predictions: one text a source.
        references: one or more texts a source.
        split: cuts a text into symbols; used by exact_match, sequence_error_rate and symbol_error_rate.

    Raises:
        DataError: as in `exact_match`.

    >>> corpus_score("sequence_error_rate", ["K AE T", "D AO"], [["K AE T"], ["D AO G"]])
    50.0
    >>> corpus_score("word_error_rate", ["the cat sat"], [["the cat sat down"]])
    25.0
    >>> corpus_score("character_error_rate", ["값이"], [["값은"]])
    50.0
    """
    _check_corpus(predictions, references)
    metric = METRICS[name]
    statistics = metric.statistics(predictions, references, split)
    return float(metric.score(statistics.sum(axis=0, keepdims=True))[0])


def _check_corpus(predictions: Sequence[Any], references: Sequence[Sequence[Any]]) -> None:
    """Raise DataError without a source, for lists of different lengths, or for a source without reference."""
    if not len(predictions):
        raise DataError("metric: wanted at least one source, got none")
    if len(predictions) != len(references):
        raise DataError(f"metric: wanted references for {plural(len(predictions), 'source')}, got {len(references)}")
    for number, choices in enumerate(references, start=1):
        if not len(choices):
            raise DataError(f"metric, source {number}: wanted at least one reference, got none")


def closest(prediction: Sequence[Hashable], references: Sequence[Sequence[Hashable]]) -> tuple[int, int]:
    """Return the fewest edits from the prediction to a reference, and the index of that reference.

    An edit is an insertion, a deletion or a substitution of one symbol. Of references equally many edits away
    the longest counts, so that no score depends on their order.

    >>> closest("cat", ["dog", "cut", "cart"])
    (1, 2)
    """
    edits = [Levenshtein.distance(prediction, reference) for reference in references]
    best = min(range(len(edits)), key=lambda index: (edits[index], -len(references[index])))
    return edits[best], best


def match_statistics(predictions: Sequence[T], references: Sequence[Sequence[T]]) -> FloatArray:
    """Return for each source: 1 if the prediction is one of the references else 0; 1. Shape (sources, 2)."""
    pairs = zip(predictions, references, strict=True)
    return np.array([(prediction in choices, 1) for prediction, choices in pairs], dtype=np.float64)


def edit_statistics(
    predictions: Sequence[Sequence[Hashable]], references: Sequence[Sequence[Sequence[Hashable]]]
) -> FloatArray:
    """Return for each source: edits to the closest reference; that reference's length. Shape (sources, 2)."""
    rows = []
    for prediction, choices in zip(predictions, references, strict=True):
        edits, index = closest(prediction, choices)
        rows.append((edits, len(choices[index])))
    return np.array(rows, dtype=np.float64)


def sacrebleu_statistics(name: str, predictions: Texts, references: References) -> FloatArray:
    """Return sacrebleu's own counts for each source: "bleu" (sources, 10), "chrf" (sources, 18)."""
    # sacrebleu takes a first, a second, … reference of the whole corpus. A missing one is None: an empty text would
    # count as a reference of length 0 and raise the score through BLEU's brevity penalty.
    most = max(map(len, references))
    streams = [[choices[k] if k < len(choices) else None for choices in references] for k in range(most)]
    # sacrebleu's counts are public for BLEU only, so internal names are used here and in `_sacrebleu_metric`; the tests
    # compare with its corpus_score.
    return np.array(_sacrebleu_scorer(name)._extract_corpus_statistics(predictions, streams), dtype=np.float64)


def sacrebleu_signature(name: str, references: References) -> str:
    """Return sacrebleu's signature for "bleu" or "chrf": settings, number of references, version.

    >>> sacrebleu_signature("chrf", [["a", "b"], ["c"]]).rpartition("|")[0]
    'nrefs:var|case:mixed|eff:yes|nc:6|nw:0|space:no'
    """
    metric = _sacrebleu_scorer(name)
    numbers = {len(choices) for choices in references}
    metric.num_refs = numbers.pop() if len(numbers) == 1 else -1  # -1: sacrebleu's value for varying numbers
    return str(metric.get_signature())


def rouge_tokens(text: str) -> list[str]:
    """Split text for ROUGE: lower-cased runs of letters, marks and digits; Han and kana one by one.

    On ASCII text this is what rouge-score does. Its own tokenizer deletes all other letters, so two equal Korean
    sentences would have no token in common.

    >>> rouge_tokens("Don't 먹었다, naïve 東京!")
    ['don', 't', '먹었다', 'naïve', '東', '京']
    """
    return list(_ROUGE_TOKEN.findall(text.lower()))


_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}"  # scripts written without spaces between words
_ROUGE_TOKEN = regex.compile(rf"[{_UNSPACED}]\p{{M}}*|[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}]]+", regex.VERSION1)
_ROUGE_TOKENIZER = SimpleNamespace(tokenize=rouge_tokens)


def rouge_statistics(kind: str, predictions: Texts, references: References) -> FloatArray:
    """Return for each source: F1 of the best reference, from 0 to 1; 1. Shape (sources, 2).

    Args:
        kind: rouge1, rouge2 or rougeL.
        predictions: one text a source.
        references: one or more texts a source.
    """
    from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped]

    scorer = RougeScorer([kind], tokenizer=_ROUGE_TOKENIZER)
    pairs = zip(predictions, references, strict=True)
    return np.array([(scorer.score_multi(choices, text)[kind].fmeasure, 1.0) for text, choices in pairs])


@dataclass(frozen=True)
class Metric:
    """A metric in two steps: a row of statistics for each source, and a score for sums of such rows.

    Attributes:
        label: its name in tables.
        definition: its definition in one line.
        unit: "%", or "points" for BLEU, chrF and ROUGE (0 to 100).
        better: the direction in which it improves.
        statistics: (predictions, references, split) → (sources, columns).
        score: (sums, columns) → (sums,).
    """

    label: str
    definition: str
    unit: Literal["%", "points"]
    better: Literal["higher", "lower"]
    statistics: Statistics
    score: Callable[[FloatArray], FloatArray]


Statistics = Callable[[Texts, References, Split], FloatArray]


def _percentage(sums: FloatArray) -> FloatArray:
    # References without any symbol have no rate; dividing by 1 keeps it finite, and 0 without edits.
    percentages: FloatArray = 100 * sums[:, 0] / np.maximum(sums[:, 1], 1)
    return percentages


def _complement(sums: FloatArray) -> FloatArray:
    return 100 - _percentage(sums)


def _split_references(references: References, split: Split) -> list[list[list[str]]]:
    return [[list(split(text)) for text in choices] for choices in references]


def _matches(predictions: Texts, references: References, split: Split) -> FloatArray:
    return match_statistics([list(split(text)) for text in predictions], _split_references(references, split))


def _edits(predictions: Texts, references: References, split: Split) -> FloatArray:
    return edit_statistics([list(split(text)) for text in predictions], _split_references(references, split))


def _word_edits(predictions: Texts, references: References, _: Split) -> FloatArray:
    return _edits(predictions, references, str.split)


def _character_edits(predictions: Texts, references: References, _: Split) -> FloatArray:
    return _edits(predictions, references, split_clusters)


def _sacrebleu_scorer(name: str) -> Any:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    # force: suppresses the warning for texts that seem tokenized
    return BLEU(force=True) if name == "bleu" else CHRF()


def _error_rate(label: str, symbols: str, statistics: Statistics) -> Metric:
    return Metric(label, f"edits per 100 reference {symbols}", "%", "lower", statistics, _percentage)


def _sacrebleu_metric(name: str, label: str, definition: str) -> Metric:
    def statistics(predictions: Texts, references: References, _: Split) -> FloatArray:
        return sacrebleu_statistics(name, predictions, references)

    def score(sums: FloatArray) -> FloatArray:
        metric = _sacrebleu_scorer(name)
        return np.array([metric._compute_score_from_stats(row).score for row in sums.tolist()])

    return Metric(label, definition, "points", "higher", statistics, score)


def _rouge_metric(kind: str, label: str, units: str) -> Metric:
    def statistics(predictions: Texts, references: References, _: Split) -> FloatArray:
        return rouge_statistics(kind, predictions, references)

    return Metric(label, f"F1 over {units}, mean over sources", "points", "higher", statistics, _percentage)


_MATCHED = "sources whose prediction is one of the references"
_UNMATCHED = "sources without an exact match: the WER of g2p"
METRICS: dict[str, Metric] = {
    "exact_match": Metric("exact match", _MATCHED, "%", "higher", _matches, _percentage),
    "sequence_error_rate": Metric("sequence error rate", _UNMATCHED, "%", "lower", _matches, _complement),
    "symbol_error_rate": _error_rate("symbol error rate", "symbols: PER if phones, CER if characters", _edits),
    "word_error_rate": _error_rate("word error rate", "words: the WER of speech recognition", _word_edits),
    "character_error_rate": _error_rate("character error rate", "grapheme clusters", _character_edits),
    "bleu": _sacrebleu_metric("bleu", "BLEU", "n-grams of 1 to 4 words, by sacrebleu"),
    "chrf": _sacrebleu_metric("chrf", "chrF", "n-grams of 1 to 6 characters, recall counts twice, by sacrebleu"),
    "rouge_1": _rouge_metric("rouge1", "ROUGE-1", "words"),
    "rouge_2": _rouge_metric("rouge2", "ROUGE-2", "pairs of words"),
    "rouge_l": _rouge_metric("rougeL", "ROUGE-L", "the longest common subsequence"),
}
