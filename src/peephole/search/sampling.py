"""Sampling: draw targets at random from the model's distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from peephole.errors import ConfigError, ShapeError
from peephole.search.guides import Guide, GuidedStepper
from peephole.search.hypothesis import Hypothesis
from peephole.search.prefix import after_prefix, prefix_table
from peephole.search.rollout import roll_out
from peephole.search.rules import NO_RULES, Rules
from peephole.search.stepper import State, Stepper, check_batch, mask_unpredictable


@torch.inference_mode()
def sample(
    stepper: Stepper[State],
    source: Tensor,
    source_lengths: Tensor,
    *,
    max_lengths: Tensor,
    seed: int,
    num_samples: int = 1,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    examples: Sequence[int] | None = None,
    prefixes: Sequence[Sequence[int]] | None = None,
    guides: Sequence[Guide] = (),
    rules: Rules = NO_RULES,
) -> list[list[Hypothesis]]:
    """Draw targets symbol by symbol, with separate random numbers for each source.

    A step draws from softmax(score / temperature) over the symbols that may be predicted, cut down by `truncate`;
    without guides the score is log p. The samples of a source are a pure function of its log-probabilities, the seed,
    its number in `examples`, its maximal length and its prefix: they do not depend on its batch, and the first ones do
    not depend on `num_samples`. Forced steps use up a random number, too: symbols after a prefix are drawn with the
    numbers that their steps have without a prefix.

    Args:
        stepper: the model.
        source: (B, T) int64, padded with PAD, or frames (B, T, F).
        source_lengths: (B,) real symbols or frames of each source.
        max_lengths: (B,) int64 most symbols of each target, EOS included, at least 1.
        seed: of the random numbers, at least 0.
        num_samples: targets drawn for each source, at least 1; they may be equal.
        temperature: above 0; below 1 prefers probable symbols, and near 0 is greedy search.
        top_k: draw from the k most probable symbols only; None: from all.
        top_p: draw from the fewest most probable symbols that hold this probability, above 0; None: from all.
        examples: number of each source in the whole input, at least 0; None: its index in the batch.
        prefixes: for each source the symbol ids that its targets begin with, fewer than its maximal length; see
            the package. None: nothing is forced.
        guides: weighted scores added to the model's log-probabilities; see `GuidedStepper`.
        rules: which symbols may follow.

    Returns:
        For each source its samples, in the order drawn. Their log-probabilities are the model's own, at
        temperature 1 and not cut down, as `force` gives them.

    Raises:
        ConfigError: a setting is out of range.
        ShapeError: a shape or the number of `examples` disagrees, a maximal length is below 1, or a prefix is not
            one that can be forced.
    """
    _check_settings(seed, num_samples, temperature, top_k, top_p)
    rules.check()
    check_batch(source, source_lengths, max_lengths)
    examples = range(len(source)) if examples is None else examples
    if len(examples) != len(source):
        raise ShapeError(f"examples: wanted {len(source)}, one a source, got {len(examples)}")
    uniform = UniformNumbers(seed, examples, max_lengths.tolist(), num_samples)
    forced = prefix_table(prefixes, max_lengths).repeat_interleave(num_samples, 0)  # (B·S, P)

    def drawn(scores: Tensor, rows: Tensor, step: int) -> Tensor:
        scaled = mask_unpredictable(scores).cpu().double() / temperature  # (n, V)
        return draw(truncate(scaled.softmax(1), top_k, top_p), uniform.at(rows, step))  # -> (n,)

    guided = GuidedStepper(stepper, guides)
    state = guided.start(source, source_lengths)
    rows = torch.arange(len(source)).repeat_interleave(num_samples)  # -> (B·S,)
    state = guided.reorder(state, rows.to(source.device))
    history, nodes = roll_out(guided, state, max_lengths.cpu()[rows], after_prefix(forced, drawn), source.device, rules)
    return history.hypotheses(nodes.view(len(source), num_samples), stepper.places(source_lengths))


def truncate(probs: Tensor, top_k: int | None, top_p: float | None) -> Tensor:
    """Set the probabilities of improbable symbols to 0; the others are not renormalised.

    Args:
        probs: (n, V) probabilities, each row with sum 1.
        top_k: keep the k most probable; of equals the lower id.
        top_p: then keep the fewest most probable whose share of what top_k kept is at least this.

    >>> probs = torch.tensor([[0.1, 0.4, 0.3, 0.2]])
    >>> truncate(probs, top_k=3, top_p=None)
    tensor([[0.0000, 0.4000, 0.3000, 0.2000]])
    >>> truncate(probs, top_k=None, top_p=0.5)
    tensor([[0.0000, 0.4000, 0.3000, 0.0000]])
    """
    if top_k is None and top_p is None:
        return probs
    ordered, symbols = probs.sort(dim=1, descending=True, stable=True)  # (n, V)
    if top_k is not None:
        ordered[:, top_k:] = 0
    if top_p is not None:
        held = ordered.cumsum(1)
        held_before = torch.nn.functional.pad(held[:, :-1], (1, 0))  # by the symbols more probable than this one
        ordered = ordered.where(held_before < top_p * held[:, -1:], 0)
    return torch.zeros_like(probs).scatter(1, symbols, ordered)


def draw(weights: Tensor, uniform: Tensor) -> Tensor:
    """Draw a column of each row with a probability in proportion to its weight.

    Args:
        weights: (n, V) ≥ 0, each row with a positive sum.
        uniform: (n,) random numbers, 0 ≤ u < 1.

    Returns:
        (n,) int64: the first column at which the running sum of the weights exceeds u times the sum of all.

    >>> draw(torch.tensor([[0.0, 1.0, 3.0]]).repeat(3, 1), torch.tensor([0.0, 0.24, 0.25]))
    tensor([1, 1, 2])
    """
    held = weights.cumsum(1)  # (n, V)
    column = (held <= uniform[:, None] * held[:, -1:]).sum(1)  # -> (n,)
    # u times the sum may round up to the sum: then take the last column with a weight
    return column.minimum((held < held[:, -1:]).sum(1))


class UniformNumbers:
    """Random numbers in [0, 1), made when the steps reach them, so that a large maximal length takes no memory.

    Step t of sample s of a source with maximal length U has number s·U + t of the source's generator.

    Args:
        seed: of all generators.
        examples: number of each source in the whole input.
        max_lengths: of each source.
        num_samples: S.
    """

    _STEPS = 64  # made at a time

    def __init__(self, seed: int, examples: Sequence[int], max_lengths: list[int], num_samples: int) -> None:
        self._generators = [
            np.random.Generator(np.random.PCG64((seed, example)).advance(sample * length))
            for example, length in zip(examples, max_lengths, strict=True)
            for sample in range(num_samples)
        ]
        self._numbers = torch.empty(len(self._generators), self._STEPS, dtype=torch.double)

    def at(self, rows: Tensor, step: int) -> Tensor:
        """Return the numbers of a step, (n,) float64, for rows b·S + s; steps come one after the other.

        Args:
            rows: (n,) int64, among those of the step before.
            step: from 0.
        """
        if step % self._STEPS == 0:
            for row in rows.tolist():
                self._numbers[row] = torch.from_numpy(self._generators[row].random(self._STEPS))
        return self._numbers[rows, step % self._STEPS]


def _check_settings(seed: int, num_samples: int, temperature: float, top_k: int | None, top_p: float | None) -> None:
    if seed < 0:
        raise ConfigError(f"seed: wanted at least 0, got {seed}")
    if num_samples < 1:
        raise ConfigError(f"num_samples: wanted at least 1, got {num_samples}")
    if not 0 < temperature < math.inf:
        raise ConfigError(f"temperature: wanted a number above 0, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ConfigError(f"top_k: wanted at least 1, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ConfigError(f"top_p: wanted a number above 0 and at most 1, got {top_p}")
