"""Report calibrated probabilities: those of the output's scores divided by a temperature, (63).

The search does not use the temperature, so it finds the same targets in the same order. What it found is scored once
more by a model whose output layer has divided weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from peephole.config import SearchConfig
from peephole.engine.packed import PackedSearch
from peephole.engine.session import Answer, Counts, PackedSession
from peephole.errors import PeepholeError
from peephole.model.weights import LoadedFile, Weights
from peephole.search.hypothesis import Hypothesis

if TYPE_CHECKING:
    from peephole.search.torch import DefinitionSearch
    from peephole.storage.model_file import ModelFile

SCALED = ("decoder.output.weight", "decoder.output.bias")
"""The tensors W_p and b_p of (10), which the temperature divides."""


def divide_scores(file: ModelFile, temperature: float) -> ModelFile:
    """Return a model file whose output layer gives the scores of the given one divided by a temperature."""
    return replace(file, tensors={**file.tensors, **{name: file.tensors[name] / temperature for name in SCALED}})


def divided_weights(weights: Weights, description: tuple[Any, Any, Any], temperature: float) -> Weights:
    """Return weights whose output layers give scores divided by a temperature.

    Args:
        weights: of a model or an ensemble.
        description: config, source symbols and target symbols.
        temperature: the divisor.
    """
    from peephole.storage.model_file import encode_model  # imports NumPy, which other predictions do without

    members = [Weights((), [file]) for file in weights.files] or [Weights([n], ()) for n in weights.search_networks()]
    files = [divide_scores(member.model_file(description, {}), temperature) for member in members]
    return Weights((), [LoadedFile("calibrated", encode_model(file)) for file in files])


class CalibratedSearch:
    """A search whose hypotheses have the log-probabilities of another set of weights.

    Args:
        search: finds the hypotheses and their order.
        scorer: a search over the weights that give the probabilities.
    """

    def __init__(self, search: PackedSearch | DefinitionSearch, scorer: PackedSearch | DefinitionSearch) -> None:
        self._search, self._scorer = search, scorer

    def find(
        self, sources: Sequence[Any], max_lengths: Sequence[int], config: SearchConfig, **rest: Any
    ) -> list[list[Hypothesis]]:
        """Return what the search finds, as `PackedSearch.find`, with calibrated log-probabilities."""
        found = self._search.find(sources, max_lengths, config, **rest)
        flat = [hypothesis for hypotheses in found for hypothesis in hypotheses]
        repeated = [source for source, hypotheses in zip(sources, found, strict=True) for _ in hypotheses]
        scored = (
            iter(self._scorer.force(repeated, [hypothesis.ids for hypothesis in flat], config)) if flat else iter(())
        )
        return [[_with_log_probs(hypothesis, next(scored)) for hypothesis in hypotheses] for hypotheses in found]

    def force(self, sources: Sequence[Any], targets: Sequence[Sequence[int]], config: SearchConfig) -> list[Hypothesis]:
        """Score given targets with calibrated probabilities, as `PackedSearch.force`."""
        return self._scorer.force(sources, targets, config)

    def alternatives(
        self, sources: Sequence[Any], targets: Sequence[Sequence[int]], config: SearchConfig, count: int
    ) -> list[tuple[Any, Any]]:
        """Return the most probable symbols with calibrated probabilities, as `PackedSearch.alternatives`."""
        return self._scorer.alternatives(sources, targets, config, count)


@dataclass
class _Scoring:
    """A source of a session whose hypotheses are scored once more."""

    source: Any
    config: SearchConfig
    found: list[Hypothesis] = field(default_factory=list)
    scored: dict[int, Hypothesis] = field(default_factory=dict)
    """By the number of the hypothesis."""


class CalibratedSession:
    """A session whose hypotheses have the log-probabilities of another set of weights; methods as of `PackedSession`.

    Args:
        search: finds the hypotheses and their order.
        scorer: a session over the weights that give the probabilities.
    """

    def __init__(self, search: PackedSession, scorer: PackedSession) -> None:
        self._search, self._scorer = search, scorer
        self._scoring: dict[int, _Scoring] = {}
        self._hypotheses: dict[int, tuple[int, int]] = {}  # the scorer's ticket: that of the source, and which of them
        self._tickets = itertools.count(-1, -1)  # of hypotheses in the scorer; callers' tickets are at least 0

    def add(self, ticket: int, source: Any, max_length: int, config: SearchConfig, **rest: Any) -> None:
        self._scoring[ticket] = _Scoring(source, config)
        try:
            self._search.add(ticket, source, max_length, config, **rest)
        except BaseException:
            del self._scoring[ticket]
            raise

    def add_target(self, ticket: int, source: Any, target: Sequence[int], config: SearchConfig) -> None:
        self._scorer.add_target(ticket, source, target, config)

    def step(self) -> list[Answer]:
        finished: list[Answer] = []
        for ticket, found in self._search.step():
            scoring = self._scoring.get(ticket)
            if isinstance(found, PeepholeError):
                self._scoring.pop(ticket, None)
                finished.append((ticket, found))
            elif scoring is not None:
                scoring.found = found
                for number, hypothesis in enumerate(found):
                    inner = next(self._tickets)
                    self._hypotheses[inner] = ticket, number
                    self._scorer.add_target(inner, scoring.source, hypothesis.ids, scoring.config)
        for inner, scored in self._scorer.step():
            ticket, number = self._hypotheses.pop(inner, (inner, -1))
            if number < 0:  # a given target
                finished.append((ticket, scored))
            elif ticket in self._scoring:
                finished += self._take(ticket, number, scored)
        return finished

    def _take(self, ticket: int, number: int, scored: list[Hypothesis] | PeepholeError) -> list[Answer]:
        """Keep the probabilities of a hypothesis; return the answer of its source once it has all of them."""
        scoring = self._scoring[ticket]
        if isinstance(scored, PeepholeError):
            self.cancel(ticket)
            return [(ticket, scored)]
        [scoring.scored[number]] = scored
        if len(scoring.scored) < len(scoring.found):
            return []
        del self._scoring[ticket]
        return [(ticket, [_with_log_probs(one, scoring.scored[at]) for at, one in enumerate(scoring.found)])]

    def cancel(self, ticket: int) -> None:
        self._search.cancel(ticket)
        self._scorer.cancel(ticket)
        self._scoring.pop(ticket, None)
        for inner, (owner, _) in list(self._hypotheses.items()):
            if owner == ticket:
                del self._hypotheses[inner]
                self._scorer.cancel(inner)

    def counts(self) -> Counts:
        """Return the counts of both sessions together; a hypothesis that is scored counts as a source."""
        search, scorer = self._search.counts(), self._scorer.counts()
        return Counts(search.active + scorer.active, search.waiting + scorer.waiting, min(search.free, scorer.free))

    def close(self) -> None:
        self._search.close()
        self._scorer.close()


def _with_log_probs(found: Hypothesis, scored: Hypothesis) -> Hypothesis:
    """Return a hypothesis with the log-probabilities of another of the same symbols; </s> counts if it was found."""
    log_probs = scored.symbol_log_probs[: len(found.symbol_log_probs)]
    return replace(found, log_prob=sum(log_probs), symbol_log_probs=log_probs)
