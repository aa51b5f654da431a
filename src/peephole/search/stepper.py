"""The interface between a search and a model: start, step and reorder, with states that are trees of tensors."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from peephole.errors import ShapeError
from peephole.symbols import UNPREDICTABLE

State = TypeVar("State")
Tree = TypeVar("Tree")


@runtime_checkable
class Stepper(Protocol[State]):
    """The functions of a decoder that a search calls.

    A state is a tree of tuples (plain or named), tensors and None. The first dimension of each tensor is the row, one
    hypothesis. Rows of one source are always neighbours, and the sources keep their order, so that a stepper may store
    the data shared by the rows of a source once. A state is passed in at most once, so a stepper may overwrite it.
    """

    def start(self, source: Tensor, source_lengths: Tensor) -> State:
        """Read the sources; return a state with one row for each.

        Args:
            source: (B, T) int64 symbol ids, padded with PAD, or (B, T, F) frames.
            source_lengths: (B,) int64 real symbols or frames of each.
        """
        ...

    def places(self, source_lengths: Tensor) -> Tensor:
        """Return the number of places S that the model attends to in each source, (B,): its length, or fewer."""
        ...

    def step(self, state: State, previous: Tensor) -> tuple[Tensor, State, Tensor | None]:
        """Feed one symbol to each row: equation (14).

        Args:
            state: N rows.
            previous: (N,) int64 symbols just predicted; BOS in the first step.

        Returns:
            log p(y_t | y_1 … y_{t-1}, c) of every symbol, (N, V), each ≤ 0, and above -inf for at least one
            symbol that may be predicted; the state after the step; the attention (16) of the step, (N, S), or
            None.
        """
        ...

    def reorder(self, state: State, rows: Tensor) -> State:
        """Return a state whose row m is row `rows[m]` of `state`; rows may be repeated or omitted.

        Args:
            state: N rows.
            rows: (M,) int64, each below N.
        """
        ...


def select_rows(tree: Tree, rows: Tensor) -> Tree:
    """Return a tree with some rows of every tensor, as `Stepper.reorder` usually needs it.

    Args:
        tree: nested tuples (plain or named) of tensors and None; each tensor has the rows first.
        rows: (M,) int64 rows to take, in this order.

    Returns:
        A tree of the same kind; each tensor has M rows.

    Raises:
        TypeError: the tree holds something else.

    >>> select_rows((torch.tensor([5, 6, 7]), None), torch.tensor([2, 0]))
    (tensor([7, 5]), None)
    """
    return _select(tree, rows)  # type: ignore[no-any-return]  # a tree's kind is known only at run time


def _select(tree: Any, rows: Tensor) -> Any:
    if isinstance(tree, Tensor):
        return tree.index_select(0, rows)
    if tree is None:
        return None
    if not isinstance(tree, tuple):
        raise TypeError(f"state of a stepper: wanted tuples, tensors and None, got {type(tree).__name__}")
    branches = [_select(branch, rows) for branch in tree]
    return type(tree)(*branches) if hasattr(tree, "_fields") else tuple(branches)


def mask_unpredictable(log_probs: Tensor) -> Tensor:
    """Return log-probabilities (N, V) with those of PAD, BOS and UNK set to -inf.

    >>> mask_unpredictable(torch.full((1, 6), -1.5))
    tensor([[   -inf,    -inf, -1.5000,    -inf, -1.5000, -1.5000]])
    """
    never = torch.tensor(UNPREDICTABLE, device=log_probs.device)
    return log_probs.index_fill(1, never, -torch.inf)


def check_batch(source: Tensor, source_lengths: Tensor, max_lengths: Tensor) -> None:
    """Check the arguments that all searches share.

    Raises:
        ShapeError: a shape disagrees, or a maximal length is below 1.
    """
    if source.dim() not in (2, 3):
        raise ShapeError(f"source: wanted (B, T) or (B, T, F), got {tuple(source.shape)}")
    for name, lengths in (("source_lengths", source_lengths), ("max_lengths", max_lengths)):
        if lengths.shape != source.shape[:1]:
            raise ShapeError(f"{name}: wanted (B,) = {tuple(source.shape[:1])}, got {tuple(lengths.shape)}")
    if (max_lengths < 1).any():
        raise ShapeError(f"max_lengths: wanted at least 1, got {int(max_lengths.min())}")
