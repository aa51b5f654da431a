"""Train one model on a device and in several processes with Fabric: start it, and share values between processes."""

from __future__ import annotations

import atexit
import gc
import logging
import os
from typing import TypeVar

import torch
import torch.distributed
from lightning_fabric import Fabric

from peephole.config import TrainConfig
from peephole.errors import ConfigError
from peephole.training.backend_choice import training_device
from peephole.training.precision import precision_plugin

T = TypeVar("T")


def start_fabric(config: TrainConfig) -> Fabric:
    """Start Fabric: one process, or those that torchrun has started.

    Args:
        config: the settings, with the precision resolved.

    Raises:
        ConfigError: this machine has no such device.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("train.device='cuda': this machine has no GPU that PyTorch can use")
    if config.device == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("train.device='mps': this machine has no Apple GPU that PyTorch can use")
    assert config.precision != "auto"
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # the run's introduction reports the same
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    plugin = precision_plugin(config.precision, training_device(config))
    fabric = Fabric(
        accelerator=config.device,
        devices=here,
        num_nodes=processes // here,
        strategy="ddp" if processes > 1 else "auto",
        precision=config.precision if plugin is None else None,
        plugins=plugin,
    )
    had_group = _has_process_group()
    fabric.launch()
    if _has_process_group() and not had_group:
        atexit.register(_destroy_process_group)  # at exit, since a second training in these processes uses the group
    return fabric


def _has_process_group() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _destroy_process_group() -> None:
    """Destroy the process group; otherwise its threads may use freed objects at exit and abort the process.

    The wrapped network, which refers to the group, is collected first. If it were the last owner, its destructor would
    hold Python's lock while joining a thread of the group that may need that lock.
    """
    gc.collect()
    if _has_process_group():
        torch.distributed.destroy_process_group()


class FabricProcesses:
    """The processes of a started Fabric; see `Processes`.

    Args:
        fabric: as `start_fabric` returned it.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.rank, self.count = fabric.global_rank, fabric.world_size

    def broadcast(self, value: T) -> T:
        """Return the value of the first process, in all processes."""
        return self.fabric.broadcast(value) if self.count > 1 else value

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process."""
        return bool(self.fabric.all_reduce(torch.tensor(float(flag)), reduce_op="sum"))
