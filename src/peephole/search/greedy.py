"""Greedy search: the most probable symbol at each step. A beam of one hypothesis must find the same."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from peephole.search.guides import Guide, GuidedStepper
from peephole.search.hypothesis import Hypothesis
from peephole.search.prefix import after_prefix, prefix_table
from peephole.search.rollout import roll_out
from peephole.search.rules import NO_RULES, Rules
from peephole.search.stepper import State, Stepper, check_batch, mask_unpredictable


@torch.inference_mode()
def greedy_search(
    stepper: Stepper[State],
    source: Tensor,
    source_lengths: Tensor,
    *,
    max_lengths: Tensor,
    prefixes: Sequence[Sequence[int]] | None = None,
    guides: Sequence[Guide] = (),
    rules: Rules = NO_RULES,
) -> list[Hypothesis]:
    """Take the most probable symbol of each step, ŷ_t of (14), or that of the best score. Of equals, the lowest id.

    Args:
        stepper: the model.
        source: (B, T) int64, padded with PAD, or frames (B, T, F).
        source_lengths: (B,) real symbols or frames of each source.
        max_lengths: (B,) int64 most symbols of each target, EOS included, at least 1.
        prefixes: for each source the symbol ids that its targets begin with, fewer than its maximal length; see
            the package. None: nothing is forced.
        guides: weighted scores added to the model's log-probabilities; see `GuidedStepper`.
        rules: which symbols may follow.

    Returns:
        One hypothesis a source; unfinished if it has no EOS within the maximal length.

    Raises:
        ConfigError: a rule is out of range.
        ShapeError: a shape disagrees, a maximal length is below 1, or a prefix is not one that can be forced.
    """
    rules.check()
    check_batch(source, source_lengths, max_lengths)
    forced = prefix_table(prefixes, max_lengths)  # (B, P)

    def best(scores: Tensor, rows: Tensor, step: int) -> Tensor:
        return mask_unpredictable(scores).argmax(1)  # (n, V) -> (n,); argmax returns the first of equals

    guided = GuidedStepper(stepper, guides)
    state = guided.start(source, source_lengths)
    history, nodes = roll_out(guided, state, max_lengths.cpu(), after_prefix(forced, best), source.device, rules)
    return [hypothesis for [hypothesis] in history.hypotheses(nodes[:, None], stepper.places(source_lengths))]
