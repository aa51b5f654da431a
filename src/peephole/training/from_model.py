"""Training that goes on with a finished model: its weights are the first ones, and the first to beat on dev."""

from __future__ import annotations

import torch
from torch import nn

from peephole.config import TrainConfig
from peephole.storage.model_file import ModelFile
from peephole.training.loop import Hooks, remember_if_best
from peephole.training.state import TrainState, copy_weights


@torch.no_grad()
def set_first_weights(network: nn.Module, model: ModelFile) -> None:
    """Overwrite a network's initial weights with those of a model; the rows of new symbols stay as they were drawn."""
    for name, weight in network.state_dict().items():
        old = torch.tensor(model.tensors[name])
        weight[tuple(map(slice, old.shape))] = old


def evaluate_start(state: TrainState, config: TrainConfig, hooks: Hooks) -> bool:
    """Measure the first weights on dev, as the best so far, so that the run never ends with worse ones.

    Returns:
        Whether it is done: False if a stop ended it, before the first checkpoint.
    """
    weights = copy_weights(state.average)
    values = hooks.evaluate(weights)
    if values is None:
        return False
    hooks.on_evaluation(values, remember_if_best(state, config, weights, values))
    hooks.save()
    return True
