"""Tests the training loop with a simulated clock and given dev metrics."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from peephole.config import DEFAULT_EPOCHS, TrainConfig
from peephole.data import batches
from peephole.errors import RunError
from peephole.nn import use_engine
from peephole.nn.loss import loss_sum
from peephole.training.dev import HIGHER_IS_BETTER
from peephole.training.executor import copy_weights
from peephole.training.loop import train_step
from peephole.training.stop import Stopping
from peephole.training.torch_executor import TorchExecutor

from .toy import Training, make_corpus, make_network, same, words


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"), words(60))


def test_the_loop_overfits_one_batch(tmp_path):
    corpus = make_corpus(tmp_path, ["abc", "cab", "hgfe", "dd", "aabb"])
    config = TrainConfig(steps=120, learning_rate=0.03, label_smoothing=0.0, weight_decay=0.0, ema_decay=0.0)
    training = Training(corpus, config, batch_symbols=1000).run()
    assert training.steps[0].loss == pytest.approx(math.log(12), rel=0.2)
    assert training.steps[-1].loss < 0.01
    [batch] = batches(corpus, seed=1, epoch=0, batch_symbols=1000)
    source, lengths, target = map(torch.from_numpy, (batch.source, batch.source_lengths, batch.target))
    found = training.network(source, lengths, target).argmax(-1)
    assert torch.equal(torch.where(target != 0, found, 0), target)


def test_label_smoothing_keeps_the_loss_above_its_entropy(tmp_path):
    corpus = make_corpus(tmp_path, ["abc", "cab", "hgfe", "dd", "aabb"])
    config = TrainConfig(steps=120, learning_rate=0.03, label_smoothing=0.12, weight_decay=0.0, ema_decay=0.0)
    training = Training(corpus, config, batch_symbols=1000).run()
    gold, other = 1 - 0.12 + 0.01, 0.01  # 12 symbols
    entropy = -gold * math.log(gold) - 11 * other * math.log(other)
    assert entropy < training.steps[-1].loss < entropy + 0.02


@pytest.mark.parametrize(("mean", "clip_norm"), [("symbol", 0.05), ("pair", 0.05), ("symbol", 0.0)])
def test_a_step_applies_the_clipped_gradient_of_the_mean(corpus, mean, clip_norm):
    """Compare loss, gradient norm and weights with a step computed here by PyTorch.

    Without the engine: AdamW divides each gradient by its magnitude, which would amplify the rounding differences of
    the smallest gradients; tests/contracts compares the gradients themselves.
    """
    config = TrainConfig(steps=10, loss_mean=mean, clip_norm=clip_norm, learning_rate=0.01, weight_decay=0.1, warmup=0)
    training = Training(corpus, config)
    batch = list(batches(corpus, seed=1, epoch=0, batch_symbols=60))[2]
    reference = make_network()
    optimizer = torch.optim.AdamW(reference.parameters(), lr=0.005, weight_decay=0.1)
    source, lengths, target = map(torch.from_numpy, (batch.source, batch.source_lengths, batch.target))
    with use_engine("off"):
        total = loss_sum(reference(source, lengths, target), target, config.label_smoothing)
    (total / (batch.num_symbols if mean == "symbol" else len(batch.examples))).backward()
    norm = math.sqrt(sum(float(p.grad.double().square().sum()) for p in reference.parameters()))
    assert norm > clip_norm  # clipping has an effect
    for parameter in reference.parameters():
        parameter.grad *= clip_norm / norm if clip_norm else 1
    optimizer.step()
    with use_engine("off"):
        loss, rate, got = train_step(training.state, batch, config, progress=0.5)
    assert loss == pytest.approx(total.item() / batch.num_symbols, rel=1e-6)
    assert rate == pytest.approx(0.005)
    assert got == pytest.approx(norm, rel=1e-5)
    for name, parameter in reference.state_dict().items():
        torch.testing.assert_close(training.network.state_dict()[name], parameter, rtol=0, atol=2e-6)


def test_a_step_applies_dropout_and_scheduled_sampling_as_configured(corpus):
    [first, *_] = batches(corpus, seed=1, epoch=0, batch_symbols=60)

    def loss(dropout, progress, **settings):
        training = Training(corpus, TrainConfig(steps=10, **settings), dropout=dropout)
        return train_step(training.state, first, training.config, progress)[0]

    plain = loss(0.0, 0.5)
    assert loss(0.3, 0.5) != pytest.approx(plain, rel=1e-6)
    sampled = {"scheduled_sampling": "linear", "sampling_end": 1.0}
    assert loss(0.0, 0.5, **sampled) != pytest.approx(plain, rel=1e-6)
    assert loss(0.0, 0.0, **sampled) == pytest.approx(plain, rel=1e-6)  # at the start only gold symbols are fed
    assert loss(0.3, 0.5) == loss(0.3, 0.5)
    assert loss(0.3, 0.5) != loss(0.3, 0.5, seed=2)
    assert loss(0.3, 0.5, variational_dropout=True) != pytest.approx(loss(0.3, 0.5), rel=1e-6)
    assert loss(0.0, 0.5, variational_dropout=True) == plain


def test_a_step_adds_the_coverage_loss_with_its_weight(corpus):
    [first, *_] = batches(corpus, seed=1, epoch=0, batch_symbols=60)

    def loss(weight):
        training = Training(corpus, TrainConfig(steps=10, coverage_loss=weight), {"attention": "coverage"})
        return train_step(training.state, first, training.config, 0.5)[0]

    once = loss(1.0) - loss(0.0)
    assert once > 0.1  # the first step has none; later ones attend where it attended
    assert loss(0.25) - loss(0.0) == pytest.approx(once / 4, rel=1e-4)


@pytest.mark.parametrize("number", range(5))
def test_an_evaluation_that_a_stop_ended_is_repeated_when_the_training_resumes(corpus, number):
    """The last one is that of the mean weights."""
    config = TrainConfig(steps=12, evaluations=4, average_last=4, ema_decay=0.9)
    settings = {"values": [0.5, 0.3, 0.4, 0.2, 0.1], "dropout": 0.2}
    whole = Training(corpus, config, **settings).run()
    assert len(whole.measured) == 5
    parts = Training(corpus, config, stopped_evaluation=number, **settings).run()
    assert not parts.state.position.finished
    assert parts.saved_at == [3 * min(number + 1, 4)]
    assert len(parts.measured) == number
    parts.run()
    assert parts.state.position == whole.state.position
    assert parts.found_best == whole.found_best
    for got, wanted in zip(parts.measured + parts.weights, whole.measured + whole.weights, strict=True):
        assert same(got, wanted)
    assert same(parts.state.best, whole.state.best)


def test_an_update_that_a_stop_ended_is_repeated_when_the_training_resumes(corpus, monkeypatch):
    config = TrainConfig(steps=6, evaluations=2)
    whole = Training(corpus, config, dropout=0.2).run()
    parts = Training(corpus, config, dropout=0.2)
    clip = TorchExecutor.clip_gradients

    def stop_once(*arguments):
        norm = clip(*arguments)
        if parts.state.position.step == 4 and not parts.saved_at:
            raise Stopping
        return norm

    monkeypatch.setattr(TorchExecutor, "clip_gradients", stop_once)
    parts.run()
    assert parts.saved_at == [4]
    parts.run()
    for got, wanted in zip(parts.weights, whole.weights, strict=True):
        assert same(got, wanted)


def test_each_step_draws_different_noise(tmp_path):
    """Repeat one batch at learning rate 0, so that only the noise can change the loss."""
    corpus = make_corpus(tmp_path, ["abc", "cab", "hgfe"])

    def losses(**settings):
        config = TrainConfig(steps=4, learning_rate=0.0, **settings.pop("train", {}))
        return [round(step.loss, 5) for step in Training(corpus, config, batch_symbols=1000, **settings).run().steps]

    assert len(set(losses())) == 1
    assert len(set(losses(dropout=0.3))) == 4
    sampled = {"scheduled_sampling": "inverse_sigmoid", "sampling_end": 1.0}
    assert len(set(losses(train=sampled))) > 1


def test_the_moving_average_follows_its_decay(corpus):
    training = Training(corpus, TrainConfig(steps=40, ema_decay=0.7, evaluations=40))
    wanted = {name: array.astype(float) for name, array in copy_weights(training.state.executor.weights).items()}
    training.run()
    decays = [min(0.7, (1 + step) / (10 + step)) for step in range(1, 41)]
    assert decays[0] == 2 / 11
    assert decays[19] == 0.7 == decays[-1]
    assert decays[18] < 0.7
    for weights, decay, average in zip(training.weights, decays, training.measured, strict=True):
        wanted = {name: decay * old + (1 - decay) * weights[name] for name, old in wanted.items()}
        for name, array in average.items():
            np.testing.assert_allclose(array, wanted[name], rtol=1e-5, atol=1e-6)
    assert same(training.measured[-1], training.state.executor.average)


@pytest.mark.parametrize("metric", HIGHER_IS_BETTER)
def test_the_best_weights_are_kept(corpus, metric):
    values = [3.0, 5.0, 5.0, 2.0, 4.0]
    best = 1 if metric in ("exact_match", "chrf") else 3
    config = TrainConfig(steps=10, evaluations=5, dev_metric=metric)
    training = Training(corpus, config, values=values).run()
    assert same(training.state.best, training.measured[best])
    assert not same(training.state.best, training.measured[4])
    assert training.state.position.best_value == values[best]
    assert training.found_best == (
        [True, True, False, False, False] if best == 1 else [True, False, False, True, False]
    )
    assert training.state.position.evaluations_since_best == 4 - best
    assert (training.state.position.evaluations, training.state.position.finished) == (5, True)


@pytest.mark.parametrize("metric", ["loss", "exact_match"])
def test_a_metric_that_is_not_a_number_is_never_the_best(corpus, metric):
    training = Training(
        corpus, TrainConfig(steps=4, evaluations=4, dev_metric=metric), values=[math.nan, 2.0, math.nan]
    )
    training.run()
    assert training.found_best == [False, True, False, False]
    assert same(training.state.best, training.measured[1])
    assert training.state.position.best_value == 2.0


def test_the_last_weights_are_kept_where_it_is_wanted(corpus):
    config = TrainConfig(steps=4, evaluations=4, keep="last", dev_metric="loss")
    training = Training(corpus, config, values=[2.0, 1.0, 3.0, 2.5]).run()
    assert training.found_best == [True, True, True, True]
    assert same(training.state.best, training.measured[3])
    assert (training.state.position.best_value, training.state.position.best_step) == (2.5, 4)
    mean = Training(corpus, replace(config, average_last=2), values=[2.0, 1.0, 3.0, 2.5, 4.0]).run()
    assert mean.found_best[4]
    assert same(mean.state.best, mean.measured[4])
    nans = Training(corpus, config, values=[2.0, 1.0, math.nan, math.nan]).run()
    assert nans.found_best == [True, True, False, False]
    assert same(nans.state.best, nans.measured[1])


@pytest.mark.parametrize("patience", [1, 2, 3, None])
def test_training_ends_after_patience_evaluations_without_improvement(corpus, patience):
    values = [9.0, 8.0, 8.0, 7.0, 7.5, 7.2, 7.1, 6.0, 6.0, 6.0]
    config = TrainConfig(steps=20, evaluations=10, patience=patience, dev_metric="loss")
    training = Training(corpus, config, values=values).run()
    evaluations = {1: 3, 2: 6, 3: 7, None: 10}[patience]
    assert len(training.steps) == 2 * evaluations
    assert training.state.position.evaluations == evaluations
    assert training.state.position.finished
    assert training.saved_at == [2 * evaluations]


@pytest.mark.parametrize(("averaged", "is_best"), [(1.0, True), (3.0, False)])
def test_the_mean_of_the_last_weights_is_evaluated_at_the_end(corpus, averaged, is_best):
    config = TrainConfig(steps=10, evaluations=5, average_last=3, dev_metric="loss")
    training = Training(corpus, config, values=[6.0, 2.0, 5.0, 4.0, 3.0, averaged]).run()
    assert len(training.measured) == 6
    mean = {name: sum(w[name].astype(float) for w in training.measured[2:5]) / 3 for name in training.measured[0]}
    for name, array in training.measured[5].items():
        np.testing.assert_allclose(array, mean[name], rtol=1e-5, atol=1e-6)
    assert same(training.state.best, training.measured[5 if is_best else 1])
    assert training.found_best[5] is is_best
    assert training.state.position.best_value == (1.0 if is_best else 2.0)


def test_the_weights_of_a_single_evaluation_are_not_averaged(corpus):
    training = Training(corpus, TrainConfig(steps=3, evaluations=1, average_last=4)).run()
    assert len(training.measured) == 1


def measured_at(training, number):
    """Return the step after which evaluation `number` was made, without a moving average."""
    return next(step for step, weights in enumerate(training.weights, 1) if same(weights, training.measured[number]))


@pytest.mark.parametrize(("steps", "evaluations"), [(10, 5), (7, 3), (3, 20), (20, 1)])
def test_evaluations_are_spread_evenly_and_include_the_last_step(corpus, steps, evaluations):
    training = Training(corpus, TrainConfig(steps=steps, evaluations=evaluations, ema_decay=0.0)).run()
    wanted = [math.ceil(steps * number / evaluations) for number in range(1, evaluations + 1)]
    wanted = wanted if evaluations <= steps else list(range(1, steps + 1))
    assert [measured_at(training, number) for number in range(len(training.measured))] == wanted
    assert len(training.steps) == steps


def test_an_epoch_reads_each_pair_once_in_a_new_order(corpus):
    in_epoch = [len(list(batches(corpus, seed=1, epoch=epoch, batch_symbols=60))) for epoch in range(3)]
    training = Training(corpus, TrainConfig(epochs=3)).run()
    assert [sum(step.epoch == epoch for step in training.steps) for epoch in range(3)] == in_epoch
    assert len(training.steps) == sum(in_epoch)
    assert sum(step.num_symbols for step in training.steps) == 3 * corpus.num_target_symbols
    assert training.steps[-1].progress == 1
    orders = {tuple(step.num_symbols for step in training.steps if step.epoch == epoch) for epoch in range(3)}
    assert len(orders) == 3
    half = Training(corpus, TrainConfig(epochs=0.5)).run()
    seen = [step.num_symbols for step in half.steps]
    assert sum(seen[:-1]) < corpus.num_target_symbols / 2 <= sum(seen)
    assert DEFAULT_EPOCHS == 20


def test_equal_seeds_give_equal_weights_and_other_seeds_others(corpus):
    def run(seed):
        return Training(corpus, TrainConfig(steps=6, seed=seed), dropout=0.3).run().weights[-1]

    assert same(run(1), run(1))
    assert not same(run(1), run(2))


@pytest.mark.parametrize("variational", [False, True])
def test_stopping_and_resuming_in_memory_changes_nothing(corpus, variational):
    """test_kill_and_resume.py tests the same with processes and files."""
    in_epoch = len(list(batches(corpus, seed=1, epoch=0, batch_symbols=60)))
    steps = 2 * in_epoch + 2
    config = TrainConfig(steps=steps, scheduled_sampling="linear", ema_decay=0.9, average_last=2, evaluations=6)
    config = replace(config, variational_dropout=variational)
    values = [5.0, 4.0, 6.0, 3.0, 3.5, 3.2, 3.1]
    uninterrupted = Training(corpus, config, dropout=0.3, values=values).run()
    for stop in (1, in_epoch - 1, in_epoch, in_epoch + 1, steps - 1):
        stopped = Training(corpus, config, dropout=0.3, values=values, stop_after=stop)
        stopped.run()
        assert not stopped.state.position.finished
        assert len(stopped.steps) == stop
        assert stopped.saved_at == [stop]
        stopped.run()
        assert [step.__dict__ for step in stopped.steps] == [step.__dict__ for step in uninterrupted.steps]
        assert same(stopped.weights[-1], uninterrupted.weights[-1])
        assert same(stopped.state.executor.average, uninterrupted.state.executor.average)
        assert same(stopped.state.best, uninterrupted.state.best)
        assert stopped.found_best == uninterrupted.found_best


@pytest.mark.parametrize(("schedule", "seconds_per_evaluation"), [("cosine", 0.0), ("linear", 2.0)])
def test_a_budget_of_minutes_is_kept(corpus, schedule, seconds_per_evaluation):
    config = TrainConfig(minutes=1, schedule=schedule, learning_rate=1e-3, evaluations=10)
    training = Training(corpus, config, seconds_per_step=0.6, seconds_per_evaluation=seconds_per_evaluation).run()
    assert 60 <= training.seconds() <= 60 + 0.6 + seconds_per_evaluation
    before_the_last = training.state.position.evaluations - 1
    assert len(training.steps) == pytest.approx((60 - before_the_last * seconds_per_evaluation) / 0.6, abs=1)
    rates = [step.learning_rate for step in training.steps]
    assert max(rates) == pytest.approx(1e-3, rel=0.02)
    assert rates[-1] < 0.05 * max(rates)  # linear: 1 - p, where one step and one evaluation are left
    assert training.state.position.finished


@pytest.mark.parametrize(
    ("seconds", "steps"),
    [
        (0.0, [12, 24, 36, 48, 60, 72, 84, 96, 108, 120]),
        (1.0, [12, 22, 32, 42, 52, 62, 72, 82, 92, 102]),
        (4.0, [12, 40, 68, 96]),
        (20.0, [12, 80]),
        (100.0, [12, 13]),
        ([8.0, 0.1], [12, 68, 80, 92, 104]),  # a slow one, then fast ones: at even distances again
    ],
)
def test_evaluations_take_at_most_a_fifth_of_a_budget_of_minutes(corpus, seconds, steps):
    config = TrainConfig(minutes=1, evaluations=10)
    training = Training(corpus, config, seconds_per_step=0.5, seconds_per_evaluation=seconds).run()
    assert training.measured_at == steps
    assert training.state.position.evaluations == len(steps)
    assert training.state.position.evaluation_seconds == pytest.approx(training.other_seconds)


def test_a_stop_in_an_evaluation_changes_nothing_in_which_evaluations_follow(corpus):
    config = TrainConfig(minutes=1, evaluations=10)
    how = {"seconds_per_step": 0.5, "seconds_per_evaluation": 4.0}
    whole = Training(corpus, config, **how).run()
    stopped = Training(corpus, config, **how, stopped_evaluation=2).run()
    assert stopped.state.position.evaluation_due
    stopped.run()
    assert stopped.measured_at == whole.measured_at
    assert stopped.state.position == whole.state.position


def test_all_evaluations_of_a_number_of_updates_are_made_however_long_they_take(corpus):
    training = Training(corpus, TrainConfig(steps=20, evaluations=10), seconds_per_evaluation=1000.0).run()
    assert training.state.position.evaluations == 10


def test_earlier_training_time_counts_towards_the_budget(corpus):
    training = Training(corpus, TrainConfig(minutes=1))
    training.state.position.seconds = training.other_seconds = 50.0
    training.run()
    assert len(training.steps) == 10


@pytest.mark.parametrize("budget", [{"minutes": 0}, {"epochs": 0}, {"steps": 1}], ids=str)
def test_the_smallest_budgets_make_one_step_and_one_evaluation(corpus, budget):
    training = Training(corpus, TrainConfig(**budget)).run()
    assert (len(training.steps), len(training.measured)) == (1, 1)
    assert training.state.position.finished


def test_checkpoints_are_saved_at_the_configured_interval(corpus):
    training = Training(corpus, TrainConfig(steps=20, checkpoint_seconds=6), seconds_per_step=1.0).run()
    assert training.saved_at == [6, 12, 18, 20]
    training = Training(corpus, TrainConfig(steps=3, checkpoint_seconds=0), seconds_per_step=1.0).run()
    assert training.saved_at == [1, 2, 3]


def test_an_infinite_or_nan_loss_stops_the_training_without_an_update(corpus):
    training = Training(corpus, TrainConfig(steps=50, learning_rate=1e30, warmup=0.0, ema_decay=0.0))
    with pytest.raises(RunError, match=r"^step \d+: the loss is (nan|inf) .*train\.learning_rate may help$") as caught:
        training.run()
    assert "\n" not in str(caught.value)
    assert training.saved_at == []
    assert same(training.weights[-1], training.state.executor.weights)
    assert f"step {len(training.steps) + 1}:" in str(caught.value)


def test_a_nan_gradient_with_a_finite_loss_stops_the_training(corpus):
    """Only the gradient of the embedding is NaN; an update would silently make the encoder's weights NaN."""
    training = Training(corpus, TrainConfig(steps=5, warmup=0.0))
    training.network.frontend.embedding.weight.register_hook(lambda gradient: gradient * math.nan)
    before = copy_weights(training.state.executor.weights)
    with pytest.raises(RunError, match="norm nan"):
        training.run()
    assert same(before, training.state.executor.weights)
