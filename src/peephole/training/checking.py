"""Check the data of a training before anyone trains: what is in the files, and what training would make of them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from peephole.config import Config
from peephole.data import Items, Report, check_items, data_files, prepare, read_pairs
from peephole.data.hash_sample import HashSample
from peephole.data.items import is_array, write_items
from peephole.data.manifest import recognise_sources
from peephole.data.scan import PairScan, scaled, shown_pair
from peephole.data.side_scan import Finding, Lengths, SideScan
from peephole.data.source_files import SourceFiles
from peephole.errors import ArgumentError, PeepholeError, check_path, check_type
from peephole.symbols import FRAME_KINDS, UNK, Symbols, normalize_text
from peephole.training.planning import Plan, plan_of

SIDES = ("source", "target")
LISTED = ("characters", "whitespace")  # kinds whose symbols are parts of the text as it is


@dataclass(frozen=True)
class FileCheck:
    """What was found in one file.

    Attributes:
        name: of the file.
        role: "train", "dev" or "test".
        num_pairs: pairs that were read; of a table of series its steps.
        lines: a line of text for each kind of skipped or repaired lines, and notes about the file.
        lengths: by side; of sources that are files, of these.
        findings: see `Finding`.
    """

    name: str
    role: str
    num_pairs: int
    lines: list[str]
    lengths: dict[str, Lengths]
    findings: list[Finding]


@dataclass(frozen=True)
class Overlap:
    """What two files have in common.

    Attributes:
        first, second: roles of the files.
        pairs: pairs of the second that are in the first, too.
        sources: sources likewise.
        folded_sources: sources likewise, if case, spaces and compatibility forms do not count.
        of: different sources of the second.
        is_estimate: the counts are those of a sample, scaled to the whole files.
        examples: sources of both files with their lines.
    """

    first: str
    second: str
    pairs: int
    sources: int
    folded_sources: int
    of: int
    is_estimate: bool
    examples: tuple[str, ...]

    @property
    def message(self) -> str:
        """Return the overlap as a sentence."""
        about = "about " if self.is_estimate else ""
        shared = (
            f"{about}{self.sources:,} of {self.of:,} sources of {self.second} are also in {self.first}, "
            f"{self.pairs:,} pairs with the same target"
        )
        folded = self.folded_sources - self.sources
        return shared + (f"; {folded:,} more but for case and spaces" if folded > 0 else "")


@dataclass(frozen=True)
class DataCheck:
    """The result of `check`.

    Attributes:
        files: the training file, then those of dev and test.
        overlaps: of each two files.
        plan: the symbols, sizes, memory and time that training would choose and need; None if it cannot begin.
        problem: why it cannot begin; None if it can.
    """

    files: list[FileCheck]
    overlaps: list[Overlap]
    plan: Plan | None
    problem: str | None

    @property
    def num_findings(self) -> int:
        """Return the number of findings, of all files and of their overlaps."""
        return sum(len(file.findings) for file in self.files) + sum(
            overlap.folded_sources > 0 for overlap in self.overlaps
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the check as plain JSON values: what `peephole check --json` prints."""
        return asdict(self)


def check(
    train: str | Path | Items,
    dev: str | Path | Items | None = None,
    test: str | Path | Items | None = None,
    *,
    config: Config | None = None,
    **settings: Any,
) -> DataCheck:
    """Read the data of a training and count what a person would want to know first; nothing that is written stays.

    Bad lines are skipped and counted, whatever `data.bad_lines` says. Files of any size are read in bounded memory:
    beyond some 150,000 sources, duplicates and overlaps are estimated from a sample of the sources.

    Args:
        train: the training file, or pairs, as in `peephole.train`.
        dev: likewise the dev file.
        test: likewise a file for the final evaluation, which training does not read.
        config: settings to start from.
        settings: single settings, as in `peephole.train`.

    Raises:
        DataError: a file is missing, cannot be read, or holds no pairs.
        ConfigError: a setting is unknown or impossible.
        ArgumentError: an argument has another type.
    """
    check_type("config", config, (Config, type(None)), "a Config")
    if train is None:
        raise ArgumentError("train: wanted a file of pairs, or pairs, got None")
    given = {role: data for role, data in (("train", train), ("dev", dev), ("test", test)) if data is not None}
    chosen = (config or Config()).with_values(settings | {"data.bad_lines": "skip"}, "check")
    with tempfile.TemporaryDirectory(prefix="peephole-") as folder:
        paths = {role: _path(role, data, Path(folder), chosen) for role, data in given.items()}
        for path in paths.values():
            data_files(path)
        if chosen.data.horizon is not None:
            return _check_series(paths, chosen, Path(folder))
        chosen, plan, problem, tables = _plan(paths, chosen, Path(folder))
        named = {role: path if isinstance(given[role], (str, os.PathLike)) else role for role, path in paths.items()}
        scans = {role: _Scanned.read(role, path, named[role], chosen, tables) for role, path in paths.items()}
        overlaps = [_overlap(scans[first], scans[second]) for first, second in combinations(scans, 2)]
    return DataCheck([scan.check for scan in scans.values()], overlaps, plan, problem)


def _path(role: str, data: object, folder: Path, config: Config) -> str:
    """Return the file of some data, written to a folder if they are pairs in Python."""
    if isinstance(data, (str, os.PathLike)):
        check_path(role, data)
        return os.fspath(data)
    check_items(role, data)
    assert isinstance(data, Iterable)
    if is_array(data):
        raise ArgumentError(f"{role}: wanted pairs of texts or the name of a file, got an array")
    write_items(role, data, folder, config.data)
    return str(folder / f"{role}.jsonl")


def _plan(
    paths: dict[str, str], config: Config, folder: Path
) -> tuple[Config, Plan | None, str | None, tuple[Symbols, Symbols] | None]:
    """Return the settings with what the sources are, the plan, why there is none, and the symbol tables."""
    try:
        config = recognise_sources(paths["train"], config)
        prepared = prepare(paths["train"], paths.get("dev"), config, folder / "data")
        return config, plan_of(config, prepared), None, (prepared.source_symbols, prepared.target_symbols)
    except PeepholeError as error:
        return config, None, str(error), None


@dataclass(frozen=True)
class _Scanned:
    """A file that was read: what was found, and what its comparison with another needs."""

    check: FileCheck
    sources: HashSample
    folded: HashSample
    path: str
    config: Config

    @classmethod
    def read(cls, role: str, path: str, name: str, config: Config, tables: tuple[Symbols, Symbols] | None) -> _Scanned:
        """Read a file of pairs.

        Args:
            role: "train", "dev" or "test".
            path: where it is.
            name: its name, for the user.
            config: all settings.
            tables: the symbol tables that training would learn; None if it cannot begin.
        """
        of_files, alone = config.frames.kind in FRAME_KINDS, config.data.targets_only
        source, target = (
            _side_scan(side, table, config, role) for side, table in zip(SIDES, tables or (None, None), strict=True)
        )
        scan = PairScan(None if of_files or alone else source, target)
        files = SourceFiles(path, config) if of_files else None
        report = Report(name)
        for pair in read_pairs(path, config.data, report, on_texts=scan.add_raw, must_name=config.names_columns):
            scan.add(pair)
            if files is not None:
                files.add(pair)
        texts = texts_of(path, config, scan.lines())
        lengths = {"target": Lengths.of(scan.target.lengths, "characters")}
        findings = list(scan.findings(texts))
        if scan.source is not None:
            lengths = {"source": Lengths.of(scan.source.lengths, "characters"), **lengths}
        if files is not None:
            files.finish()
            if files.lengths:
                lengths = {"source": files.measured(), **lengths}
            findings = [*files.findings(), *findings]
        check = FileCheck(name, role, scan.num_pairs, report.lines(), lengths, findings)
        return cls(check, scan.sources, scan.folded, path, config)


def texts_of(path: str, config: Config, lines: set[int]) -> dict[int, tuple[str, str]]:
    """Return the pairs of some lines of a file, which is read up to the last of them."""
    found: dict[int, tuple[str, str]] = {}
    last = max(lines, default=0)
    for pair in read_pairs(path, config.data, Report(path)):
        if pair.line in lines:
            found[pair.line] = pair[:2]
        if pair.line >= last:
            break
    return found


def _side_scan(side: str, table: Symbols | None, config: Config, role: str) -> SideScan:
    """Return what counts the texts of a side by its symbols; of subwords, by characters."""
    if table is None or table.kind not in LISTED:
        return SideScan(side, lambda text: normalize_text(text, config.symbols.normalize))
    known = None if role == "train" else lambda symbol: table.token_ids([symbol]) != [UNK]
    return SideScan(side, table.split, known)


def _overlap(first: _Scanned, second: _Scanned) -> Overlap:
    share = first.sources.common_share(second.sources)
    shared, pairs, lines = 0, 0, []
    for ours, theirs in first.sources.common(second.sources):
        shared += 1
        pairs += len(set(ours[0::3]) & set(theirs[0::3]))
        lines.append((theirs[1], ours[1]))
    lines = sorted(lines)[:3]
    texts = texts_of(second.path, second.config, {line for line, _ in lines})
    folded = sum(len(theirs) for _, theirs in first.folded.common(second.folded))
    return Overlap(
        first.check.role,
        second.check.role,
        pairs=scaled(pairs, share)[0],
        sources=scaled(shared, share)[0],
        folded_sources=max(scaled(folded, first.folded.common_share(second.folded))[0], scaled(shared, share)[0]),
        of=scaled(len(second.sources.values), second.sources.share)[0],
        is_estimate=share < 1,
        examples=tuple(f"line {line} and line {at}: {shown_pair(*texts[line])}" for line, at in lines),
    )


def _check_series(paths: dict[str, str], config: Config, folder: Path) -> DataCheck:
    """Check tables of series."""
    from peephole.training.checking_series import check_table, common_rows  # imports NumPy

    found = {role: check_table(role, path, config) for role, path in paths.items()}
    _, plan, problem, _ = _plan(paths, config, folder)
    overlaps = [common_rows(found[one], found[two]) for one, two in combinations(found, 2)]
    return DataCheck([check for check, _ in found.values()], overlaps, plan, problem)
