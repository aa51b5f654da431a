"""Trainers with one error each, which `training_checks` must find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from peephole.data.batch import SECOND, Taught
from peephole.engine.trainer import EngineTrainer


def with_settings(**changes: Any) -> Callable[..., EngineTrainer]:
    """Return a maker of trainers with other settings than those given."""

    def make(architecture: Any, sources: int, targets: int, weights: Any, settings: Any, chosen: Any) -> EngineTrainer:
        return EngineTrainer(architecture, sources, targets, weights, settings._replace(**changes), chosen)

    return make


def with_sites(*order: int) -> Callable[..., EngineTrainer]:
    """Return a maker of trainers whose dropout sites are in another order."""

    def make(*arguments: Any) -> EngineTrainer:
        trainer = EngineTrainer(*arguments)
        trainer._sites = [trainer._sites[index] for index in order]
        return trainer

    return make


def with_weight(change: Callable[[Any], None]) -> Callable[..., EngineTrainer]:
    """Return a maker of trainers whose weights are changed."""

    def make(*arguments: Any) -> EngineTrainer:
        trainer = EngineTrainer(*arguments)
        change(trainer.weights)
        return trainer

    return make


class WithNumbers(EngineTrainer):
    """A trainer that is given other numbers than those wanted."""

    changes: dict[str, Callable[[float], float]]

    def _run(self, task: Any, source: Any, lengths: Any, target: Any, examples: Any, taught: Any, numbers: Any) -> Any:
        changed = {name: self.changes.get(name, lambda value: value)(value) for name, value in numbers.items()}
        return super()._run(task, source, lengths, target, examples, taught, changed)


def with_numbers(**changes: Callable[[float], float]) -> type[EngineTrainer]:
    """Return a class of trainers that change numbers of a step."""
    return type("Changed", (WithNumbers,), {"changes": changes})


def swap_first_rows(name: str) -> Callable[[Any], None]:
    """Return a function that swaps the first two rows of a weight."""

    def swap(weights: Any) -> None:
        weights[name][[0, 1]] = weights[name][[1, 0]]

    return swap


class WithSource(EngineTrainer):
    """A trainer that is given other sources than those wanted."""

    change: Callable[[Any], Any]

    def _run(self, task: Any, source: Any, lengths: Any, target: Any, examples: Any, taught: Any, numbers: Any) -> Any:
        return super()._run(task, type(self).change(source), lengths, target, examples, taught, numbers)


def with_source(change: Callable[[Any], Any]) -> type[EngineTrainer]:
    """Return a class of trainers that change their sources."""
    return type("Changed", (WithSource,), {"change": staticmethod(change)})


class WithExamples(EngineTrainer):
    """A trainer that is given other numbers of examples than those wanted."""

    change: Callable[[Any], Any]

    def _run(self, task: Any, source: Any, lengths: Any, target: Any, examples: Any, taught: Any, numbers: Any) -> Any:
        return super()._run(task, source, lengths, target, type(self).change(examples), taught, numbers)


def with_examples(change: Callable[[Any], Any]) -> type[EngineTrainer]:
    """Return a class of trainers that change the numbers of their examples."""
    return type("Changed", (WithExamples,), {"change": staticmethod(change)})


class WithTarget(EngineTrainer):
    """A trainer that is given other targets than those wanted."""

    change: Callable[[Any], Any]

    def _run(self, task: Any, source: Any, lengths: Any, target: Any, examples: Any, taught: Any, numbers: Any) -> Any:
        return super()._run(task, source, lengths, type(self).change(target), examples, taught, numbers)


def with_target(change: Callable[[Any], Any]) -> type[EngineTrainer]:
    """Return a class of trainers that change their targets."""
    return type("Changed", (WithTarget,), {"change": staticmethod(change)})


class WithTaught(EngineTrainer):
    """A trainer whose teacher gives something else."""

    change: Callable[[Any], Any]

    def _run(self, task: Any, source: Any, lengths: Any, target: Any, examples: Any, taught: Any, numbers: Any) -> Any:
        return super()._run(task, source, lengths, target, examples, type(self).change(taught), numbers)


def with_taught(change: Callable[[Any], Any]) -> type[EngineTrainer]:
    """Return a class of trainers that change what their teacher gives."""
    return type("Changed", (WithTaught,), {"change": staticmethod(change)})


def with_architecture(**changes: Any) -> Callable[..., EngineTrainer]:
    """Return a maker of trainers of a network that has the same weights and other kinds."""

    def make(architecture: Any, *arguments: Any) -> EngineTrainer:
        return EngineTrainer(replace(architecture, **changes), *arguments)

    return make


# The sites of the case "stacked": source, between 1, target, between 1, 2, readout, sampling
WRONG_GRADIENTS: dict[str, Callable[..., EngineTrainer]] = {
    "no dropout": with_settings(dropout=0.0),
    "another seed": with_settings(seed=4),
    "variational": with_settings(variational_dropout=True),
    "no label smoothing": with_settings(label_smoothing=0.0),
    "source and target sites swapped": with_sites(2, 1, 0, 3, 4, 5, 6),
    "sites of the decoder's layers swapped": with_sites(0, 1, 2, 4, 3, 5, 6),
    "site between encoder layers": with_sites(0, 5, 2, 3, 4, 5, 6),
    "site of the readout": with_sites(0, 1, 2, 3, 4, 3, 6),
    "divisor": with_numbers(divisor=lambda value: value + 1),
    "step": with_numbers(step=lambda value: value + 1),
    "weights of a bridge": with_weight(swap_first_rows("bridge.cell.1.weight")),
    "weights of the backward direction": with_weight(swap_first_rows("encoder.recurrent.layers.1.1.weight_hidden")),
    "weights of the keys": with_weight(swap_first_rows("decoder.attention.weight_keys")),
}


def with_points_in_channels(trainer_weights: Any) -> None:
    """Order the kernels of the second convolution as (points, channels) instead of (channels, points)."""
    kernels = trainer_weights["frontend.layers.1.weight"]
    kernels[...] = kernels.reshape(len(kernels), -1, 9).swapaxes(1, 2).reshape(kernels.shape)


WRONG_FRAMES: dict[str, Callable[..., EngineTrainer]] = {
    "no masks": with_settings(time_masks=0, feature_masks=0),
    "no masks of steps": with_settings(time_masks=0),
    "no masks of features": with_settings(feature_masks=0),
    "masks of other sizes": with_settings(feature_mask_size=3),
    "not normalised": with_weight(lambda weights: weights["frontend.scale"].fill(1)),
    "no mean": with_weight(lambda weights: weights["frontend.mean"].fill(0)),
    "kernels by point": with_weight(with_points_in_channels),
    "kernels transposed": with_weight(
        lambda weights: weights["frontend.layers.0.weight"].__setitem__(
            slice(None), weights["frontend.layers.0.weight"].reshape(-1, 3, 3).swapaxes(1, 2).reshape(3, 18)
        )
    ),
    "planes swapped": with_source(lambda source: np.roll(source, 3, axis=2)),
    "a step late": with_source(lambda source: np.roll(source, 1, axis=1)),
}

WRONG_STEPS: dict[str, Callable[..., EngineTrainer]] = {
    "no clipping": with_settings(clip_norm=0.0),
    "no weight decay": with_settings(weight_decay=0.0),
    "no average": with_settings(ema_decay=0.0),
    "average of another decay": with_numbers(average_decay=lambda value: value * 0.99),
    "bias correction": with_numbers(step=lambda value: value + 1),
    "learning rate": with_numbers(learning_rate=lambda value: value * (1 + 1e-6)),
}

WRONG_COPYING: dict[str, Callable[..., EngineTrainer]] = {
    "copies what it reads": with_source(lambda source: source[..., [0, 0]]),
    "copies the symbol before": with_source(
        lambda source: np.stack([source[..., 0], np.roll(source[..., 1], 1, axis=1)], -1)
    ),
    "no coverage loss": with_settings(coverage_loss=0.0),
    "another gate": with_weight(lambda weights: weights["decoder.output.gate_bias"].__iadd__(1e-6)),
    "parts of the gate swapped": with_weight(
        lambda weights: weights["decoder.output.gate_weight"].__setitem__(
            slice(None), np.roll(weights["decoder.output.gate_weight"], 1)
        )
    ),
}

# The sites of the case "ctc": source, between 1, target, between 1, readout, sampling, ctc
WRONG_CTC: dict[str, Callable[..., EngineTrainer]] = {
    "weights swapped": with_settings(ctc_weight=0.6),
    "CTC alone": with_settings(ctc_weight=1.0),
    "hardly any CTC": with_settings(ctc_weight=1e-8),
    "label smoothing": with_settings(label_smoothing=0.0),
    "dropout of another site": with_sites(0, 1, 2, 3, 4, 5, 1),
    "no site for sampling": with_sites(0, 1, 2, 3, 4, 6, 5),
    "blank is <s>": with_weight(swap_first_rows("ctc.weight")),
    "another bias": with_weight(lambda weights: weights["ctc.bias"].__setitem__(4, 1e-6)),
}

WRONG_CONSISTENCY: dict[str, Callable[..., EngineTrainer]] = {
    "no consistency loss": with_settings(consistency_loss=0.0),
    "half of its weight": with_settings(consistency_loss=1.5),
    "the same noise twice": with_examples(lambda examples: examples % SECOND),
    "the noise of other pairs": with_examples(lambda examples: np.roll(examples, 1)),
}

WRONG_TEACHER: dict[str, Callable[..., EngineTrainer]] = {
    "no teacher": with_settings(teacher_weight=0.0),
    "the teacher alone": with_settings(teacher_weight=1.0),
    "weights swapped": with_settings(teacher_weight=0.6),
    "label smoothing of all": with_settings(label_smoothing=0.1 / 0.6),
    "a step late": with_taught(lambda taught: Taught(*(np.roll(array, 1, axis=1) for array in taught))),
    "what it gives for another pair": with_taught(
        lambda taught: Taught(*(np.roll(array, 1, axis=0) for array in taught))
    ),
    "shares of other symbols": with_taught(lambda taught: taught._replace(shares=np.roll(taught.shares, 1, axis=2))),
    "the most probable symbol alone": with_taught(
        lambda taught: taught._replace(shares=np.eye(taught.shares.shape[2], dtype=np.float32)[[0]] + 0 * taught.shares)
    ),
}

# The sites of the case "vectors in constant units": source, target, readout, sampling
WRONG_VECTORS: dict[str, Callable[..., EngineTrainer]] = {
    "no feedback": with_architecture(feedback=False),
    "not continued": with_architecture(continues=False),
    "two quantiles": with_architecture(output="quantile", quantiles=2),
    "missing components are 0": with_target(np.nan_to_num),
    "a missing component drops its vector": with_target(
        lambda target: np.where(np.isfinite(target).all(-1, keepdims=True), target, np.float32(np.nan))
    ),
    "components swapped": with_target(lambda target: np.ascontiguousarray(target[..., ::-1])),
    "a step late": with_target(lambda target: np.roll(target, 1, axis=1)),
    "another mean": with_weight(lambda weights: weights["decoder.mean"].__iadd__(1e-6)),
    "another deviation": with_weight(lambda weights: weights["decoder.deviation"].__imul__(1 + 1e-6)),
    "no a": with_weight(lambda weights: weights["decoder.embedding.bias"].fill(0)),
    "mean and deviation swapped": with_weight(
        lambda weights: weights["decoder.output.weight"].__setitem__(
            slice(None), np.roll(weights["decoder.output.weight"], 2, axis=0)
        )
    ),
    "numbers of a component together": with_weight(
        lambda weights: weights["decoder.output.bias"].__setitem__(
            slice(None), weights["decoder.output.bias"].reshape(2, 2).T.ravel()
        )
    ),
    "no dropout": with_settings(dropout=0.0),
    "dropout of another site": with_sites(0, 2, 1, 3),
}

# The sites of the case "zoneout": source, between 1, target, between 1, readout, sampling; then of h and of c of each
# layer: of the encoder forward, backward, above them forward, backward; of the decoder's two
_BEFORE = tuple(range(6))
WRONG_ZONEOUT: dict[str, Callable[..., EngineTrainer]] = {
    "none of h": with_architecture(zoneout_hidden=0.0),
    "none of c": with_architecture(zoneout_cell=0.0),
    "rates swapped": with_architecture(zoneout_hidden=0.3, zoneout_cell=0.4),
    "what is kept is taken": with_architecture(zoneout_hidden=0.6, zoneout_cell=0.7),
    "masks of h and c swapped": with_sites(*_BEFORE, *(site ^ 1 for site in range(6, 18))),
    "masks of the directions swapped": with_sites(*_BEFORE, 8, 9, 6, 7, 12, 13, 10, 11, *range(14, 18)),
    "masks of the encoder's layers swapped": with_sites(*_BEFORE, *range(10, 14), *range(6, 10), *range(14, 18)),
    "masks of the decoder's layers swapped": with_sites(*range(14), 16, 17, 14, 15),
    "masks of the decoder are the encoder's": with_sites(*range(14), *range(6, 10)),
    "the masks of all layers are the same": with_sites(*_BEFORE, *((6, 7) * 6)),
}


def change(name: str, function: Callable[[Any], Any]) -> Callable[..., EngineTrainer]:
    """Return a maker of trainers in which a function changes one weight."""
    return with_weight(lambda weights: weights[name].__setitem__(slice(None), function(weights[name])))


_ENCODER, _DECODER = "encoder.recurrent.layers.1.1", "decoder.layers.1"
WRONG_NORM: dict[str, Callable[..., EngineTrainer]] = {
    "gains of the gates in another order": change(f"{_DECODER}.gain", lambda gain: np.roll(gain, len(gain) // 4)),
    "gains of the units in another order": change(f"{_ENCODER}.gain", lambda gain: np.roll(gain, 1)),
    "no gain of the cell": change(f"{_ENCODER}.cell_gain", np.ones_like),
    "no bias of the cell": change(f"{_DECODER}.cell_bias", np.zeros_like),
    "another bias of the cell": change(f"{_ENCODER}.cell_bias", lambda bias: bias + 1e-6),
    "no bias of the gates": change(f"{_DECODER}.bias", np.zeros_like),
}
