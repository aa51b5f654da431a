"""Measure weights on the dev set: teacher-forced loss, and greedy predictions against the references."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from peephole.evaluation.metrics import METRICS, corpus_score
from peephole.model import Model, Notices
from peephole.nn import Seq2Seq
from peephole.search.torch import pad
from peephole.symbols import EOS, encode_pair

DevSet = Sequence[tuple[str, tuple[str, ...]]]
"""Sources with one or more reference targets each."""

_PREDICTION_METRICS = ("symbol_error_rate", "exact_match", "chrf")
HIGHER_IS_BETTER = {"loss": False, **{name: METRICS[name].better == "higher" for name in _PREDICTION_METRICS}}


def measure(model: Model, dev: DevSet) -> dict[str, float]:
    """Return the mean loss by symbol, and the metrics of greedy predictions in per cent (chrF: points).

    Args:
        model: the model to measure.
        dev: sources and references; the loss is that of each source's first reference.
    """
    sources = [source for source, _ in dev]
    references = [choices for _, choices in dev]
    # Always greedy, not the search configured for the finished model; with the threads and the engine of training
    greedy: dict[str, Any] = {"beam_size": 1, "nbest": 1, "temperature": None}
    engine = "off" if model.config.train.engine == "off" else model.config.search.engine
    threads = torch.get_num_threads()
    notices = Notices()  # not printed: the notices of dev were printed when the data were read
    found = model.predict(sources, notices=notices, attention=False, threads=threads, engine=engine, **greedy)
    predictions = [best[0].text for best in found]
    values = {"loss": mean_loss(model, dev)}
    for name in _PREDICTION_METRICS:
        values[name] = corpus_score(name, predictions, references, model.target_symbols.split)
    return values


@torch.no_grad()
def mean_loss(model: Model, dev: DevSet, batch_size: int = 64) -> float:
    """Return -Σ log p(Y | X) ÷ number of symbols, over each source's first reference, </s> included."""
    network: Seq2Seq = model.networks[0]
    device = next(network.parameters()).device
    encoded = [_encode(model, source, references[0]) for source, references in dev]
    pairs = [(source, [*target, EOS]) for source, target in encoded]
    pairs = sorted((pair for pair in pairs if pair[0]), key=lambda pair: (len(pair[0]), len(pair[1])))
    total, num_symbols = 0.0, 0
    for first in range(0, len(pairs), batch_size):
        sources, targets = zip(*pairs[first : first + batch_size], strict=True)
        source, source_lengths = pad(sources)
        target, target_lengths = pad(targets)
        total += float(network.loss_sum(*(t.to(device) for t in (source, source_lengths, target))))
        num_symbols += int(target_lengths.sum())
    return total / max(1, num_symbols)


def _encode(model: Model, source: str, target: str) -> tuple[list[Any], list[int]]:
    """Return the ids of a pair as the network reads it."""
    if model.config.model.output == "copy":
        return encode_pair(source, target, model.source_symbols, model.target_symbols)
    return model.source_symbols.encode(source), model.target_symbols.encode(target)
