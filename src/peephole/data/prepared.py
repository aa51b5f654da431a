"""Prepare data files for training: symbol tables, an encoded corpus, dev pairs.

The training file is read several times from start to end and never held in memory, so memory does not grow
with the number of pairs. Dev pairs are held in memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any

from peephole.config import Config
from peephole.data.choose import choose_kind
from peephole.data.corpus import FILE_NAME, Corpus
from peephole.data.read import Pair, Report, data_files, read_pairs
from peephole.data.split import Holdout
from peephole.errors import DataError, RunError
from peephole.storage.replace_file import remove_temporary_files, replace_file
from peephole.symbols import Symbols, learn_symbols, normalize_text, symbols_from_json

STAMP = "prepared.json"
STAMP_VERSION = 1
SAMPLE = 10_000  # pairs, up to twice as many, from which the kind of symbols is chosen
CODE_POINTS_PER_SYMBOL = 16  # symbols are not learned from longer texts: max_length will exclude them

DevPair = tuple[str, tuple[str, ...]]


@dataclass(frozen=True)
class Prepared:
    """Data ready for training.

    Attributes:
        train: the encoded training pairs.
        dev_pairs: each different dev source with its different targets, both normalised, in the order of the
            file.
        report: one line of text for each choice and each kind of skipped, left out or repaired pairs.
    """

    train: Corpus
    dev_pairs: list[DevPair]
    source_symbols: Symbols
    target_symbols: Symbols
    report: list[str]


def prepare(train_path: str | Path, dev_path: str | Path | None, config: Config, folder: str | Path) -> Prepared:
    """Read, check, split and encode the data into a folder, or reuse the result of an equal call.

    An interrupted preparation is repeated: the stamp is written last, and the folder is reused only if its
    stamp names the same files (path, size, modification time) and settings.

    Args:
        train_path: a file, or two as `a.en,b.it`; see `read_pairs`.
        dev_path: likewise; None holds out some sources of the training file.
        config: its sections data and symbols are used.
        folder: created if it is missing; other files in it are not touched.

    Raises:
        DataError: a file cannot be read or holds a bad line, all pairs are the same, none is short enough,
            or there is no second source to hold out.
        RunError: the folder cannot be written.
    """
    folder = Path(folder)
    made_from = _fingerprint(train_path, dev_path, config)
    reused = _load_prepared(folder, made_from)
    if reused is not None:
        return reused
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / STAMP).unlink(missing_ok=True)
        for name in (FILE_NAME, STAMP):
            remove_temporary_files(folder / name)
        prepared = _prepare(str(train_path), None if dev_path is None else str(dev_path), config, folder)
        _write_stamp(folder, made_from, prepared)
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return prepared


def reopen(train_path: str | Path, dev_path: str | Path | None, config: Config, folder: str | Path) -> Prepared | None:
    """Return the data that an equal call of `prepare` wrote; None if files or settings have changed.

    Raises:
        DataError: a file is missing.
    """
    return _load_prepared(Path(folder), _fingerprint(train_path, dev_path, config))


def prepare_again(
    train_path: str | Path, dev_path: str | Path | None, config: Config, folder: str | Path
) -> Prepared | None:
    """Restore the prepared data of a folder whose files are damaged or missing.

    Returns:
        The data that an equal call of `prepare` wrote into the folder; None if files or settings have changed, if the
        stamp is damaged, or if this preparation learned other symbols.

    Raises:
        DataError: a file is missing.
        RunError: the folder cannot be written.
    """
    stamp = _read_stamp(Path(folder))
    if stamp is None or stamp.get("made_from") != _fingerprint(train_path, dev_path, config):
        return None
    prepared = prepare(train_path, dev_path, config, folder)
    same = (
        prepared.source_symbols.to_json() == stamp["source_symbols"]
        and prepared.target_symbols.to_json() == stamp["target_symbols"]
    )
    return prepared if same else None


def _prepare(train_path: str, dev_path: str | None, config: Config, folder: Path) -> Prepared:
    report, dev_report = Report(train_path), Report(dev_path or train_path)
    dev = None
    if dev_path is not None:
        dev = list(_normalized(read_pairs(dev_path, config.data, dev_report), config))
    dev_sources = None if dev is None else {pair.source for pair in dev}
    scan = _scan(train_path, dev_sources, config, report)
    if dev is None:
        dev = list(islice(_held_out_pairs(train_path, scan.held_out, config), config.data.dev_limit))
    source_symbols, source_line = _learn("source", train_path, scan, config)
    target_symbols, target_line = _learn("target", train_path, scan, config)
    train = Corpus.build(
        _training_pairs(train_path, scan.held_out, config),
        source_symbols,
        target_symbols,
        folder,
        max_length=config.data.max_length,
        report=report,
    )
    if not len(train):
        raise DataError("; ".join([f"{train_path}: no pairs left to train on", *report.lines()]))
    dev = _drop_long_pairs(dev, source_symbols, target_symbols, config.data.max_length, dev_report)
    dev_pairs = _group_by_source(dev)
    if not dev_pairs:
        raise DataError("; ".join([f"{dev_path or train_path}: no dev pairs left", *dev_report.lines()]))
    origin = f"from {dev_path}" if dev_path else "held out by source"
    counted = f"{len(train)} training pairs; {len(dev)} dev pairs of {len(dev_pairs)} sources, {origin}"
    lines = [counted, source_line, target_line, *report.lines(), *dev_report.lines()]
    if dev_sources and scan.overlap:
        lines.append(
            f"warning: {scan.overlap} of {len(dev_sources)} dev sources are also in the training data: "
            "dev scores will look better than they are"
        )
    return Prepared(train, dev_pairs, source_symbols, target_symbols, lines)


@dataclass(frozen=True)
class _Scan:
    """Results of the first pass over the training file."""

    sample: list[Pair]
    held_out: frozenset[str]  # normalised sources excluded from training
    overlap: int  # number of given dev sources that are also in the training data


def _scan(train_path: str, dev_sources: set[str] | None, config: Config, report: Report) -> _Scan:
    """Read the whole file once: check every line, take a sample, hold out sources if no dev set is given."""
    first: Pair | None = None
    several = False
    sample: list[Pair] = []
    stride = 1
    overlap: set[str] = set()
    holdout = Holdout(config.data.dev_fraction, config.data.dev_limit)
    for number, pair in enumerate(read_pairs(train_path, config.data, report)):
        first = first or pair
        several = several or pair[:2] != first[:2]
        if number % stride == 0:
            sample.append(pair)
            if len(sample) == 2 * SAMPLE:
                sample, stride = sample[::2], 2 * stride
        source = normalize_text(pair.source, config.symbols.normalize)
        if dev_sources is None:
            holdout.add(source)
        elif source in dev_sources:
            overlap.add(source)
    if not several:
        raise DataError(f"{train_path}: only duplicates of one pair, wanted at least two different pairs")
    held_out = frozenset[str]() if dev_sources is not None else holdout.sources()
    if dev_sources is None and not held_out:
        raise DataError(f"{train_path}: all pairs have the same source, so none can be held out: give a dev set")
    return _Scan(sample, held_out, len(overlap))


def _learn(side: str, train_path: str, scan: _Scan, config: Config) -> tuple[Symbols, str]:
    """Return the symbol table of one side, and a line with its kind and the reason for it."""
    text_of: Callable[[Pair], str] = attrgetter(side)
    kind, reason = getattr(config.symbols, side), "as configured"
    if kind == "auto":
        kind, reason = choose_kind([text_of(pair) for pair in scan.sample])
    longest = config.data.max_length * CODE_POINTS_PER_SYMBOL
    symbols = learn_symbols(
        kind,
        (text for text in map(text_of, _training_pairs(train_path, scan.held_out, config)) if len(text) <= longest),
        vocabulary_size=config.symbols.vocabulary_size,
        min_count=config.symbols.min_count,
        normalize=config.symbols.normalize,
    )
    return symbols, f"{side} symbols: {kind} ({reason}); {len(symbols)} with the specials"


def _training_pairs(train_path: str, held_out: frozenset[str], config: Config) -> Iterator[Pair]:
    form = config.symbols.normalize
    for pair in read_pairs(train_path, config.data, Report(train_path)):  # the first reading counted bad lines
        if normalize_text(pair.source, form) not in held_out:
            yield pair


def _held_out_pairs(train_path: str, held_out: frozenset[str], config: Config) -> Iterator[Pair]:
    pairs = read_pairs(train_path, config.data, Report(train_path))
    return (pair for pair in _normalized(pairs, config) if pair.source in held_out)


def _normalized(pairs: Iterable[Pair], config: Config) -> Iterator[Pair]:
    form = config.symbols.normalize
    for source, target, line in pairs:
        yield Pair(normalize_text(source, form), normalize_text(target, form), line)


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


def _fingerprint(train_path: str | Path, dev_path: str | Path | None, config: Config) -> dict[str, Any]:
    """Return the files and settings that determine the result of `prepare`, as plain JSON values."""
    settings = asdict(config.data)
    del settings["batch_symbols"]
    return {
        "version": STAMP_VERSION,
        "train": _file_fingerprint(train_path),
        "dev": None if dev_path is None else _file_fingerprint(dev_path),
        "data": settings,
        "symbols": asdict(config.symbols),
    }


def _file_fingerprint(path: str | Path) -> list[list[Any]]:
    files = [(file.resolve(), file.stat()) for file in data_files(path)]
    return [[str(file), status.st_size, status.st_mtime_ns] for file, status in files]


def _write_stamp(folder: Path, made_from: dict[str, Any], prepared: Prepared) -> None:
    stamp = {
        "made_from": made_from,
        "corpus_bytes": (folder / FILE_NAME).stat().st_size,
        "source_symbols": prepared.source_symbols.to_json(),
        "target_symbols": prepared.target_symbols.to_json(),
        "dev_pairs": prepared.dev_pairs,
        "report": prepared.report,
    }
    content = json.dumps(stamp, ensure_ascii=False).encode(errors="surrogateescape")  # file names may hold any bytes
    with replace_file(folder / STAMP) as file:
        file.write(content)


def _load_prepared(folder: Path, made_from: dict[str, Any]) -> Prepared | None:
    stamp = _read_stamp(folder)
    if stamp is None:
        return None
    try:
        corpus_bytes = (folder / FILE_NAME).stat().st_size
        if stamp["made_from"] != made_from or stamp["corpus_bytes"] != corpus_bytes:
            return None
        return Prepared(
            Corpus.open(folder),
            [(source, tuple(references)) for source, references in stamp["dev_pairs"]],
            symbols_from_json(stamp["source_symbols"]),
            symbols_from_json(stamp["target_symbols"]),
            stamp["report"],
        )
    except (OSError, ValueError, KeyError, TypeError):  # a file is missing or damaged
        return None


def _read_stamp(folder: Path) -> dict[str, Any] | None:
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8", errors="surrogateescape"))
    except (OSError, ValueError):
        return None
    return stamp if isinstance(stamp, dict) else None
