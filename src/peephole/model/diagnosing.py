"""Diagnose a prediction whose reference is known: a method of `Model`, in a file of its own."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peephole.config import SearchConfig
from peephole.errors import ArgumentError, check_type
from peephole.model.reading import Notices, issue_warnings
from peephole.model.tracing import MOST_ALTERNATIVES, Constraint, Work, check_can_be_traced, read_work, record, trace_of
from peephole.symbols import EOS, UNK, normalize_text

if TYPE_CHECKING:
    from peephole.model.diagnosis import Diagnosis, Kind, Loss, Parting
    from peephole.model.handle import Model
    from peephole.model.trace import Trace
    from peephole.model.training_index import TrainingIndex
    from peephole.search.recorded import BeamTree


def diagnose(  # noqa: D417  # a method
    self: Model,
    source: Any,
    reference: str | Sequence[str],
    *,
    index: TrainingIndex | str | Path | None = None,
    top: int = 5,
    notices: Notices | None = None,
    **search: Any,
) -> Diagnosis:
    """Say why a prediction is wrong: search error or model error, where it parts from the reference, and what is near.

    Args:
        source: one source, as in `predict`; not empty.
        reference: the right target, a text or a list of tokens.
        index: an index of the training pairs made by `peephole.inspect.build_index`, or its file; None: the one in the
            run's folder beside the model's file, if there is one.
        top: alternatives and neighbours that are returned.
        notices: collects unknown symbols and a truncated source; None: Python warnings are issued for them.
        search: settings of `peephole.config.SearchConfig` for a beam search, as in `predict`.

    Raises:
        ConfigError: an unknown or impossible setting, such as sampling or a language model that guides the search.
        PeepholeError: an ensemble, a language model or a model of series, an empty source, an index of another model,
            or arguments of other types.
    """
    from peephole.model.diagnosis import Diagnosis
    from peephole.model.training_index import find_index

    check_can_be_traced(self, "diagnose")
    check_type("top", top, int, "a whole number")
    if reference is None:
        raise ArgumentError("reference: wanted a text, or a list of tokens, got None")
    collected = Notices() if notices is None else notices
    uncalibrated = {**search, "calibration": 1.0}  # (63) changes neither order nor errors
    work = read_work(self, "diagnose", source, collected, uncalibrated, Constraint())
    reading = Notices()
    given = read_work(
        self, "diagnose", source, reading, {"engine": work.config.engine, "calibration": 1.0}, Constraint(reference)
    )
    if notices is None:
        issue_warnings(collected, 1, stacklevel=2)
    assert given.target is not None
    size = len(self.target_symbols) + len(work.source.copied)
    found = trace_of(self, work, record(self, work._replace(top=min(size, MOST_ALTERNATIVES))))
    fed = trace_of(self, given, record(self, given._replace(top=min(size, max(1, top)))))
    assert found.beam is not None
    scores = final_score(found, _score_in(found.beam, found.symbols), work.config), _reference_score(self, work, fed)
    obstacle = _obstacle(given.target, work)
    is_correct = _same(self, found, fed)
    kind: Kind = "model error" if scores[1] <= scores[0] else "search error"
    wrong: Kind = kind if obstacle is None else "impossible"
    nearby = find_index(self, index)
    unknown = tuple(symbol for notice in reading.texts if notice.side == "target" for symbol in notice.unknown)
    return Diagnosis(
        kind="correct" if is_correct else wrong,
        obstacle=obstacle,
        source_tokens=work.source.tokens,
        prediction=found.text,
        prediction_tokens=found.tokens,
        reference=reference if isinstance(reference, str) else self.target_symbols.join(list(reference)),
        reference_tokens=fed.tokens,
        prediction_log_prob=found.log_prob,
        reference_log_prob=fed.log_prob,
        prediction_score=scores[0],
        reference_score=scores[1],
        parting=None if is_correct else find_parting(found, fed),
        loss=None if is_correct else find_loss(found.beam, fed.symbols),
        unknown_source=work.source.unknown,
        unknown_reference=unknown,
        neighbours=() if nearby is None else nearby.nearest(self, work.source, top),
        dev=None if nearby is None or is_correct else nearby.errors_like(found.tokens, fed.tokens),
    )


def _same(model: Model, found: Trace, fed: Trace) -> bool:
    """Return whether a prediction is the reference, as a text: with subwords a text has several segmentations."""
    form = model.target_symbols.normalize
    return found.finished and normalize_text(found.text, form) == normalize_text(fed.text, form)


def final_score(trace: Trace, score: float, config: SearchConfig) -> float:
    """Return what ranks a finished hypothesis, (58): its s(Y), its length and its coverage."""
    length = len(trace.symbols)
    final: float = score * max(length**-config.length_penalty, sys.float_info.min) + config.length_reward * length
    if not config.coverage_penalty:
        return final
    covered = trace["attention"].astype(float).sum(0)
    uncovered = sum(math.log(min(max(share, sys.float_info.min), 1)) for share in covered.tolist())
    return final + config.coverage_penalty * uncovered


def _score_in(beam: BeamTree, symbols: Sequence[int]) -> float:
    """Return s(Y) of a hypothesis in the tree."""
    nodes = (beam.step == len(symbols)).nonzero()[0].tolist()
    return next(float(beam.score[node]) for node in nodes if tuple(beam.path(node)) == tuple(symbols))


def _reference_score(model: Model, work: Work, fed: Trace) -> float:
    """Return what would rank the reference: with CTC, from a search that it is forced on."""
    score = fed.log_prob
    if work.config.ctc_weight and model.config.model.ctc:
        prefix = fed.symbols[:-1]
        forced = work._replace(prefix=prefix, max_length=len(prefix) + 1, top=MOST_ALTERNATIVES)
        searched = record(model, forced)
        assert searched.beam is not None
        score = _score_in(searched.beam, fed.symbols)
    return final_score(fed, score, work.config)


def _obstacle(target: Sequence[int], work: Work) -> str | None:
    """Return why no search can return a target; None if one can."""
    n, least = work.config.no_repeat_ngram, work.config.min_length
    if UNK in target:
        return "it has symbols that were not seen in training"
    if len(target) + 1 > work.max_length:
        return f"it has {len(target) + 1} symbols, and a target of this source at most {work.max_length}"
    if len(target) < least:
        return f"it has {len(target)} symbols, and search.min_length={least}"
    grams = [tuple(target[i : i + n]) for i in range(len(target) - n + 1)] if n else []
    if len(set(grams)) < len(grams):
        return f"it repeats {n} symbols, and search.no_repeat_ngram={n}"
    return None


def find_parting(found: Trace, fed: Trace) -> Parting | None:
    """Return where a prediction and a reference part; None if their symbols are equal."""
    from peephole.model.diagnosis import Parting

    predicted: list[str | None] = [*found.tokens, None]
    for step, wanted in enumerate(fed.tokens):
        if predicted[step] != wanted:
            log_prob, rank = float(fed.log_probs[step]), int(fed.ranks[step])
            return Parting(step, predicted[step], wanted, log_prob, rank, tuple(fed.alternatives(step)))
    return None


def find_loss(beam: BeamTree, symbols: Sequence[int]) -> Loss | None:
    """Return where a beam lost a target, with </s>; None if it finished it."""
    from peephole.model.diagnosis import Loss
    from peephole.search.recorded import Fate

    parents = {-1}
    for index, symbol in enumerate(symbols):
        here = (beam.step == index + 1).nonzero()[0]
        nodes = [node for node in here.tolist() if beam.symbol[node] == symbol and int(beam.parent[node]) in parents]
        fates = {node: Fate(beam.fate[node]) for node in nodes}
        parents = {node for node, fate in fates.items() if fate == Fate.EXPANDED}
        if symbol == EOS and set(fates.values()) & {Fate.RETURNED, Fate.BEATEN, Fate.DUPLICATE}:
            return None
        if parents:
            continue
        if not nodes:
            return Loss(index, None, Fate.OUTSIDE_BEAM.name.lower())
        best = max(nodes, key=lambda node: float(beam.score[node]))
        possible = here[beam.fate[here] < Fate.UNPREDICTABLE]
        rank = 1 + int((beam.score[possible] > beam.score[best]).sum())
        return Loss(index, rank if fates[best] < Fate.UNPREDICTABLE else None, fates[best].name.lower())
    return None
