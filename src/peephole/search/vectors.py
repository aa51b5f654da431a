"""Draw targets of real vectors: each vector is drawn from its distribution and fed to the next step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from peephole.search.stepper import select_rows

if TYPE_CHECKING:
    from peephole.nn.vectors import VectorSeq2Seq


@torch.no_grad()
def trajectories(
    model: VectorSeq2Seq,
    source: Tensor,
    source_lengths: Tensor,
    noise: Tensor,
) -> Tensor:
    """Return targets, (B, S, U, D), as a function of the random numbers of each component, (46).

    Args:
        model: its output has D components.
        source: (B, T, F) frames, padded.
        source_lengths: (B,) real frames of each source, at least 1.
        noise: (B, S, U, D) numbers that `peephole.search.random_numbers` returned.
    """
    num_samples, num_steps = noise.shape[1:3]
    state, units, z = model.read(source, source_lengths)
    rows = torch.arange(len(source), device=source.device).repeat_interleave(num_samples)
    state, units, z = select_rows((state, units, z), rows)  # B rows -> B·S
    decoder, recurrence = model.decoder, model.decoder.recurrence()
    drawn = []
    for step in range(num_steps):
        found, state = decoder.describe(z, state, recurrence)
        z = decoder.output.draw(found, noise[:, :, step].flatten(0, 1).to(z.dtype))
        drawn.append(z)
    targets: Tensor = units.restore(torch.stack(drawn, 1)).unflatten(0, (-1, num_samples))
    return targets
