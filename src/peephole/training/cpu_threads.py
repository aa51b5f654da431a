"""PyTorch's number of CPU threads for the trainings of one thread, whatever other threads of the process set."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_setting = threading.Lock()


@contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """Use this many CPU threads for PyTorch's work in the calling thread until the end of the block.

    `torch.set_num_threads` sets the number for the calling thread and the first number of all threads that have not
    used PyTorch yet. The latter is set back at once, so that a training in a new thread begins with PyTorch's default.

    Args:
        count: number of threads; None: as many as before.
    """
    with _setting:
        before = torch.get_num_threads()
        if count is not None:
            torch.set_num_threads(count)
            _set_in_new_threads(before)
    try:
        yield
    finally:
        with _setting:
            torch.set_num_threads(before)


def _set_in_new_threads(count: int) -> None:
    """Set the first number of threads that have not used PyTorch yet, and not that of the calling thread."""
    setter = threading.Thread(target=torch.set_num_threads, args=(count,))
    setter.start()
    setter.join()
