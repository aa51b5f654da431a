"""The three tasks of Gers, Schraudolph and Schmidhuber 2002: streams, and when a network has solved them.

A stream consists of intervals of F steps, or of F + I(n) steps with I(n) drawn from {0, 1}. A network reads a stream
from a zero state, without resets and without being told its target:

    msd    measuring spike distances. Spikes (1, else 0) come at T(n) = T(n-1) + F + I(n); at each spike the target
           is I(n). Other steps have no target. An output is right if it is within 0.49 of the target.
    gts    generating timed spikes, the same with inputs and targets exchanged. The input is I(n) at the first step of
           interval n, else 0; the target is 1 at T(n), else 0. Within 0.49.
    cos, tri, rect
           generating periodic functions: one period of ½(1 - cos(2πt/F)), a triangle or a rectangle an interval,
           between 0 and 1. There is no input (a constant 0). Within 0.3.

A network has solved a task if all outputs of a stream of 1,000 intervals are right.

Source: Gers, Schraudolph and Schmidhuber 2002, JMLR 3: 115-143.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Task(NamedTuple):
    """A task and the steps of its shortest interval."""

    kind: str  # msd, gts, cos, tri, rect
    interval: int  # F

    @property
    def has_spikes(self) -> bool:
        """Return whether the task is about spikes, not a periodic function."""
        return self.kind in ("msd", "gts")

    @property
    def tolerance(self) -> float:
        """Return the largest error of a right output."""
        return 0.49 if self.has_spikes else 0.3

    def __str__(self) -> str:
        return f"{self.kind} {self.interval}"


TASKS = [Task(*task) for task in (("msd", 10), ("msd", 30), ("gts", 10), ("gts", 30))]
TASKS += [Task(*task) for task in (("cos", 10), ("tri", 10), ("rect", 10), ("cos", 25))]
EASIEST = [Task("msd", 10), Task("gts", 10), Task("cos", 10)]


class Streams(NamedTuple):
    """A batch of streams."""

    inputs: Tensor  # (B, T)
    targets: Tensor  # (B, T)
    has_target: Tensor  # (B, T) bool: False also past a stream's end


def draw(task: Task, num_intervals: int, generator: torch.Generator, batch: int = 1) -> Streams:
    """Draw streams of a task; those of a periodic function are all the same.

    >>> draw(Task("cos", 4), 1, torch.Generator()).targets.tolist()
    [[0.0, 0.5, 1.0, 0.5]]
    """
    if not task.has_spikes:
        targets = periodic(task, num_intervals).repeat(batch, 1)
        return Streams(torch.zeros_like(targets), targets, torch.ones_like(targets, dtype=torch.bool))
    delays = torch.randint(0, 2, (batch, num_intervals), generator=generator)  # I(n)
    spikes = (task.interval + delays).cumsum(1)  # T(n)
    num_steps = int(spikes.max()) + 1
    zeros, values = torch.zeros(batch, num_steps), delays.float()
    at_spikes = zeros.scatter(1, spikes, 1.0)
    if task.kind == "msd":
        return Streams(at_spikes, zeros.scatter(1, spikes, values), at_spikes.bool())
    starts = torch.cat([torch.zeros_like(spikes[:, :1]), spikes[:, :-1]], 1)
    return Streams(zeros.scatter(1, starts, values), at_spikes, torch.arange(num_steps) <= spikes[:, -1:])


def periodic(task: Task, num_intervals: int) -> Tensor:
    """Return the function's values, (T,).

    >>> periodic(Task("tri", 4), 1).tolist(), periodic(Task("rect", 4), 1).tolist()
    ([0.0, 0.5, 1.0, 0.5], [0.0, 0.0, 1.0, 1.0])
    """
    phase = torch.arange(num_intervals * task.interval) % task.interval / task.interval
    return {
        "cos": (1 - torch.cos(2 * math.pi * phase)) / 2,
        "tri": 1 - (2 * phase - 1).abs(),
        "rect": (phase >= 0.5).float(),
    }[task.kind]


def first_errors(outputs: Tensor, streams: Streams, tolerance: float) -> Tensor:
    """Return the step of each stream's first wrong output, (B,); the number of steps T if all are right."""
    wrong = streams.has_target & ~((outputs - streams.targets).abs() <= tolerance)  # NaN is wrong
    return torch.where(wrong.any(1), wrong.int().argmax(1), wrong.shape[1])
