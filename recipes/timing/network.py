"""The network of the timing experiments and its training until it has solved a task.

One layer of `peephole.nn.LSTM` and one output unit, as in the article: no connection from input to output, biases of
the input, forget and output gates 0, -2 and 2 at first, a logistic output for spikes and a linear one for periodic
functions. See the recipe's README for the differences.
"""

from typing import NamedTuple

import torch
from tasks import Task, draw, first_errors
from torch import Tensor, nn

from peephole.nn import LSTM

FIRST_INTERVALS = 2  # of a training stream; doubled after each batch without a wrong output
MOST_INTERVALS = 32
BATCH = 4  # streams in a batch, of spikes; periodic functions need one
CHECK_EVERY = 50  # updates
CHECKS = (50, 1000)  # intervals of the test streams: few find most failures
GATE_BIASES = {"i": 0.0, "f": -2.0, "g": 0.0, "o": 2.0}


class Settings(NamedTuple):
    """What one run depends on."""

    task: Task
    form: str  # of the peepholes
    cells: int
    learning_rate: float
    seed: int
    updates: int  # at most


class Network(nn.Module):
    """A layer of cells and an output unit."""

    def __init__(self, task: Task, form: str, cells: int) -> None:
        super().__init__()
        self.lstm = LSTM(1, cells, peephole=form)
        self.output = nn.Linear(cells, 1)
        self.squash = torch.sigmoid if task.has_spikes else nn.Identity()
        with torch.no_grad():
            self.lstm.layers[0][0].bias.copy_(torch.tensor(list(GATE_BIASES.values())).repeat_interleave(cells))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs (B, T) of streams of inputs (B, T)."""
        hidden, _ = self.lstm(inputs[:, :, None], torch.full(inputs.shape[:1], inputs.shape[1]))
        found: Tensor = self.squash(self.output(hidden)[:, :, 0])
        return found


def updates_needed(settings: Settings) -> int | None:
    """Train a network and return the updates after which it has solved its task; None if it has not.

    As in the article, a training stream ends at its first wrong output: later steps have no influence on the loss.
    """
    task = settings.task
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = Network(task, settings.form, settings.cells)
    weights = list(network.parameters())
    optimizer = torch.optim.Adam(weights, lr=settings.learning_rate, fused=True)
    training, testing = (torch.Generator().manual_seed(2 * settings.seed + n) for n in range(2))
    num_intervals = FIRST_INTERVALS
    for update in range(1, settings.updates + 1):
        streams = draw(task, num_intervals, training, BATCH if task.has_spikes else 1)
        outputs = network(streams.inputs)
        num_steps = outputs.shape[1]
        errors = first_errors(outputs.detach(), streams, task.tolerance)
        counted = streams.has_target & (torch.arange(num_steps) <= errors[:, None])
        loss = ((outputs - streams.targets) ** 2 * counted).sum() / counted.sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        if num_intervals < MOST_INTERVALS and bool((errors == num_steps).all()):
            num_intervals *= 2
        if update % CHECK_EVERY == 0 and has_solved(network, task, testing):
            return update
    return None


@torch.no_grad()
def has_solved(network: Network, task: Task, generator: torch.Generator) -> bool:
    """Return whether all outputs of new streams are right."""
    for num_intervals in CHECKS:
        streams = draw(task, num_intervals, generator)
        outputs = network(streams.inputs)
        if int(first_errors(outputs, streams, task.tolerance)) < outputs.shape[1]:
            return False
    return True
