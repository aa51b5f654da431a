"""Record a beam search as a tree: every hypothesis that it considered, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from peephole.search.extensions import Extensions
from peephole.search.hypothesis import Hypothesis
from peephole.search.prefix import FREE
from peephole.search.recorded import BeamTree, Fate
from peephole.symbols import EOS, UNPREDICTABLE


class Step(NamedTuple):
    """One step of a beam search of one source, of G groups of W hypotheses."""

    live_score: Tensor  # (G, W) float64 of the hypotheses that are extended
    live_node: Tensor  # (G, W) their nodes in the history
    log_probs: Tensor  # (G·W, V) of the model
    scores: Tensor  # (G·W, V) by which the search chooses, before rules
    allowed: Tensor  # (G·W, V) the same, -inf where a rule or a prefix forbids the symbol
    forced: Tensor  # (G,) symbol of the prefix, or FREE
    best: Extensions  # (G, W')
    nodes: Tensor  # (G, W') the nodes of `best` in the history
    room: Tensor | None  # (W, V) with phrases: whether they have room after the symbol


class TreeRecorder:
    """Records the steps of a beam search of one source; `beam_search` calls `add` after it has chosen the extensions.

    Args:
        top: most extensions recorded of each hypothesis, besides those that are kept.
        max_length: most symbols of the target.
    """

    def __init__(self, top: int, max_length: int) -> None:
        self.top, self.max_length = top, max_length
        self._parent: list[int] = []
        self._step: list[int] = []
        self._symbol: list[int] = []
        self._log_prob: list[float] = []
        self._score: list[float] = []
        self._group: list[int] = []
        self._fate: list[Fate] = []
        self._index: dict[int, int] = {}  # of each node of the search's history
        self._num_steps = 0

    def add(self, step: Step) -> None:
        """Record one step."""
        self._num_steps += 1
        width = step.live_score.shape[1]
        parents = [self._index.get(node, -1) for node in step.live_node.flatten().tolist()]
        live = [(row, score) for row, score in enumerate(step.live_score.flatten().tolist()) if score > -torch.inf]
        kept = []
        for group, columns in enumerate(zip(*step.best, step.nodes, strict=True)):
            for row, symbol, score, node in zip(*(column.tolist() for column in columns), strict=True):
                if score == -torch.inf:  # an empty slot
                    continue
                kept.append((row, symbol))
                self._index[node] = len(self._parent)
                fate = Fate.BEATEN if symbol == EOS else Fate.HOPELESS  # unless something else becomes of it
                self._append(parents[row], symbol, float(step.log_probs[row, symbol]), score, group, fate)
        for row, score in live:
            if parents[row] >= 0:
                self._fate[parents[row]] = Fate.EXPANDED
            best = step.scores[row].sort(descending=True, stable=True)
            for added, symbol in zip(best.values[: self.top].tolist(), best.indices[: self.top].tolist(), strict=True):
                if added > -torch.inf and (row, symbol) not in kept:
                    log_prob, fate = float(step.log_probs[row, symbol]), self._why_dropped(step, row, symbol)
                    self._append(parents[row], symbol, log_prob, score + added, row // width, fate)

    def _append(self, parent: int, symbol: int, log_prob: float, score: float, group: int, fate: Fate) -> None:
        self._parent.append(parent)
        self._step.append(self._num_steps)
        self._symbol.append(symbol)
        self._log_prob.append(log_prob)
        self._score.append(score)
        self._group.append(group)
        self._fate.append(fate)

    def _why_dropped(self, step: Step, row: int, symbol: int) -> Fate:
        """Return why an extension was not kept."""
        if step.allowed[row, symbol] == -torch.inf:
            if step.forced[row // step.live_score.shape[1]] != FREE:
                return Fate.OTHER_PREFIX
            if symbol in UNPREDICTABLE:
                return Fate.UNPREDICTABLE
            return Fate.TOO_SHORT if symbol == EOS else Fate.REPEATED_NGRAM
        if step.room is not None and not step.room[row, symbol]:
            return Fate.PHRASES
        return Fate.OUTSIDE_BEAM

    def finish(self, returned: Sequence[Hypothesis]) -> BeamTree:
        """Return the tree, given the hypotheses that the search returned."""
        tree = self._tree()
        targets = {(*hypothesis.ids, *[EOS] * hypothesis.finished) for hypothesis in returned}
        seen: set[tuple[int, ...]] = set()
        for node in (tree.fate == Fate.BEATEN).nonzero()[0].tolist():
            target = tuple(tree.path(node))
            if target in targets:
                tree.fate[node] = Fate.DUPLICATE if target in seen else Fate.RETURNED
                seen.add(target)
        if self._num_steps == self.max_length:
            for node in (tree.fate == Fate.HOPELESS).nonzero()[0].tolist():
                is_returned = tuple(tree.path(node)) in targets
                tree.fate[node] = Fate.UNFINISHED if is_returned else Fate.LENGTH_LIMIT
        return tree

    def _tree(self) -> BeamTree:
        return BeamTree(
            parent=np.array(self._parent, np.int64),
            step=np.array(self._step, np.int64),
            symbol=np.array(self._symbol, np.int32),
            log_prob=np.array(self._log_prob, np.float64),
            score=np.array(self._score, np.float64),
            group=np.array(self._group, np.int32),
            fate=np.array(self._fate, np.int32),
        )
