"""Estimate the memory and the time of a training before it begins, without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from peephole.config import Config
from peephole.data import Prepared
from peephole.training.memory import training_memory


@dataclass(frozen=True)
class Estimate:
    """What a training will need on this machine.

    Attributes:
        memory: bytes at the peak, by use, for one process; the keys are words for the user.
        steps_per_epoch: updates in a pass over the data.
        seconds_per_epoch: seconds of such a pass on this machine's CPU, without evaluations; None without the engine,
            and for what the engine cannot train.
    """

    memory: dict[str, int]
    steps_per_epoch: int
    seconds_per_epoch: float | None

    @property
    def memory_bytes(self) -> int:
        """Return the bytes of memory at the peak."""
        return sum(self.memory.values())


def estimate(config: Config, prepared: Prepared) -> Estimate:
    """Estimate the memory and the time of a training.

    Args:
        config: all settings.
        prepared: the prepared data.
    """
    return Estimate(training_memory(config, prepared), 0, None)
