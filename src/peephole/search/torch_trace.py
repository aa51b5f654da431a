"""Traces of predictions by the definition; those of `peephole.engine.trace` must equal them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from peephole.config import SearchConfig
from peephole.nn import Seq2Seq, Seq2SeqStepper
from peephole.nn.bending import Bend, BentStepper
from peephole.nn.ctc_stepper import CTCStepper
from peephole.nn.recording import Recording, record
from peephole.search.beam import beam_search
from peephole.search.guides import Guide
from peephole.search.recorded import BeamTree, Recorded, TraceOptions
from peephole.search.rules import Rules
from peephole.search.torch import pad
from peephole.search.tree import TreeRecorder
from peephole.symbols import BOS, EOS


def trace_search(
    network: Seq2Seq,
    source: Any,
    max_length: int,
    config: SearchConfig,
    options: TraceOptions,
) -> Recorded:
    """Search the target of a source as `config` says, and return all of its best hypothesis and of the search.

    Args:
        network: a model of symbols with an encoder.
        source: what the network reads: symbol ids, for models that copy with the id of each one's copy, or frames.
        max_length: most symbols of the target, </s> included.
        config: the search, a beam search.
        options: constrain the target, and say how much is recorded.
    """
    inputs, lengths = _pad_one(network, source)
    given = _bend(network, options)
    stepper = Seq2SeqStepper(network)
    recorder = TreeRecorder(options.top, max_length)
    guides = []
    if config.ctc_weight and network.ctc is not None:
        guides.append(Guide(CTCStepper(network), config.ctc_weight, interpolates=True))
    [found] = beam_search(
        stepper if given is None else BentStepper(stepper, given),
        inputs,
        lengths,
        beam_size=config.beam_size,
        nbest=config.nbest,
        max_lengths=torch.tensor([max_length]),
        length_penalty=config.length_penalty,
        length_reward=config.length_reward,
        coverage_penalty=config.coverage_penalty,
        prefixes=[options.prefix],
        guides=guides,
        rules=Rules(config.min_length, config.no_repeat_ngram),
        diverse_groups=config.diverse_groups,
        diversity=config.diversity,
        phrases=None if options.phrases is None else [options.phrases],
        recorder=recorder,
    )
    symbols = (*found[0].ids, *[EOS] * found[0].finished)
    return _recorded(network, inputs, lengths, symbols, options.top, given, recorder.finish(found))


def trace_target(network: Seq2Seq, source: Any, target: Sequence[int], options: TraceOptions) -> Recorded:
    """Return all that the network computes when it is fed a given target, symbol ids without </s>, (13)."""
    inputs, lengths = _pad_one(network, source)
    return _recorded(network, inputs, lengths, (*target, EOS), options.top, _bend(network, options), None)


@torch.no_grad()
def encode(network: Seq2Seq, source: Any) -> NDArray[np.floating]:
    """Return the encoder's outputs h_1 … h_S of a source, (S, M)."""
    outputs: NDArray[np.floating] = network.encode(*_pad_one(network, source)).outputs[0].cpu().numpy()
    return outputs


def _pad_one(network: Seq2Seq, source: Any) -> tuple[torch.Tensor, torch.Tensor]:
    weight = next(network.parameters())
    inputs, lengths = pad([source])
    return inputs.to(weight.device), lengths.to(weight.device)


def _bend(network: Seq2Seq, options: TraceOptions) -> Bend | None:
    weight, bend = next(network.parameters()), options.bend
    return None if bend is None else Bend(bend[0], torch.tensor(bend[1], dtype=weight.dtype, device=weight.device))


def _recorded(
    network: Seq2Seq,
    source: torch.Tensor,
    lengths: torch.Tensor,
    symbols: Sequence[int],
    top: int,
    bend: Bend | None,
    beam: BeamTree | None,
) -> Recorded:
    previous = torch.tensor([BOS, *symbols[:-1]], device=lengths.device)
    recording: Recording = record(network, source, lengths, previous, bend)
    log_probs = recording.log_probs.cpu().double().numpy()  # (U, V)
    chosen = log_probs[np.arange(len(symbols)), symbols]
    order = np.argsort(-log_probs, axis=1, kind="stable")[:, :top].astype(np.int32)  # of equals the lower symbol
    return Recorded(
        symbols=tuple(symbols),
        log_probs=chosen,
        ranks=1 + (log_probs > chosen[:, None]).sum(1),
        top_symbols=order,
        top_log_probs=np.take_along_axis(log_probs, order, 1),
        arrays={name: array.cpu().numpy() for name, array in recording.arrays.items()},
        beam=beam,
    )
