"""Choose what executes the updates of a training: the engine by itself, or else PyTorch."""

from __future__ import annotations

from peephole.config import Config
from peephole.errors import ConfigError, install_hint
from peephole.training.backend_choice import reason_for_torch, torch_is_installed
from peephole.training.engine_executor import EnginePlatform
from peephole.training.executor import Platform
from peephole.training.waiting import waiting


def start_platform(config: Config, *, quiet: bool) -> Platform:
    """Return the device and the processes of a training.

    Args:
        config: all settings, with the precision resolved.
        quiet: show nothing while PyTorch is imported.

    Raises:
        ConfigError: this machine has no such device, or PyTorch would have to train and is not installed.
    """
    reason = reason_for_torch(config)
    if reason is None:
        return EnginePlatform()
    if not torch_is_installed():
        raise ConfigError(f"{reason}; this needs PyTorch: {install_hint('torch')}")
    with waiting("loading PyTorch", quiet=quiet):
        from peephole.training.torch_executor import TorchPlatform
    return TorchPlatform(config.train)
