"""Training that goes on with a finished model: its weights are the first ones, and the first to beat on dev."""

from __future__ import annotations

from peephole.config import TrainConfig
from peephole.storage.model_file import ModelFile
from peephole.training.executor import Weights, copy_weights
from peephole.training.loop import Hooks, remember_if_best
from peephole.training.state import TrainState


def set_first_weights(weights: Weights, model: ModelFile) -> None:
    """Overwrite initial weights with those of a model, in place; the rows of new symbols stay as they were drawn."""
    for name, weight in weights.items():
        old = model.tensors[name]
        weight[tuple(map(slice, old.shape))] = old


def evaluate_start(state: TrainState, config: TrainConfig, hooks: Hooks) -> bool:
    """Measure the first weights on dev, as the best so far, so that the run never ends with worse ones.

    Returns:
        Whether it is done: False if a stop ended it, before the first checkpoint.
    """
    weights = copy_weights(state.executor.average)
    values = hooks.evaluate(weights)
    if values is None:
        return False
    hooks.on_evaluation(values, remember_if_best(state, config, weights, values))
    hooks.save()
    return True
