"""Gradient × input: how much each part of the source speaks for each symbol of the target, to first order."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from peephole.nn.backends import use_engine
from peephole.nn.seq2seq import Encoded, Seq2Seq
from peephole.symbols import BOS


def gradient_times_input(
    network: Seq2Seq, source: Tensor, source_lengths: Int[Tensor, "1"], target: Int[Tensor, "1 U"]
) -> Float[Tensor, "U T"]:
    """Return s_tj = Σ_k x_jk ∂ log p(y_t | y_1 … y_{t-1}, X) / ∂x_jk of one source and one target, (65).

    x_j is the vector of source symbol j, or frame j. If it were multiplied by 1 + ε, log p(y_t) would change by ε s_tj,
    to first order.

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
    with torch.enable_grad(), use_engine("off"):
        if source.is_floating_point():
            inputs = source.detach().requires_grad_()
            x, lengths = network.frontend(inputs, source_lengths)
        else:
            x, lengths = network.frontend(source, source_lengths)
            inputs = x = x.detach().requires_grad_()
        outputs, last, lengths = network.encoder(x, lengths)
        state = network.begin(Encoded(outputs, last, lengths, copied))
        previous = torch.cat([torch.full_like(target[:, :1], BOS), target[:, :-1]], 1)  # (13)
        logits = network.decoder(previous, state, None, torch.full_like(source_lengths, target.shape[1]))
        log_probs = torch.log_softmax(logits, 2)[0].gather(1, target[0, :, None])[:, 0]
        rows = [
            (torch.autograd.grad(log_prob, inputs, retain_graph=True)[0] * inputs).sum(2)[0] for log_prob in log_probs
        ]
    return torch.stack(rows).detach()
