"""Dropout masks on the engine, the bits that `peephole.nn.Noise` defines, as `peephole::dropout_mask`."""

from typing import Any

import torch
from torch import Tensor

from peephole import engine
from peephole.engine.choice import instruction_set_in_use
from peephole.engine.recurrence import addresses


def dropout_mask(
    examples: Tensor, unit_keys: Tensor, num_steps: int, site: int, threshold: int, keep_rate: float
) -> Tensor:
    """Return the mask, (B, num_steps, F) float32.

    Args:
        examples: index of each row's pair, (B,) int64.
        unit_keys: a number of each unit, (F,) int32.
        num_steps: positions.
        site: 64 bits for the run, the training step and the dropout site.
        threshold: a unit is dropped if its bits, read as a signed number of 32 bits, are below it.
        keep_rate: units that are kept become 1 / keep_rate.
    """
    mask: Tensor = torch.ops.peephole.dropout_mask(
        examples, unit_keys, num_steps, site, threshold, keep_rate, instruction_set_in_use()
    )
    return mask


@torch.library.custom_op("peephole::dropout_mask", mutates_args=(), device_types="cpu")
def _dropout_mask(
    examples: Tensor,
    unit_keys: Tensor,
    num_steps: int,
    site: int,
    threshold: int,
    keep_rate: float,
    instruction_set: str,
) -> Tensor:
    """Return the mask of `dropout_mask`."""
    mask = _empty_mask(examples, unit_keys, num_steps)
    if not mask.numel():
        return mask
    batch, steps, units = mask.shape
    problem = engine.DropoutMaskProblem(torch.get_num_threads(), threshold, keep_rate, batch, steps, units, site)
    arrays = {"examples": examples.contiguous(), "unit_keys": unit_keys.contiguous(), "mask": mask}
    problem.run(addresses(arrays), instruction_set)
    return mask


def _empty_mask(examples: Tensor, unit_keys: Tensor, num_steps: int, *_: Any) -> Tensor:
    return examples.new_empty((examples.shape[0], num_steps, unit_keys.shape[0]), dtype=torch.float32)


_dropout_mask.register_fake(_empty_mask)
