"""Estimate the memory of a training from its settings and data, without PyTorch."""

from __future__ import annotations

from peephole.config import Config
from peephole.data import Prepared


def training_memory(config: Config, prepared: Prepared) -> dict[str, int]:
    """Return the bytes that a training needs at its peak, by use.

    Args:
        config: all settings.
        prepared: the prepared data.
    """
    return {}
