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
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from peephole.errors import ConfigError
from peephole.search.extensions import Extensions, allow, best_extensions, diverse_extensions
from peephole.search.guides import Guide, GuidedStepper
from peephole.search.history import NO_NODE, History
from peephole.search.hypothesis import Hypothesis
from peephole.search.phrases import Phrase, PhraseTable, has_room, phrase_extensions, to_go_after
from peephole.search.prefix import FREE, forced_symbols, prefix_table
from peephole.search.ranking import FinalScores, Ranking
from peephole.search.rules import NO_RULES, Rules
from peephole.search.stepper import State, Stepper, check_batch, select_rows
from peephole.search.tree import Step, TreeRecorder
from peephole.symbols import BOS, EOS


class BeamState(NamedTuple):
    """The unfinished sources. A live or finished hypothesis is identified by its last node in the history."""

    source: Tensor  # (b,) int64 index of the source in the batch; with groups, one row for each of them
    max_length: Tensor  # (b,) int64
    live_score: Tensor  # (b, W) float64 sum of the symbols' scores; -inf: an empty slot
    live_node: Tensor  # (b, W) int64
    progress: Tensor  # (b, W, P) int64 of the source's phrases
    finished_score: Tensor  # (b, R) float64, best first; -inf: an empty slot
    finished_node: Tensor  # (b, R) int64


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
    length_reward: float = 0.0,
    coverage_penalty: float = 0.0,
    prefixes: Sequence[Sequence[int]] | None = None,
    guides: Sequence[Guide] = (),
    rules: Rules = NO_RULES,
    diverse_groups: int = 1,
    diversity: float = 0.0,
    phrases: Sequence[Sequence[Phrase]] | None = None,
    recorder: TreeRecorder | None = None,
) -> list[list[Hypothesis]]:
    """Search the most probable targets of each source.

    Finished hypotheses are ranked by the score of `Ranking`. A source is done when no live hypothesis can still exceed
    its R-th best finished one, or at its maximal length: stopping early changes no result. Of equal scores the shorter
    hypothesis ranks first; at equal length, that of the better parent, then of the lower id.

    With several groups, each has its own beam of K / G hypotheses and returns its own R / G best, rounded up; see
    `diverse_extensions`. A source is done when all of its groups are. Targets that several groups found are returned
    once. With phrases, see `peephole.search.phrases`.

    Args:
        stepper: the model.
        source: (B, T) int64, padded with PAD, or frames (B, T, F).
        source_lengths: (B,) real symbols or frames of each source.
        beam_size: K, at least 1.
        nbest: R, most hypotheses returned for a source, from 1 to K.
        max_lengths: (B,) int64 most symbols of each target, EOS included, at least 1.
        length_penalty: of `Ranking`, as the next two.
        length_reward: likewise.
        coverage_penalty: likewise; above 0 only for a model with attention.
        prefixes: for each source the symbol ids that its targets begin with, fewer than its maximal length; see
            the package. None: nothing is forced.
        guides: weighted scores added to the model's log-probabilities; see `GuidedStepper`.
            Their sum ranks the hypotheses in place of log p(Y|X).
        rules: which symbols may follow.
        diverse_groups: G, a divisor of K.
        diversity: λ of `diverse_extensions`, at least 0.
        phrases: for each source the phrases that its targets must contain, symbol ids; only with one group. None: none.
        recorder: records each step, of a single source; None: nothing is recorded.

    Returns:
        For each source one to R different hypotheses, best first. All are finished; only where none has
        finished within the maximal length, the best unfinished ones are returned. Both contain all phrases.

    Raises:
        ConfigError: a setting is out of range.
        ShapeError: a shape disagrees, a maximal length is below 1, a prefix is not one that can be forced, or a target
            has no room for its phrases.
        ValueError: no hypothesis of a source has a probability above 0: the stepper broke its contract, or gave a
            symbol of the prefix probability 0.
    """
    _check_settings(beam_size, nbest, diverse_groups, diversity, phrases)
    rules.check()
    ranking = Ranking(length_penalty, length_reward, coverage_penalty)
    ranking.check()
    check_batch(source, source_lengths, max_lengths)
    table = prefix_table(prefixes, max_lengths)  # (B, P)
    required = PhraseTable([[] for _ in source] if phrases is None else phrases)
    required.check(max_lengths.cpu(), (table != FREE).sum(1))
    history = History()
    places = stepper.places(source_lengths).cpu()
    final = FinalScores(ranking, max_lengths, places)
    beams = _initial_beams(max_lengths.cpu(), -(-nbest // diverse_groups), required, diverse_groups)
    result = _Result(beams, diverse_groups)
    guided = GuidedStepper(stepper, guides)
    state = guided.start(source, source_lengths)
    if diverse_groups > 1:
        state = guided.reorder(state, beams.source.to(source.device))
    previous = torch.full((len(beams.source),), BOS, device=source.device)
    while len(beams.source):
        log_probs, scores, state, attention = guided.step(state, previous)
        forced = forced_symbols(table, beams.source, history.num_steps)  # -> (b,)
        allowed = allow(scores, rules.apply(scores, history, beams.live_node.flatten()), forced)
        # Within its prefix a source has one live hypothesis, and the model need not compute empty slots
        width = 1 if (forced != FREE).all() else beam_size // diverse_groups
        if diverse_groups > 1:
            best = diverse_extensions(beams.live_score, allowed, width, diverse_groups, diversity)
        elif phrases is not None:
            left = beams.max_length - history.num_steps - 1
            best = phrase_extensions(required, beams.source, beams.progress, left, beams.live_score, allowed, width)
        else:
            best = best_extensions(beams.live_score, allowed, width)
        rows = best.row.flatten().to(source.device)  # (b, W) -> (b·W,)
        followed = None if attention is None else attention.index_select(0, rows)  # (N, T) -> (b·W, T)
        parents = beams.live_node.flatten()[best.row]  # (N,) -> (b, W)
        chosen = log_probs[rows, best.symbol.flatten().to(source.device)].cpu().double()  # (N, V) -> (b·W,)
        nodes = history.add(parents, best.symbol, chosen, followed)
        if recorder is not None:
            room = None if phrases is None else room_of(required, beams, history.num_steps, scores.shape[1])
            recorder.add(Step(*beams[2:4], log_probs, scores, allowed, forced, best, nodes, room))
        progress = required.after(beams.source, beams.progress.flatten(0, 1)[best.row], best.symbol)  # -> (b, W, P)
        beams, done = _advance(beams._replace(progress=progress), best, nodes, final, history)
        done = done.view(-1, diverse_groups).all(1).repeat_interleave(diverse_groups)
        if done.any():
            result.keep(beams, done)
            going = (~done).nonzero().squeeze(1)  # (b,) -> (b',)
            beams = select_rows(beams, going)
            best = select_rows(best, going)
        if len(beams.source):
            state = guided.reorder(state, best.row.flatten().to(source.device))
            previous = best.symbol.flatten().to(source.device)
    return result.hypotheses(history, places, nbest)


def room_of(phrases: PhraseTable, beams: BeamState, length: int, num_symbols: int) -> Tensor:
    """Return whether the phrases of a single source have room after each symbol, (W, V), of hypotheses so long."""
    to_go = to_go_after(phrases, beams.source, beams.progress, num_symbols)
    return has_room(to_go, beams.max_length - length)[0]


def _initial_beams(max_length: Tensor, nbest: int, phrases: PhraseTable, groups: int) -> BeamState:
    """Return one live hypothesis for each group of each source, with no symbol and probability 1."""
    source = torch.arange(len(max_length)).repeat_interleave(groups)
    return BeamState(
        source=source,
        max_length=max_length[source],
        live_score=torch.zeros(len(source), 1, dtype=torch.double),
        live_node=torch.full((len(source), 1), NO_NODE),
        progress=phrases.start()[source],
        finished_score=torch.full((len(source), nbest), -torch.inf, dtype=torch.double),
        finished_node=torch.full((len(source), nbest), NO_NODE),
    )


def _advance(
    beams: BeamState, best: Extensions, nodes: Tensor, final: FinalScores, history: History
) -> tuple[BeamState, Tensor]:
    """Return the beams after a step, with the finished extensions stored, and which sources are done, (b,)."""
    ends = best.symbol == EOS  # (b, W)
    beams = _keep_finished(beams, best.score.where(ends, -torch.inf), nodes, final, history)
    live = best.score.where(~ends, -torch.inf)  # (b, W)
    bound = final.bound(live.amax(1), beams.max_length)  # -> (b,)
    is_cut = beams.max_length == history.num_steps
    done = is_cut | (bound <= beams.finished_score[:, -1])
    has_nothing = is_cut & (beams.finished_score[:, 0] == -torch.inf)
    if has_nothing.any():
        beams = _keep_finished(beams, live.where(has_nothing[:, None], -torch.inf), nodes, final, history)
    return beams._replace(live_score=live, live_node=nodes), done


def _keep_finished(beams: BeamState, score: Tensor, node: Tensor, final: FinalScores, history: History) -> BeamState:
    """Keep the R best of the finished and the new hypotheses (b, W); a score of -inf means none."""
    if not (score > -torch.inf).any():
        return beams
    nbest = beams.finished_score.shape[1]
    scores = torch.cat([beams.finished_score, final.of(score, node, beams.source, history)], 1)  # -> (b, R + W)
    nodes = torch.cat([beams.finished_node, node.where(score > -torch.inf, NO_NODE)], 1)  # -> (b, R + W)
    scores, columns = scores.sort(dim=1, descending=True, stable=True)  # among ties, the shorter ones first
    return beams._replace(finished_score=scores[:, :nbest], finished_node=nodes.gather(1, columns[:, :nbest]))


class _Result:
    """The finished hypotheses of the sources that are done; B sources of G groups, R hypotheses a group."""

    def __init__(self, beams: BeamState, groups: int) -> None:
        self._groups = groups
        self._node = beams.finished_node.clone()  # (B·G, R)
        self._score = beams.finished_score.clone()  # (B·G, R)

    def keep(self, beams: BeamState, done: Tensor) -> None:
        """Store the hypotheses of the sources that are done, (b·G,): all groups of a source or none."""
        rows = (beams.source[done].view(-1, self._groups) * self._groups + torch.arange(self._groups)).flatten()
        self._node[rows], self._score[rows] = beams.finished_node[done], beams.finished_score[done]

    def hypotheses(self, history: History, places: Tensor, nbest: int) -> list[list[Hypothesis]]:
        """Return the best different hypotheses of each source, up to nbest.

        Raises:
            ValueError: a source has none.
        """
        slots = self._groups * self._score.shape[1]
        _, columns = self._score.view(-1, slots).sort(dim=1, descending=True, stable=True)
        node = self._node.view(-1, slots).gather(1, columns)  # -> (B, G·R)
        if (node[:, 0] == NO_NODE).any():
            index = int((node[:, 0] == NO_NODE).nonzero()[0])
            raise ValueError(f"source {index} of the batch: the stepper's log-probabilities are all -inf, or NaN")
        found = history.hypotheses(node, places)
        return found if self._groups == 1 else [_different(hypotheses)[:nbest] for hypotheses in found]


def _different(hypotheses: list[Hypothesis]) -> list[Hypothesis]:
    """Return each hypothesis once, and unfinished ones only where none is finished."""
    any_finished = any(hypothesis.finished for hypothesis in hypotheses)
    kept = [hypothesis for hypothesis in hypotheses if hypothesis.finished == any_finished]
    return list({hypothesis.ids: hypothesis for hypothesis in kept}.values())


def _check_settings(beam_size: int, nbest: int, groups: int, diversity: float, phrases: object) -> None:
    if beam_size < 1:
        raise ConfigError(f"beam_size: wanted at least 1, got {beam_size}")
    if not 1 <= nbest <= beam_size:
        raise ConfigError(f"nbest: wanted 1 to beam_size = {beam_size}, got {nbest}")
    if groups < 1 or beam_size % groups:
        raise ConfigError(f"diverse_groups: wanted a divisor of beam_size = {beam_size}, got {groups}")
    if not 0 <= diversity < math.inf:
        raise ConfigError(f"diversity: wanted a number from 0, got {diversity}")
    if phrases is not None and groups > 1:
        raise ConfigError(f"phrases: wanted diverse_groups = 1 with them, got {groups}")
