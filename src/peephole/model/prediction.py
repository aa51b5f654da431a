"""One target found for a source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peephole.errors import shorten
from peephole.model.reading import Source
from peephole.search.hypothesis import Hypothesis
from peephole.symbols import Symbols, copied_tokens

if TYPE_CHECKING:  # importing NumPy takes longer than all other imports for predicting a text
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, repr=False, eq=False)
class Prediction:
    """One target found for a source.

    Predictions are equal if all their fields are, attention weights included, to the last bit. Equal ones have the same
    hash, so they can be put into sets and dictionaries.
    """

    text: str
    tokens: list[str]
    """The target's symbols, U of them, without </s>."""
    log_prob: float
    """log p(Y | X), (11), natural logarithm, of these tokens, </s> included; of a calibrated model by (63)."""
    symbol_log_probs: list[float]
    """log p(y_t | y_1 … y_{t-1}, X) of each symbol; the last one is that of </s> if the prediction is finished."""
    finished: bool
    """False where the longest length allowed was reached before </s>."""
    source_tokens: list[str]
    """The source's symbols that were read, T of them, as written."""
    attention: npt.NDArray[np.float32] | None
    """Attention weights α, (16), shape (U, T), rows summing to 1; None for a fixed context, or if not requested."""
    unknown: tuple[str, ...] = ()
    """The source's symbols that were not seen in training and read as <unk>, in their order."""
    truncated: bool = False
    """Whether the source had more than `data.max_length` symbols, and only its beginning was read."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Prediction):
            return NotImplemented
        mine, theirs = dict(vars(self)), dict(vars(other))
        one, two = mine.pop("attention"), theirs.pop("attention")
        if mine != theirs or (one is None) != (two is None):
            return False
        return one is None or (one.shape == two.shape and bool((one == two).all()))

    def __hash__(self) -> int:
        return hash((self.text, self.log_prob))

    def __repr__(self) -> str:
        marks = [f"log_prob={self.log_prob:.4f}"]
        marks += [] if self.finished else ["unfinished"]
        marks += [f"unknown={shorten(repr(self.unknown), 30)}"] if self.unknown else []
        marks += ["truncated"] if self.truncated else []
        rest = ", ".join(marks)
        return f"Prediction({shorten(repr(self.text), max(20, 105 - len(rest)))}, {rest})"

    def _repr_html_(self) -> str:
        """Return probabilities and attention as a table, for Jupyter."""
        from peephole.model.notebook import prediction_table

        tokens = [*self.tokens, *["</s>"] * self.finished]
        probs = self.symbol_log_probs
        return prediction_table(self.text, self.log_prob, tokens, probs, self.source_tokens, self.attention)

    def to_dict(self) -> dict[str, Any]:
        """Return the prediction as plain JSON values, attention weights rounded to 5 digits."""
        attention = self.attention
        return {
            "text": self.text,
            "tokens": self.tokens,
            "log_prob": self.log_prob,
            "symbol_log_probs": self.symbol_log_probs,
            "finished": self.finished,
            "source_tokens": self.source_tokens,
            "unknown": list(self.unknown),
            "truncated": self.truncated,
            "attention": None if attention is None else attention.astype("float64").round(5).tolist(),
        }


def prediction_of(hypothesis: Hypothesis, source: Source, symbols: Symbols) -> Prediction:
    """Return a hypothesis as a prediction.

    Args:
        hypothesis: the result of a search.
        source: its source, as it was read.
        symbols: the target's symbol table.
    """
    tokens = copied_tokens(hypothesis.ids, source.copied, symbols)
    return Prediction(
        text=symbols.join(tokens),
        tokens=tokens,
        log_prob=hypothesis.log_prob,
        symbol_log_probs=list(hypothesis.symbol_log_probs),
        finished=hypothesis.finished,
        source_tokens=source.tokens,
        attention=hypothesis.attention,
        unknown=source.unknown,
        truncated=source.truncated,
    )


def empty_prediction(with_attention: bool) -> Prediction:
    """Return the target of an empty source: empty, with probability 1."""
    attention = None
    if with_attention:
        import numpy as np

        attention = np.zeros((0, 0), np.float32)
    return Prediction("", [], 0.0, [], True, [], attention)
