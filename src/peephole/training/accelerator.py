"""The accelerator that PyTorch finds on this machine."""

from __future__ import annotations

import torch


def find_accelerator() -> str | None:
    """Return the accelerator's kind, as torch.device.type; None without one."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return None if found is None else found.type
