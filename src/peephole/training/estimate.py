"""Estimate the memory and the time of a training before it begins, without PyTorch."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import islice

from peephole.config import Config
from peephole.data import Prepared, batches
from peephole.memory import machine_memory
from peephole.nn.initial import initial_weights
from peephole.training.backend_choice import with_precision
from peephole.training.engine_executor import EngineExecutor
from peephole.training.loss import loss_divisor
from peephole.training.memory import batch_frames, first_batches, is_trained_without_torch, shape_of, training_memory
from peephole.training.schedules import sampling_probability

TRIALS = 8  # batches that are timed
MOST_SECONDS = 1.0  # of them; one is timed at least


@dataclass(frozen=True)
class Estimate:
    """What a training will need on this machine.

    Attributes:
        memory: bytes at the peak, by use, for one process; the keys are words for the user.
        steps_per_epoch: updates in a pass over the data.
        seconds_per_epoch: seconds of such a pass on this machine's CPU, without evaluations; None for what the engine
            does not train by itself, or this machine cannot.
    """

    memory: dict[str, int]
    steps_per_epoch: int
    seconds_per_epoch: float | None

    @property
    def memory_bytes(self) -> int:
        """Return the bytes of memory at the peak."""
        return sum(self.memory.values())


def estimate(config: Config, prepared: Prepared, timed: int = TRIALS) -> Estimate:
    """Estimate the memory and the time of a training on the CPU; the time from some updates.

    Args:
        config: all settings.
        prepared: the prepared data.
        timed: batches that are timed, fewer if they take long.

    A training that needs more memory than this machine has is not refused here, as by `check_training_memory`; its time
    is None.
    """
    found = list(first_batches(config, prepared))
    shapes = {shape_of(*batch) for batch in found}
    memory = training_memory(config, len(prepared.source_symbols), len(prepared.target_symbols), shapes)
    steps = max(1, round(len(found) * len(prepared.train) / sum(len(source) for source, _ in found)))
    seconds = None
    if is_trained_without_torch(config) and sum(memory.values()) < machine_memory().total:
        seconds = seconds_per_symbol(config, prepared, timed) * prepared.train.num_target_symbols
    return Estimate(memory, steps, seconds)


def seconds_per_symbol(config: Config, prepared: Prepared, timed: int) -> float:
    """Return the seconds of training by target symbol: those of updates on the first batches, by the engine.

    Args:
        config: all settings of a training by the engine alone.
        prepared: the prepared data.
        timed: batches that are timed, fewer if they take long.
    """
    config = with_precision(config)
    config = replace(config, train=replace(config.train, teacher=None))  # it is asked before the first update
    train, sizes = config.train, (len(prepared.source_symbols), len(prepared.target_symbols))
    weights = dict(initial_weights(config.model, *sizes, train.seed, prepared.statistics))
    first = batches(
        prepared.train,
        seed=train.seed,
        epoch=0,
        batch_symbols=config.data.batch_symbols,
        batch_frames=batch_frames(config),
    )
    executor = EngineExecutor(config, *sizes, weights)
    seconds, symbols = 0.0, 0
    try:
        for batch in islice(first, timed):
            for _ in range(2):  # the first of two updates touches memory for the first time
                started = time.perf_counter()
                executor.step(
                    batch,
                    step=0,
                    learning_rate=0.0,
                    divisor=loss_divisor(len(batch), batch.num_symbols, train.loss_mean),
                    sampling_probability=sampling_probability(0.5, train),
                    interruptible=nullcontext,
                )
                last = time.perf_counter() - started
            seconds, symbols = seconds + last, symbols + batch.num_symbols
            if seconds > MOST_SECONDS:
                break
    finally:
        executor.close()
    return seconds / symbols
