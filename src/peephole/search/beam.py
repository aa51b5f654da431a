"""Beam search: the K best hypotheses, extended together.

In each step every live hypothesis is extended by every symbol, and the K best extensions are kept. Those that
end in EOS are finished and leave the beam; the others stay live, and the next step fills the beam again. So a
beam of one hypothesis is greedy search at any length penalty, and a beam that never overflows is exhaustive
search.

Shapes: B sources, b of them not yet done, V symbols, K the beam size, W ≤ K slots of a source's beam, N = b·W
rows of the model, R the number of hypotheses wanted.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from peephole.errors import ConfigError
from peephole.search.guides import Guide, GuidedStepper
from peephole.search.history import NO_NODE, History
from peephole.search.hypothesis import Hypothesis
from peephole.search.prefix import FREE, forced_symbols, prefix_table
from peephole.search.stepper import State, Stepper, check_batch, mask_unpredictable, select_rows
from peephole.symbols import BOS, EOS


class BeamState(NamedTuple):
    """The unfinished sources. A live or finished hypothesis is identified by its last node in the history."""

    source: Tensor  # (b,) int64 index of the source in the batch
    max_length: Tensor  # (b,) int64
    live_score: Tensor  # (b, W) float64 sum of the symbols' scores; -inf: an empty slot
    live_node: Tensor  # (b, W) int64
    finished_score: Tensor  # (b, R) float64, best first; -inf: an empty slot
    finished_node: Tensor  # (b, R) int64


class Extensions(NamedTuple):
    """The best extensions of each source's live hypotheses, best first; an empty slot has score -inf."""

    row: Tensor  # (b, W) int64 row of the model that was extended
    symbol: Tensor  # (b, W) int64
    score: Tensor  # (b, W) float64 of the whole hypothesis


@torch.inference_mode()
def beam_search(
    stepper: Stepper[State],
    source: Tensor,
    source_lengths: Tensor,
    *,
    beam_size: int,
    nbest: int,
    max_lengths: Tensor,
    length_penalty: float = 0.0,
    prefixes: Sequence[Sequence[int]] | None = None,
    guides: Sequence[Guide] = (),
) -> list[list[Hypothesis]]:
    """Search the most probable targets of each source.

    Finished hypotheses are ranked by the score of `length_factors`. A source is done when no live hypothesis
    can still exceed its R-th best finished one, or at its maximal length: stopping early changes no result. Of
    equal scores the shorter hypothesis ranks first; at equal length, that of the better parent, then of the lower id.

    Args:
        stepper: the model.
        source: (B, T) int64, padded with PAD, or frames (B, T, F).
        source_lengths: (B,) real symbols or frames of each source.
        beam_size: K, at least 1.
        nbest: R, most hypotheses returned for a source, from 1 to K.
        max_lengths: (B,) int64 most symbols of each target, EOS included, at least 1.
        length_penalty: exponent of the score, at least 0.
        prefixes: for each source the symbol ids that its targets begin with, fewer than its maximal length; see
            the package. None: nothing is forced.
        guides: weighted scores added to the model's log-probabilities; see `GuidedStepper`.
            Their sum ranks the hypotheses in place of log p(Y|X).

    Returns:
        For each source one to R different hypotheses, best first. All are finished; only where none has
        finished within the maximal length, the best unfinished ones are returned, ranked by log_prob.

    Raises:
        ConfigError: beam_size, nbest or length_penalty is out of range.
        ShapeError: a shape disagrees, a maximal length is below 1, or a prefix is not one that can be forced.
        ValueError: no hypothesis of a source has a probability above 0: the stepper broke its contract, or gave a
            symbol of the prefix probability 0.
    """
    _check_settings(beam_size, nbest, length_penalty)
    check_batch(source, source_lengths, max_lengths)
    table = prefix_table(prefixes, max_lengths)  # (B, P)
    history = History()
    result = torch.full((len(source), nbest), NO_NODE)
    beams = _initial_beams(max_lengths.cpu(), nbest)
    factors = length_factors(max(max_lengths.tolist(), default=0), length_penalty)
    guided = GuidedStepper(stepper, guides)
    state = guided.start(source, source_lengths)
    previous = torch.full((len(source),), BOS, device=source.device)
    while len(beams.source):
        log_probs, scores, state, attention = guided.step(state, previous)
        forced = forced_symbols(table, beams.source, history.num_steps)  # -> (b,)
        # Within its prefix a source has one live hypothesis, and the model need not compute empty slots
        width = 1 if (forced != FREE).all() else beam_size
        best = best_extensions(beams.live_score, allow(scores, forced), width)
        rows = best.row.flatten().to(source.device)  # (b, W) -> (b·W,)
        followed = None if attention is None else attention.index_select(0, rows)  # (N, T) -> (b·W, T)
        parents = beams.live_node.flatten()[best.row]  # (N,) -> (b, W)
        chosen = log_probs[rows, best.symbol.flatten().to(source.device)].cpu().double()  # (N, V) -> (b·W,)
        nodes = history.add(parents, best.symbol, chosen, followed)
        beams, done = _advance(beams, best, nodes, history.num_steps, factors)
        if done.any():
            result[beams.source[done]] = beams.finished_node[done]
            going = (~done).nonzero().squeeze(1)  # (b,) -> (b',)
            beams = select_rows(beams, going)
            best = select_rows(best, going)
        if len(beams.source):
            state = guided.reorder(state, best.row.flatten().to(source.device))
            previous = best.symbol.flatten().to(source.device)
    if (result[:, 0] == NO_NODE).any():
        index = int((result[:, 0] == NO_NODE).nonzero()[0])
        raise ValueError(f"source {index} of the batch: the stepper's log-probabilities are all -inf, or NaN")
    return history.hypotheses(result, stepper.places(source_lengths))


def length_factors(longest: int, length_penalty: float) -> Tensor:
    """Return the factors that make log-probabilities of hypotheses of different lengths comparable.

        score(Y) = log p(Y|X) / length(Y)**length_penalty

    The length counts EOS. A penalty of 0 ranks by (11), 1 by the mean log-probability of a symbol.

    Returns:
        (longest + 1,) float64: entry n is the factor of length n; there is no length 0.

    >>> length_factors(4, 0.5)
    tensor([   nan, 1.0000, 0.7071, 0.5774, 0.5000], dtype=torch.float64)
    """
    least = sys.float_info.min  # not 0, so that an empty slot scores -inf, never 0 · -inf = NaN
    factors = [max(length**-length_penalty, least) for length in range(1, longest + 1)]
    return torch.tensor([math.nan, *factors], dtype=torch.double)


def largest(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the largest values of each row and their columns, largest first; equals in the order of columns.

    Args:
        x: (N, V).
        count: how many; all if there are fewer.

    Returns:
        values (N, min(count, V)), columns of the same shape. The columns of -inf are in no particular order.

    >>> largest(torch.tensor([[1.0, 3.0, 2.0, 3.0]]), 3)
    (tensor([[3., 3., 2.]]), tensor([[1, 3, 2]]))
    """
    # topk is several times faster than a stable sort but leaves the order of equals open, so rows with equals
    # among the values kept, or between the last kept and the first left out, are sorted.
    values, columns = x.topk(min(count + 1, x.shape[1]), dim=1)  # -> (N, count + 1)
    has_equals = ((values[:, 1:] == values[:, :-1]) & (values[:, 1:] > -torch.inf)).any(1)  # -> (N,)
    if has_equals.any():
        order = x[has_equals].sort(dim=1, descending=True, stable=True).indices
        columns[has_equals] = order[:, : columns.shape[1]]
    return values[:, :count], columns[:, :count]


def allow(scores: Tensor, forced: Tensor) -> Tensor:
    """Return the scores with those of symbols that may not follow set to -inf.

    Args:
        scores: (b·W, V).
        forced: (b,) symbol forced on each source, on the CPU; where it is FREE, any that is predictable may follow.
    """
    allowed = mask_unpredictable(scores)  # (N, V)
    if (forced == FREE).all():
        return allowed
    forced = forced.repeat_interleave(len(scores) // len(forced)).to(scores.device)[:, None]  # (b,) -> (N, 1)
    column = forced.clamp(min=0)
    alone = torch.full_like(scores, -torch.inf).scatter(1, column, scores.gather(1, column))
    return alone.where(forced != FREE, allowed)


def best_extensions(live_score: Tensor, scores: Tensor, beam_size: int) -> Extensions:
    """Return the beam_size best extensions of each source's live hypotheses by one symbol.

    Args:
        live_score: (b, W) float64.
        scores: (b·W, V) of the next symbol, as `allow` returns them.
        beam_size: K. Fewer are returned if there are fewer.
    """
    num_sources, width = live_score.shape
    # The K best of a source are among the K best of each of its rows.
    values, symbols = largest(scores, beam_size)  # (N, V) -> (N, k), k = min(K, V)
    values, symbols = values.cpu().double(), symbols.cpu()
    totals = (live_score.view(-1, 1) + values).reshape(num_sources, -1)  # (N, k) -> (b, W·k)
    score, column = largest(totals, beam_size)  # -> (b, W'), W' = min(K, W·k)
    first_row = torch.arange(0, num_sources * width, width)[:, None]  # -> (b, 1)
    return Extensions(
        row=first_row + column // values.shape[1],
        symbol=symbols.reshape(num_sources, -1).gather(1, column),
        score=score,
    )


def _initial_beams(max_length: Tensor, nbest: int) -> BeamState:
    """Return one live hypothesis for each source, with no symbol and probability 1."""
    size = len(max_length)
    return BeamState(
        source=torch.arange(size),
        max_length=max_length,
        live_score=torch.zeros(size, 1, dtype=torch.double),
        live_node=torch.full((size, 1), NO_NODE),
        finished_score=torch.full((size, nbest), -torch.inf, dtype=torch.double),
        finished_node=torch.full((size, nbest), NO_NODE),
    )


def _advance(
    beams: BeamState, best: Extensions, nodes: Tensor, length: int, factors: Tensor
) -> tuple[BeamState, Tensor]:
    """Return the beams after a step, with the finished extensions stored, and which sources are done, (b,)."""
    ends = best.symbol == EOS  # (b, W)
    beams = _keep_finished(beams, best.score.where(ends, -torch.inf), nodes, length, factors)
    live = best.score.where(~ends, -torch.inf)  # (b, W)
    # Score upper bound: sums of scores only fall, so at best all further symbols have probability 1.
    bound = live.amax(1) * factors[beams.max_length]  # -> (b,)
    is_cut = beams.max_length == length
    done = is_cut | (bound <= beams.finished_score[:, -1])
    has_nothing = is_cut & (beams.finished_score[:, 0] == -torch.inf)
    if has_nothing.any():
        beams = _keep_finished(beams, live.where(has_nothing[:, None], -torch.inf), nodes, length, factors)
    return beams._replace(live_score=live, live_node=nodes), done


def _keep_finished(beams: BeamState, score: Tensor, node: Tensor, length: int, factors: Tensor) -> BeamState:
    """Keep the R best of the finished and the new hypotheses (b, W) of a length; a score of -inf means none."""
    nbest = beams.finished_score.shape[1]
    scores = torch.cat([beams.finished_score, score * factors[length]], 1)  # -> (b, R + W)
    nodes = torch.cat([beams.finished_node, node.where(score > -torch.inf, NO_NODE)], 1)  # -> (b, R + W)
    scores, columns = scores.sort(dim=1, descending=True, stable=True)  # among ties, the shorter ones first
    return beams._replace(finished_score=scores[:, :nbest], finished_node=nodes.gather(1, columns[:, :nbest]))


def _check_settings(beam_size: int, nbest: int, length_penalty: float) -> None:
    if beam_size < 1:
        raise ConfigError(f"beam_size: wanted at least 1, got {beam_size}")
    if not 1 <= nbest <= beam_size:
        raise ConfigError(f"nbest: wanted 1 to beam_size = {beam_size}, got {nbest}")
    if not 0 <= length_penalty < math.inf:
        raise ConfigError(f"length_penalty: wanted a number from 0, got {length_penalty}")
