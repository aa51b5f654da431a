"""Draw targets of real vectors: each vector is drawn from its distribution and fed to the next step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from peephole.search.stepper import select_rows
from peephole.search.torch import pad

if TYPE_CHECKING:
    from peephole.nn import Seq2Seq
    from peephole.nn.vectors import VectorSeq2Seq


@torch.no_grad()
def trajectories(
    model: VectorSeq2Seq,
    source: Tensor,
    source_lengths: Tensor,
    noise: Tensor,
) -> Tensor:
    """Return targets, (B, S, U, D), as a function of the random numbers of each component, (56).

    Args:
        model: its output has D components.
        source: (B, T, F) frames, padded.
        source_lengths: (B,) real frames of each source, at least 1.
        noise: (B, S, U, D) numbers that `peephole.search.random_numbers` returned.
    """
    num_samples, num_steps = noise.shape[1:3]
    state, units, z = model.read(source, source_lengths)
    rows = torch.arange(len(source), device=source.device).repeat_interleave(num_samples)
    state, units, fed = select_rows((state, units, z), rows)  # B rows -> B·S
    decoder, recurrence = model.decoder, model.decoder.recurrence()
    drawn = []
    for step in range(num_steps):
        found, state = decoder.describe(fed, state, recurrence)
        drawn.append(decoder.output.draw(found, noise[:, :, step].flatten(0, 1).to(fed.dtype)))
        fed = drawn[-1] if model.feedback else fed
    targets: Tensor = units.restore(torch.stack(drawn, 1)).unflatten(0, (-1, num_samples))
    return targets


def draw_by_definition(
    networks: Sequence[Seq2Seq], sources: Sequence[NDArray[np.float32]], noise: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return `trajectories` of some sources (T, F), as arrays; several networks draw the samples in turn."""
    source, lengths = pad(sources)
    found = np.empty_like(noise)
    for number, network in enumerate(networks):
        device = next(network.parameters()).device
        own = torch.from_numpy(noise[:, number :: len(networks)])
        drawn = trajectories(cast("VectorSeq2Seq", network), source.to(device), lengths.to(device), own.to(device))
        found[:, number :: len(networks)] = drawn.float().cpu().numpy()
    return found


@torch.no_grad()
def log_densities(
    networks: Sequence[Seq2Seq], sources: Sequence[NDArray[np.float32]], targets: Sequence[NDArray[np.float32]]
) -> list[float]:
    """Return log p(Y | X), (11), of real targets (U, D); of several networks the density is the mean.

    Raises:
        ConfigError: a network has no density.
    """
    batch = [tensor.to(next(networks[0].parameters()).device) for tensor in (*pad(sources), *pad(targets))]
    found = torch.stack([network.log_prob(*batch) for network in networks]).double()
    each: list[float] = (torch.logsumexp(found, 0) - math.log(len(networks))).tolist()
    return each
