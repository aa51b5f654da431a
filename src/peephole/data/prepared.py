"""Prepare data files for training: symbol tables, an encoded corpus, dev pairs.

The training file is read several times from start to end and never held in memory, so memory does not grow
with the number of pairs. Dev pairs are held in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from peephole.config import Config
from peephole.data.choose import kind_of
from peephole.data.corpus import FILE_NAMES, Corpus
from peephole.data.files import data_files
from peephole.data.frame_pairs import DEV_FILES, Statistics, build_frame_corpus, read_dev_frames, write_dev_frames
from peephole.data.known import KnownSymbols, symbols_of_model
from peephole.data.manifest import frame_symbols
from peephole.data.prepared_series import SERIES_FILES, open_series, prepare_series
from peephole.data.read import Pair, Report, read_pairs
from peephole.data.split import Holdout
from peephole.data.stamp import (
    STAMP,
    Stamp,
    content_of,
    data_digest,
    read_stamp,
    settings_of,
    sources_content,
    write_stamp,
)
from peephole.data.tables import copying_line
from peephole.data.unknown import unknown_line
from peephole.errors import DataError, RunError, plural
from peephole.storage.replace_file import remove_temporary_files
from peephole.symbols import (
    FRAME_KINDS,
    SPECIALS,
    FrameSymbols,
    Symbols,
    learn_symbols,
    normalize_text,
    symbols_from_json,
)

OLDER_FILE = "pairs.arrow"  # of version 0.1
SAMPLE = 10_000  # pairs, up to twice as many, from which the kind of symbols is chosen
CODE_POINTS_PER_SYMBOL = 16  # symbols are not learned from longer texts: max_length will exclude them

DevSource = Any
"""A text, frames (T, F) in float16 or float32, or a window of series (T, F) in float32."""
DevPair = tuple[DevSource, tuple[Any, ...]]
"""A source and its targets, texts or, after a window, series (U, D) in float32."""


@dataclass(frozen=True)
class Prepared:
    """Data ready for training.

    Attributes:
        train: the encoded training pairs.
        dev_pairs: each different dev source, a text or the frames of a file, with its different targets, texts
            normalised, in the order of the file.
        report: one line of text for each choice and each kind of skipped, left out or repaired pairs.
        digest: SHA-256 of the ids, symbol tables and dev pairs: equal data have equal digests.
        files: the files read, as "train" and "dev", each a list of {"name", "sha256"}; the name is without its folder.
            No dev file: the dev pairs were held out.
        statistics: mean and standard deviation of the training frames; None for texts.
        dev_files: for dev pairs with frames, the files that these were read from, as the data name them.
    """

    train: Corpus
    dev_pairs: list[DevPair]
    source_symbols: Symbols
    target_symbols: Symbols
    report: list[str]
    digest: str
    files: dict[str, list[dict[str, str]]]
    statistics: Statistics | None = None
    dev_files: Sequence[str] = ()


def prepare(
    train_path: str | Path,
    dev_path: str | Path | None,
    config: Config,
    folder: str | Path,
    known: KnownSymbols | None = None,
) -> Prepared:
    """Read, check, split and encode the data into a folder, or reuse the result of an equal call.

    An interrupted preparation is repeated: the stamp is written last, and the folder is reused only if its stamp names
    files of the same content and the same settings, and every byte of the folder's files is as it was written.

    Args:
        train_path: a file, or two as `a.en,b.it`; see `read_pairs`.
        dev_path: likewise; None holds out some sources of the training file.
        config: its sections data and symbols are used.
        folder: created if it is missing; other files in it are not touched.
        known: the symbol tables of a model, or of a teacher; None learns new tables.

    Raises:
        DataError: a file cannot be read or holds a bad line, all pairs are the same, none is short enough,
            there is no second source to hold out, or a file changes while it is read.
        RunError: the folder cannot be written.
    """
    folder = Path(folder)
    made_from = _made_from(train_path, dev_path, config, known)
    paths = {"train": data_files(train_path), "dev": [] if dev_path is None else data_files(dev_path)}
    names = {side: [path.name for path in found] for side, found in paths.items()}
    stamp = read_stamp(folder)
    if stamp is not None and stamp["made_from"] == made_from:
        return from_stamp(folder, stamp)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / STAMP).unlink(missing_ok=True)
        (folder / OLDER_FILE).unlink(missing_ok=True)
        for name in (*FILE_NAMES, *DEV_FILES, *SERIES_FILES, STAMP):
            remove_temporary_files(folder / name)
        train, dev = str(train_path), None if dev_path is None else str(dev_path)
        try:
            if config.data.horizon is None:
                content = _prepare(train, dev, config, folder, known)
            else:
                content = prepare_series(train, dev, config, folder, known)
        except DataError:
            _check_unchanged(made_from, train_path, dev_path)  # this error, if there is one, explains the other
            raise
        _check_unchanged(made_from, train_path, dev_path)
        return from_stamp(folder, write_stamp(folder, {"made_from": made_from, "names": names, **content}))
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror or error}") from error


def _prepare(
    train_path: str,
    dev_path: str | None,
    config: Config,
    folder: Path,
    known: KnownSymbols | None,
    unusable: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """Write the corpus; return symbol tables, dev pairs and report as plain JSON values.

    If no pair that is held out can be used, for example because all are too long, other sources are held out, in
    another pass: only the symbol tables, which are learned from the other pairs, give the lengths. `unusable` holds the
    sources that were held out before.
    """
    report, dev_report = Report(train_path), Report(dev_path or train_path)
    of_files = config.frames.kind in FRAME_KINDS
    dev = None
    if dev_path is not None:
        dev = list(_normalized(read_pairs(dev_path, config.data, dev_report, must_name=config.names_columns), config))
    dev_sources = None if dev is None else {pair.source for pair in dev}
    scan = _scan(train_path, dev_sources, config, report, unusable)
    if dev is None:
        dev = list(islice(_held_out_pairs(train_path, scan.held_out, config), config.data.dev_limit))
    if config.symbols.shared:
        target_symbols, target_line = _learn(("source", "target"), train_path, scan, config, known)
    elif config.symbols.of is None:
        target_symbols, target_line = _learn(("target",), train_path, scan, config, known)
    else:
        target_symbols, target_line = symbols_of_model(config.symbols.of)
    training_pairs = _training_pairs(train_path, scan.held_out, config)
    source_symbols: Symbols
    source_line: str | None
    statistics = None
    copied: list[str] = []
    if of_files:
        source_symbols = frame_symbols(config)
        source_line = f"sources: files of {source_symbols.kind}, {source_symbols.size} numbers a frame"
        train, statistics = build_frame_corpus(
            training_pairs, train_path, source_symbols, target_symbols, folder, config, report
        )
    else:
        if config.data.targets_only:
            source_symbols, source_line = target_symbols, "targets alone, for a language model"
        elif config.symbols.shared:
            source_symbols, source_line = target_symbols, None
        else:
            source_symbols, source_line = _learn(("source",), train_path, scan, config, known)
        tables, copying = (source_symbols, target_symbols), config.model.output == "copy"
        copied = [copying_line(*tables)] if copying else []
        most = config.data.max_length
        train = Corpus.build(training_pairs, *tables, folder, max_length=most, report=report, copying=copying)
    if not len(train):
        held_out = [f"{len(dev)} held out: give a dev set, or a higher {_limit(config)}"] if dev_path is None else []
        raise DataError("; ".join([f"{train_path}: no pairs left to train on", *report.lines(), *held_out]))
    sources = frozenset(pair.source for pair in dev)
    unknown = unknown_line(train, dev, source_symbols, target_symbols)
    if isinstance(source_symbols, FrameSymbols):
        manifest = dev_path or train_path
        dev = write_dev_frames(dev, manifest, source_symbols, target_symbols, folder, config, dev_report)
    else:
        dev = _drop_long_pairs(dev, source_symbols, target_symbols, config.data.max_length, dev_report)
    dev_pairs = _group_by_source(dev)
    if not dev_pairs and dev_path is None:
        return _prepare(train_path, None, config, folder, known, unusable | sources)
    if not dev_pairs:
        raise DataError("; ".join([f"{dev_path or train_path}: no dev pairs left", *dev_report.lines()]))
    origin = f"from {dev_path}" if dev_path else "held out by source"
    of_dev = f"{plural(len(dev), 'dev pair')} of {plural(len(dev_pairs), 'source')}, {origin}"
    counted = f"{plural(len(train), 'training pair')}; {of_dev}"
    symbol_lines = [line for line in (source_line, target_line, unknown) if line is not None]
    lines = [counted, *symbol_lines, *copied, *report.lines(), *dev_report.lines()]
    if dev_sources and scan.overlap:
        lines.append(
            f"warning: {scan.overlap} of {len(dev_sources)} dev sources are also in the training data: "
            "dev scores will look better than they are"
        )
    return {
        "source_symbols": source_symbols.to_json(),
        "target_symbols": target_symbols.to_json(),
        "dev_pairs": dev_pairs,
        "report": lines,
        **({} if statistics is None else {"statistics": statistics}),
    }


@dataclass(frozen=True)
class _Scan:
    """Results of the first pass over the training file."""

    sample: list[Pair]
    held_out: frozenset[str]  # normalised sources excluded from training
    overlap: int  # number of given dev sources that are also in the training data


def _limit(config: Config) -> str:
    """Return the name of the setting that limits sources."""
    return "frames.max_frames" if config.frames.kind in FRAME_KINDS else "data.max_length"


def _scan(
    train_path: str, dev_sources: set[str] | None, config: Config, report: Report, unusable: frozenset[str]
) -> _Scan:
    """Read the whole file once: check every line, take a sample, hold out sources if no dev set is given."""
    first: Pair | None = None
    several = repeated = False
    sample: list[Pair] = []
    stride = 1
    overlap: set[str] = set()
    holdout = Holdout(config.data.dev_fraction, config.data.dev_limit)
    pairs = read_pairs(train_path, config.data, report, must_name=config.names_columns)
    for number, pair in enumerate(pairs):
        first = first or pair
        repeated = number > 0
        several = several or pair[:2] != first[:2]
        if number % stride == 0:
            sample.append(pair)
            if len(sample) == 2 * SAMPLE:
                sample, stride = sample[::2], 2 * stride
        source = normalize_text(pair.source, _source_form(config))
        if dev_sources is not None and source in dev_sources:
            overlap.add(source)
        elif dev_sources is None and source not in unusable:
            holdout.add(source)
    if not several:
        found = "only duplicates of one pair" if repeated else "only one pair"
        raise DataError(f"{train_path}: {found}, wanted at least two different pairs")
    held_out = frozenset[str]() if dev_sources is not None else holdout.sources()
    if unusable and not held_out:
        raise DataError(
            f"{train_path}: wanted two sources that can be used, so that one is held out; {len(unusable)} cannot: give "
            f"a dev set, or a higher {_limit(config)}"
        )
    if dev_sources is None and not held_out:
        raise DataError(f"{train_path}: all pairs have the same source, so none can be held out: give a dev set")
    return _Scan(sample, held_out, len(overlap))


def _learn(
    sides: Sequence[str], train_path: str, scan: _Scan, config: Config, known: KnownSymbols | None
) -> tuple[Symbols, str]:
    """Return the symbol table of one side, or of both, and a line with its kind and the reason for it."""
    name = f"{sides[0]} symbols" if len(sides) == 1 else "symbols of both sides"
    longest = config.data.max_length * CODE_POINTS_PER_SYMBOL
    pairs = _training_pairs(train_path, scan.held_out, config)
    every: Iterator[str] = (getattr(pair, side) for pair in pairs for side in sides)
    texts = (text for text in every if len(text) <= longest)
    if known is not None:
        return known.table(name, sides[0], texts, config.symbols)
    samples = {side: [getattr(pair, side) for pair in scan.sample] for side in sides}
    kind, reason = kind_of(samples, config.symbols)
    symbols = learn_symbols(
        kind,
        texts,
        vocabulary_size=config.symbols.vocabulary_size,
        min_count=config.symbols.min_count,
        normalize=config.symbols.normalize,
    )
    if len(symbols) == len(SPECIALS):
        wanted = (
            f"symbols.min_count={config.symbols.min_count}, symbols.vocabulary_size={config.symbols.vocabulary_size}"
        )
        raise DataError(f"{train_path}: {name}: none is left by {wanted}")
    return symbols, f"{name}: {kind} ({reason}); {len(symbols)} with the specials"


def _training_pairs(train_path: str, held_out: frozenset[str], config: Config) -> Iterator[Pair]:
    form = _source_form(config)
    for pair in read_pairs(train_path, config.data, Report(train_path)):  # the first reading counted bad lines
        if normalize_text(pair.source, form) not in held_out:
            yield pair


def _held_out_pairs(train_path: str, held_out: frozenset[str], config: Config) -> Iterator[Pair]:
    pairs = read_pairs(train_path, config.data, Report(train_path))
    return (pair for pair in _normalized(pairs, config) if pair.source in held_out)


def _normalized(pairs: Iterable[Pair], config: Config) -> Iterator[Pair]:
    for source, target, line in pairs:
        normal = normalize_text(source, _source_form(config)), normalize_text(target, config.symbols.normalize)
        yield Pair(*normal, line)


def _source_form(config: Config) -> str:
    """Return the normal form of sources; names of files stay as they are."""
    return "none" if config.frames.kind in FRAME_KINDS else config.symbols.normalize


def _drop_long_pairs(
    pairs: list[Pair], source_symbols: Symbols, target_symbols: Symbols, max_length: int, report: Report
) -> list[Pair]:
    kept = []
    for pair in pairs:
        if max(len(source_symbols.encode(pair.source)), len(target_symbols.encode(pair.target))) > max_length:
            report.leave_out(f"longer than {max_length} symbols", pair.line)
        else:
            kept.append(pair)
    return kept


def _group_by_source(pairs: list[Pair]) -> list[DevPair]:
    """Return each source once, with its different targets, in the order of their first appearance."""
    targets: dict[str, dict[str, None]] = {}
    for pair in pairs:
        targets.setdefault(pair.source, {})[pair.target] = None
    return [(source, tuple(references)) for source, references in targets.items()]


def _made_from(
    train_path: str | Path, dev_path: str | Path | None, config: Config, known: KnownSymbols | None
) -> dict[str, Any]:
    """Return contents and settings that determine the result of `prepare`, as plain JSON values."""
    settings = settings_of(config, known)
    paths = {"train": train_path, "dev": dev_path}
    contents = {name: content_of(path) for name, path in paths.items()}
    sources = {name: sources_content(path, settings)[0] for name, path in paths.items()}
    return contents | {"settings": settings} | ({"sources": sources} if any(sources.values()) else {})


def has_content(made_from: dict[str, Any], train_path: str | Path, dev_path: str | Path | None) -> bool:
    """Return whether the files have the content that a stamp's entry `made_from` names; errors as `content_of`."""
    sources = made_from.get("sources", {})
    return all(
        content_of(path) == made_from[name] and sources_content(path, made_from["settings"])[0] == sources.get(name)
        for name, path in (("train", train_path), ("dev", dev_path))
    )


def _check_unchanged(made_from: dict[str, Any], train_path: str | Path, dev_path: str | Path | None) -> None:
    """Raise a DataError if a file is not what it was before it was read."""
    if not has_content(made_from, train_path, dev_path):
        names = train_path if dev_path is None else f"{train_path} or {dev_path}"
        raise DataError(f"{names}: has changed while it was read; train when it is complete")


def from_stamp(folder: Path, stamp: Stamp) -> Prepared:
    """Return the prepared data of a folder, described by its stamp."""
    train, dev_pairs, statistics = _open_pairs(folder, stamp) if "series" not in stamp else open_series(folder, stamp)
    return Prepared(
        train,
        dev_pairs,
        symbols_from_json(stamp["source_symbols"]),
        symbols_from_json(stamp["target_symbols"]),
        stamp["report"],
        data_digest(stamp),
        {
            side: [
                {"name": name, "sha256": digest}
                for name, (_, digest) in zip(names, stamp["made_from"][side] or (), strict=True)
            ]
            for side, names in stamp["names"].items()
        },
        statistics,
        () if stamp.get("statistics") is None else [source for source, _ in stamp["dev_pairs"]],
    )


def _open_pairs(folder: Path, stamp: Stamp) -> tuple[Corpus, list[DevPair], Statistics | None]:
    """Return the training pairs, dev pairs, and the statistics of the training frames."""
    statistics, dev_pairs = stamp.get("statistics"), stamp["dev_pairs"]
    sources = [source for source, _ in dev_pairs] if statistics is None else read_dev_frames(folder)
    pairs = [(source, tuple(references)) for source, (_, references) in zip(sources, dev_pairs, strict=True)]
    return Corpus.open(folder), pairs, None if statistics is None else Statistics(*statistics)
