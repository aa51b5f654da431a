"""Several processes as one: how they start, what only the first may do, and what all of them must agree on."""

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
from peephole.training.stop import StopRequest

T = TypeVar("T")


def start_fabric(config: TrainConfig) -> Fabric:
    """Start Fabric: one process, or those that torchrun has started.

    Args:
        config: what was asked for, its precision decided.

    Raises:
        ConfigError: this machine has no such device.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("train.device='cuda': this machine has no GPU that PyTorch can use")
    if config.device == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("train.device='mps': this machine has no Apple GPU that PyTorch can use")
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    assert config.precision != "auto"
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # what it would say, the run's first line says
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    fabric = Fabric(
        accelerator=config.device,
        devices=here,
        num_nodes=processes // here,
        strategy="ddp" if processes > 1 else "auto",
        precision=config.precision,
    )
    had_group = _has_group()
    fabric.launch()
    if _has_group() and not had_group:
        atexit.register(_part)  # not sooner: another training in these processes goes on with the group
    return fabric


def _has_group() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _part() -> None:
    """Give the process group back, whose threads may else outlive what they use and abort the process as it ends.

    First goes the wrapped network: it holds the group too, and as its last owner would wait, holding Python's lock, for
    a thread of the group that may want that lock.
    """
    gc.collect()
    if _has_group():
        torch.distributed.destroy_process_group()


def first_does(fabric: Fabric, work: Callable[[], T]) -> T:
    """Let the first process do some work while the others wait; all get its result, or raise its error.

    Raises:
        PeepholeError: what `work` raised; no process is left waiting for one that has given up.
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


def shared_clock(fabric: Fabric, before: float, stop: StopRequest) -> tuple[Callable[[], float], Callable[[], bool]]:
    """Return the seconds trained so far, and whether a stop was asked for; all processes get the same answers."""
    started = time.monotonic()

    def seconds() -> float:
        now = before + time.monotonic() - started
        return float(fabric.broadcast(now)) if fabric.world_size > 1 else now

    def stop_asked() -> bool:
        asked = torch.tensor(float(stop.signal_number is not None))
        return bool(fabric.all_reduce(asked, reduce_op="sum"))

    return seconds, stop_asked
