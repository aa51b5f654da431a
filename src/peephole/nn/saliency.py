"""Gradient × input: how much each part of the source speaks for each symbol of the target, to first order."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from peephole.nn.backends import use_engine
from peephole.nn.seq2seq import Encoded, Seq2Seq
from peephole.symbols import BOS

ROWS = 16  # of a batch: more take less time, and more memory


def gradient_times_input(
    network: Seq2Seq, source: Tensor, source_lengths: Int[Tensor, "1"], target: Int[Tensor, "1 U"]
) -> Float[Tensor, "U T"]:
    """Return s_tj = Σ_k x_jk ∂ log p(y_t | y_1 … y_{t-1}, X) / ∂x_jk of one source and one target, (65).

    x_j is the vector of source symbol j, or frame j. If it were multiplied by 1 + ε, log p(y_t) would change by ε s_tj,
    to first order. The rows of a batch, copies of the source, give the gradients of several y_t in one pass backward.

    Args:
        network: a model of symbols with an encoder.
        source: what the network reads, with a first dimension of 1.
        source_lengths: its symbols or frames.
        target: y_1 … y_U.

    Source: Simonyan, Vedaldi and Zisserman 2014, arXiv:1312.6034; the product with the input: Shrikumar et al. 2016,
        arXiv:1605.01713.
    """
    assert network.encoder is not None, "a language model has no source"
    copied = None
    if network.decoder.output.copies:
        source, copied = source.unbind(2)
    found = []
    for first in range(0, target.shape[1], ROWS):
        given = target[:, : first + ROWS]
        rows = torch.arange(given.shape[1] - first, device=target.device)
        given, read = given.expand(len(rows), -1), source.expand(len(rows), *source.shape[1:])
        with torch.enable_grad(), use_engine("off"):
            if source.is_floating_point():
                inputs = read.detach().requires_grad_()
                x, lengths = network.frontend(inputs, source_lengths.expand(len(rows)))
            else:
                x, lengths = network.frontend(read, source_lengths.expand(len(rows)))
                inputs = x = x.detach().requires_grad_()
            outputs, last, lengths = network.encoder(x, lengths)
            state = network.begin(
                Encoded(outputs, last, lengths, None if copied is None else copied.expand(len(rows), -1))
            )
            previous = torch.cat([torch.full_like(given[:, :1], BOS), given[:, :-1]], 1)  # (13)
            logits = network.decoder(previous, state, None, torch.full_like(lengths, given.shape[1]))
            chosen = torch.log_softmax(logits[rows, first + rows], 1).gather(1, given[rows, first + rows, None])
            (gradient,) = torch.autograd.grad(chosen.sum(), inputs)
        found.append((gradient * inputs).sum(2).detach())
    return torch.cat(found)
