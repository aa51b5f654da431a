"""Draws of real vectors by the C++ engine: what `peephole.search.trajectories` does, without PyTorch."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from peephole import engine
from peephole.engine import structures
from peephole.engine.enums import Status
from peephole.engine.packed import MESSAGE_BYTES, Interruption, PackedModel, usable_cores
from peephole.errors import PeepholeError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def draw(
    model: PackedModel,
    sources: Sequence[NDArray[np.float32]],
    noise: NDArray[np.float32],
    *,
    batch_size: int,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Return targets of real vectors, (B, S, U, D), as a function of the random numbers of each component, (56).

    Args:
        model: a model of vectors of D numbers.
        sources: frames (T, F) of each source, at least one, all finite.
        noise: (B, S, U, D) numbers that `peephole.search.random_numbers` returned.
        batch_size: most sources read at the same time.
        threads: None: all that this process may use.

    Raises:
        PeepholeError: the sources or the noise do not fit the model.
    """
    library = engine.library()
    sizes = (library.peephole_model_frame_size(model.address), library.peephole_model_vector_size(model.address))
    for index, frames in enumerate(sources):
        if frames.ndim != 2 or frames.shape[1] != sizes[0]:
            raise PeepholeError(f"source {index}: wanted frames of {sizes[0]} numbers, got shape {frames.shape}")
    if noise.ndim != 4 or noise.shape[0] != len(sources) or noise.shape[3] != sizes[1]:
        raise PeepholeError(f"noise: wanted shape ({len(sources)}, S, U, {sizes[1]}), got {noise.shape}")
    given = np.ascontiguousarray(noise, np.float32)
    offsets = np.cumsum([0, *map(len, sources)], dtype=np.int64)
    joined = np.concatenate([np.empty((0, sizes[0]), np.float32), *sources]).astype(np.float32)
    samples = np.empty_like(given)
    interruption = Interruption()
    request = structures.Forecast(
        threads=threads or usable_cores(),
        num_sources=len(sources),
        num_samples=given.shape[1],
        num_steps=given.shape[2],
        batch_size=batch_size,
        source_offsets=offsets.ctypes.data,
        frames=joined.ctypes.data,
        noise=given.ctypes.data,
        samples=samples.ctypes.data,
        should_stop=interruption.callback,
    )
    message = ctypes.create_string_buffer(MESSAGE_BYTES)
    try:
        status = library.peephole_draw(model.address, ctypes.byref(request), message, MESSAGE_BYTES)
        interruption.raise_caught()
    finally:
        interruption.close()
    if status != Status.OK:
        raise PeepholeError(f"forecast: {message.value.decode(errors='replace')}")
    return samples
