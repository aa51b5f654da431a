"""Training: one visible loop, and a folder for each run from which a killed training resumes.

The names below are imported at first use: the estimate of a training needs no PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from peephole.lazy import lazy_names

if TYPE_CHECKING:
    from peephole.training.estimate import Estimate as Estimate
    from peephole.training.planning import Plan as Plan
    from peephole.training.planning import plan as plan
    from peephole.training.run import Interrupted as Interrupted
    from peephole.training.run import resume as resume
    from peephole.training.run import train as train
    from peephole.training.tuning.tune import tune as tune

_MODULES = {
    "Estimate": "peephole.training.estimate",
    "Interrupted": "peephole.training.run",
    "Plan": "peephole.training.planning",
    "plan": "peephole.training.planning",
    "resume": "peephole.training.run",
    "train": "peephole.training.run",
    "tune": "peephole.training.tuning.tune",
}

__all__ = ["Estimate", "Interrupted", "Plan", "plan", "resume", "train", "tune"]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
