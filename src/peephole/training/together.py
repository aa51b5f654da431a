"""Train one model in several processes: start Fabric, run work in the first process, share values."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import time
from collections.abc import Callable
from typing import TypeVar, cast

import torch
import torch.distributed
from lightning_fabric import Fabric

from peephole.config import TrainConfig
from peephole.errors import ConfigError, PeepholeError
from peephole.training.backend_choice import training_device
from peephole.training.precision import precision_plugin
from peephole.training.stop import StopRequest

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
    plugin = precision_plugin(config.precision, training_device(config).type)
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


def run_on_rank_zero(fabric: Fabric, work: Callable[[], T]) -> T:
    """Call a function in the first process only; return its result, or raise its error, in all processes.

    Raises:
        PeepholeError: raised by `work`; it is raised in every process, so that none blocks.
    """
    if fabric.world_size == 1:
        return work()
    outcome: T | PeepholeError | None = None
    if fabric.global_rank == 0:
        try:
            outcome = work()
        except PeepholeError as error:
            outcome = error
    outcome = cast("T | PeepholeError", fabric.broadcast(outcome))
    if isinstance(outcome, PeepholeError):
        raise outcome
    return outcome


def synchronised_clock(
    fabric: Fabric, before: float, stop: StopRequest
) -> tuple[Callable[[], float], Callable[[], bool]]:
    """Return two functions with the same results in all processes: seconds trained, and whether a stop is requested."""
    started = time.monotonic()

    def seconds() -> float:
        now = before + time.monotonic() - started
        return float(fabric.broadcast(now)) if fabric.world_size > 1 else now

    def stop_requested() -> bool:
        requested = torch.tensor(float(stop.signal_number is not None))
        return bool(fabric.all_reduce(requested, reduce_op="sum"))

    return seconds, stop_requested
