"""Estimate the memory and the time of a training before it begins, without PyTorch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from peephole.config import Config, SearchConfig
from peephole.data import Prepared
from peephole.engine import bfloat16_is_faster
from peephole.engine.packed import PackedModel, PackedSearch
from peephole.memory import machine_memory
from peephole.nn import schema
from peephole.nn.schema import Architecture
from peephole.storage.model_file import ModelFile, encode_model
from peephole.symbols import UNK
from peephole.training.memory import first_batches, is_trained_by_engine, shape_of, training_memory

Batch = tuple[Sequence[int], Sequence[int]]
"""The source lengths and the target lengths, EOS included, of the pairs of a batch."""

TRIALS = 8  # batches that are timed
# An update takes this many times as long as scoring its batch with a packed model, and a little more. Over models of
# hidden sizes 64 to 512, of one and two layers, and batches of 1000 to 4000 symbols the estimate was 0.82 to 1.24 times
# the processor time of real updates (AVX-512 with bfloat16, one thread).
FACTORS = {"32-true": 4.7, "bf16-mixed": 3.1, "64-true": 9.4}
SECONDS_PER_UPDATE = 0.003


@dataclass(frozen=True)
class Estimate:
    """What a training will need on this machine.

    Attributes:
        memory: bytes at the peak, by use, for one process; the keys are words for the user.
        steps_per_epoch: updates in a pass over the data.
        seconds_per_epoch: seconds of such a pass on this machine's CPU, without evaluations; None for what the engine
            does not train, or this machine cannot.
    """

    memory: dict[str, int]
    steps_per_epoch: int
    seconds_per_epoch: float | None

    @property
    def memory_bytes(self) -> int:
        """Return the bytes of memory at the peak."""
        return sum(self.memory.values())


def estimate(config: Config, prepared: Prepared, timed: int = TRIALS) -> Estimate:
    """Estimate the memory and the time of a training on the CPU, in about a second.

    Args:
        config: all settings.
        prepared: the prepared data.
        timed: batches that are timed.

    A training that needs more memory than this machine has is not refused here, as by `check_training_memory`; its time
    is None.
    """
    found = list(first_batches(config, prepared))
    shapes = {shape_of(*batch) for batch in found}
    memory = training_memory(config, len(prepared.source_symbols), len(prepared.target_symbols), shapes)
    steps = max(1, round(len(found) * len(prepared.train) / sum(len(source) for source, _ in found)))
    seconds = None
    if is_trained_by_engine(config) and sum(memory.values()) < machine_memory().total:
        step = max(1, len(found) // timed)
        trials = [(source.tolist(), target.tolist()) for source, target in islice(found, 0, None, step)]
        seconds = steps * seconds_per_update(config, prepared, trials)
    return Estimate(memory, steps, seconds)


def seconds_per_update(config: Config, prepared: Prepared, batches: Sequence[Batch]) -> float:
    """Return the mean seconds of an update on some batches, from the time of scoring them with random weights.

    Args:
        config: all settings.
        prepared: its symbol tables are used.
        batches: the lengths of their pairs.
    """
    architecture = Architecture.of(config.model)
    specs = schema.tensors(architecture, len(prepared.source_symbols), len(prepared.target_symbols))
    draw = np.random.default_rng(0)
    tensors = {name: draw.normal(0, 0.05, spec.shape).astype(np.float32) for name, spec in specs.items()}
    file = ModelFile(tensors, config, prepared.source_symbols, prepared.target_symbols)
    searching = PackedSearch([PackedModel(encode_model(file))])
    times = []
    for source_lengths, target_lengths in batches:
        size = architecture.input_size
        sources: list[Any] = [[UNK] * n for n in source_lengths]
        if size is not None:
            sources = [draw.normal(size=(n, size)).astype(np.float32) for n in source_lengths]
        targets = [[UNK] * (n - 1) for n in target_lengths]
        how = SearchConfig(batch_size=len(sources), threads=config.train.threads)
        started = time.perf_counter()
        searching.likeliest(sources, targets, how)
        times.append(time.perf_counter() - started)
    precision = config.train.precision
    if precision == "auto":  # as `peephole.training.backend_choice.with_precision` chooses, if the engine trains all
        precision = "bf16-mixed" if bfloat16_is_faster() else "32-true"
    return FACTORS.get(precision, FACTORS["32-true"]) * sum(times) / len(times) + SECONDS_PER_UPDATE
