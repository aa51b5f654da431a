"""Evaluate a language model: its perplexity on texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from peephole.config import SearchConfig
from peephole.data import Report
from peephole.errors import ConfigError, PeepholeError
from peephole.evaluation import Evaluation, Score
from peephole.evaluation.bootstrap import RESAMPLES, interval, resample
from peephole.model.handle import FORCED_SETTINGS, Model
from peephole.model.pairs import PairsArgument, score_pairs
from peephole.model.reading import Notices

SEED = 1
DEFINITION = "exp(-Σ log p(Y) / number of symbols, </s> included)"


def measure_perplexity(
    model: Model, pairs: PairsArgument, report: Report, notices: Notices, **search: Any
) -> tuple[list[str], list[int], Evaluation]:
    """Return the texts, their lines, and the perplexity of a language model on them with its bootstrap interval.

    Args:
        model: the language model.
        pairs: a file of texts, one a line, or pairs, whose sources are not read.
        report: counts skipped lines.
        notices: collects unknown symbols; the indices are those of the texts.
        search: threads, batch_size or engine, as in `Model.score`.

    Raises:
        DataError: a text cannot be read, or there is none.
        ConfigError: an unknown or impossible setting.
    """
    texts: list[str] = []
    lines: list[int] = []
    rows: list[tuple[float, int]] = []
    for part in score_pairs(model, pairs, report=report, **search):
        notices.texts += [
            notice._replace(source_index=len(texts) + notice.source_index) for notice in part.notices.texts
        ]
        for (_, target, line), log_prob in zip(part.pairs, part.log_probs, strict=True):
            texts.append(target)
            lines.append(line)
            rows.append((log_prob, len(model.target_symbols.encode(target)) + 1))
    statistics = np.array(rows)  # (texts, 2)
    [sums] = resample([statistics], seed=SEED)
    low, high = interval(np.exp(-sums[:, 0] / sums[:, 1]))
    log_prob, count = statistics.sum(0)
    score = Score(float(np.exp(-log_prob / count)), low, high, "", "lower", "perplexity", DEFINITION)
    return texts, lines, Evaluation({"perplexity": score}, len(texts), len(texts), RESAMPLES, SEED, ())


def check_language_request(names: list[str] | None, against: object, search: Mapping[str, Any]) -> None:
    """Raise an error unless perplexity is all that is wanted of a language model.

    Raises:
        ConfigError: another metric, or a setting of a search is named.
        PeepholeError: a second model is given.
    """
    for name in names or ():
        if name != "perplexity":
            raise ConfigError(f"evaluation: wanted perplexity, the metric of a language model, got {name!r}")
    known = {field.name for field in fields(SearchConfig)}
    for name in search:
        if name in known and name not in FORCED_SETTINGS:
            raise ConfigError(
                f"search.{name}: wanted a model with sources to evaluate with it, got a language model, whose "
                "perplexity needs no search"
            )
    if against is not None:
        raise PeepholeError("against: wanted none, since a language model makes no predictions to compare; got a model")
