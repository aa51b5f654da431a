"""Gradient × input of a model's source, for each symbol of a target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from peephole.model.handle import Model
from peephole.model.reading import Notices
from peephole.model.tracing import check_can_be_traced
from peephole.symbols import EOS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def saliency(
    model: Model, source: Any, target: str | Sequence[str], *, finished: bool = True, notices: Notices | None = None
) -> NDArray[np.floating]:
    """Return how much each source symbol, or frame, speaks for each symbol of a target: gradient × input, (U, T).

    Row t, column j is Σ_k x_jk ∂ log p(y_t) / ∂x_jk; see `peephole.nn.saliency.gradient_times_input`. It is computed by
    PyTorch.

    Args:
        model: one model of texts with a source.
        source: as in `Model.predict`, not empty.
        target: a text, or a list of tokens such as `Prediction.tokens`.
        finished: whether </s> is the last of the U symbols.
        notices: collects unknown symbols and a truncated source; None: Python warnings are issued for them.

    Raises:
        PeepholeError: as in `Model.trace`.
        ModuleNotFoundError: PyTorch is not installed.
    """
    check_can_be_traced(model, "saliency")
    _, [(read, ids)] = model._read_pairs("saliency", [source], [target], notices, {})
    from peephole.search.torch_saliency import find_saliency

    return find_saliency(model._weights.search_networks()[0], read.ids, [*ids, *[EOS] * finished])
