"""Record the worst predictions of a report from the inside: small views, which the page opens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from peephole.errors import PeepholeError
from peephole.inspect.assemble import script_json
from peephole.inspect.report.measured import Measured
from peephole.inspect.views import Limits, make_view
from peephole.model import Model, Notices
from peephole.model.evaluation import BEST_ONLY, Progress

MOST_BYTES = 4_000_000
"""Of the views of all sets together: a larger page is slow to send and to open."""
VIEW_LIMITS = Limits(numbers=12_000, saliency=2_000)

Views = list[Mapping[str, Any] | None]
"""One entry for each of the worst predictions; None: not recorded."""


def record_worst(
    model: Model, sets: Sequence[Measured], missing: list[str], progress: Progress | None = None
) -> list[Views]:
    """Return for each set the views of its worst predictions.

    Args:
        model: made the predictions.
        sets: measured with it.
        missing: gets a line for predictions that are not recorded.
        progress: as in `peephole.evaluate`.
    """
    left, too_large = MOST_BYTES, 0
    # The sets take turns, so that each has views of its worst predictions
    found: list[Views] = [[None] * len(measured.worst) for measured in sets]
    turns = [(rank, i) for i, measured in enumerate(sets) for rank in range(len(measured.worst))]
    for rank, i in sorted(turns):
        case = sets[i].worst[rank]
        if progress is not None:
            progress("views of the worst predictions", 1, len(turns))
        if case.scores is None:  # an empty source
            continue
        search = {name: value for name, value in BEST_ONLY.items() if name != "nbest"}
        try:
            view = make_view(
                model,
                case.mistake.source,
                reference=case.mistake.reference,
                why_not=None,
                top=5,
                notices=Notices(),
                search=search,
                limits=VIEW_LIMITS,
            )
        except PeepholeError as error:
            missing.append(f"predictions from the inside: {error}")
            return found
        size = len(script_json(view).encode())
        if size > left:
            too_large += 1
            continue
        left -= size
        found[i][rank] = view
    if too_large:
        missing.append(
            f"{too_large} of the worst predictions from the inside: the page would exceed "
            f"{MOST_BYTES / 1e6:g} MB; each has the command of a page of its own"
        )
    return found
