"""Learning rate and sampling probability as pure functions of the progress p of a training, from 0 to 1."""

from __future__ import annotations

import math

from peephole.config import TrainConfig

FIRST_SHARE = 0.01  # of the highest learning rate, at the first update


def learning_rate(progress: float, config: TrainConfig) -> float:
    """Return the learning rate: a linear increase during `warmup`, then the schedule down to 0 (or constant).

    The climb begins at a hundredth of the highest rate, so that the first update, at p = 0, changes the weights.

    >>> config = TrainConfig(learning_rate=1.0, warmup=0.1, schedule="linear")
    >>> [round(learning_rate(p, config), 3) for p in (0.0, 0.05, 0.1, 0.55, 1.0)]
    [0.01, 0.505, 1.0, 0.5, 0.0]
    """
    if progress < config.warmup:
        return config.learning_rate * (FIRST_SHARE + (1 - FIRST_SHARE) * progress / config.warmup)
    rest = min(1.0, (progress - config.warmup) / max(1e-9, 1 - config.warmup))
    shape = {"cosine": (1 + math.cos(math.pi * rest)) / 2, "linear": 1 - rest, "constant": 1.0}
    return config.learning_rate * shape[config.schedule]


def empty_budget_notice(config: TrainConfig) -> str | None:
    """Return a notice of one line if the budget is 0; None otherwise.

    >>> empty_budget_notice(TrainConfig(minutes=0))
    'train.minutes is 0: training ends after its first update, so nothing is learned'
    """
    empty = next((name for name in ("minutes", "epochs") if getattr(config, name) == 0), None)
    return empty and f"train.{empty} is 0: training ends after its first update, so nothing is learned"


def sampling_probability(progress: float, config: TrainConfig) -> float:
    """Return the probability of feeding the model's own symbol, (14), instead of the gold one, (13).

    It grows from 0 at the start to `sampling_end` at the end: in proportion to p (linear), fast first (exponential:
    the gold share falls like k^p, k = 0.01), or mostly around the middle (inverse sigmoid: k / (k + exp(12 p)),
    k = exp(6)).

    Source: Bengio et al. 2015, arXiv:1506.03099, section 2.4. Differs: their decays run over the number of updates
        with constants to tune; here over the progress, scaled to run from 0 to `sampling_end`.

    >>> config = TrainConfig(scheduled_sampling="inverse_sigmoid", sampling_end=0.5)
    >>> [round(sampling_probability(p, config), 3) for p in (0.0, 0.5, 1.0)]
    [0.0, 0.25, 0.5]
    """
    p = min(1.0, progress)
    if config.scheduled_sampling == "none":
        return 0.0
    shapes = {"linear": p, "exponential": (1 - math.pow(0.01, p)) / (1 - 0.01), "inverse_sigmoid": _sigmoid_shape(p)}
    return config.sampling_end * shapes[config.scheduled_sampling]


def _sigmoid_shape(p: float) -> float:
    gold_start, gold_now, gold_end = (1 / (1 + math.exp(12 * at - 6)) for at in (0.0, p, 1.0))
    return (gold_start - gold_now) / (gold_start - gold_end)
