"""The attention weights of an answer, which can be far more than all else that it holds."""

from __future__ import annotations

from typing import Any

from peephole.serve.refusal import RefusalError


class WeightCount:
    """Counts the attention weights of the outcomes of an answer.

    Args:
        most: that it may have.
    """

    def __init__(self, most: int) -> None:
        self._most, self._count = most, 0

    def add(self, outcome: Any) -> None:
        """Count the weights of a source's predictions.

        Raises:
            RefusalError: 413, there are too many with these.
        """
        if isinstance(outcome, list):
            self._count += sum(one.attention.size for one in outcome if one.attention is not None)
        if self._count > self._most:
            raise RefusalError(
                413,
                f"attention: wanted at most {self._most} weights in an answer (max_attention), got {self._count} or "
                f"more; ask for fewer sources or a smaller nbest",
            )
