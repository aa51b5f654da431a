"""What is wrong with a prediction whose reference is known."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["correct", "search error", "model error", "impossible"]


@dataclass(frozen=True)
class Parting:
    """The first symbol at which the prediction and the reference differ.

    Attributes:
        step: its index in both; the symbols before are equal.
        predicted: the prediction's symbol there; None if it ends before, unfinished.
        wanted: the reference's symbol there.
        log_prob: log p of the reference's symbol, given those before it.
        rank: 1 more than the number of symbols that the model finds more probable.
        alternatives: the most probable symbols there with their log p, most probable first.
    """

    step: int
    predicted: str | None
    wanted: str
    log_prob: float
    rank: int
    alternatives: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Loss:
    """Where the beam lost the reference.

    Attributes:
        step: the index of the reference's symbol that was not kept, or that ended the search.
        rank: the place of this extension among all that the step could have kept, by score; None for one that a rule
            forbids, or that is not among the best 1,000 of its hypothesis.
        fate: name of its `Fate`, in small letters.
    """

    step: int
    rank: int | None
    fate: str


@dataclass(frozen=True)
class Neighbour:
    """A training pair whose source is similar to the one diagnosed: 1 for an equal encoder state."""

    source: str
    target: str
    similarity: float


@dataclass(frozen=True)
class DevErrors:
    """How often the same error occurs on dev.

    Attributes:
        predicted, wanted: the first differing pair of the alignment; None on the side that has no symbol.
        count: how often this pair differs on dev.
        of_kind: how many differences of its kind (substitution, insertion, deletion) dev has.
        kind: its kind.
        total: all differences on dev.
    """

    predicted: str | None
    wanted: str | None
    kind: Literal["substitution", "insertion", "deletion"]
    count: int
    of_kind: int
    total: int


@dataclass(frozen=True)
class Diagnosis:
    """Why a prediction is wrong.

    Attributes:
        kind: "search error": the reference has the higher score, but the beam did not find it. "model error": the
            model prefers its prediction. "impossible": no search returns the reference; `obstacle` says why.
            "correct": the prediction is the reference.
        obstacle: why no search can return the reference; None if one can.
        source_tokens: the source's symbols.
        prediction: the best target found, as a text.
        prediction_tokens: its symbols, with `</s>` where it was predicted.
        reference: the reference as a text.
        reference_tokens: its symbols, with `</s>`.
        prediction_log_prob, reference_log_prob: log p(Y | X), (11).
        prediction_score, reference_score: what the search ranks finished hypotheses by: log p, with the shares of CTC
            and length that its settings give.
        parting: where the two part; None for a correct prediction.
        loss: where the beam lost the reference; None if it found it, too.
        unknown_source, unknown_reference: symbols that were not seen in training.
        neighbours: training pairs with similar sources, most similar first; empty without an index.
        dev: how often the error occurs on dev; None without an index of dev errors, and for a correct prediction.
    """

    kind: Kind
    obstacle: str | None
    source_tokens: list[str]
    prediction: str
    prediction_tokens: list[str]
    reference: str
    reference_tokens: list[str]
    prediction_log_prob: float
    reference_log_prob: float
    prediction_score: float
    reference_score: float
    parting: Parting | None
    loss: Loss | None
    unknown_source: tuple[str, ...]
    unknown_reference: tuple[str, ...]
    neighbours: tuple[Neighbour, ...]
    dev: DevErrors | None

    def to_dict(self) -> dict[str, Any]:
        """Return the diagnosis as JSON values."""
        return {"format": "peephole-diagnosis", "version": 1, **asdict(self)}
