"""Report a training run: what it trained on, how it went, how good its model is and where it errs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peephole.data import Report
from peephole.data.files import data_files, named_file, shown_name
from peephole.errors import ConfigError, DataError, PeepholeError, check_path, printable
from peephole.inspect.report.measured import Measured, measure_set
from peephole.inspect.report.run_facts import RunFacts, read_facts
from peephole.model import Model
from peephole.model.evaluation import Progress, check_function
from peephole.model.info import info
from peephole.model.pairs import group_by_source
from peephole.storage.outputs import Input, check_output
from peephole.storage.replace_file import replace_file
from peephole.symbols import FRAME_KINDS


@dataclass(frozen=True)
class RunReport:
    """The result of `report`.

    Attributes:
        run: the run's folder.
        out: the page that was written; None if none was.
        facts: what the folder holds.
        sets: the model measured on dev and test.
        missing: one line for each thing that could not be reported, and why.
    """

    run: str
    out: str | None
    facts: RunFacts
    sets: list[Measured]
    missing: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON values, as `peephole report --json` prints it."""
        facts = self.facts
        return {
            "run": self.run,
            "out": self.out,
            "model": None if facts.model is None else info(facts.model).to_dict(),
            "finished": facts.is_finished,
            "settings": facts.config.to_dict(),
            "data": [] if facts.prepared is None else list(facts.prepared.report),
            "updates": facts.updates,
            "evaluations": facts.evaluations,
            "sets": [measured.to_dict() for measured in self.sets],
            "missing": self.missing,
        }


def report(
    run: str | Path,
    test: str | Path | None = None,
    out: str | Path | None = None,
    *,
    progress: Progress | None = None,
) -> RunReport:
    """Report a training run, also one that still trains, was stopped or killed.

    Args:
        run: the run's folder, such as `g2p.run`.
        test: a file of pairs on which the model is measured beside dev.
        out: the page to write, one file of HTML that needs no other file and sends no request; None: none is written.
        progress: as in `peephole.evaluate`.

    Raises:
        RunError: the folder holds no run, or `out` cannot be written.
        ConfigError: `out` is a file that is read, or exists and is no HTML page; see `peephole.storage.outputs`. Or a
            test file is given for a model of series or a language model, whose predictions are not measured here.
        DataError: the test file is missing, or a line of it is no pair or names a file that cannot be read, unless
            the training skipped such lines.
    """
    check_path("run", run)
    for name, path in (("test", test), ("out", out)):
        if path is not None:
            check_path(name, path)
    check_function("progress", progress)
    facts = read_facts(Path(run))
    if out is not None:
        check_output(out, "page", _files_read(facts, test))
    missing, sets = list(facts.missing), []
    if facts.model is not None:
        reason = _unmeasured(facts.model)
        if test is not None and reason:
            raise ConfigError(f"test: {reason}; `peephole evaluate` measures it on {shown_name(test)}")
        dev = None if reason else _dev_set(facts, missing)
        given: list[tuple[str, Sequence[str], Sequence[tuple[str, ...]]]] = [] if dev is None else [("dev", *dev)]
        if test is not None:
            lines = Report(shown_name(test))
            found = group_by_source(os.fspath(test), facts.model, lines)
            missing += [f"test: {line}" for line in lines.counts()]
            given.append(("test", found.sources, found.references))
        sets = [measure_set(name, facts.model, sources, references, progress) for name, sources, references in given]
        if reason:
            missing.append(reason)
        elif test is None:
            missing.append("no test set: give one with --test PAIRS")
    result = RunReport(os.fspath(run), None if out is None else os.fspath(out), facts, sets, missing)
    if out is not None:
        from peephole.inspect.report.recorded import record_worst
        from peephole.inspect.report.sections import report_page

        views = [] if facts.model is None else record_worst(facts.model, sets, missing, progress)
        with replace_file(Path(out)) as file:
            file.write(report_page(result, views).encode())
    return result


def _files_read(facts: RunFacts, test: str | Path | None) -> list[Input]:
    """Return the files that a report reads, whose place the page must not take; the folder's own are no pages."""
    run = facts.run
    found: list[Input] = [("the model's own", run.out)]
    given = [("training", run.train), ("training", run.moved_train), ("dev", run.dev), ("dev", run.moved_dev)]
    given.append(("test", None if test is None else os.fspath(test)))
    for name, path in given:
        with suppress(DataError):  # a file that is missing is reported where it is read
            found += [] if path is None else [(f"that of the {name} pairs", file) for file in data_files(path)]
    return found


def _unmeasured(model: Model) -> str | None:
    """Return why predictions of a model are not measured here; None if they are."""
    if model.config.model.predicts_vectors:
        return "no metrics of predictions: a model of series is measured by its loss on dev"
    if model.is_language_model:
        return "no metrics of predictions: a language model is measured by its perplexity on dev"
    return None


def _dev_set(facts: RunFacts, missing: list[str]) -> tuple[Sequence[str], Sequence[tuple[str, ...]]] | None:
    """Return the dev sources with their references, as training had them; None, with the reason in `missing`."""
    model, run = facts.model, facts.run
    assert model is not None
    has_frames = facts.config.frames.kind in FRAME_KINDS
    if not has_frames or run.dev is None:
        if facts.prepared is None:
            return None
        manifest = run.moved_train or run.train
        pairs, files = facts.prepared.dev_pairs, [named_file(file, manifest) for file in facts.prepared.dev_files]
        lost = [file for file in files if not Path(file).is_file()]
        if lost:
            missing.append(f"no metrics on dev: {printable(lost[0])}: no such file")
            return None
        return files if has_frames else [source for source, _ in pairs], [references for _, references in pairs]
    try:
        found = group_by_source(run.dev, model)
        return found.sources, found.references
    except PeepholeError as error:
        missing.append(f"no metrics on dev: {error}")
        return None
