"""Choose what executes the updates of a training."""

from __future__ import annotations

from peephole.config import Config
from peephole.training.executor import Platform
from peephole.training.waiting import waiting


def start_platform(config: Config, *, quiet: bool) -> Platform:
    """Return the device and the processes of a training.

    Args:
        config: all settings, with the precision resolved.
        quiet: show nothing while PyTorch is imported.

    Raises:
        ConfigError: this machine has no such device.
    """
    with waiting("loading PyTorch", quiet=quiet):
        from peephole.training.torch_executor import TorchPlatform
    return TorchPlatform(config.train)
