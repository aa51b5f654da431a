"""Diagnose wrong predictions of a model: shares of search errors and model errors, and where they begin.

    python benchmarks/diagnosis.py MODEL PAIRS [--errors 200] [--beam-size 5] [--json]

The program predicts the sources of the pairs in their order until so many predictions are wrong, and diagnoses each
with the reference that needs the fewest edits. It prints

- the share of search errors (the reference has the higher score, but the beam did not find it), of model errors, and of
  references that no search can return, with 95 % intervals (Wilson);
- of model errors and search errors, how often the beam lost the reference where the two part, and the reference's rank
  there when the model is fed the symbols before;
- the milliseconds of one diagnosis;
- how many of the wrong predictions are the most probable of all targets. An exact search needs no enumeration: of the
  beginnings of one length fewer than 1 ÷ p have a probability above p, so that a beam of 1 ÷ p hypotheses drops none
  that leads to a target more probable than a prediction of probability p. The program stops with an error if such a
  search contradicts a diagnosis.
"""

import argparse
import json
import math
import time
from collections import Counter
from typing import Any, NamedTuple

import peephole
from peephole.evaluation.metrics import closest, is_reference
from peephole.inspect import Diagnosis
from peephole.model import Notices
from peephole.model.pairs import group_by_source

SOURCES_AT_A_TIME = 256
WIDEST = 1000
"""Beam of an exact search; less probable predictions are not checked."""
SAME = 1e-4
"""Difference of log p below which two targets count as equally probable."""


class Error(NamedTuple):
    """A wrong prediction's diagnosis, and log p of the most probable target; None: the prediction is too improbable."""

    diagnosis: Diagnosis
    mode: float | None


def diagnose_errors(model: peephole.Model, pairs: str, count: int, beam_size: int) -> tuple[list[Error], int, float]:
    """Return the diagnoses of the first errors, the number of sources predicted, and the seconds of diagnosing."""
    grouped, split = group_by_source(pairs, model), model.target_symbols.split
    form = model.target_symbols.normalize
    found: list[Error] = []
    seen, seconds = 0, 0.0
    for first in range(0, len(grouped.sources), SOURCES_AT_A_TIME):
        sources = grouped.sources[first : first + SOURCES_AT_A_TIME]
        settings: dict[str, Any] = {"beam_size": beam_size, "notices": Notices()}
        for place, [best] in enumerate(model.predict(sources, attention=False, nbest=1, **settings), start=first):
            seen += 1
            references = grouped.references[place]
            if best.finished and is_reference(best.text, references, form):
                continue
            _, index = closest(split(best.text), [split(text) for text in references])
            started = time.perf_counter()
            source = grouped.sources[place]
            diagnosis = model.diagnose(source, references[index], beam_size=beam_size, notices=Notices())
            seconds += time.perf_counter() - started
            found.append(Error(diagnosis, find_mode(model, source, diagnosis)))
            if len(found) == count:
                return found, seen, seconds
    return found, seen, seconds


def find_mode(model: peephole.Model, source: str, diagnosis: Diagnosis) -> float | None:
    """Return log p of the most probable target of a source, by exact search; None where the beam would be too wide.

    Raises:
        AssertionError: the diagnosis disagrees.
    """
    needed = math.ceil(math.exp(-diagnosis.prediction_log_prob)) + 1
    if needed > WIDEST:
        return None
    how: dict[str, Any] = {"beam_size": needed, "length_penalty": 0.0, "length_reward": 0.0, "notices": Notices()}
    [[best]] = model.predict([source], attention=False, nbest=1, **how)
    own, reference = diagnosis.prediction_log_prob, diagnosis.reference_log_prob
    least = own if diagnosis.obstacle is not None else max(own, reference)
    assert best.log_prob >= least - SAME, f"{source}: wanted log p of {least}, exact search found {best.log_prob}"
    if diagnosis.kind == "search error":
        assert best.log_prob > own, f"{source}: wanted a target more probable than {diagnosis.prediction}, found none"
    return best.log_prob


def interval(part: int, whole: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share, in %."""
    z, share = 1.959964, part / whole
    centre = share + z * z / (2 * whole)
    half = z * math.sqrt(share * (1 - share) / whole + z * z / (4 * whole * whole))
    return 100 * (centre - half) / (1 + z * z / whole), 100 * (centre + half) / (1 + z * z / whole)


def summarize(errors: list[Error], seen: int, seconds: float) -> dict[str, Any]:
    """Return the figures that are printed."""
    found = [diagnosis for diagnosis, _ in errors]
    kinds = Counter(diagnosis.kind for diagnosis in found)
    parted = [d for d in found if d.parting is not None]
    checked = [(d.prediction_log_prob, mode) for d, mode in errors if mode is not None]
    ranks = Counter(min(d.parting.rank, 6) for d in parted if d.parting is not None)
    lost = [d.loss.rank for d in parted if d.loss is not None and d.loss.rank is not None]
    at_parting = sum(d.loss is not None and d.parting is not None and d.loss.step == d.parting.step for d in parted)
    return {
        "errors": len(found),
        "sources": seen,
        "kinds": {kind: kinds.get(kind, 0) for kind in ("search error", "model error", "impossible", "correct")},
        "rank_at_parting": {("6 or more" if rank == 6 else str(rank)): ranks[rank] for rank in sorted(ranks)},
        "found_by_the_beam": sum(d.loss is None for d in parted),
        "lost_at_parting": at_parting,
        "median_rank_when_lost": sorted(lost)[len(lost) // 2] if lost else None,
        "searched_exactly": len(checked),
        "most_probable": sum(mode <= own + SAME for own, mode in checked),
        "ms_each": round(1000 * seconds / max(1, len(found)), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("pairs", help="a file of test pairs")
    parser.add_argument("--errors", type=int, default=200)
    parser.add_argument("--beam-size", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    model = peephole.load(arguments.model)
    figures = summarize(*diagnose_errors(model, arguments.pairs, arguments.errors, arguments.beam_size))
    if arguments.json:
        print(json.dumps(figures))
        return
    print(f"{figures['errors']} errors in {figures['sources']} sources, beam {arguments.beam_size}")
    for kind, count in figures["kinds"].items():
        if figures["errors"] and (count or kind != "correct"):
            low, high = interval(count, figures["errors"])
            print(f"  {kind:13} {count:4}  {100 * count / figures['errors']:5.1f} %  [{low:.1f}, {high:.1f}]")
    print("rank of the reference's symbol where they part:", figures["rank_at_parting"])
    print(f"the beam lost the reference there: {figures['lost_at_parting']}")
    print(f"the beam kept the reference to the end: {figures['found_by_the_beam']}")
    print(f"median rank of the extension that was lost: {figures['median_rank_when_lost']}")
    print(f"{figures['most_probable']} of {figures['searched_exactly']} are the most probable of all targets")
    print(f"one diagnosis: {figures['ms_each']} ms")


if __name__ == "__main__":
    main()
