"""Measure weights on the dev set: teacher-forced loss, and greedy predictions against the references."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from peephole.config import HIGHEST_COUNT
from peephole.evaluation.metrics import METRICS, corpus_score
from peephole.model import Model, Notices
from peephole.model.file_trainer import batches_of, trainer_of
from peephole.model.forced import summed_log_prob
from peephole.model.reading import read_sources, read_targets
from peephole.symbols import EOS

DevSet = Sequence[tuple[Any, tuple[Any, ...]]]
"""Sources, texts or frames, with one or more reference targets each, texts or vectors."""

_PREDICTION_METRICS = ("symbol_error_rate", "exact_match", "chrf")
HIGHER_IS_BETTER = {"loss": False, **{name: METRICS[name].better == "higher" for name in _PREDICTION_METRICS}}


def measure(model: Model, dev: DevSet, threads: int | None = None) -> dict[str, float]:
    """Return the mean losses by symbol, and the metrics of greedy predictions in per cent (chrF: points).

    Args:
        model: the model to measure.
        dev: sources and references; the loss is that of each source's first reference. A network with CTC also has
            `ctc_loss`, where targets without a path (32) count as 0. A language model has its loss and perplexity only,
            a model of real vectors its loss.
        threads: CPU threads that predict; None: as many as a prediction uses.
    """
    if model.config.model.predicts_vectors:
        return {"loss": mean_vector_loss(model, dev, threads=threads)}
    if model.config.model.input == "none":
        loss = mean_loss(model, dev, threads=threads)
        return {"loss": loss, "perplexity": math.exp(loss)}
    sources = [source for source, _ in dev]
    references = [choices for _, choices in dev]
    # Always greedy, not the search configured for the finished model; with the threads and the engine of training
    greedy: dict[str, Any] = {"beam_size": 1, "nbest": 1, "temperature": None}
    engine = "off" if model.config.train.engine == "off" else "auto"
    notices = Notices()  # not printed: the notices of dev were printed when the data were read
    found = model.predict(sources, notices=notices, attention=False, threads=threads, engine=engine, **greedy)
    predictions = [best[0].text for best in found]
    values = {"loss": mean_loss(model, dev, threads=threads)}
    if model.config.model.ctc:
        values["ctc_loss"] = mean_loss(model, dev, ctc_weight=1.0, threads=threads)
    for name in _PREDICTION_METRICS:
        values[name] = corpus_score(name, predictions, references, model.target_symbols.split)
    return values


def mean_loss(
    model: Model, dev: DevSet, batch_size: int = 64, *, ctc_weight: float = 0.0, threads: int | None = None
) -> float:
    """Return (33) ÷ number of symbols, over each source's first reference, </s> included; by default (12) alone.

    A model made of a network computes it with that network in PyTorch, a model of files by scoring, or, with a
    ctc_weight, by the engine's trainer.
    """
    table = model.target_symbols if model.config.model.output == "copy" else None
    texts = [source for source, _ in dev]
    sources = read_sources(model.source_symbols, texts, Notices(), longest=HIGHEST_COUNT, target=table)
    targets = read_targets(model.target_symbols, [references[0] for _, references in dev], sources, Notices())
    pairs = [(source.ids, target) for source, target in zip(sources, targets, strict=True) if len(source.ids)]
    pairs.sort(key=lambda pair: (len(pair[0]), len(pair[1])))
    count = max(1, sum(len(target) + 1 for _, target in pairs))
    if model.files and ctc_weight:
        return loss_of_file(model, pairs, batch_size, threads, ctc_weight) / count
    if model.files:
        return -summed_log_prob(model, pairs, threads) / count
    return (
        loss_of_network(model, [(source, [*target, EOS]) for source, target in pairs], batch_size, ctc_weight) / count
    )


def loss_of_file(
    model: Model, pairs: Sequence[tuple[Any, Any]], batch_size: int, threads: int | None = None, ctc_weight: float = 1.0
) -> float:
    """Return the summed loss of a model file, (33) with a CTC output, in float32, by the engine's trainer.

    Args:
        model: the model, made of one file.
        pairs: source and target, ids without </s> or real vectors.
        batch_size: pairs in a batch.
        threads: CPU threads; None: all.
        ctc_weight: the share of CTC, above 0; not read without a CTC output.
    """
    with trainer_of(model.model_file("dev loss"), threads, ctc_weight) as trainer:
        batches = batches_of([source for source, _ in pairs], [target for _, target in pairs], batch_size)
        return sum(trainer.loss(batch.source, batch.source_lengths, batch.target) for batch in batches)


def mean_vector_loss(model: Model, dev: DevSet, batch_size: int = 64, threads: int | None = None) -> float:
    """Return the loss of real vectors ÷ number of vectors, over each source's target.

    A model made of a network computes it with that network in PyTorch, a model of a file by the engine's trainer.
    """
    pairs = [(source, targets[0]) for source, targets in dev]
    total = (
        loss_of_file(model, pairs, batch_size, threads) if model.files else loss_of_network(model, pairs, batch_size)
    )
    return total / max(1, sum(len(target) for _, target in pairs))


def loss_of_network(model: Model, pairs: Sequence[tuple[Any, Any]], batch_size: int, ctc_weight: float = 0.0) -> float:
    """Return the summed loss of a model's network in PyTorch, on its device and in its precision.

    Args:
        model: the model, made of a network.
        pairs: source and target, ids with </s> or real vectors.
        batch_size: pairs in a batch.
        ctc_weight: as in `Seq2Seq.loss_sum`.
    """
    from peephole.training.torch_loss import summed_loss

    return summed_loss(model.networks[0], pairs, batch_size, ctc_weight)
