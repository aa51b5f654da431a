"""The state of a training: one dataclass, stored in one file.

Everything random is a pure function of (seed, epoch) or (seed, step, example), so no generator's state is stored. The
checkpoint is one safetensors file that is replaced atomically, so a killed process leaves a complete one. The one
before it is kept beside it as `previous.safetensors`, in case the newer one is damaged.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peephole.errors import PeepholeError, RunError
from peephole.storage.model_file import read_tensors, write_tensors
from peephole.storage.names import current_name
from peephole.training.executor import Executor, Weights


@dataclass
class Position:
    """The position of a training in plain numbers."""

    step: int = 0  # updates done
    epoch: int = 0
    batch: int = 0  # batches of this epoch done
    symbols: int = 0  # target symbols of this epoch seen, </s> included
    seconds: float = 0.0  # training time, including that before a resume
    evaluations: int = 0  # evaluations done
    evaluation_seconds: float = 0.0  # that they took; measured with a budget of minutes
    parts: int = 0  # of `train.evaluations` equal parts of the budget, those that are over, evaluated or not
    evaluations_since_best: int = 0
    best_value: float | None = None  # dev metric of `best`
    best_step: int = 0  # the updates after which `best` was measured
    best_scores: dict[str, float] = field(default_factory=dict)  # all dev metrics of `best`
    evaluation_due: bool = False  # an evaluation was to follow the last update, and a stop came before its end
    finished: bool = False


@dataclass
class TrainState:
    """The weights being trained with their optimiser and average, the best ones so far, and the position."""

    executor: Executor  # weights, optimiser and moving average
    position: Position = field(default_factory=Position)
    best: Weights = field(default_factory=dict)  # the weights with the best dev metric
    recent: list[Weights] = field(default_factory=list)  # the weights at the last evaluations, newest last


def previous_checkpoint(path: Path) -> Path:
    """Return the name of the checkpoint before the one of this name."""
    return path.with_name("previous.safetensors")


def save_checkpoint(path: Path, state: TrainState, made_with: Mapping[str, str | None]) -> None:
    """Write the state and the versions of the libraries to one file, atomically, and keep the one before.

    Raises:
        RunError: it cannot be written; the older checkpoints are unchanged.
    """
    groups = {"network": state.executor.weights, "average": state.executor.average, "best": state.best}
    groups |= {f"recent {index}": weights for index, weights in enumerate(state.recent)}
    groups |= {f"optimizer {name}": moments for name, moments in state.executor.moments().items()}
    tensors = {f"{prefix}/{name}": array for prefix, weights in groups.items() for name, array in weights.items()}
    metadata = {
        "format": "peephole checkpoint",
        "position": json.dumps(asdict(state.position)),
        "made_with": json.dumps(dict(made_with)),
    }
    with suppress(OSError):  # then writing the file fails, too
        path.parent.mkdir(exist_ok=True)
    write_tensors(path, tensors, metadata, keep=previous_checkpoint(path))


def load_latest_checkpoint(path: Path, state: TrainState) -> tuple[dict[str, str | None] | None, str | None]:
    """Restore the checkpoint of this name, or the one before it if this one is damaged or missing.

    The checkpoint that was restored has this name afterwards, so that the next one does not replace it.

    Returns:
        The library versions stored in it, or None if there is no checkpoint; and a line about a damaged or missing
        one, or None.

    Raises:
        PeepholeError: there are checkpoints, but both are damaged.
    """
    previous = previous_checkpoint(path)
    if not path.exists() and not previous.exists():
        return None, None
    try:
        return load_checkpoint(path, state), None
    except PeepholeError as error:
        if not previous.exists():
            raise
        try:
            made_with = load_checkpoint(previous, state)
        except PeepholeError as older_error:
            raise RunError(f"{error}; {older_error}") from error
        notice = f"{error}; the checkpoint before it is used, that of step {state.position.step}"
    try:
        os.replace(previous, path)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from error
    return made_with, notice


def read_position(path: Path) -> Position | None:
    """Return the position that a checkpoint stores; None if it is missing or damaged."""
    with suppress(PeepholeError, KeyError, TypeError, ValueError):
        return Position(**json.loads(read_tensors(path)[1]["position"]))
    return None


def load_checkpoint(path: Path, state: TrainState) -> dict[str, str | None]:
    """Restore the state of a checkpoint, bit for bit, and return the library versions stored in it.

    Raises:
        RunError: the file is not a checkpoint of this model.
        ModelFileError: it is missing or damaged.
    """
    arrays, metadata = read_tensors(path)
    if metadata.get("format") != "peephole checkpoint":
        raise RunError(f"{path}: wanted a checkpoint, got another file")
    groups: dict[str, Weights] = {}
    for full, array in arrays.items():
        prefix, _, name = full.partition("/")
        group, space, weight = prefix.partition(" ")  # "optimizer " is followed by a weight's name
        prefix = group + space + current_name(weight)
        groups.setdefault(prefix, {})[current_name(name)] = np.array(array)  # in memory of its own
    wanted = {name: array.shape for name, array in state.executor.weights.items()}

    def weights(prefix: str) -> dict[str, NDArray[Any]]:
        got = {name: array.shape for name, array in groups[prefix].items()}
        for name in sorted(wanted.keys() | got.keys()):
            if wanted.get(name) != got.get(name):
                raise RunError(f"{path}, {prefix}/{name}: wanted shape {wanted.get(name)}, got {got.get(name)}")
        return groups[prefix]

    try:
        network, average = weights("network"), weights("average")
        best = weights("best") if "best" in groups else {}
        recent = [weights(f"recent {index}") for index in range(sum(key.startswith("recent ") for key in groups))]
        moments = {name: groups[f"optimizer {name}"] for name in network if f"optimizer {name}" in groups}
        position = Position(**json.loads(metadata["position"]))
        made_with = dict(json.loads(metadata.get("made_with", "{}")))
        state.executor.restore(network, average, moments)
        state.best, state.recent, state.position = best, recent, position
        return made_with
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise RunError(f"{path}: not a whole checkpoint: {error!r}") from error
