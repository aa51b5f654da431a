"""Train a model, in a run that can be resumed.

The run's folder, from which an interrupted training resumes, is described in `peephole.training.folder`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peephole.config import Config
from peephole.data import Items, Prepared, open_prepared
from peephole.errors import RunError, check_path, check_type, plural
from peephole.memory import memory_errors
from peephole.model import Model, load
from peephole.nn.initial import initial_weights
from peephole.nn.schema import CONSTANTS
from peephole.storage.model_file import ModelFile
from peephole.training.alignment import ctc_notice
from peephole.training.budget_settings import suit_budget
from peephole.training.choose import start_platform
from peephole.training.dev import measure
from peephole.training.executor import Executor, Platform, Weights
from peephole.training.folder import reopen_run, start_run
from peephole.training.from_model import evaluate_start, set_first_weights
from peephole.training.loop import Hooks, fit
from peephole.training.making import describe_making
from peephole.training.memory import batch_frames, check_training_memory, deciding_setting, memory_sizes
from peephole.training.new_run import check_arguments, new_run, with_sources
from peephole.training.processes import run_on_rank_zero, synchronised_clock
from peephole.training.report import Report
from peephole.training.run_file import Run, read_run, resume_command
from peephole.training.schedules import empty_budget_notice
from peephole.training.search_weight import better_without_ctc, without_ctc
from peephole.training.start import introduction
from peephole.training.state import (
    Position,
    TrainState,
    load_checkpoint,
    load_latest_checkpoint,
    save_checkpoint,
)
from peephole.training.stop import Stopping, StopRequest, catch_stop_signals
from peephole.training.taught import TaughtCorpus, ask
from peephole.training.teacher import check_symbols
from peephole.training.waiting import waiting


class Interrupted(RunError):
    """A signal stopped the training; its state is saved, and the message names the command that resumes it."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


@dataclass(frozen=True)
class Watch:
    """How a search of settings follows one of its trainings."""

    stop: StopRequest  # of the search
    pause: Callable[[Position], bool]  # called after each evaluation; True ends the work for now, with the state saved


def train(
    train: str | Path | Items | None = None,
    dev: str | Path | Items | None = None,
    out: str | Path = "model.safetensors",
    *,
    from_model: str | Path | None = None,
    config: Config | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> Model:
    """Train a model on pairs and write it to one file.

    Args:
        train: TSV, CSV or JSONL of pairs, plain or compressed, Parquet, or two parallel files as `"a.en,b.it"`; or an
            iterable of pairs of texts, which are written to the run's folder. None, with `from_model`: the files of the
            run that made that model, whose folder is beside it.
        dev: likewise; its metric selects the best weights. None holds out some of the training sources.
        out: the model file to write. The run's folder, from which `resume` continues, is next to it.
        from_model: a model file to go on with: its weights, architecture and symbols, to which the symbols that are new
            in the data are added. The best weights on dev may be those of the model itself. None: initial weights.
        config: settings to start from. None: the defaults, or those of `from_model` except the budget and the settings
            of the machine (precision, device, threads, engine).
        overwrite: replace `out` and its run folder if they exist.
        quiet: print nothing; log.jsonl and TensorBoard's events are still written.
        settings: single settings, as `minutes=5`, `hidden_size=512` or `**{"train.seed": 2}`. With a budget in minutes,
            or few data and no budget, some that were not given are chosen: see `peephole.training.budget_settings`.

    Returns:
        The model with the best weights on dev, as `peephole.load(out)` returns it.

    Raises:
        PeepholeError: a setting, the data or an output file is wrong; the message says which and why.
        Interrupted: a stop signal, such as Ctrl-C; the run is saved and `resume` continues it.
    """
    if from_model is not None:
        check_path("from_model", from_model)
    pairs, files = check_arguments(train, dev, out, config, overwrite=overwrite, quiet=quiet)
    run = new_run(files["train"], files["dev"], out, from_model, config, settings)
    with waiting(f"reading {run.train}", quiet=quiet or int(os.environ.get("RANK", "0")) > 0):
        run = with_sources(run, pairs)  # which decides whether the engine trains
    platform = start_platform(run.config, quiet=quiet)
    with ExitStack() as stack:  # holds the run's lock
        with waiting(f"reading {run.train}", quiet=quiet or platform.processes.rank > 0):
            if platform.device == "cpu":
                check_training_memory(run.config, 0, 0, ())  # before the data are read
            chosen: list[str] = []

            def settle(stored: Run, prepared: Prepared) -> Run:
                suited = suit_budget(run.config, prepared) if run.start is None else (run.config, None)
                config, line = suited  # a run that goes on with a model keeps its settings
                if run.teacher is not None:
                    check_symbols(config, prepared, run.teacher)
                chosen.extend([] if line is None else [line])
                _memory_note(platform, config, prepared)
                return replace(stored, config=config)

            config = run_on_rank_zero(platform.processes, lambda: start_run(run, pairs, overwrite, stack, settle))
        return complete_training(platform, replace(run, config=config), quiet, notes=chosen)


def resume(
    folder: str | Path, *, data: str | Path | None = None, dev: str | Path | None = None, quiet: bool = False
) -> Model:
    """Resume a run that was stopped or killed, or a search of settings.

    With a budget in steps or epochs, on the same machine with as many threads, the final weights are those of an
    uninterrupted run.

    Args:
        folder: the run's folder, such as `g2p.run`.
        data: the training file, if it was moved. Files that were moved together with the run are found.
        dev: likewise the dev file.
        quiet: print nothing, as in `train`.

    Returns:
        The model, as `train` returns it.

    Raises:
        RunError: there is no run in the folder, another process is training it, or its data files have changed.
        DataError: its data files are missing.
        Interrupted: a stop signal, such as Ctrl-C, again.
    """
    check_path("folder", folder)
    for name, path in (("data", data), ("dev", dev)):
        if path is not None:
            check_path(name, path)
    check_type("quiet", quiet, bool, "True or False")
    folder = Path(folder)
    stored = read_run(folder)
    new_train, new_dev = (None if path is None else os.fspath(path) for path in (data, dev))
    if stored.is_searching:
        from peephole.training.tuning.tune import resume_search  # imports Optuna

        return resume_search(stored, folder, new_train, new_dev, quiet)
    platform = start_platform(stored.config, quiet=quiet)
    with ExitStack() as stack:  # holds the run's lock
        with waiting(f"reading {stored.train}", quiet=quiet or platform.processes.rank > 0):
            run, report = run_on_rank_zero(
                platform.processes, lambda: reopen_run(stored, folder, new_train, new_dev, stack)
            )
        return complete_training(platform, run, quiet, report)


def complete_training(
    platform: Platform, run: Run, quiet: bool, resumed: list[str] | None = None, notes: Sequence[str] = ()
) -> Model:
    """Train from the checkpoint, if there is one, to the end; return the model of the file that was written.

    Args:
        platform: the device and the processes.
        run: its data are prepared.
        quiet: print nothing.
        resumed: in a resumed run, the report of its prepared data.
        notes: lines to print after the report of the data.
    """
    with ExitStack() as stack:
        prepared = open_prepared(run.folder / "data")
        memory = _memory_note(platform, run.config, prepared)
        lines = [*(prepared.report if resumed is None else resumed), *notes, *([] if memory is None else [memory])]
        prepared = replace(prepared, report=lines)

        def setting() -> str:
            return deciding_setting(run.config, *memory_sizes(run.config, prepared))

        stack.enter_context(memory_errors(setting, "training"))
        teacher = run.teacher
        if teacher is not None:
            threads = run.config.train.threads
            run_on_rank_zero(platform.processes, lambda: ask(teacher, run.folder, prepared, threads, quiet=quiet))
        _train(stack, platform, run, prepared, quiet, resumed is not None)
    return load(run.out)


def train_trial(run: Run, prepared: Prepared, watch: Watch) -> Position:
    """Train a run of a search from its checkpoint, if it has one, until `watch` pauses it or its budget is used.

    Args:
        run: its folder exists; its data are those of the search, not its own.
        prepared: the data of the search.
        watch: of the search.

    Returns:
        The position that was saved.

    Raises:
        PeepholeError: as in `train`.
    """
    platform = start_platform(run.config, quiet=True)
    with ExitStack() as stack:

        def setting() -> str:
            return deciding_setting(run.config, *memory_sizes(run.config, prepared))

        stack.enter_context(memory_errors(setting, "training"))
        return _train(stack, platform, run, prepared, True, False, watch)


def _memory_note(platform: Platform, config: Config, prepared: Prepared) -> str | None:
    """Compare the memory that the training needs with that of this machine; see `check_training_memory`."""
    if platform.device != "cpu" or platform.processes.count > 1:
        return None
    return check_training_memory(config, *memory_sizes(config, prepared))


def _train(
    stack: ExitStack,
    platform: Platform,
    run: Run,
    prepared: Prepared,
    quiet: bool,
    resumed: bool,
    watch: Watch | None = None,
) -> Position:
    config, processes = run.config, platform.processes
    stack.enter_context(platform.settings(config))
    model_before = None if run.start is None else run.start.load(run.folder)
    executor = platform.executor(config, prepared, first_weights(config, prepared, model_before))
    stack.callback(executor.close)
    state = TrainState(executor)
    made_with = executor.made_with()
    before, notice = run_on_rank_zero(processes, lambda: load_latest_checkpoint(run.checkpoint, state))
    if before is not None and processes.rank:
        load_checkpoint(run.checkpoint, state)
    position = state.position
    folder = run.folder if processes.rank == 0 else None
    logged = position.step if before is not None else None
    shown = config.train.dev_metric, position.best_value
    stop = stack.enter_context(catch_stop_signals()) if watch is None else watch.stop

    def on_closed() -> None:
        stop.signal_number = stop.signal_number or signal.SIGPIPE

    report = Report(folder, logged, *shown, on_closed=on_closed, keep=config.train.keep, quiet=quiet)
    stack.enter_context(report)
    paused = False
    if run.start is not None and model_before is not None and before is None:
        for line in introduction(run.start, model_before, config):
            report.print_line(line)
    _print_introduction(report, executor, prepared, position.step, config, platform.notice(config))

    if notice is not None:
        report.print_line(notice)
    if resumed and before is None:
        report.print_line(f"{run.folder}: no checkpoint to resume from, so training begins anew")
    for line in [] if before is None else differences(before, made_with):
        report.print_line(line)

    def model(weights: Weights, settings: Config = config) -> Model:
        made = describe_making(prepared, position, config.train.dev_pairs, run, executor.versions())
        return executor.build_model(settings, prepared, weights, made)

    def save() -> None:
        report.flush()
        run_on_rank_zero(processes, lambda: save_checkpoint(run.checkpoint, state, made_with))

    def measured(model: Model) -> dict[str, float]:
        return measure(model, prepared.dev_pairs[: config.train.dev_pairs], executor.threads)

    def evaluate(weights: Weights) -> dict[str, float] | None:
        def work() -> dict[str, float] | None:
            with suppress(Stopping), stop.interruptible():
                return measured(model(weights))
            return None

        return run_on_rank_zero(processes, work)

    def on_evaluation(values: dict[str, float], is_best: bool) -> None:
        nonlocal paused
        report.evaluation(values, is_best)
        if is_best:
            run_on_rank_zero(processes, lambda: model(state.best).save(run.out))
        paused = watch is not None and watch.pause(position)

    if not position.finished:
        clock, stop_requested = synchronised_clock(processes, position.seconds, stop)
        # Processes that wait for each other stop between updates only
        interruptible = stop.interruptible if processes.count == 1 else nullcontext
        hooks = Hooks(
            clock, lambda: paused or stop_requested(), report.step, interruptible, evaluate, on_evaluation, save
        )
        if run.start is None or before is not None or evaluate_start(state, config.train, hooks):
            fit(
                state,
                prepared.train,
                config.train,
                batch_symbols=config.data.batch_symbols,
                batch_frames=batch_frames(config),
                taught=None if run.teacher is None else TaughtCorpus(run.folder),
                hooks=hooks,
            )
    if paused and not position.finished:
        return position
    if not position.finished:
        raise Interrupted(
            f"stopped and saved at step {position.step}; resume with: {resume_command(run)}", stop.signal_number or 0
        )
    metric = config.train.dev_metric.replace("_", " ")
    if position.best_value is None:
        raise RunError(f"{run.out}: is not written: dev {metric} was nan at all evaluations; wanted a number")
    better = run_on_rank_zero(
        processes,
        lambda: better_without_ctc(config, position.best_scores, lambda other: measured(model(state.best, other))),
    )
    if better is not None:
        report.print_line(better)
    final = model(state.best, (without_ctc(config) if better else None) or config)
    run_on_rank_zero(processes, lambda: final.save(run.out))
    report.print_line(
        f"{run.out}: {config.train.keep} dev {metric} {position.best_value:.3f}, {plural(position.step, 'step')}"
    )
    return position


def differences(before: Mapping[str, str | None], now: Mapping[str, str | None]) -> list[str]:
    """Return a line for each thing that computed before and computes otherwise now.

    >>> differences({"PyTorch": "2.9"}, {"the executor": "the engine", "the engine's instruction set": "avx2"})
    ['the executor was PyTorch, now it is the engine: weights will differ in their last digits']
    """
    before = {"the executor": "PyTorch", **before}  # checkpoints of earlier versions do not name it
    return [
        f"{name} was {before[name]}, now it is {value}: weights will differ in their last digits"
        for name, value in now.items()
        if before.get(name, value) != value
    ]


def first_weights(config: Config, prepared: Prepared, model: ModelFile | None) -> Weights:
    """Return weights drawn from the run's seed, or those of the model with which it goes on."""
    sizes = len(prepared.source_symbols), len(prepared.target_symbols)
    weights: Weights = dict(initial_weights(config.model, *sizes, config.train.seed, prepared.statistics))
    if model is not None:
        set_first_weights(weights, model)
    return weights


def _print_introduction(
    report: Report, executor: Executor, prepared: Prepared, step: int, config: Config, notice: str | None
) -> None:
    for line in prepared.report:
        report.print_line(line)
    ctc = ctc_notice(config, prepared.train)
    if ctc is not None:
        report.print_line(ctc)
    size = sum(array.size for name, array in executor.weights.items() if name not in CONSTANTS)
    empty = empty_budget_notice(config.train)
    if empty is not None:
        report.print_line(empty)
    if config.peephole_implied and not step:
        report.print_line("model.peephole is none: a GRU has no cell state to look at")
    resuming = f"; resuming from step {step}" if step else ""
    used = f"; engine {executor.versions().get('instruction_set') or 'off'}" if notice is None else ""
    threads = "1 thread" if executor.threads == 1 else f"{executor.threads} threads"
    report.print_line(f"{size:,} parameters; {threads}, {config.train.precision}{used}{resuming}")
    if notice is not None:
        report.print_line(notice)
