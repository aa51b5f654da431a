"""Forced scoring: the log-probability of given targets."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from peephole.errors import ShapeError
from peephole.search.guides import GuidedStepper
from peephole.search.hypothesis import Hypothesis
from peephole.search.rollout import roll_out
from peephole.search.stepper import State, Stepper, check_batch
from peephole.symbols import EOS, PAD


@torch.inference_mode()
def force(
    stepper: Stepper[State], source: Tensor, source_lengths: Tensor, targets: Sequence[Sequence[int]]
) -> list[Hypothesis]:
    """Score given targets symbol by symbol: log p(Y|X) of (11), EOS included.

    Every symbol can be scored, also the UNK that no search predicts.

    Args:
        stepper: the model.
        source: (B, T) int64, padded with PAD, or frames (B, T, F).
        source_lengths: (B,) real symbols or frames of each source.
        targets: one target a source, symbol ids without EOS; may be empty.

    Returns:
        Each target as a finished hypothesis.

    Raises:
        ShapeError: a shape disagrees, there is not one target a source, or a target holds EOS.
    """
    if len(targets) != len(source):
        raise ShapeError(f"targets: wanted {len(source)}, one a source, got {len(targets)}")
    for index, target in enumerate(targets):
        if EOS in target:
            raise ShapeError(f"targets[{index}]: wanted symbols without EOS = {EOS}, got {list(target)}")
    lengths = torch.tensor([len(target) + 1 for target in targets], dtype=torch.long)
    check_batch(source, source_lengths, lengths)
    longest = max((len(target) for target in targets), default=0)
    padded = [[*target, EOS] + [PAD] * (longest - len(target)) for target in targets]
    given = torch.tensor(padded, dtype=torch.long).view(len(targets), longest + 1)  # (B, U)

    def as_given(scores: Tensor, rows: Tensor, step: int) -> Tensor:
        return given[rows, step]  # (B, U) -> (n,)

    alone = GuidedStepper(stepper)
    history, nodes = roll_out(alone, alone.start(source, source_lengths), lengths, as_given, source.device)
    return [hypothesis for [hypothesis] in history.hypotheses(nodes[:, None], stepper.places(source_lengths))]
