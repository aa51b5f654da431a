"""What trains a config: the engine by itself, or PyTorch with the engine's operators; the notice, and the precision.

Without PyTorch every choice is made without importing it.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from peephole import engine
from peephole.config import Config, TrainConfig
from peephole.engine.trainer import declined
from peephole.errors import ConfigError
from peephole.nn.backends import BFLOAT16_PRODUCTS, OPERATORS, Request, find, use_engine
from peephole.nn.schema import Architecture

NUMBERS = {"32-true": "float32", "64-true": "float64", "bf16-mixed": BFLOAT16_PRODUCTS, "16-mixed": "float16 products"}
"""The number format of requests by `train.precision`."""

ACCELERATORS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""The devices of a Linux machine that has a GPU for PyTorch: NVIDIA's, that of WSL, AMD's."""


SETTINGS = {
    "normalization": "model.layer_norm",
    "stack": "model.residual",
    "precision": "train.precision",
    **{part: f"model.{part}" for part in ("cell", "peephole", "attention", "context", "input_feeding", "ctc")},
    **{part: f"model.{part}" for part in ("input", "output")},
}
"""What the engine may lack in training, as `declined` names it → the setting that asks for it."""


def reason_for_torch(config: Config) -> str | None:
    """Return why PyTorch trains a config and not the engine by itself; None if the engine does.

    Args:
        config: all settings, with the precision resolved.

    >>> reason_for_torch(Config().with_values({"train.engine": "off"}))
    'train.engine=off'
    """
    if config.train.engine == "off":
        return "train.engine=off"
    device = training_device(config.train)
    if device != "cpu":
        return f"train.device={device}"
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return "a training in several processes"
    if not engine.available():
        return "peephole was installed without its engine"
    reason = declined(config)
    return reason and f"{_asking_setting(config, reason)}: the engine {reason} in training"


def _asking_setting(config: Config, reason: str) -> str:
    """Return the setting, with its value, that asks for what the engine declines."""
    part = next(part for part in SETTINGS if part in reason)
    name = SETTINGS[part]
    section, _, key = name.partition(".")
    value = getattr(getattr(config, section), key)
    return f"{name}={str(value).lower() if isinstance(value, bool) else value}"


def torch_is_installed() -> bool:
    """Return whether PyTorch and Lightning Fabric, the extra `torch`, are installed, without importing them."""
    return all(find_spec(name) is not None for name in ("torch", "lightning_fabric", "jaxtyping"))


def training_requests(config: Config, device: str, precision: str) -> list[Request]:
    """Return the requests of a training, from its config; a test compares them with those of a training step.

    Args:
        config: all settings.
        device: device of the training, as torch.device.type.
        precision: a key of `NUMBERS`.
    """
    numbers = NUMBERS[precision]
    kinds = Architecture.of(config.model).kinds()
    recurrent = {part: kinds[part] for part in ("cell", "peephole", "zoneout", "normalization")}
    parts = ("cell", "peephole", "attention", "input_feeding", "query", "stack", "zoneout", "normalization")
    decoder = {part: kinds[part] for part in parts}
    requests = []
    if kinds["input"] != "none":
        requests.append(Request("recurrent_layer", recurrent, device, numbers))
    if config.model.input_feeding:
        requests.append(Request("feeding_decoder", decoder, device, numbers))
    elif kinds["input"] != "none":
        requests.append(Request("decoder", decoder, device, numbers))
    else:  # the decoder of a language model is recurrent layers, since it has no context
        requests.append(Request("recurrent_layer", recurrent, device, numbers))
    if config.train.scheduled_sampling != "none":
        requests.append(Request("sampled_decoder", decoder, device, numbers))
    has_keys = kinds["attention"] not in ("dot", "fixed", "none")
    if not config.model.input_feeding or has_keys or kinds["input"] in ("frames", "convolution") or "ctc" in kinds:
        requests.append(Request("linear", {}, device, numbers))  # with input feeding, not the readouts: step by step
    requests.append(Request("output_loss", {"output": kinds["output"]}, device, numbers))
    if config.model.dropout or kinds["zoneout"] != "none":
        requests.append(Request("dropout_mask", {}, device, "float32"))
    return requests


def definition_notice(config: Config, device: str) -> str | None:
    """Return a notice of one line: the operators that the definition computes instead of a backend, and the reason.

    None when no notice is needed: a backend computes all operators, or `train.engine` is "off".

    Args:
        config: all settings, with the precision resolved.
        device: device of the training, as torch.device.type.

    >>> definition_notice(Config().with_values({"train.engine": "off"}), "cpu")
    """
    if config.train.engine == "off":
        return None
    reasons: dict[str, list[str]] = {}
    requests = training_requests(config, device, config.train.precision)
    for request in requests:
        with use_engine(config.train.engine):
            reason = find(request).reason
        if reason is not None:
            reasons.setdefault(reason, []).append(OPERATORS[request.operator])
    slower = ", slower" if device == "cpu" else ""
    lines = [
        f"{reason}; PyTorch computes {'everything' if len(parts) == len(requests) else _join_names(parts)}{slower}"
        for reason, parts in reasons.items()
    ]
    return "; ".join(lines) or None


def _join_names(parts: list[str]) -> str:
    """Return names as a list in a sentence."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def with_precision(config: Config) -> Config:
    """Return the config with `train.precision = "auto"` resolved for this machine.

    bfloat16 products on the engine, with weights, sums and states in float32, are faster on some processors with
    bfloat16 instructions, float32 on all others; `engine.bfloat16_is_faster` measures it. On English
    pronunciation (the quickstart's model, 900 steps of 1,000 symbols, one seed) both reached a dev loss of 0.328
    and symbol error rates of 10.38 %.

    Raises:
        ConfigError: `16-mixed` on a CPU, where Fabric would train in another one.
    """
    if config.train.precision == "16-mixed" and training_device(config.train) == "cpu":
        raise ConfigError("train.precision: wanted 32-true, 64-true or bf16-mixed on a CPU, got '16-mixed'")
    if config.train.precision != "auto":
        return config
    of_numbers = config.data.horizon is not None  # whose digits matter
    fast = config.train.engine == "auto" and not of_numbers and engine.bfloat16_is_faster()
    chosen = config.with_values({"train.precision": "bf16-mixed"})
    return chosen if fast and _is_trained_by_engine(chosen) else config.with_values({"train.precision": "32-true"})


def _is_trained_by_engine(config: Config) -> bool:
    """Return whether the engine computes everything: whole steps, or all operators of PyTorch's steps."""
    if reason_for_torch(config) is None:
        return True
    return torch_is_installed() and definition_notice(config, training_device(config.train)) is None


def training_device(config: TrainConfig) -> str:
    """Return the device of a training, as torch.device.type.

    PyTorch finds GPUs; it is imported only on machines that may have one.
    """
    if config.device != "auto":
        return config.device
    if not torch_is_installed() or (sys.platform == "linux" and not any(Path(name).exists() for name in ACCELERATORS)):
        return "cpu"
    from peephole.training.accelerator import find_accelerator

    return find_accelerator() or "cpu"
