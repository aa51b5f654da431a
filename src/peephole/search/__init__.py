"""Find targets for a source: greedy, beam, sampled, forced; over one model or several.

The searches call a `Stepper` (start, step, reorder), not a model. Every search guarantees:

- the result of a source does not depend on the other sources of its batch, their order or the padding;
- PAD, BOS and UNK are never predicted, and the probabilities of the others are not renormalised for it: a
  hypothesis found by any search has the score that `force` gives it;
- a target begins with the prefix given for its source, if any. The symbols of a prefix are ordinary ones or UNK;
  they are forced, not predicted, but scored with the model's own log-probabilities, as `force` scores them;
  an empty prefix has no effect;
- of equal scores the earlier hypothesis ranks first, then the lower symbol id;
- a source that is done is removed from the batch, so that the model computes only unfinished sources.

The model's tensors stay on their device. A few numbers of each row are copied to the CPU at each step; the search
computes there in float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from peephole.lazy import lazy_names

if TYPE_CHECKING:
    from peephole.search.beam import beam_search as beam_search
    from peephole.search.ensemble import EnsembleStepper as EnsembleStepper
    from peephole.search.forced import force as force
    from peephole.search.greedy import greedy_search as greedy_search
    from peephole.search.guides import Guide as Guide
    from peephole.search.guides import GuidedStepper as GuidedStepper
    from peephole.search.hypothesis import Hypothesis as Hypothesis
    from peephole.search.rules import Rules as Rules
    from peephole.search.sampling import sample as sample
    from peephole.search.stepper import Stepper as Stepper
    from peephole.search.stepper import select_rows as select_rows
    from peephole.search.vector_noise import random_numbers as random_numbers
    from peephole.search.vectors import trajectories as trajectories

_MODULES = {
    "EnsembleStepper": "peephole.search.ensemble",
    "Guide": "peephole.search.guides",
    "GuidedStepper": "peephole.search.guides",
    "Hypothesis": "peephole.search.hypothesis",
    "Rules": "peephole.search.rules",
    "Stepper": "peephole.search.stepper",
    "beam_search": "peephole.search.beam",
    "force": "peephole.search.forced",
    "greedy_search": "peephole.search.greedy",
    "random_numbers": "peephole.search.vector_noise",
    "sample": "peephole.search.sampling",
    "select_rows": "peephole.search.stepper",
    "trajectories": "peephole.search.vectors",
}

__all__ = [
    "EnsembleStepper",
    "Guide",
    "GuidedStepper",
    "Hypothesis",
    "Rules",
    "Stepper",
    "beam_search",
    "force",
    "greedy_search",
    "random_numbers",
    "sample",
    "select_rows",
    "trajectories",
]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
