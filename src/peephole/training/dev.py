"""Measure weights on the dev set: teacher-forced loss, and greedy predictions against the references."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from peephole.config import HIGHEST_COUNT
from peephole.evaluation.metrics import METRICS, corpus_score
from peephole.model import Model, Notices
from peephole.model.reading import read_sources, read_targets
from peephole.nn import Seq2Seq
from peephole.search.torch import pad
from peephole.symbols import EOS

DevSet = Sequence[tuple[Any, tuple[Any, ...]]]
"""Sources, texts or frames, with one or more reference targets each, texts or vectors."""

_PREDICTION_METRICS = ("symbol_error_rate", "exact_match", "chrf")
HIGHER_IS_BETTER = {"loss": False, **{name: METRICS[name].better == "higher" for name in _PREDICTION_METRICS}}


def measure(model: Model, dev: DevSet) -> dict[str, float]:
    """Return the mean losses by symbol, and the metrics of greedy predictions in per cent (chrF: points).

    Args:
        model: the model to measure.
        dev: sources and references; the loss is that of each source's first reference. A network with CTC also has
            `ctc_loss`, where targets without a path (32) count as 0. A language model has its loss and perplexity only,
            a model of real vectors its loss.
    """
    if model.config.model.predicts_vectors:
        return {"loss": mean_vector_loss(model, dev)}
    if model.config.model.input == "none":
        loss = mean_loss(model, dev)
        return {"loss": loss, "perplexity": math.exp(loss)}
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
    if model.config.model.ctc:
        values["ctc_loss"] = mean_loss(model, dev, ctc_weight=1.0)
    for name in _PREDICTION_METRICS:
        values[name] = corpus_score(name, predictions, references, model.target_symbols.split)
    return values


@torch.no_grad()
def mean_loss(model: Model, dev: DevSet, batch_size: int = 64, *, ctc_weight: float = 0.0) -> float:
    """Return (33) ÷ number of symbols, over each source's first reference, </s> included; by default (12) alone."""
    network: Seq2Seq = model.networks[0]
    device = next(network.parameters()).device
    table = model.target_symbols if model.config.model.output == "copy" else None
    texts = [source for source, _ in dev]
    sources = read_sources(model.source_symbols, texts, Notices(), longest=HIGHEST_COUNT, target=table)
    read = read_targets(model.target_symbols, [references[0] for _, references in dev], sources, Notices())
    targets = [[*ids, EOS] for ids in read]
    pairs = [(source.ids, target) for source, target in zip(sources, targets, strict=True) if len(source.ids)]
    pairs.sort(key=lambda pair: (len(pair[0]), len(pair[1])))
    total, num_symbols = 0.0, 0
    for first in range(0, len(pairs), batch_size):
        some_sources, some_targets = zip(*pairs[first : first + batch_size], strict=True)
        source, source_lengths = pad(some_sources)
        target, target_lengths = pad(some_targets)
        arguments = (t.to(device) for t in (source, source_lengths, target))
        total += float(network.loss_sum(*arguments, ctc_weight=ctc_weight))
        num_symbols += int(target_lengths.sum())
    return total / max(1, num_symbols)


@torch.no_grad()
def mean_vector_loss(model: Model, dev: DevSet, batch_size: int = 64) -> float:
    """Return the loss of real vectors ÷ number of vectors, over each source's target."""
    network: Seq2Seq = model.networks[0]
    device = next(network.parameters()).device
    total, num_vectors = 0.0, 0
    for first in range(0, len(dev), batch_size):
        part = dev[first : first + batch_size]
        source, source_lengths = pad([source for source, _ in part])
        target, target_lengths = pad([targets[0] for _, targets in part])
        total += float(network.loss_sum(*(t.to(device) for t in (source, source_lengths, target))))
        num_vectors += int(target_lengths.sum())
    return total / max(1, num_vectors)
