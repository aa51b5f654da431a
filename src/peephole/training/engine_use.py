"""Whether the engine trains what a config asks for, what is said where it does not, and the precision that follows."""

from __future__ import annotations

import torch

from peephole import engine
from peephole.config import Config, TrainConfig
from peephole.errors import ConfigError


def engine_fallback(config: Config, device: torch.device) -> str | None:
    """Return the line that tells a user why the definition trains instead of the engine; None if nothing is to be said.

    Nothing is to be said where the engine trains, nor where `train.engine = "off"` asks for the definition. Must agree
    with what `peephole.nn` does when it runs.

    Args:
        config: what was asked for.
        device: where the model is trained.

    >>> engine_fallback(Config().with_values({"train.engine": "off"}), torch.device("cpu"))
    """
    if config.train.engine == "off":
        return None
    if device.type != "cpu":
        return f"engine: not used on {device.type}, it is made for CPUs; the definition trains"
    if not engine.available():
        return "engine: missing, it needs a C++ compiler when peephole is installed; the definition trains, slower"
    if config.model.cell == "gru":
        return "engine: not used for GRU cells; the definition trains them, slower"
    if config.train.scheduled_sampling != "none":
        return "engine: not used for the decoder once it is fed own symbols; the definition trains it then, slower"
    return None


def with_precision(config: Config) -> Config:
    """Return the config with `train.precision = "auto"` decided for this machine.

    bfloat16 products on the engine, with weights, sums and states in float32, are faster; where the engine would have
    to make do without instructions for them, float32 is. On English pronunciation (the quickstart's model, 900 steps of
    1,000 symbols, one seed) both reached a dev loss of 0.328 and symbol error rates of 10.38 %.

    Raises:
        ConfigError: `16-mixed` on a CPU, where Fabric would train in another one.
    """
    if config.train.precision == "16-mixed" and _device(config.train).type == "cpu":
        raise ConfigError("train.precision: wanted 32-true, 64-true or bf16-mixed on a CPU, got '16-mixed'")
    if config.train.precision != "auto":
        return config
    fast = engine.instruction_sets()[:1] == ("avx512_bf16",) and config.train.engine == "auto"
    trains = fast and engine_fallback(config, _device(config.train)) is None
    return config.with_values({"train.precision": "bf16-mixed" if trains else "32-true"})


def _device(config: TrainConfig) -> torch.device:
    """Return where Fabric will train."""
    if config.device != "auto":
        return torch.device(config.device)
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")
