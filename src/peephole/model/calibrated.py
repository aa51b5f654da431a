"""Report calibrated probabilities: those of the output's scores divided by a temperature, (63).

The search does not use the temperature, so it finds the same targets in the same order. What it found is scored once
more by a model whose output layer has divided weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from peephole.config import SearchConfig
from peephole.engine.packed import PackedSearch
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

    def likeliest(
        self, sources: Sequence[Any], targets: Sequence[Sequence[int]], config: SearchConfig
    ) -> list[list[int]]:
        """Return the most probable symbols, as `PackedSearch.likeliest`."""
        return self._search.likeliest(sources, targets, config)


def _with_log_probs(found: Hypothesis, scored: Hypothesis) -> Hypothesis:
    """Return a hypothesis with the log-probabilities of another of the same symbols; </s> counts if it was found."""
    log_probs = scored.symbol_log_probs[: len(found.symbol_log_probs)]
    return replace(found, log_prob=sum(log_probs), symbol_log_probs=log_probs)
