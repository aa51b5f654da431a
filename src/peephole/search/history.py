"""Record the steps of a search, and return its hypotheses."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from peephole.search.hypothesis import Hypothesis
from peephole.symbols import EOS

NO_NODE = -1  # parent of every first symbol


class _Step(NamedTuple):
    first_node: int
    parent: Tensor  # (n,) int64
    symbol: Tensor  # (n,) int64
    log_prob: Tensor  # (n,) float64
    attention: Tensor | None  # (n, T)


class History:
    """The symbols predicted in each step, as a forest: each symbol is a node with the index of its parent.

    Hypotheses share their prefixes, so a step stores one symbol of each instead of copying them all. Nodes are
    numbered through all steps; a hypothesis is identified by the node of its last symbol.
    """

    def __init__(self) -> None:
        self._steps: list[_Step] = []
        self._num_nodes = 0

    @property
    def num_steps(self) -> int:
        """Return the number of steps so far, which is the length of a hypothesis that ends in the last step."""
        return len(self._steps)

    def add(self, parent: Tensor, symbol: Tensor, log_prob: Tensor, attention: Tensor | None) -> Tensor:
        """Record one step.

        Args:
            parent: node of the symbol before; NO_NODE in the first step. Any shape, as the next two.
            symbol: symbol ids predicted.
            log_prob: float64 log-probability of each.
            attention: the attention that predicted each, (parent.numel(), T), or None.

        Returns:
            The nodes of the step, in the shape of `parent`, on the CPU like the whole record.
        """
        first, count = self._num_nodes, parent.numel()
        attention = None if attention is None else attention.cpu()
        self._steps.append(_Step(first, parent.flatten(), symbol.flatten(), log_prob.flatten(), attention))
        self._num_nodes += count
        return torch.arange(first, first + count).view(parent.shape)

    def paths(self, nodes: Tensor) -> Tensor:
        """Return the symbols of hypotheses that end in the last step, given their last nodes, (n,) -> (n, t)."""
        symbols = [step.symbol[row] for step, row in self._follow(nodes)]
        return torch.stack(symbols, 1) if symbols else nodes.new_empty(len(nodes), 0)

    def coverage(self, nodes: Tensor) -> Tensor | None:
        """Return Σ_t α_t of hypotheses that end in the last step, (n, T) float64; None without attention."""
        weights = [step.attention[row].double() for step, row in self._follow(nodes) if step.attention is not None]
        return torch.stack(weights).sum(0) if weights else None

    def _follow(self, nodes: Tensor) -> list[tuple[_Step, Tensor]]:
        """Return each step and the rows of some hypotheses in it, from the first step to the last."""
        found = []
        for step in reversed(self._steps):
            row = nodes - step.first_node  # (n,)
            found.append((step, row))
            nodes = step.parent[row]
        return found[::-1]

    def hypotheses(self, nodes: Tensor, source_lengths: Tensor) -> list[list[Hypothesis]]:
        """Return the hypotheses that end in the given nodes.

        Args:
            nodes: (B, R) last nodes of up to R hypotheses for each source; NO_NODE where there is none.
            source_lengths: (B,) real symbols of each source.

        Returns:
            For each source its hypotheses, in the order of `nodes`.
        """
        if not self._steps:
            return [[] for _ in nodes]
        sources, ranks = (nodes != NO_NODE).nonzero(as_tuple=True)
        found = self._trace(nodes[sources, ranks], source_lengths.cpu()[sources])
        results: list[list[Hypothesis]] = [[] for _ in nodes]
        for source, hypothesis in zip(sources.tolist(), found, strict=True):
            results[source].append(hypothesis)
        return results

    def _trace(self, node: Tensor, source_lengths: Tensor) -> list[Hypothesis]:
        """Follow M nodes to their first symbols, all at once, from the last step to the first."""
        steps = []
        for step in reversed(self._steps):
            reached = node >= step.first_node  # (M,) False for a hypothesis that ended in an earlier step
            row = (node - step.first_node).clamp(min=0)  # -> (M,)
            attention = None if step.attention is None else step.attention[row]  # -> (M, T)
            steps.append((reached, step.symbol[row], step.log_prob[row].where(reached, 0.0), attention))
            node = step.parent[row].where(reached, node)
        steps.reverse()
        reached, symbols, log_probs = (torch.stack(part, 1) for part in list(zip(*steps, strict=True))[:3])
        lengths = reached.sum(1)  # (M, U) -> (M,)
        finished = symbols.gather(1, lengths[:, None] - 1).squeeze(1) == EOS  # -> (M,)
        totals = log_probs.cumsum(1)[:, -1]  # -> (M,) added from the first to the last, as the search did
        maps = [attention for *_, attention in steps if attention is not None]
        weights = torch.stack(maps, 1).float().numpy() if maps else None  # -> (M, U, T)
        columns = (symbols, log_probs, totals, lengths, finished, source_lengths)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return [
            Hypothesis(
                ids=tuple(ids[: length - is_finished]),
                log_prob=total,
                symbol_log_probs=tuple(scores[:length]),
                finished=is_finished,
                attention=None if weights is None else weights[m, : length - is_finished, :width].copy(),
            )
            for m, (ids, scores, total, length, is_finished, width) in enumerate(rows)
        ]
