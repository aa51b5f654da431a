"""Training on the engine alone: whole steps in one call each, without PyTorch."""

from __future__ import annotations

import ctypes
import json
import weakref
from collections.abc import Mapping
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from peephole.config import Config
from peephole.data.batch import Taught
from peephole.engine import structures
from peephole.engine.abi import available, library
from peephole.engine.enums import Status, TrainerArray, TrainerTask
from peephole.engine.kinds import TRAINER_KINDS, missing_kind
from peephole.engine.step_arrays import floats, integers, taught_arrays
from peephole.engine.step_settings import MESSAGE_BYTES, NUMBERS, StepSettings, c_settings
from peephole.errors import EngineError
from peephole.nn.architecture import Architecture
from peephole.nn.sites import site_number

Numbers = NDArray[Any]
Arrays = dict[str, NDArray[Any]]


class StepResult(NamedTuple):
    """The numbers of one step."""

    loss: float  # summed over the batch's symbols, label smoothing included
    gradient_norm: float  # of the gradients of loss / divisor, before clipping
    updated: bool  # False: loss or norm is not finite, and nothing has changed; or only gradients were wanted


class EngineTrainer:
    """A network in training, with its optimiser's state, in the engine's memory.

    A step computes what `peephole.training.loop.train_step` does: the loss (12), of a model that copies with p of (27),
    of one with a CTC output (33), of real vectors (53) or (55), with dropout, masks of frames, label smoothing, a
    teacher (69), the coverage loss (23), and gold symbols, (13), or sampled, (14); all gradients; clipping; AdamW; and
    the moving average of the weights. Results are the same bits for any number of threads.

    Args:
        architecture: the network.
        num_source_symbols: number of source symbols, the specials included; not read for a network that reads frames or
            nothing.
        num_target_symbols: likewise.
        weights: the first weights, by the names of `Seq2Seq.state_dict`.
        settings: the settings of the training.
        instruction_set: one of `peephole.engine.instruction_sets()`; None: the best one.

    Attributes:
        weights: views of the weights by name, in float32, or float64 for `64-true`. All four dictionaries are always
            current; writing into their arrays restores a checkpoint.
        first_moments, second_moments: AdamW's, likewise; 0 at first. Those of constants, the mean and the scale of
            frames, are not there.
        average: the moving average of the weights; the first weights at first.

    Raises:
        EngineError: the library or memory is missing, or it does not train such a network.
        ValueError: a weight is missing, unknown, of another shape or not finite; or a setting is out of range.
    """

    weights: Arrays
    first_moments: Arrays
    second_moments: Arrays
    average: Arrays

    def __init__(
        self,
        architecture: Architecture,
        num_source_symbols: int,
        num_target_symbols: int,
        weights: Mapping[str, NDArray[Any]],
        settings: StepSettings,
        instruction_set: str | None = None,
    ) -> None:
        if settings.precision not in NUMBERS:
            raise ValueError(f"precision: wanted one of {', '.join(NUMBERS)}, got {settings.precision!r}")
        missing = missing_kind(architecture.kinds(), TRAINER_KINDS)
        if missing is not None:
            raise EngineError(f"the engine {missing} in training")
        self.settings = settings
        self._sites = _site_names(architecture)
        self._reads_sources = architecture.input != "none"
        self._copies = architecture.output == "copy"
        self._frame_size = architecture.input_size if architecture.input in ("frames", "convolution") else None
        self._vector_size = architecture.output_size if architecture.output in ("gaussian", "quantile") else None
        given = c_settings(architecture, num_source_symbols, num_target_symbols, settings)
        self._memory: _Memory | None = _Memory.open(architecture, given, instruction_set)
        kind = NUMBERS[settings.precision][0]
        arrays = {which: self._memory.arrays(which, kind) for which in TrainerArray}
        self.weights, self._gradients = arrays[TrainerArray.WEIGHTS], arrays[TrainerArray.GRADIENTS]
        self.first_moments = arrays[TrainerArray.FIRST_MOMENTS]
        self.second_moments = arrays[TrainerArray.SECOND_MOMENTS]
        self.average = arrays[TrainerArray.AVERAGE]
        _check_weights(self.weights, weights)
        for name, view in self.weights.items():
            view[...] = weights[name]
            self.average[name][...] = view

    def step(
        self,
        source: Numbers,
        source_lengths: Numbers,
        target: Numbers,
        examples: Numbers,
        taught: Taught | None = None,
        *,
        step: int,
        learning_rate: float,
        divisor: float,
        sampling_probability: float = 0.0,
    ) -> StepResult:
        """Do one update: gradients of loss / divisor, clipping, AdamW and the moving average.

        Args:
            source: (B, T) symbols, or for a model that copies (B, T, 2), those read and those copied; or frames
                (B, T, F), of which the engine reads float32; not read for a language model.
            source_lengths: (B,) real symbols or frames, 1 ≤ length ≤ T; not read for a language model.
            target: (B, U) symbols, padded with PAD after at least one symbol; of a model that copies also copies of
                source symbols that the vocabulary lacks, above it. Or vectors (B, U, D), of which the engine reads
                float32; a component that is not finite is missing, as is all padding.
            examples: (B,) index of each pair in the corpus, from which dropout draws.
            taught: what a teacher gives for the targets, (69); not read without a teacher_weight.
            step: updates done before.
            learning_rate: AdamW's.
            divisor: number that divides the summed loss, from `loss_divisor`.
            sampling_probability: that of feeding the model's own symbol, (14); 0 for vectors.

        Raises:
            ValueError: an array has another shape, an empty batch, a length out of range, or a symbol that is none.
            EngineError: memory is missing, or the trainer is closed.
        """
        updates, decay = step + 1, self.settings.ema_decay
        numbers = {
            "step": step,
            "learning_rate": learning_rate,
            "divisor": divisor,
            "average_decay": min(decay, (1 + updates) / (10 + updates)) if decay else 1.0,
            "sampling_probability": sampling_probability,
        }
        return self._run(TrainerTask.UPDATE, source, source_lengths, target, examples, taught, numbers)

    def gradients(
        self,
        source: Numbers,
        source_lengths: Numbers,
        target: Numbers,
        examples: Numbers,
        taught: Taught | None = None,
        *,
        step: int,
        divisor: float,
        sampling_probability: float = 0.0,
    ) -> tuple[StepResult, Arrays]:
        """Return the result of a step without an update, and copies of its gradients, not clipped; see `step`."""
        numbers = {"step": step, "divisor": divisor, "sampling_probability": sampling_probability}
        result = self._run(TrainerTask.COMPUTE_GRADIENTS, source, source_lengths, target, examples, taught, numbers)
        return result, {name: gradient / gradient.dtype.type(divisor) for name, gradient in self._gradients.items()}

    def loss(self, source: Numbers, source_lengths: Numbers, target: Numbers, *, averaged: bool = False) -> float:
        """Return the summed loss without dropout, label smoothing and coverage loss, with gold symbols fed, (12), (13).

        Of a network with a CTC output it is (33), as in a step; of vectors (53) or (55).

        Args:
            source: as in `step`, as are source_lengths and target.
            source_lengths: see `step`.
            target: see `step`.
            averaged: compute it with the moving average instead of the weights.

        Raises:
            ValueError: see `step`.
            EngineError: see `step`.
        """
        task = TrainerTask.COMPUTE_AVERAGE_LOSS if averaged else TrainerTask.COMPUTE_LOSS
        return self._run(task, source, source_lengths, target, None, None, {}).loss

    def log_densities(self, source: Numbers, source_lengths: Numbers, target: Numbers) -> NDArray[np.float64]:
        """Return the logarithm of the density of each target of vectors, (11), in its own units, (B,).

        Args:
            source: as in `step`, as are source_lengths and target.
            source_lengths: see `step`.
            target: see `step`; missing components are left out.

        Raises:
            ValueError: see `step`; or the output has no density.
            EngineError: see `step`.
        """
        found = np.empty(len(target))
        given = {"log_densities": found.ctypes.data}
        self._run(TrainerTask.COMPUTE_LOSS, source, source_lengths, target, None, None, given)
        return found

    def close(self) -> None:
        """Drop the weights and the other arrays; the memory is released with the last view of it."""
        self._memory = None
        for arrays in (self.weights, self._gradients, self.first_moments, self.second_moments, self.average):
            arrays.clear()

    def _run(
        self,
        task: TrainerTask,
        source: Numbers,
        source_lengths: Numbers,
        target: Numbers,
        examples: Numbers | None,
        taught: Taught | None,
        numbers: Mapping[str, float],
    ) -> StepResult:
        if self._memory is None:
            raise EngineError("the trainer is closed")
        if self._vector_size is None:
            arrays: Arrays = {"targets": integers("target", target, 2)}
        else:
            arrays = {"vectors": floats("target", target, "vector", self._vector_size)}
        sizes = {"batch": len(target), "target_steps": target.shape[1]}
        if self._reads_sources:
            arrays |= self._sources(source, len(target))
            arrays["source_lengths"] = integers("source_lengths", source_lengths, 1, len(target))
            sizes["source_steps"] = source.shape[1]
        if examples is not None:
            arrays["examples"] = integers("examples", examples, 1, len(target))
            if self.settings.teacher_weight:
                arrays |= taught_arrays(taught, target)
                sizes["num_taught"] = arrays["taught_symbols"].shape[2]
            number = partial(site_number, self.settings.seed, int(numbers["step"]))
            arrays["sites"] = np.array([number(site) for site in self._sites], np.int64)
            sizes |= {"time_mask_site": number("time masks"), "feature_mask_site": number("feature masks")}
        addresses = {name: array.ctypes.data for name, array in arrays.items()}
        given = structures.TrainerStep(**sizes, **addresses, **numbers)
        self._memory.run(task, given)
        return StepResult(given.loss, given.gradient_norm, bool(given.updated))

    def _sources(self, source: Numbers, length: int) -> Arrays:
        """Return the arrays of the sources of a step by their names in `TrainerStep`."""
        if self._frame_size is not None:
            return {"frames": floats("source", source, "frame", self._frame_size, length)}
        read = integers("source", source, 3 if self._copies else 2, length)
        if not self._copies:
            return {"sources": read}
        if read.shape[2] != 2:
            raise ValueError(f"source: wanted 2 symbols a step, read and copied, got {read.shape[2]}")
        return {name: np.ascontiguousarray(read[..., index]) for index, name in enumerate(("sources", "copied"))}


def declined(config: Config) -> str | None:
    """Return the reason why the engine does not train a config by itself; None if it does.

    Args:
        config: all settings; `train.precision` may be auto.

    >>> from peephole.config import Config
    >>> declined(Config().with_values({"train.precision": "16-mixed"}))
    "has no precision '16-mixed'"
    """
    if not available():
        return "missing, it needs a C++ compiler when peephole is installed"
    missing = missing_kind(Architecture.of(config.model).kinds(), TRAINER_KINDS)
    if missing is not None:
        return missing
    if config.train.precision not in (*NUMBERS, "auto"):
        return f"has no precision {config.train.precision!r}"
    return None


class _Memory:
    """A `peephole_trainer *`, closed when nothing refers to it any more: every view of its arrays does."""

    def __init__(self, address: int) -> None:
        self.address = address
        weakref.finalize(self, library().peephole_trainer_close, address)

    @classmethod
    def open(
        cls, architecture: Architecture, given: structures.TrainerSettings, instruction_set: str | None
    ) -> _Memory:
        description = json.dumps(architecture.to_dict()).encode()
        chosen = None if instruction_set is None else instruction_set.encode()
        message = ctypes.create_string_buffer(MESSAGE_BYTES)
        address = library().peephole_trainer_open(
            description, len(description), ctypes.byref(given), chosen, message, MESSAGE_BYTES
        )
        if address is None:
            raise _failure(message.value)
        return cls(address)

    def arrays(self, which: TrainerArray, kind: type[np.floating[Any]]) -> Arrays:
        """Return views of one array of each tensor that has it."""
        tensor, found = structures.TrainerTensor(), dict[str, NDArray[Any]]()
        for index in count():
            if not library().peephole_trainer_describe(self.address, index, ctypes.byref(tensor)):
                break
            if not tensor.arrays[which]:
                continue
            shape = tensor.shape[: tensor.num_dimensions]
            content = (ctypes.c_char * (int(np.prod(shape)) * np.dtype(kind).itemsize)).from_address(
                tensor.arrays[which]
            )
            content.memory = self  # type: ignore[attr-defined]  # which the view thus keeps open
            found[tensor.name.decode()] = np.frombuffer(memoryview(content), kind).reshape(shape)
        return found

    def run(self, task: TrainerTask, step: structures.TrainerStep) -> None:
        """Do a task; see peephole.h."""
        message = ctypes.create_string_buffer(MESSAGE_BYTES)
        status = library().peephole_trainer_run(self.address, task, ctypes.byref(step), message, MESSAGE_BYTES)
        if status == Status.OK:
            return
        raise _failure(message.value)


def _failure(message: bytes) -> EngineError | ValueError:
    """Return the error for a message of the engine."""
    text = message.decode(errors="replace")
    return EngineError(text) if text == "not enough memory" else ValueError(text)


def _site_names(architecture: Architecture) -> list[str]:
    """Return the sites of randomness in the order of `peephole_trainer_step.sites`."""
    source = [] if architecture.input == "none" else ["source embedding"]
    source += [f"between layers {layer}" for layer in range(1, architecture.encoder_layers)] if source else []
    between = [f"between decoder layers {layer}" for layer in range(1, architecture.decoder_layers)]
    names = [*source, "target embedding", *between, "readout", "scheduled sampling"]
    names += ["ctc"] * architecture.ctc
    if architecture.kinds()["zoneout"] == "none":
        return names
    sides = range(2 if architecture.bidirectional else 1)
    layers = [] if not source else [f"{layer} {side}" for layer in range(architecture.encoder_layers) for side in sides]
    layers += [f"decoder {layer}" for layer in range(architecture.decoder_layers)]
    return [*names, *(f"zoneout {layer} {state}" for layer in layers for state in ("h", "c"))]


def _check_weights(views: Arrays, weights: Mapping[str, NDArray[Any]]) -> None:
    """Raise ValueError unless there is a finite weight of the right shape for every view, and no other."""
    for name in sorted(views.keys() | weights.keys()):
        wanted, got = ("none" if name not in of else str(of[name].shape) for of in (views, weights))
        if wanted != got:
            raise ValueError(f"weight {name}: wanted shape {wanted}, got {got}")
        if not np.isfinite(weights[name]).all():
            raise ValueError(f"weight {name}: wanted finite numbers, got others too")
