"""Wrong versions of the module's scripts, each with the check that must reject it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from models.make import MODEL, STORED, toy_words
from peephole import load

from .conftest import Ask
from .test_engine import (
    compare,
    test_options_that_a_call_does_not_give_are_those_of_the_model,
    test_scores_of_given_targets,
)
from .test_symbols import test_texts_have_the_symbols_of_python
from .test_traces import check_trace


class Wrong(NamedTuple):
    """A text of a script, what stands there instead, and the check that must fail, given an empty folder."""

    name: str
    file: str
    right: str
    wrong: str
    check: Callable[[Ask, Path], None]


def predictions(ask: Ask, folder: Path) -> None:
    compare(ask, load(STORED["3"][0]), toy_words(6, seed=5), {"beamSize": 3, "nbest": 2})


def prefixes(ask: Ask, folder: Path) -> None:
    compare(ask, load(MODEL), ["abc", "한", "😀ab"], {"prefix": ["SMILE", "", "AH B"]})


def scores(ask: Ask, folder: Path) -> None:
    test_scores_of_given_targets(ask, MODEL)


def traces(ask: Ask, folder: Path) -> None:
    check_trace(ask, load(MODEL), "cab", {})


def bent(ask: Ask, folder: Path) -> None:
    check_trace(ask, load(MODEL), "cab", {"bend": {"step": 1, "weights": [0, 1, 1]}}, bend=(1, [0, 1, 1]))


def settings(ask: Ask, folder: Path) -> None:
    test_options_that_a_call_does_not_give_are_those_of_the_model(ask, MODEL, folder)


def symbols_of(kind: str) -> Callable[[Ask, Path], None]:
    """Return the comparison of one kind of table."""
    return lambda ask, _: test_texts_have_the_symbols_of_python(ask, kind, "NFC")


WRONG = [
    Wrong(
        "clusters are code points",
        "symbols.js",
        "return Array.from(segmenter",
        "return [...text]; Array.from(segmenter",
        symbols_of("characters"),
    ),
    Wrong(
        "texts are not normalised",
        "symbols.js",
        'this.normalize === "none" ? text',
        "true ? text",
        symbols_of("characters"),
    ),
    Wrong(
        "an unknown symbol is padding",
        "symbols.js",
        "this.numbers.get(name) ?? UNK",
        "this.numbers.get(name) ?? 0",
        symbols_of("characters"),
    ),
    Wrong(
        "ordinary symbols begin at 3",
        "symbols.js",
        "[name, i + SPECIALS.length]",
        "[name, i + SPECIALS.length - 1]",
        predictions,
    ),
    Wrong("space of JavaScript", "symbols.js", 'new RegExp(WHITESPACE, "u")', "/\\\\s+/u", symbols_of("whitespace")),
    Wrong(
        "the last pair is merged first",
        "symbols.js",
        "if (rank < best)",
        "if (rank <= best && rank < Infinity)",
        symbols_of("bpe"),
    ),
    Wrong(
        "the latest merge first",
        "symbols.js",
        "if (rank < best) [best, at]",
        "if (rank < Infinity && (best === Infinity || rank > best)) [best, at]",
        symbols_of("bpe"),
    ),
    Wrong(
        "the lowest score wins",
        "symbols.js",
        "total > paths[end].score",
        "total < paths[end].score",
        symbols_of("unigram"),
    ),
    Wrong("unknown pieces stay apart", "symbols.js", "if (unknown && fused)", "if (false)", symbols_of("unigram")),
    Wrong("results in the order of lengths", "model.js", "results[rows[i]] =", "results[first + i] =", predictions),
    Wrong("one prediction each", "checks.js", 'nbest: ["nbest", 1,', 'nbest: ["nope", 1,', settings),
    Wrong("the beam of another option", "checks.js", 'beamSize: ["beam_size", 5,', 'beamSize: ["nbest", 5,', traces),
    Wrong("prefixes are left out", "model.js", "if (prefixes) source.begin =", "if (false) source.begin =", prefixes),
    Wrong(
        "targets are left out",
        "model.js",
        "source.begin = this.#targetIds(targets[i]",
        'source.begin = this.#targetIds(""',
        scores,
    ),
    Wrong("one end too many", "model.js", "finished ? tokens.slice(0, -1)", "finished ? tokens", traces),
    Wrong(
        "steps and alternatives exchanged",
        "trace.js",
        "slice(t * most, (t + 1) * most)",
        "slice(t * steps, t * steps + most)",
        traces,
    ),
    Wrong("fates are shifted", "trace.js", "FATES[fate]", "FATES[fate + 1]", traces),
    Wrong("scores are log p", "trace.js", 'copy("scores"', 'copy("node_log_probs"', traces),
    Wrong("arrays have one layout", "trace.js", "shape.offset + 8 * d", "shape.offset", traces),
    Wrong("the first array only", "trace.js", "address += layout.size", "address += 0", traces),
    Wrong("nothing is bent", "model.js", "fields, top ?? 5, bend)", "fields, top ?? 5, null)", bent),
]
