"""Training by PyTorch: on any device, in one process or several, with the engine's operators where they can."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from peephole.config import Config, TrainConfig
from peephole.data import Batch, Prepared
from peephole.engine.choice import engine_in_use
from peephole.engine.step_settings import MASKS
from peephole.model import Model
from peephole.model.loading import model_class
from peephole.nn import Noise, Seq2Seq, build_seq2seq, use_engine
from peephole.nn.frontends import NormalizedFrames
from peephole.nn.loss import Teacher
from peephole.nn.masking import Masking
from peephole.training.backend_choice import definition_notice
from peephole.training.cpu_threads import cpu_threads
from peephole.training.executor import MOMENTS, Executor, Moments, StepResult, Weights
from peephole.training.together import FabricProcesses, start_fabric
from peephole.training.torch_loss import Objective


class TorchPlatform:
    """The device and the processes that Fabric has started.

    Args:
        config: the settings, with the precision resolved.

    Raises:
        ConfigError: this machine has no such device.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.fabric = start_fabric(config)
        self.device = self.fabric.device.type
        self.processes = FabricProcesses(self.fabric)

    @contextmanager
    def settings(self, config: Config) -> Iterator[None]:
        """Set PyTorch's threads and the engine's operators for this thread within the block."""
        with cpu_threads(config.train.threads), use_engine(config.train.engine):
            yield

    def executor(self, config: Config, prepared: Prepared, weights: Weights) -> Executor:
        """Return an executor that starts from these weights."""
        sizes = len(prepared.source_symbols), len(prepared.target_symbols)
        return TorchExecutor(self.fabric, network_of(config, *sizes, weights), config.train, config.model.dropout)

    def notice(self, config: Config) -> str | None:
        """Return which operators the definition computes, and why; None when a backend computes all of them."""
        return definition_notice(config, self.device)


class TorchExecutor:
    """A network with AdamW, its moving average, and the update of both; see `Executor`.

    Args:
        fabric: device, precision and processes.
        network: the network to train, with its first weights; changed in place.
        config: settings of the training.
        dropout: rate of the model's dropout.
    """

    def __init__(self, fabric: Fabric, network: Seq2Seq, config: TrainConfig, dropout: float) -> None:
        self.fabric, self.network, self.config, self.dropout = fabric, network, config, dropout
        optimizer = torch.optim.AdamW(
            network.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=fabric.device.type in ("cpu", "cuda"),  # one pass over the weights
        )
        self.module, wrapped = fabric.setup(Objective(network), optimizer)
        self.optimizer: torch.optim.Optimizer = wrapped.optimizer
        self._average = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    @property
    def weights(self) -> Weights:
        """The weights as they are now; on a CPU later updates change the arrays."""
        return _arrays(self.network.state_dict())

    @property
    def average(self) -> Weights:
        """Their exponential moving average, likewise."""
        return _arrays(self._average)

    @property
    def threads(self) -> int:
        """PyTorch's number of CPU threads."""
        return torch.get_num_threads()

    def step(
        self,
        batch: Batch,
        *,
        step: int,
        learning_rate: float,
        divisor: int,
        sampling_probability: float,
        interruptible: Callable[[], AbstractContextManager[None]],
    ) -> StepResult:
        """Update the weights and their average on one global batch; see `Executor.step`.

        Until the weights change, all work is in a block of `interruptible`.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        with interruptible():
            loss, gradient_norm = self._compute_gradients(batch, step, divisor, sampling_probability)
        if not math.isfinite(loss) or not math.isfinite(gradient_norm):
            return StepResult(loss, gradient_norm, False)
        self.optimizer.step()
        if self.config.ema_decay:
            self._update_average(step + 1)
        return StepResult(loss, gradient_norm, True)

    def _compute_gradients(
        self, batch: Batch, step: int, divisor: int, sampling_probability: float
    ) -> tuple[float, float]:
        """Compute the clipped gradients of one global batch; return its summed loss and the norm before clipping.

        Each process takes every `world_size`-th row of the batch. The loss is divided by the size of the whole batch,
        so the sum of the processes' gradients is that of one process with the whole batch.
        """
        fabric, config = self.fabric, self.config
        rows = batch.rows(fabric.global_rank, fabric.world_size)
        weight = 1.0
        if not len(rows.examples):  # fewer rows than processes: compute any row, with weight 0
            rows, weight = batch.rows(0, len(batch.examples)), 0.0
        if config.consistency_loss:
            rows, weight = rows.twice(), weight / 2
        source, source_lengths, target, examples = (
            torch.from_numpy(array).to(fabric.device)
            for array in (rows.source, rows.source_lengths, rows.target, rows.examples)
        )
        total = weight * self.module(
            source,
            source_lengths,
            target,
            noise=Noise(config.seed, step, examples, self.dropout, config.variational_dropout),
            sampling_probability=sampling_probability,
            label_smoothing=config.label_smoothing,
            coverage_weight=config.coverage_loss,
            consistency_weight=config.consistency_loss,
            teacher=self._teacher(rows),
            ctc_weight=config.ctc_weight,
        )
        self.optimizer.zero_grad()
        fabric.backward(total * (fabric.world_size / divisor))  # DDP takes the mean of the processes' gradients
        gradient_norm = self.clip_gradients(config.clip_norm)
        loss = fabric.all_reduce(total.detach(), reduce_op="sum")
        assert isinstance(loss, Tensor)
        return float(loss), gradient_norm

    def _teacher(self, batch: Batch) -> Teacher | None:
        """Return what the teacher gives for a batch, on the network's device."""
        if batch.taught is None or self.config.teacher is None:
            return None
        symbols, shares = (torch.from_numpy(array).to(self.fabric.device) for array in batch.taught)
        return Teacher(symbols, shares, self.config.teacher_weight)

    def clip_gradients(self, max_norm: float) -> float:
        """Scale the gradients down to a norm of `max_norm` if theirs is larger (0: never); return the norm before.

        Unlike `Fabric.clip_gradients` it does not write gradients that need no scaling, which takes half of its time.
        """
        self.fabric.strategy.precision.unscale_gradients(self.optimizer)
        parameters = [weight for weight in self.network.parameters() if weight.grad is not None]
        norm = nn.utils.get_total_norm([weight.grad for weight in parameters if weight.grad is not None], foreach=True)
        if max_norm and norm > max_norm:
            nn.utils.clip_grads_with_norm_(parameters, max_norm, norm, foreach=True)
        return float(norm)

    @torch.no_grad()
    def _update_average(self, done: int) -> None:
        """Move the average towards the weights: a ← d a + (1 - d) w, with d = min(decay, (1 + t) / (10 + t)) at step t.

        The smaller d of the first steps removes the initial weights from the average (as TensorFlow's
        ExponentialMovingAverage with `num_updates` does, Abadi et al. 2016).
        """
        decay = min(self.config.ema_decay, (1 + done) / (10 + done))
        weights = self.network.state_dict()
        torch._foreach_lerp_([self._average[name] for name in weights], list(weights.values()), 1 - decay)

    def moments(self) -> dict[str, Moments]:
        """Return the optimiser's state by weight; empty before the first update."""
        names = [name for name, _ in self.network.named_parameters()]
        states = self.optimizer.state_dict()["state"]
        return {
            names[index]: {key: torch.as_tensor(value).detach().cpu().numpy() for key, value in state.items()}
            for index, state in states.items()
        }

    def restore(self, weights: Weights, average: Weights, moments: Mapping[str, Moments]) -> None:
        """Put back what `weights`, `average` and `moments` returned; see `Executor.restore`."""
        self.network.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
        device = self.fabric.device
        self._average = {name: torch.tensor(array, device=device) for name, array in average.items()}
        states: dict[int, dict[str, Tensor]] = {}
        for index, (name, _) in enumerate(self.network.named_parameters()):
            if name in moments:
                states[index] = {key: torch.tensor(moments[name][key]) for key in MOMENTS}
                states[index]["step"] = states[index]["step"].reshape(())  # stored as an array of one dimension
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": states})

    def build_model(self, config: Config, prepared: Prepared, weights: Weights, made: Mapping[str, Any]) -> Model:
        """Return a model whose network has these weights, on the device and in the precision of the training."""
        network = deepcopy(self.network)
        network.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
        tables = (prepared.source_symbols, prepared.target_symbols)
        return model_class(config)(config, *tables, [network.eval()], made=made)

    def made_with(self) -> dict[str, str | None]:
        """Return the versions on which the last digits depend."""
        return {
            "the executor": "PyTorch",
            "PyTorch": torch.__version__,
            "the engine's instruction set": engine_in_use(),
        }

    def versions(self) -> dict[str, str | None]:
        """Return the version of PyTorch and the engine's instruction set."""
        return {"torch": torch.__version__, "instruction_set": engine_in_use()}

    def close(self) -> None:
        """Free the memory of the gradients."""
        self.optimizer.zero_grad()


def network_of(config: Config, num_source_symbols: int, num_target_symbols: int, weights: Weights) -> Seq2Seq:
    """Return the network of a training with these weights.

    Args:
        config: all settings.
        num_source_symbols: number of source symbols, the specials included.
        num_target_symbols: likewise.
        weights: by the names of its `state_dict()`; they are copied.
    """
    unused = torch.Generator()  # its draws are overwritten
    network = build_seq2seq(config.model, num_source_symbols, num_target_symbols, unused)
    if isinstance(network.frontend, NormalizedFrames):
        network.frontend.masking = Masking(*(getattr(config.train, name) for name in MASKS))
    network.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
    return network


def _arrays(tensors: Mapping[str, Tensor]) -> Weights:
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
