"""Estimate the memory of a training from its settings and data, without PyTorch.

The engine tells how much a step of its own takes. Of PyTorch the estimate counts the arrays that are in memory together
at the peak of a step, in the order in which the modules of `peephole.nn` make them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod
from typing import NamedTuple

from peephole.config import Config
from peephole.data import Prepared, batch_shapes
from peephole.data.batch import Ids
from peephole.engine.packed import usable_cores
from peephole.engine.step_settings import NUMBERS, step_bytes
from peephole.engine.trainer import declined
from peephole.errors import ConfigError
from peephole.memory import check_memory
from peephole.model.file_trainer import MOST_STEPS
from peephole.nn import schema
from peephole.nn.schema import Architecture
from peephole.symbols import FRAME_KINDS
from peephole.training.engine_executor import step_settings

WINDOWS = 2  # windows of the first epoch from which the batches are taken
LIBRARIES = {"engine": 75_000_000, "PyTorch": 430_000_000}  # bytes once a training has begun, by what trains
WEIGHT_COPIES = {"weights": 1, "gradients": 1, "AdamW's moments": 2, "moving average and best weights": 2}
EVALUATION_COPIES = 3  # of the weights while dev is evaluated: a network, its file and its packed form
TRAINER_COPIES = 5  # likewise, of the trainer that measures the loss of CTC, or of vectors


class BatchShape(NamedTuple):
    """The sizes of a padded batch."""

    pairs: int  # B
    source_steps: int  # T
    target_steps: int  # U


def training_memory(
    config: Config, num_source_symbols: int, num_target_symbols: int, batches: Iterable[BatchShape]
) -> dict[str, int]:
    """Return the bytes that a training needs at its peak, by use.

    Args:
        config: all settings.
        num_source_symbols: size of the source's vocabulary.
        num_target_symbols: size of the target's.
        batches: the batches of the training, or some of them.
    """
    number = 8 if config.train.precision == "64-true" else 4
    sizes, shapes = (num_source_symbols, num_target_symbols), set(batches)
    tensors = schema.tensors(Architecture.of(config.model), *sizes)
    weights = number * sum(prod(spec.shape) for spec in tensors.values())
    alone, readings = is_trained_without_torch(config), 2 if config.train.consistency_loss else 1
    learned = {shape._replace(pairs=readings * shape.pairs) for shape in shapes}
    if alone:
        step = _engine_bytes(config, *sizes, learned, learns=True)
    else:
        step = number * max((_definition_numbers(config, num_target_symbols, shape) for shape in learned), default=0)
    evaluation = weights * EVALUATION_COPIES
    if alone and config.frames.kind in FRAME_KINDS:
        evaluation += step // 4  # predictions of a batch of dev: of texts, which are short, they take little
    if alone and (config.model.ctc or config.model.predicts_vectors):
        cut = {shape._replace(pairs=max(1, min(shape.pairs, MOST_STEPS // shape.source_steps))) for shape in shapes}
        evaluation += weights * TRAINER_COPIES + _engine_bytes(config, *sizes, cut, learns=False)
    parts = {name: copies * weights for name, copies in WEIGHT_COPIES.items()}
    if config.train.average_last > 1:
        parts["weights of the last evaluations"] = min(config.train.average_last, config.train.evaluations) * weights
    return parts | {
        "activations of the largest batch": step,
        "evaluation on dev": evaluation if alone else max(0, evaluation - step),  # PyTorch frees those of the step
        "Python and its libraries": LIBRARIES["engine" if alone else "PyTorch"],
    }


SIZES = (
    *("model.hidden_size", "model.encoder_size", "model.embedding_size", "model.encoder_layers"),
    *("model.decoder_layers", "data.batch_symbols", "train.average_last", "train.evaluations"),
)
"""The settings that decide the memory of a training on given data."""


def memory_sizes(config: Config, prepared: Prepared) -> tuple[int, int, set[BatchShape]]:
    """Return the sizes of the data that decide the memory of a training: both vocabularies, and its batches."""
    shapes = {shape_of(*batch) for batch in first_batches(config, prepared)}
    return len(prepared.source_symbols), len(prepared.target_symbols), shapes


def first_batches(config: Config, prepared: Prepared) -> Iterator[tuple[Ids, Ids]]:
    """Yield the source and target lengths of the batches of the first epoch, of large data only those of some pairs."""
    return batch_shapes(
        prepared.train,
        seed=config.train.seed,
        epoch=0,
        batch_symbols=config.data.batch_symbols,
        batch_frames=batch_frames(config),
        windows=WINDOWS,
    )


def batch_frames(config: Config) -> int | None:
    """Return the most frames of a batch; None for texts."""
    return config.frames.batch_frames if config.frames.kind in FRAME_KINDS else None


def shape_of(source_lengths: Ids, target_lengths: Ids) -> BatchShape:
    """Return the shape of a batch with pairs of these lengths."""
    return BatchShape(len(source_lengths), int(source_lengths.max()), int(target_lengths.max()))


def check_training_memory(
    config: Config, num_source_symbols: int, num_target_symbols: int, batches: Iterable[BatchShape]
) -> str | None:
    """Compare the memory that a training needs with that of this machine; see `check_memory`.

    Arguments as in `training_memory`.
    """
    arguments = num_source_symbols, num_target_symbols, set(batches)
    return check_memory(deciding_setting(config, *arguments), "training", _total(config, *arguments))


def deciding_setting(
    config: Config, num_source_symbols: int, num_target_symbols: int, batches: Iterable[BatchShape]
) -> str:
    """Return the setting, with its value, that adds most to the memory compared with its default.

    Arguments as in `training_memory`.
    """
    shapes = set(batches)
    least, setting = _total(config, num_source_symbols, num_target_symbols, shapes), "data.batch_symbols"
    for name in SIZES:
        smaller = _with_default(config, name)
        factor = smaller.data.batch_symbols / config.data.batch_symbols
        fewer = {shape._replace(pairs=max(1, int(shape.pairs * factor))) for shape in shapes} if factor < 1 else shapes
        without = _total(smaller, num_source_symbols, num_target_symbols, fewer)
        if without < least:
            least, setting = without, name
    section, key = setting.split(".")
    return f"{setting}={getattr(getattr(config, section), key)}"


def _total(config: Config, num_source_symbols: int, num_target_symbols: int, batches: Iterable[BatchShape]) -> int:
    return sum(training_memory(config, num_source_symbols, num_target_symbols, batches).values())


def _with_default(config: Config, name: str) -> Config:
    """Return a config with the default of a setting, if that is smaller and fits to the others."""
    section, key = name.split(".")
    before, default = (getattr(getattr(c, section), key) for c in (config, Config()))
    try:
        return config if (before or 0) <= (default or 0) else config.with_values({name: default})
    except ConfigError:
        return config


def is_trained_without_torch(config: Config) -> bool:
    """Return whether the engine is expected to train by itself, in one process on a CPU."""
    return config.train.engine != "off" and declined(config) is None


def _engine_bytes(
    config: Config, num_source_symbols: int, num_target_symbols: int, batches: Iterable[BatchShape], *, learns: bool
) -> int:
    """Return the bytes of the engine's own step of the largest batch; 0 without batches."""
    shapes = list(batches)
    if not shapes:
        return 0
    if config.train.precision not in NUMBERS:  # auto: bfloat16 needs less
        config = config.with_values({"train.precision": "32-true"})
    settings = step_settings(config, config.train.threads or usable_cores())
    sizes = num_source_symbols, num_target_symbols
    return step_bytes(Architecture.of(config.model), *sizes, settings, shapes, learns=learns)


def _definition_numbers(config: Config, num_target_symbols: int, batch: BatchShape) -> int:
    """Return how many numbers a step of the definition holds at its peak: what autograd keeps of all time steps."""
    a, dropped = Architecture.of(config.model), bool(config.model.dropout)
    H, M, E = a.hidden_size, a.encoder_size, a.embedding_size
    places = batch.pairs * schema.num_places(a, batch.source_steps)
    # Of CTC: scores, log-probabilities and their gradients, and both passes over paths
    ctc = places * (4 * num_target_symbols + 2 * a.encoder_size * dropped + 4 * batch.target_steps) if a.ctc else 0
    frontend, batch = _read_frames(a, batch)
    rows, steps = batch.pairs * batch.source_steps, batch.pairs * batch.target_steps
    cell = {"full": 22, "diagonal": 25, "none": 17}[a.peephole] if a.cell == "lstm" else 16
    cell += 10 * a.layer_norm  # the normalised numbers, with and without their gains
    cell += 6 * bool(
        a.zoneout_hidden or a.zoneout_cell
    )  # masks, what they leave, and the states that the cell computes
    source = E * (3 if dropped else 1) + a.encoder_layers * (cell + 4) * M + (a.encoder_layers - 1) * 2 * M * dropped
    target = E * (3 if dropped else 1) + a.decoder_layers * (cell + 2) * H + 4 * H + 2 * (M + H + E) + 3 * M
    target += (M + H) * a.input_feeding  # [c_t ; r_{t-1}]
    attention = 0
    if schema.CONTEXTS[a.context]:
        source += H
        position = {
            "additive": 2 * H,
            "location": 2 * (H + a.location_channels),
            "coverage": 2 * H,
            "multihead": 2 * (H + a.attention_heads) + M,
        }
        attention = batch.source_steps * (4 + position.get(a.attention, 0))
    return frontend + ctc + rows * source + steps * (target + attention + 3 * num_target_symbols)


def _read_frames(a: Architecture, batch: BatchShape) -> tuple[int, BatchShape]:
    """Return how many numbers the definition's frontend of frames holds, and the batch with the steps after it."""
    if a.input_size is None:
        return 0, batch
    steps, features = batch.source_steps, a.input_size
    count = 3 * batch.pairs * steps * features  # as stored, normalised, and masked or padded
    if a.input == "frames":
        return count, batch._replace(source_steps=-(-steps // a.frame_stack))
    features //= a.input_planes
    for _ in range(a.convolution_layers):
        steps, features = schema.halved(steps), schema.halved(features)
        # Outputs, before and after the masks of padding, and their gradients
        count += 4 * batch.pairs * steps * features * a.convolution_channels
    return count, batch._replace(source_steps=steps)
