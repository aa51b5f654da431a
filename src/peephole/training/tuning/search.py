"""A search of settings within a budget of time: trials one after another, then the training of the best to its end.

Half of the time is for the search. Every trial is the beginning of an ordinary training with the minutes that the best
one will get, in a run of its own in the run's folder `trials/`; it ends early or at a fifth of its evaluations. So the
trials are compared at equal times, and the best one goes on from its checkpoint: none of its updates are lost. Short
trainings of their own, whose learning rate reaches 0, order the settings no better and make worse models in the same
time, since the moving average of the weights already does what a low learning rate would; see benchmarks/RESULTS.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from peephole.config import Config
from peephole.data import Prepared
from peephole.errors import ConfigError, MemoryLimitError, RunError, printable
from peephole.storage.replace_file import remove, replace_file
from peephole.training.backend_choice import training_device, with_precision
from peephole.training.dev import HIGHER_IS_BETTER
from peephole.training.estimate import estimate
from peephole.training.loop import DivergedError
from peephole.training.memory import check_training_memory, memory_sizes
from peephole.training.run import Interrupted, Watch, train_trial
from peephole.training.run_file import Run, resume_command, write_run
from peephole.training.state import Position, read_position
from peephole.training.stop import StopRequest
from peephole.training.tuning.space import Space, first_settings, stored_space
from peephole.training.tuning.study import Study
from peephole.training.tuning.trial_log import Ending, Trial, TrialLog
from peephole.training.tuning.trial_report import settings_text, trial_line, trial_table
from peephole.training.waiting import waiting

SEARCH_SHARE = 0.5  # of the time
TRIAL_SHARE = 0.2  # of the evaluations of a training: those of a trial that does not end early
LEAST_UPDATES = 50  # before the first evaluation, by the estimate
MOST_REFUSED = 30  # trials in a row that cannot be trained


@dataclass(frozen=True)
class Budget:
    """The times of a search, in seconds.

    >>> Budget.of(60.0, evaluations=20)
    Budget(total=3600.0, search=1800.0, training=2250.0, trial=450.0, evaluations=4)
    """

    total: float
    search: float
    training: float  # that every trial begins
    trial: float  # the longest part of it
    evaluations: int  # of the longest trial

    @classmethod
    def of(cls, minutes: float, evaluations: int) -> Budget:
        """Divide the minutes so that search and the rest of the best trial's training take all of them."""
        total, last = 60 * minutes, round(TRIAL_SHARE * evaluations)
        training = total * (1 - SEARCH_SHARE) / (1 - last / evaluations)
        return cls(total, SEARCH_SHARE * total, training, training * last / evaluations, last)


class Search:
    """A search at work.

    Args:
        run: its data are prepared.
        prepared: these data.
        stop: set by Ctrl-C and SIGTERM.
        quiet: print nothing.
    """

    def __init__(self, run: Run, prepared: Prepared, stop: StopRequest, *, quiet: bool) -> None:
        assert run.tuning is not None
        self.run, self.prepared, self.stop, self.quiet = run, prepared, stop, quiet
        self.base, self.metric = run.config, run.config.train.dev_metric
        self.space: Space = stored_space(run.tuning.space, f"{run.folder}/run.json")
        self.budget = Budget.of(run.tuning.minutes, run.config.train.evaluations)
        self.log = TrialLog(run.folder)
        self.study = Study(self.space, run.config.train.seed, higher_is_better=HIGHER_IS_BETTER[self.metric])
        self.console = Console(stderr=True, quiet=quiet)

    def finish(self) -> Run:
        """Run trials until the time for them is over; return the best trial's run, ready to go on.

        Raises:
            Interrupted: a stop was requested.
            RunError: no trial could be trained.
        """
        self._introduce()
        for trial in self.log.trials:
            if trial.ended is not None:
                self.study.replay(trial)
            else:
                ends = self.study.continue_trial(trial)
                self._run(trial, ends=ends)
        while self.log.seconds + self.budget.trial <= self.budget.search and not self._all_refused():
            first = first_settings(self.space, self.base) if not self.log.trials else None
            settings = self.study.next_settings(len(self.log.trials), first)
            self._run(self.log.start(settings))
        best = self.best()
        if best is None:
            last = self.log.trials[-1]
            raise RunError(f"{self.run.folder}: no trial could be trained; the last was {last.ended}: {last.reason}")
        for line in trial_table(self.log.trials, self.metric, best.number):
            self._print(line)
        self._check_stop("after its trials")
        return self._install(best)

    def best(self) -> Trial | None:
        """Return the best of the longest trials; None before there is one."""
        trials = [trial for trial in self.log.trials if trial.ended == "complete"]
        sign = -1 if HIGHER_IS_BETTER[self.metric] else 1
        return min(trials, key=lambda trial: sign * (trial.value or 0.0), default=None)

    def _check_stop(self, where: str) -> None:
        """Raise Interrupted if a stop was requested."""
        if self.stop.signal_number is not None:
            message = f"stopped and saved {where}; resume with: {resume_command(self.run)}"
            raise Interrupted(message, self.stop.signal_number)

    def _introduce(self) -> None:
        lines = [] if self.log.trials else self.prepared.report
        names = ", ".join(name.split(".")[1] for name in self.space)
        lines = [*lines, f"searches {names}; {self.budget.search / 60:.3g} of {self.budget.total / 60:.3g} minutes"]
        if self.log.trials:
            lines.append(f"goes on after {len(self.log.trials)} trials, {self.log.seconds / 60:.3g} minutes")
        for line in lines:
            self._print(line)

    def _print(self, line: str) -> None:
        self.console.print(printable(line), highlight=False, markup=False, soft_wrap=True)

    def _all_refused(self) -> bool:
        last = self.log.trials[-MOST_REFUSED:]
        return len(last) == MOST_REFUSED and all(trial.ended in ("refused", "failed") for trial in last)

    def _run(self, trial: Trial, *, ends: bool = False) -> None:
        """Run a trial to its end, print its line and remove the files that only the best needs.

        Args:
            trial: the trial, open in the study.
            ends: whether its last recorded evaluation ends it early.
        """
        started, before = time.monotonic(), trial.seconds

        def seconds() -> float:
            return before + time.monotonic() - started

        reason: str | None = None
        ended = self._ending(trial, ends)
        if ended == "complete" and not self._has_saved_last(trial):
            ended = None
        try:
            if ended is None:
                with waiting(f"trial {trial.number}: {settings_text(trial, self.log.trials[0])}", quiet=self.quiet):
                    ended, reason = self._train(trial, seconds)
        except Interrupted:
            self.log.interrupt(trial, seconds())
            self._check_stop(f"in trial {trial.number}")
            raise
        self.log.end(trial, ended, seconds(), reason)
        self.study.end(trial, ended)
        best = self.best()
        for other in self.log.trials:
            if best is None or other.number != best.number:
                self._remove_weights(other)
        self._print(trial_line(trial, self.log.trials[0], self.metric, is_best=best is trial))

    def _train(self, trial: Trial, seconds: Callable[[], float]) -> tuple[Ending, str | None]:
        """Train a trial until it ends; return how, and the reason if it cannot be trained."""
        ended: Ending | None = None
        reason = None

        def pause(position: Position) -> bool:
            nonlocal ended, reason
            number, value = position.parts, position.best_value
            if value is None:
                ended, reason = "failed", f"dev {self.metric.replace('_', ' ')} is nan"
                return True
            self.log.evaluation(
                trial, number, value=value, step=position.step, trained=position.seconds, seconds=seconds()
            )
            ended = self._ending(trial, self.study.should_end(number, value))
            return ended is not None

        try:
            run = self._trial_run(trial)
            self._check(run.config, first=trial.number == 0)
        except ConfigError as error:
            return "refused", str(error)
        try:
            run.folder.mkdir(parents=True, exist_ok=True)
            write_run(run, run.folder, run.folder)
            train_trial(run, self.prepared, Watch(self.stop, pause))
        except (DivergedError, MemoryLimitError) as error:
            return "failed", str(error)
        return ended or "complete", reason  # complete: patience ended it

    def _ending(self, trial: Trial, ends: bool) -> Ending | None:
        """Return how a trial ends after its last evaluation; None if it goes on."""
        if max(trial.values, default=0) >= self.budget.evaluations:
            return "complete"
        return "pruned" if ends else None

    def _has_saved_last(self, trial: Trial) -> bool:
        """Return whether a trial's state was saved after its last recorded evaluation; a kill may come between them."""
        position = read_position(self._trial_run(trial).checkpoint)
        return position is not None and position.parts >= max(trial.values)

    def _trial_run(self, trial: Trial) -> Run:
        """Return the run of a trial; raises ConfigError if its settings contradict each other."""
        values = trial.settings | {"train.minutes": self.budget.training / 60}
        config = with_precision(self.base.with_values(values, f"trial {trial.number}"))
        out = self.run.folder / "trials" / f"{trial.number:03}.safetensors"
        return replace(self.run, out=str(out), config=config, tuning=None)

    def _check(self, config: Config, *, first: bool) -> None:
        """Raise ConfigError if a model is too large for the memory or, but for the first trial, for the time."""
        if training_device(config.train) != "cpu":
            return
        check_training_memory(config, *memory_sizes(config, self.prepared))
        if first:
            return
        found = estimate(config, self.prepared, timed=2)
        if found.seconds_per_epoch is None:
            return
        due = self.budget.training / config.train.evaluations
        updates = due * found.steps_per_epoch / found.seconds_per_epoch
        if updates < LEAST_UPDATES:
            raise ConfigError(f"about {updates:.2g} updates in the {due:.3g} seconds before its first evaluation")

    def _remove_weights(self, trial: Trial) -> None:
        """Remove a trial's model and checkpoints, and keep run.json and the log."""
        model = self.run.folder / "trials" / f"{trial.number:03}.safetensors"
        remove(model)
        remove(model.with_suffix(".run") / "checkpoint")

    def _install(self, best: Trial) -> Run:
        """Make the best trial's training that of the run itself, with the rest of the time; return the run.

        A kill at any point leaves a search that does this again, or the run with its checkpoint.
        """
        assert self.run.tuning is not None
        trial_run = self._trial_run(best)
        minutes = (best.trained + max(0.0, self.budget.total - self.log.seconds)) / 60
        config = trial_run.config.with_values({"train.minutes": minutes})
        tuning = replace(self.run.tuning, best=best.number)
        run = replace(self.run, config=config, tuning=tuning)
        run.checkpoint.parent.mkdir(exist_ok=True)
        copies = {trial_run.checkpoint: run.checkpoint, Path(trial_run.out): Path(run.out)}
        copies[trial_run.folder / "log.jsonl"] = run.folder / "log.jsonl"
        for old, new in copies.items():
            with replace_file(new) as file:
                file.write(old.read_bytes())
        write_run(run, run.folder, run.folder)
        self._remove_weights(best)
        self._print(
            f"best: trial {best.number}: {settings_text(best, self.log.trials[0])}; it goes on for "
            f"{minutes - best.trained / 60:.3g} minutes"
        )
        return run
