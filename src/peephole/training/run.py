"""A training run: a folder next to the model, which can be left at any moment and gone on with later.

g2p.safetensors      the best model so far; at the end, the model
g2p.run/run.json     what was asked for
g2p.run/data/        the pairs as ids, memory mapped
g2p.run/checkpoint/  all that is needed to go on
g2p.run/log.jsonl    losses and dev metrics; tensorboard/ holds the same as events
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from peephole import engine
from peephole.config import Config
from peephole.data import Prepared, prepare, reopen
from peephole.errors import ConfigError, RunError
from peephole.model import Model
from peephole.nn import Seq2Seq, build_seq2seq, engine_in_use, use_engine
from peephole.training.dev import measure
from peephole.training.loop import Hooks, current_weights, fit
from peephole.training.report import Report
from peephole.training.state import TrainState, Weights, copy_weights, load_checkpoint, save_checkpoint
from peephole.training.stop import StopRequest, listen_for_stop


@dataclass(frozen=True)
class Run:
    """What was asked for: written to run.json, read again to go on."""

    train: str
    dev: str | None
    out: str
    config: Config

    @property
    def folder(self) -> Path:
        """Return the run's folder: the model's name with .run in place of .safetensors."""
        return run_folder(self.out)

    @property
    def checkpoint(self) -> Path:
        """Return the file that holds all that is needed to go on."""
        return self.folder / "checkpoint" / "checkpoint.safetensors"


class Interrupted(RunError):
    """A training was asked to stop; it is saved, and the message says how to go on."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


def train(
    train: str | Path,
    dev: str | Path | None = None,
    out: str | Path = "model.safetensors",
    *,
    config: Config | None = None,
    overwrite: bool = False,
    **settings: Any,
) -> Model:
    """Train a model on a file of pairs and write it to one file.

    Args:
        train: TSV, JSONL or Parquet of pairs, plain or compressed, or two parallel files as `"a.en,b.it"`.
        dev: likewise, to choose the best weights by; None holds out some of the training sources.
        out: the model file to write. The run's folder, with all that is needed to go on, lies next to it.
        config: settings to start from.
        overwrite: start anew where `out` or its run folder exists.
        settings: single settings, as `minutes=5`, `hidden_size=512` or `**{"train.seed": 2}`.

    Returns:
        The model with the weights that did best on dev.

    Raises:
        PeepholeError: a setting, the data, or the files written to are not as they must be; the message says what.
        Interrupted: Ctrl-C or SIGTERM; the run is saved and `resume` goes on with it.
    """
    chosen = (config or Config()).with_values(settings, "train")
    run = Run(str(train), None if dev is None else str(dev), str(out), chosen)
    with ExitStack() as stack:
        fabric = start_fabric(run.config)
        if fabric.global_rank == 0:
            _make_folder(run, overwrite)
        fabric.barrier()
        prepared = _prepare_together(fabric, run)
        return _carry_on(stack, fabric, run, prepared)


def resume(folder: str | Path) -> Model:
    """Go on with a run that was stopped or killed; the weights come out as if it had not been.

    Args:
        folder: the run's folder, such as `g2p.run`.

    Raises:
        RunError: there is no run in the folder, or its data has changed since.
        Interrupted: Ctrl-C or SIGTERM, again.
    """
    run = read_run(Path(folder))
    with ExitStack() as stack:
        fabric = start_fabric(run.config)
        prepared = reopen(run.train, run.dev, run.config, run.folder / "data")
        if prepared is None:
            if run.checkpoint.exists():
                raise RunError(f"{run.train}: has changed since the run in {run.folder} began; train anew")
            prepared = _prepare_together(fabric, run)
        return _carry_on(stack, fabric, run, prepared)


def run_folder(out: str | Path) -> Path:
    """Return the run folder of a model file.

    >>> run_folder("models/g2p.safetensors").as_posix()
    'models/g2p.run'
    """
    out = Path(out)
    if out.suffix != ".safetensors":
        raise ConfigError(f"--out {out}: wanted a file name that ends in .safetensors")
    return out.with_suffix(".run")


def read_run(folder: Path) -> Run:
    """Read run.json.

    Raises:
        RunError: the folder holds no run.
    """
    try:
        entry = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        run = Run(
            entry["train"],
            entry["dev"],
            entry["out"],
            Config.from_dict(entry["config"], f"{folder}/run.json"),
        )
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"{folder}: holds no run to go on with: {error}") from error
    if run.folder.resolve() != folder.resolve():  # the folder was moved: the model is written next to it
        run = replace(run, out=str(folder.with_suffix(".safetensors")))
    return run


def start_fabric(config: Config) -> Fabric:
    """Start Fabric: one process, or those that torchrun has started."""
    if config.train.threads is not None:
        torch.set_num_threads(config.train.threads)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    fabric = Fabric(
        accelerator=config.train.device,
        devices=here,
        num_nodes=processes // here,
        strategy="ddp" if processes > 1 else "auto",
        precision=config.train.precision,
    )
    fabric.launch()
    return fabric


def _make_folder(run: Run, overwrite: bool) -> None:
    folder = run.folder
    exists = next((path for path in (folder, Path(run.out)) if path.exists()), None)
    if exists is not None and not overwrite:
        go_on = f"`peephole train --resume {folder}` goes on with it, " if run.checkpoint.exists() else ""
        raise RunError(f"{exists}: exists already; {go_on}`--overwrite` starts anew")
    if not Path(run.out).parent.is_dir():
        raise RunError(f"{run.out}: no such folder: {Path(run.out).parent}")
    try:
        if folder.exists():
            shutil.rmtree(folder)
        (folder / "checkpoint").mkdir(parents=True)
        entry = {"train": run.train, "dev": run.dev, "out": run.out, "config": run.config.to_dict()}
        (folder / "run.json").write_text(json.dumps(entry, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror or error}") from error


def _prepare_together(fabric: Fabric, run: Run) -> Prepared:
    """Let the first process prepare the data; the others open what it wrote."""
    if fabric.global_rank == 0:
        prepare(run.train, run.dev, run.config, run.folder / "data")
    fabric.barrier()
    return prepare(run.train, run.dev, run.config, run.folder / "data")


def _carry_on(stack: ExitStack, fabric: Fabric, run: Run, prepared: Prepared) -> Model:
    """Train from the checkpoint, if there is one, to the end."""
    config = run.config
    stack.enter_context(use_engine(config.train.engine))
    network = _fresh_network(run, prepared)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.train.learning_rate, weight_decay=config.train.weight_decay
    )
    module, wrapped = fabric.setup(network, optimizer)
    state = TrainState(network, wrapped.optimizer, copy_weights(network.state_dict()))
    if run.checkpoint.exists():
        load_checkpoint(run.checkpoint, state)
    position = state.position
    leads = fabric.global_rank == 0
    report = stack.enter_context(
        Report(run.folder if leads else None, position.step, config.train.dev_metric, position.best_value)
    )
    stop = stack.enter_context(listen_for_stop())
    _introduce(report, network, prepared, position.step)

    def model(weights: Weights) -> Model:
        best = deepcopy(network)
        best.load_state_dict(weights)
        return Model(config, prepared.source_symbols, prepared.target_symbols, [best.eval()])

    def save() -> None:
        if leads:
            save_checkpoint(run.checkpoint, state, {"threads": torch.get_num_threads(), "torch": torch.__version__})

    def evaluate(weights: Weights) -> dict[str, float]:
        values = measure(model(weights), prepared.dev_pairs[: config.train.dev_pairs]) if leads else {}
        return dict(fabric.broadcast(values))

    def on_evaluation(values: dict[str, float], is_best: bool) -> None:
        report.evaluation(values, is_best)
        if leads and is_best:
            model(state.best).save(run.out)

    if not position.finished:
        clock, stop_asked = _shared_clock(fabric, position.seconds, stop)
        hooks = Hooks(clock, stop_asked, report.step, evaluate, on_evaluation, save)
        batch_symbols = config.data.batch_symbols
        fit(
            fabric,
            module,
            state,
            prepared.train,
            config.train,
            dropout=config.model.dropout,
            batch_symbols=batch_symbols,
            hooks=hooks,
        )
    if not position.finished:
        raise Interrupted(
            f"stopped and saved at step {position.step}; go on with: peephole train --resume {run.folder}",
            stop.signal_number or 0,
        )
    final = model(state.best or current_weights(state, config.train))
    if leads:
        final.save(run.out)
    return final


def _fresh_network(run: Run, prepared: Prepared) -> Seq2Seq:
    """Build the network with weights drawn from the run's seed, leaving PyTorch's own generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.config.train.seed)
        return build_seq2seq(run.config.model, len(prepared.source_symbols), len(prepared.target_symbols))


def _introduce(report: Report, network: nn.Module, prepared: Prepared, step: int) -> None:
    for line in prepared.report:
        report.say(line)
    size = sum(parameter.numel() for parameter in network.parameters())
    going_on = f"; going on from step {step}" if step else ""
    report.say(f"{size:,} parameters; {torch.get_num_threads()} threads; {_engine()}{going_on}")


def _engine() -> str:
    """Say who computes the recurrences."""
    if engine.available():
        return f"engine {engine_in_use() or 'off'}"
    return "no engine (it needs a C++ compiler when peephole is installed): the definition does its work, slower"


def _shared_clock(fabric: Fabric, before: float, stop: StopRequest) -> tuple[Callable[[], float], Callable[[], bool]]:
    """Return the seconds trained so far, and whether a stop was asked for; all processes get the same answers."""
    started = time.monotonic()

    def seconds() -> float:
        now = before + time.monotonic() - started
        return float(fabric.broadcast(now)) if fabric.world_size > 1 else now

    def stop_asked() -> bool:
        asked = torch.tensor(float(stop.signal_number is not None))
        return bool(fabric.all_reduce(asked, reduce_op="sum"))

    return seconds, stop_asked
