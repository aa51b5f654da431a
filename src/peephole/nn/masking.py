"""SpecAugment: in training, spans of steps and bands of features of the frames are masked at random."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from peephole.nn.noise import Noise

LARGEST_SHARE = 0.2  # of a source that one mask of steps may cover: p of the paper


class Masking(NamedTuple):
    """How many masks there are, and how large they may be."""

    time_masks: int = 0
    time_mask_size: int = 0  # steps
    feature_masks: int = 0
    feature_mask_size: int = 0  # features


def masked_frames(
    frames: Float[Tensor, "B T F"], lengths: Int[Tensor, "B"], masking: Masking, noise: Noise
) -> Float[Tensor, "B T F"]:
    """Return the frames with 0, the mean of normalised frames, where they are masked.

    The width of each mask is uniform on 0 … its largest size, and its place uniform on those where it fits. Like all
    noise, the masks depend on seed, step and example alone.

    Args:
        frames: normalised frames.
        lengths: real frames of each source.
        masking: number and sizes of the masks.
        noise: seed, step and examples.

    Source: Park et al. 2019, "SpecAugment", without time warping.
    """
    steps, features = frames.shape[1:]
    in_time = _spans(noise, "time masks", masking.time_masks, lengths, _largest(lengths, masking), steps)
    sizes = torch.full_like(lengths, features)
    widest = sizes.clamp(max=masking.feature_mask_size)
    in_features = _spans(noise, "feature masks", masking.feature_masks, sizes, widest, features)
    return torch.where(in_time[:, :, None] | in_features[:, None, :], 0, frames)


def _largest(lengths: Int[Tensor, "B"], masking: Masking) -> Int[Tensor, "B"]:
    return (lengths * LARGEST_SHARE).long().clamp(max=masking.time_mask_size)


def _spans(
    noise: Noise, site: str, count: int, sizes: Int[Tensor, "B"], widest: Int[Tensor, "B"], length: int
) -> Bool[Tensor, "B N"]:
    """Return which of N places are in one of `count` spans within the first `sizes` places of each row."""
    draws = noise.uniform(site, 2 * count).reshape(len(sizes), count, 2)
    widths = (draws[..., 0] * (widest[:, None] + 1)).long()
    starts = (draws[..., 1] * (sizes[:, None] - widths + 1)).long()
    places = torch.arange(length, device=sizes.device)
    inside = (places >= starts[..., None]) & (places < (starts + widths)[..., None])
    return inside.any(1)
