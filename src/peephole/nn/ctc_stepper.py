"""CTC as a search drives it: the probability of each next symbol given those before, from prefix probabilities."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from peephole.nn.cells import valid_steps
from peephole.nn.ctc import BLANK
from peephole.symbols import EOS

NO_PATH = -1e6
"""In place of log 0, so that a beam can go on where a given prefix has no path; any target with a path ranks above."""


class CTCSources(NamedTuple):
    """What CTC computes once for a batch of sources."""

    log_probs: Tensor  # (B, S, V) log p(k | j), (31); -inf past each length
    probs: Tensor  # (B, S, V)
    lengths: Tensor  # (B,)


class CTCState(NamedTuple):
    """The paths of each row's prefix Y over the first 0, 1, … S outputs, by their last symbol; logarithms."""

    sources: CTCSources
    source: Tensor  # (N,) index of the row's source
    symbol: Tensor  # (N, S + 1) paths that end with the last symbol of Y
    blank: Tensor  # (N, S + 1) paths that end with blank
    prefix: Tensor  # (N,) log P(Y … | X), (34)
    last: Tensor  # (N,) the last symbol of Y; BLANK for the empty prefix
    begun: bool = False  # whether the next symbol fed is part of Y; the first is <s>


@runtime_checkable
class CTCModel(Protocol):
    """A model with a CTC output, such as `Seq2Seq`."""

    def ctc_log_probs(self, source: Tensor, source_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(k | j), (31), (B, S, V), and the number of real outputs of each source, (B,)."""
        ...

    def places(self, source_lengths: Tensor) -> Tensor:
        """Return the number of encoder outputs of each source."""
        ...


class CTCStepper:
    """The CTC output of a model as a `peephole.search.Stepper`, without gradients.

        P(Y … | X) = Σ_{Y' begins with Y} p_ctc(Y' | X)      (34)
        p_ctc(y_t | y_1 … y_{t-1}, X) = P(y_1 … y_t … | X) / P(y_1 … y_{t-1} … | X)      (35)

    and for </s> p_ctc(Y | X) / P(Y … | X). Their product over a target is p_ctc(Y | X); their sum over all symbols is
    1, less what (31) gives to </s> as a symbol. Blank has log-probability `NO_PATH`, and so has each symbol with which
    the prefix has no path. After a prefix without a path, which only a caller can force, all symbols have
    log-probability 0: CTC does not choose.

    The sum over outputs of (34) is a product of a matrix with a vector for all symbols together, so a step costs
    O(N·S·V) and no candidates have to be chosen. Computes in float64 where the device has it.

    Args:
        model: its weights may change between searches.

    Source: Graves 2012, "Supervised sequence labelling with recurrent neural networks", section 7.5; Watanabe et al.
        2017, algorithm 2.
    """

    def __init__(self, model: CTCModel) -> None:
        self.model = model

    @torch.no_grad()
    def start(self, source: Tensor, source_lengths: Int[Tensor, "B"]) -> CTCState:
        """Read the sources and return the state of the empty prefix, one row a source."""
        log_probs, lengths = self.model.ctc_log_probs(source, source_lengths)
        log_probs = log_probs.to(torch.float32 if log_probs.device.type == "mps" else torch.float64)
        log_probs = log_probs.where(valid_steps(lengths, log_probs.shape[1])[:, :, None], -torch.inf)
        blank = torch.nn.functional.pad(log_probs[:, :, BLANK].cumsum(1), (1, 0))  # all outputs are blank
        return CTCState(
            CTCSources(log_probs, log_probs.exp(), lengths),
            source=torch.arange(len(lengths), device=lengths.device),
            symbol=torch.full_like(blank, -torch.inf),
            blank=blank,
            prefix=blank[:, 0],
            last=torch.full_like(lengths, BLANK),
        )

    def places(self, source_lengths: Int[Tensor, "B"]) -> Int[Tensor, "B"]:
        """Return the number of encoder outputs of each source."""
        return self.model.places(source_lengths)

    @torch.no_grad()
    def step(self, state: CTCState, previous: Int[Tensor, "N"]) -> tuple[Float[Tensor, "N V"], CTCState, None]:
        """Return (35) of every symbol after the one fed. `previous` is BOS in the first step."""
        if state.begun:
            state = extend(state, previous)
        return next_log_probs(state), state._replace(begun=True), None

    @torch.no_grad()
    def reorder(self, state: CTCState, rows: Int[Tensor, "M"]) -> CTCState:
        """Return the state whose row m is row rows[m] of this one."""
        kept = {name: getattr(state, name)[rows] for name in ("source", "symbol", "blank", "prefix", "last")}
        return state._replace(**kept)


def extend(state: CTCState, fed: Int[Tensor, "N"]) -> CTCState:
    """Return the state after each row's prefix is extended by a symbol."""
    log_probs = state.sources.log_probs
    emitted = log_probs[state.source, :, fed].where((fed != BLANK)[:, None], -torch.inf)  # (N, S)
    before = _paths_before(state, fed)
    symbol = _continue_paths(before, emitted)
    return state._replace(
        symbol=symbol,
        blank=_continue_paths(symbol[:, :-1], log_probs[state.source, :, BLANK]),
        prefix=(before + emitted).logsumexp(1),  # (34)
        last=fed,
    )


def next_log_probs(state: CTCState) -> Float[Tensor, "N V"]:
    """Return (35) of every symbol, and of </s>."""
    log_probs, probs, lengths = state.sources
    before = torch.logaddexp(state.symbol, state.blank)[:, :-1]  # (N, S)
    most = before.amax(1, keepdim=True).clamp(min=NO_PATH)
    weights = (before - most).exp()
    sources, counts = state.source.unique_consecutive(return_counts=True)
    parts = zip(sources.tolist(), weights.split(counts.tolist()), strict=True)
    prefix = torch.cat([rows @ probs[source] for source, rows in parts]).log() + most  # (34) -> (N, V)
    repeated = (state.blank[:, :-1] + log_probs[state.source, :, state.last]).logsumexp(1)  # after a blank only
    prefix = prefix.scatter(1, state.last[:, None], repeated[:, None])
    prefix[:, BLANK] = -torch.inf
    ends = lengths[state.source][:, None]
    prefix[:, EOS] = torch.logaddexp(state.symbol.gather(1, ends), state.blank.gather(1, ends))[:, 0]
    found = (prefix - state.prefix[:, None]).clamp(NO_PATH, 0)  # (35)
    return found.where((state.prefix > -torch.inf)[:, None], 0)


def _paths_before(state: CTCState, fed: Int[Tensor, "N"]) -> Float[Tensor, "N S"]:
    """Return the paths after which the next output may be the first of `fed`: all, but a repeated one follows blank."""
    either = torch.logaddexp(state.symbol, state.blank)
    return state.blank.where((fed == state.last)[:, None], either)[:, :-1]


def _continue_paths(started: Float[Tensor, "N S"], log_probs: Float[Tensor, "N S"]) -> Float[Tensor, "N S+1"]:
    """Return the logarithms of x_0 … x_S, where x_0 = 0 and x_j = (x_{j-1} + started_j) p_j.

    Divided by p_1 … p_j the recurrence is a running sum. Where log p is -inf, past a source's end, x_j is 0.
    """
    real = log_probs > -torch.inf
    total = log_probs.where(real, 0).cumsum(1)
    before = torch.nn.functional.pad(total[:, :-1], (1, 0))
    found = (total + (started - before).logcumsumexp(1)).where(real, -torch.inf)
    return torch.nn.functional.pad(found, (1, 0), value=-torch.inf)
