"""Gradient × input of one source, by the definition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from peephole.nn import Seq2Seq
from peephole.nn.saliency import gradient_times_input
from peephole.search.torch import pad


def find_saliency(network: Seq2Seq, source: Any, target: Sequence[int]) -> Float[np.ndarray, "U T"]:
    """Return `gradient_times_input` of a source, as `DefinitionSearch` reads it, and the ids of a target."""
    device = next(network.parameters()).device
    inputs, lengths = pad([source])
    symbols = torch.tensor([list(target)], device=device)
    return gradient_times_input(network, inputs.to(device), lengths.to(device), symbols).cpu().numpy()
