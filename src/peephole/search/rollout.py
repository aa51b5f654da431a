"""The loop shared by every search that extends one hypothesis a row and never returns to an earlier one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from peephole.search.guides import GuidedStepper
from peephole.search.history import NO_NODE, History
from peephole.search.rules import NO_RULES, Rules
from peephole.symbols import BOS, EOS

# (scores (n, V), rows (n,) as numbered at the start, step from 0) -> the next symbol of each row, (n,)
Choose = Callable[[Tensor, Tensor, int], Tensor]


def roll_out(
    stepper: GuidedStepper,
    state: tuple[Any, ...],
    max_lengths: Tensor,
    choose: Choose,
    device: torch.device,
    rules: Rules = NO_RULES,
) -> tuple[History, Tensor]:
    """Extend each row by chosen symbols until EOS or its maximal length, then remove it from the batch.

    Args:
        stepper: the model and its guides.
        state: N rows, before the first step.
        max_lengths: (N,) most symbols of each row, EOS included; on the CPU.
        choose: returns the next symbols; the choice for one row must not depend on the others.
        device: device of the stepper's input symbols.
        rules: which symbols may follow; the scores of the others are -inf for `choose`.

    Returns:
        The history, and each row's last node in it, (N,).
    """
    history = History()
    rows = torch.arange(len(max_lengths))  # unfinished ones, as numbered at the start
    nodes = last = torch.full_like(rows, NO_NODE)
    previous = torch.full_like(rows, BOS, device=device)
    while len(rows):
        log_probs, scores, state, attention = stepper.step(state, previous)
        symbols = choose(rules.apply(scores, history, nodes), rows, history.num_steps)  # (n, V) -> (n,)
        chosen = log_probs.gather(1, symbols[:, None].to(device)).squeeze(1).cpu().double()  # -> (n,)
        symbols = symbols.cpu()
        nodes = history.add(nodes, symbols, chosen, attention)
        last = last.index_copy(0, rows, nodes)
        going = ((symbols != EOS) & (history.num_steps < max_lengths[rows])).nonzero().squeeze(1)  # -> (m,)
        if 0 < len(going) < len(rows):
            state = stepper.reorder(state, going.to(device))
        rows, nodes, previous = rows[going], nodes[going], symbols[going].to(device)
    return history, last
