"""The next settings to try, and which trials to end early, by Optuna.

Settings: the tree-structured Parzen estimator after some random ones (Bergstra et al. 2011). Ending early: asynchronous
successive halving (Li et al. 2020, arXiv:1810.05934): after evaluations 1, 2, 4, … a trial goes on if it is in the
better half of all trials so far at that evaluation.

The study is in memory. It is made anew from the recorded trials when a search goes on. Each trial has a sampler of its
own, whose seed is that of the training and the trial's number, so the next settings follow from the trials so far.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from peephole.training.tuning.space import Choices, Range, Space
from peephole.training.tuning.trial_log import Ending, Trial

RANDOM_TRIALS = 5  # until there are enough for a model of them
HALVING = 2  # one in this many trials goes on after each of evaluations 1, 2, 4, …

STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "refused": TrialState.FAIL,
    "failed": TrialState.FAIL,
}


class Study:
    """The trials as Optuna sees them; exactly one is open between `next_settings` or `continue_trial` and `end`.

    Args:
        space: what may be tried.
        seed: of the samplers.
        higher_is_better: whether the dev metric is better when it is higher.
    """

    def __init__(self, space: Space, seed: int, *, higher_is_better: bool) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space, self.seed = space, seed
        self._study = optuna.create_study(
            direction="maximize" if higher_is_better else "minimize",
            pruner=SuccessiveHalvingPruner(min_resource=1, reduction_factor=HALVING),
        )

    def replay(self, trial: Trial) -> None:
        """Tell a recorded trial that has ended."""
        self.continue_trial(trial)
        assert trial.ended is not None
        self.end(trial, trial.ended)

    def next_settings(self, number: int, first: dict[str, Any] | None = None) -> dict[str, Any]:
        """Open a trial; return its settings.

        Args:
            number: of the trial.
            first: the settings to try; None chooses them.
        """
        chosen = None if first is None else {name: self._code(name, value) for name, value in first.items()}
        words = np.random.SeedSequence([self.seed, number]).generate_state(1)
        sampler = TPESampler(seed=int(words[0]), n_startup_trials=RANDOM_TRIALS)
        return self._open(sampler, chosen)

    def continue_trial(self, trial: Trial) -> bool:
        """Open a recorded trial, with its evaluations; return whether the last of them should end it."""
        chosen = {name: self._code(name, trial.settings[name]) for name in self.space}
        self._open(RandomSampler(seed=0), chosen)
        return [False, *(self.should_end(number, value) for number, value in sorted(trial.values.items()))][-1]

    def should_end(self, evaluation: int, value: float) -> bool:
        """Report an evaluation of the open trial; return whether the trial should end.

        An evaluation that is repeated, because a kill came before its state was saved, gets the same answer.
        """
        if evaluation not in self._answers:
            self._trial.report(value, evaluation)
            self._answers[evaluation] = bool(self._trial.should_prune())
        return self._answers[evaluation]

    def end(self, trial: Trial, ended: Ending) -> None:
        """Close the open trial."""
        value = trial.value if ended == "complete" else None
        self._study.tell(self._trial, value, state=STATES[ended])

    def _open(self, sampler: BaseSampler, chosen: dict[str, Any] | None) -> dict[str, Any]:
        self._study.sampler = sampler
        if chosen is not None:
            self._study.enqueue_trial(chosen)
        self._trial = self._study.ask(self._distributions())
        self._answers: dict[int, bool] = {}
        return {name: self._value(name, code) for name, code in self._trial.params.items()}

    def _distributions(self) -> dict[str, BaseDistribution]:
        return {name: _distribution(found) for name, found in self.space.items()}

    def _code(self, name: str, value: Any) -> Any:
        """Return a value as Optuna sees it: the index of a choice, or a number of a range."""
        found = self.space[name]
        return found.values.index(value) if isinstance(found, Choices) else value

    def _value(self, name: str, code: Any) -> Any:
        found = self.space[name]
        return found.values[code] if isinstance(found, Choices) else code


def _distribution(found: Choices | Range) -> BaseDistribution:
    """Return the distribution of the codes of a setting's values; see `Study._code`."""
    if isinstance(found, Choices):
        count = len(found.values)
        return IntDistribution(0, count - 1) if found.ordered else CategoricalDistribution(range(count))
    if found.is_whole:
        return IntDistribution(int(found.low), int(found.high), log=found.log)
    return FloatDistribution(float(found.low), float(found.high), log=found.log)
