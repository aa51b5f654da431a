"""Losses and densities of a model file by the engine's trainer, without PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from peephole.data.batch import Batch, make_batch
from peephole.engine.packed import usable_cores
from peephole.engine.trainer import EngineTrainer, StepSettings
from peephole.storage.model_file import ModelFile


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
    """Yield pairs as batches in their order.

    Args:
        sources: symbols (T,), or (T, 2) of a model that copies; or frames (T, F).
        targets: symbols (U,) without </s>, or vectors (U, D).
        batch_size: pairs in a batch.
    """
    for first in range(0, len(sources), batch_size):
        part = slice(first, first + batch_size)
        own = [np.asarray(source) for source in sources[part]]
        wanted = [np.asarray(target) for target in targets[part]]
        wanted = [target if target.ndim == 2 else target.astype(np.int64) for target in wanted]
        yield make_batch(own, wanted, np.arange(len(own)))
