"""The training loop, from top to bottom."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np

from peephole.config import DEFAULT_EPOCHS, TrainConfig
from peephole.data import Batch, Corpus, batches
from peephole.errors import RunError
from peephole.training.dev import HIGHER_IS_BETTER
from peephole.training.executor import Weights, copy_weights
from peephole.training.loss import loss_divisor
from peephole.training.schedules import learning_rate, sampling_probability
from peephole.training.state import Position, TrainState
from peephole.training.stop import Stopping
from peephole.training.taught import TaughtCorpus


class DivergedError(RunError):
    """The loss or its gradient is no longer finite."""


@dataclass(frozen=True)
class Step:
    """The numbers that one update reports."""

    step: int
    epoch: int
    progress: float  # share of the budget used, including this update
    loss: float  # mean by symbol of the global batch, label smoothing, coverage and CTC loss included
    learning_rate: float
    gradient_norm: float
    num_symbols: int  # target symbols of the global batch
    seconds: float  # training time, including that before a resume


@dataclass(frozen=True)
class Hooks:
    """The functions that the loop calls for time, reports, files and evaluation."""

    seconds: Callable[[], float]  # training time, including that before a resume; equal in every process
    stop_requested: Callable[[], bool]  # a stop signal, such as Ctrl-C; equal in every process
    on_step: Callable[[Step], None]
    interruptible: Callable[[], AbstractContextManager[None]]  # a block in which a stop request raises Stopping
    evaluate: Callable[[Weights], dict[str, float] | None]  # dev metrics of some weights; None if a stop ended it
    on_evaluation: Callable[[dict[str, float], bool], None]  # dev metrics, and whether they are the best so far
    save: Callable[[], None]  # write a checkpoint


def fit(
    state: TrainState,
    corpus: Corpus,
    config: TrainConfig,
    *,
    batch_symbols: int,
    batch_frames: int | None = None,
    taught: TaughtCorpus | None = None,
    hooks: Hooks,
) -> None:
    """Train until the budget is used up, early stopping ends training, or a stop is requested; update `state` in place.

    The order of the batches is a pure function of (seed, epoch), the noise of (seed, step, example). So neither the
    checkpoints nor interruptions change the final weights.

    Args:
        state: the state to continue from; changed in place.
        corpus: training pairs.
        config: settings of the training.
        batch_symbols: target symbols in a batch, summed over all processes.
        batch_frames: frames in a batch, likewise; None for texts.
        taught: what a teacher gave for the pairs; None without one.
        hooks: clock, reports, files and evaluation.

    Raises:
        DivergedError: the loss is no longer finite.
    """
    position = state.position
    last_save = position.seconds
    symbols = corpus.num_target_symbols
    was_stopped = position.step and (position.evaluation_due or is_over(state, config, symbols))  # in finish_update
    if was_stopped and finish_update(state, config, hooks, symbols):
        return
    interruptible: Callable[[], AbstractContextManager[None]] = nullcontext  # the first update imports modules
    while True:
        epoch_batches = batches(
            corpus,
            seed=config.seed,
            epoch=position.epoch,
            batch_symbols=batch_symbols,
            batch_frames=batch_frames,
            start=position.batch,
        )
        for batch in epoch_batches:
            spent = measure_progress(config, state, symbols)
            try:
                given = batch if taught is None else taught.add_to(batch)
                report = train_step(state, given, config, spent, interruptible)
            except Stopping:
                hooks.save()
                return
            interruptible = hooks.interruptible
            position.step += 1
            position.batch += 1
            position.symbols += batch.num_symbols
            position.seconds = hooks.seconds()
            progress = measure_progress(config, state, symbols)
            hooks.on_step(Step(position.step, position.epoch, progress, *report, batch.num_symbols, position.seconds))
            position.evaluation_due = evaluation_is_due(position, progress, config)
            if finish_update(state, config, hooks, symbols):
                return
            if position.seconds - last_save >= config.checkpoint_seconds:
                hooks.save()
                last_save = position.seconds
        position.epoch, position.batch, position.symbols = position.epoch + 1, 0, 0


def train_step(
    state: TrainState,
    batch: Batch,
    config: TrainConfig,
    progress: float,
    interruptible: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> tuple[float, float, float]:
    """Update the weights on one global batch; return its loss by symbol, the learning rate and the gradient's norm.

    Args:
        state: the state; its executor is changed, not its position.
        batch: the pairs of all processes.
        config: settings of the training.
        progress: share of the budget used before this update.
        interruptible: a block in which a stop request raises Stopping.

    Raises:
        DivergedError: the loss or its gradient is not finite; the weights are as they were.
    """
    rate = learning_rate(progress, config)
    total, gradient_norm, updated = state.executor.step(
        batch,
        step=state.position.step,
        learning_rate=rate,
        divisor=loss_divisor(len(batch.examples), batch.num_symbols, config.loss_mean),
        sampling_probability=sampling_probability(progress, config),
        interruptible=interruptible,
    )
    loss = total / batch.num_symbols
    if not updated:
        raise DivergedError(
            f"step {state.position.step + 1}: the loss is {loss:g} and its gradient's norm {gradient_norm:g}; a lower "
            "train.learning_rate may help"
        )
    return loss, rate, gradient_norm


def measure_progress(config: TrainConfig, state: TrainState, symbols_per_epoch: int) -> float:
    """Return the share of the budget that is used, from 0 to 1."""
    position = state.position
    if config.steps is not None:
        return min(1.0, position.step / config.steps)
    if config.minutes is not None:
        return min(1.0, position.seconds / (60 * config.minutes)) if config.minutes else 1.0
    epochs = DEFAULT_EPOCHS if config.epochs is None else config.epochs
    return min(1.0, (position.epoch + position.symbols / symbols_per_epoch) / epochs) if epochs else 1.0


def is_over(state: TrainState, config: TrainConfig, symbols_per_epoch: int) -> bool:
    """Return whether the budget is used or early stopping ends the training."""
    return measure_progress(config, state, symbols_per_epoch) >= 1 or patience_is_over(state, config)


def evaluation_is_due(position: Position, progress: float, config: TrainConfig) -> bool:
    """Return whether to evaluate now: at the end of each of `train.evaluations` equal parts of the budget.

    With a budget of minutes, one is left out if those before it took more than a fifth of the time so far; the last
    never is. Updates `position.parts`.

    >>> position = Position(seconds=10, parts=1, evaluation_seconds=4)
    >>> minutes = TrainConfig(minutes=2, evaluations=24)
    >>> evaluation_is_due(position, 10 / 120, minutes), position.parts
    (False, 2)
    """
    parts = position.parts
    while position.parts < config.evaluations and progress >= (position.parts + 1) / config.evaluations:
        position.parts += 1
    if position.parts == parts:
        return progress == 1
    return config.minutes is None or progress == 1 or position.evaluation_seconds <= position.seconds / 5


def current_weights(state: TrainState, config: TrainConfig) -> Weights:
    """Return the weights that are evaluated and kept: the moving average, if there is one, else the network's."""
    return state.executor.average if config.ema_decay else state.executor.weights


def finish_update(state: TrainState, config: TrainConfig, hooks: Hooks, symbols_per_epoch: int) -> bool:
    """Evaluate if it is due, and end the training if it is over or to be stopped; return whether it ends.

    A stop ends an evaluation, too: this function does what is left of it when the training resumes.
    """
    position = state.position
    if position.evaluation_due:
        position.evaluation_due = not evaluate(state, config, hooks)
    over = is_over(state, config, symbols_per_epoch)
    if over and not position.evaluation_due:
        position.finished = choose_best(state, config, hooks)
    ends = over or position.evaluation_due or hooks.stop_requested()
    if ends:
        hooks.save()
    return ends


def evaluate(state: TrainState, config: TrainConfig, hooks: Hooks) -> bool:
    """Measure the current weights on dev and keep them if they are the best so far; return False if a stop ended it."""
    weights = current_weights(state, config)
    values = hooks.evaluate(weights)
    if values is None:
        return False
    if config.minutes is not None:
        state.position.evaluation_seconds += hooks.seconds() - state.position.seconds
    state.recent = [*state.recent, copy_weights(weights)][-config.average_last :] if config.average_last > 1 else []
    state.position.evaluations += 1
    hooks.on_evaluation(values, remember_if_best(state, config, weights, values))
    return True


def remember_if_best(state: TrainState, config: TrainConfig, weights: Weights, values: dict[str, float]) -> bool:
    """Keep the weights as `best` if their dev metric is the best so far, or always, as `keep` wants; return whether.

    Weights with a metric of NaN are never kept.
    """
    value, position = values[config.dev_metric], state.position
    better = not math.isnan(value) and (
        position.best_value is None
        or config.keep == "last"
        or (value > position.best_value if HIGHER_IS_BETTER[config.dev_metric] else value < position.best_value)
    )
    if better:
        position.best_value, state.best = value, copy_weights(weights)
        position.best_step, position.best_scores = position.step, values
    position.evaluations_since_best = 0 if better else position.evaluations_since_best + 1
    return better


def patience_is_over(state: TrainState, config: TrainConfig) -> bool:
    """Return whether early stopping ends the training."""
    return config.patience is not None and state.position.evaluations_since_best >= config.patience


def choose_best(state: TrainState, config: TrainConfig, hooks: Hooks) -> bool:
    """Measure the mean of the last evaluations' weights and keep it if `remember_if_best` wants it.

    Returns:
        Whether it is done: False if a stop ended it.
    """
    if len(state.recent) < 2:
        return True
    mean = {name: np.mean([weights[name] for weights in state.recent], 0) for name in state.recent[0]}
    values = hooks.evaluate(mean)
    if values is None:
        return False
    hooks.on_evaluation(values, remember_if_best(state, config, mean, values))
    return True
