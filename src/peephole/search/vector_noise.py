"""Random numbers for drawing real vectors, a pure function of seed, source, sample, step and component."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Draw = Callable[[np.random.Generator, tuple[int, int, int]], NDArray[Any]]

DISTRIBUTIONS: Mapping[str, Draw] = {
    "gaussian": lambda generator, shape: generator.standard_normal(shape),
    "quantile": lambda generator, shape: generator.random(shape),
}
"""Output kind → function that draws the random numbers of its components."""


def random_numbers(output: str, seed: int, examples: Sequence[int], shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Return the random numbers of some sources, (B, S, U, D).

    The numbers of a source, and those of its first samples, depend on nothing else: not on its batch, and not on the
    number of samples.

    Args:
        output: kind of the output, gaussian or quantile.
        seed: at least 0.
        examples: number of each source in the whole input, at least 0.
        shape: S samples, U steps, D components.

    >>> more, fewer = (random_numbers("quantile", 1, [7], (samples, 3, 2)) for samples in (5, 2))
    >>> bool((more[:, :2] == fewer).all())
    True
    """
    generators = (np.random.Generator(np.random.PCG64((seed, example))) for example in examples)
    return np.array([DISTRIBUTIONS[output](generator, shape) for generator in generators], np.float32)
