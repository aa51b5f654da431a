"""Losses and densities of a model file by the engine's trainer, without PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from peephole.data.batch import Batch, make_batch
from peephole.engine.packed import usable_cores
from peephole.engine.step_settings import StepSettings
from peephole.engine.trainer import EngineTrainer
from peephole.storage.model_file import ModelFile

MOST_STEPS = 6000  # source positions of a batch, padding included: a minute of sound


@contextmanager
def trainer_of(file: ModelFile, threads: int | None = None, ctc_weight: float = 1.0) -> Iterator[EngineTrainer]:
    """Return a block with a trainer of a file's weights, in float32, without dropout.

    Args:
        file: the model file.
        threads: CPU threads; None: all that this process may use.
        ctc_weight: the share of CTC in the loss, (33), of a network with a CTC output.

    Raises:
        EngineError: the engine is missing, or does not train such a network.
    """
    settings = StepSettings(
        dropout=0.0,
        variational_dropout=False,
        label_smoothing=0.0,
        clip_norm=0.0,
        weight_decay=0.0,
        ema_decay=0.0,
        threads=threads or usable_cores(),
        precision="32-true",
        seed=0,
        ctc_weight=ctc_weight,
    )
    sizes = len(file.source_symbols), len(file.target_symbols)
    trainer = EngineTrainer(file.architecture, *sizes, file.tensors, settings)
    try:
        yield trainer
    finally:
        trainer.close()


def batches_of(sources: Sequence[Any], targets: Sequence[Any], batch_size: int) -> Iterator[Batch]:
    """Yield pairs as batches in their order, of at most `MOST_STEPS` source positions or of one pair.

    Args:
        sources: symbols (T,), or (T, 2) of a model that copies; or frames (T, F).
        targets: symbols (U,) without </s>, or vectors (U, D).
        batch_size: the most pairs in a batch.
    """
    first = longest = 0
    for end, source in enumerate(sources):
        longest = max(longest, len(source))
        if end > first and (end - first == batch_size or (end + 1 - first) * longest > MOST_STEPS):
            yield _batch(sources[first:end], targets[first:end])
            first, longest = end, len(source)
    if first < len(sources):
        yield _batch(sources[first:], targets[first:])


def _batch(sources: Sequence[Any], targets: Sequence[Any]) -> Batch:
    own = [np.asarray(source) for source in sources]
    wanted = [np.asarray(target) for target in targets]
    wanted = [target if target.ndim == 2 else target.astype(np.int64) for target in wanted]
    return make_batch(own, wanted, np.arange(len(own)))
