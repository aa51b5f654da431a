"""The settings of whole training steps on the engine alone, and the memory of a step."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from peephole.engine import structures
from peephole.engine.abi import library
from peephole.engine.enums import Operand, Status
from peephole.nn.architecture import Architecture

Precision = Literal["32-true", "64-true", "bf16-mixed"]


MESSAGE_BYTES = 1000
NUMBERS: Mapping[str, tuple[type[np.floating[Any]], Operand]] = {
    "32-true": (np.float32, Operand.AS_IS),
    "64-true": (np.float64, Operand.AS_IS),
    "bf16-mixed": (np.float32, Operand.BF16),
}
"""The number format of weights, and the operands of products, by `train.precision`."""


MASKS = ("time_masks", "time_mask_size", "feature_masks", "feature_mask_size")
"""The settings of the masks of frames."""


class StepSettings(NamedTuple):
    """The settings of a training that are the same for all steps; each is the setting of that name in `Config`."""

    dropout: float
    variational_dropout: bool
    label_smoothing: float
    clip_norm: float  # 0: never
    weight_decay: float
    ema_decay: float  # 0: no moving average
    threads: int
    precision: Precision
    seed: int
    coverage_loss: float = 0.0
    consistency_loss: float = 0.0
    teacher_weight: float = 0.0  # 0: no teacher
    time_masks: int = 0  # of frames, like the next three
    time_mask_size: int = 0
    feature_masks: int = 0
    feature_mask_size: int = 0
    ctc_weight: float = 0.3  # not read without a CTC output


def step_bytes(
    architecture: Architecture,
    num_source_symbols: int,
    num_target_symbols: int,
    settings: StepSettings,
    batches: Iterable[tuple[int, int, int]],
    *,
    learns: bool,
) -> int:
    """Return the memory that a step of the largest batch needs beside weights, gradients and the optimiser's state.

    Args:
        architecture: the network, one that the engine trains.
        num_source_symbols: as in `peephole.engine.trainer.EngineTrainer`.
        num_target_symbols: likewise.
        settings: likewise.
        batches: (B, T, U) of each; T of a language model is not read.
        learns: with gradients; else for the loss alone.

    Raises:
        ValueError: as `EngineTrainer`.
    """
    sizes, found = np.maximum(np.array([*batches], np.int64).reshape(-1, 3), 1), ctypes.c_size_t()
    description = json.dumps(architecture.to_dict()).encode()
    given = c_settings(architecture, num_source_symbols, num_target_symbols, settings)
    message = ctypes.create_string_buffer(MESSAGE_BYTES)
    status = library().peephole_trainer_step_bytes(
        description,
        len(description),
        ctypes.byref(given),
        sizes.ctypes.data,
        len(sizes),
        learns,
        ctypes.byref(found),
        message,
        MESSAGE_BYTES,
    )
    if status != Status.OK:
        raise ValueError(message.value.decode(errors="replace"))
    return found.value


def c_settings(
    architecture: Architecture, num_source_symbols: int, num_target_symbols: int, settings: StepSettings
) -> structures.TrainerSettings:
    """Return the settings as the C functions take them; arguments as in `step_bytes`."""
    kind, operand = NUMBERS[settings.precision]
    return structures.TrainerSettings(
        scalar=np.dtype(kind).itemsize,
        operand=operand,
        threads=settings.threads,
        variational=settings.variational_dropout,
        num_source_symbols=num_source_symbols if architecture.input == "symbols" else 0,
        num_target_symbols=num_target_symbols,
        dropout=settings.dropout,
        label_smoothing=settings.label_smoothing,
        clip_norm=settings.clip_norm,
        weight_decay=settings.weight_decay,
        coverage_loss=settings.coverage_loss,
        consistency_loss=settings.consistency_loss,
        teacher_weight=settings.teacher_weight,
        **{name: getattr(settings, name) for name in MASKS},
        ctc_weight=settings.ctc_weight,
    )
