"""Estimate the memory of a search, so that a setting that no machine can meet is refused before the search begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from peephole.config import ModelConfig, SearchConfig
from peephole.engine.packed import usable_cores
from peephole.memory import check_memory

ENGINE_ROWS = 1 << 14  # hypotheses of different sources that a thread of the engine extends at a time, at most
LEAST_CHECKED = 10**7  # bytes: every machine has them, and reading what it has takes longer than predicting a word
DIVERSE_NUMBERS = 6  # of four bytes, for each symbol, with which the definition chooses for groups
RESULT_BYTES = 400  # of a prediction in Python, without its symbols


def check_search_memory(
    model: ModelConfig,
    num_symbols: int,
    search: SearchConfig,
    num_sources: int,
    *,
    engine: bool,
    guides: Sequence[ModelConfig] = (),
) -> None:
    """Check that the memory of this machine suffices for a search.

    Args:
        model: the shape of the model.
        num_symbols: V of the target.
        search: the settings.
        num_sources: sources to search for.
        engine: whether the engine searches; else the definition, on a CPU.
        guides: the shapes of the language models that guide the search.

    Raises:
        MemoryLimitError: it does not; the message names the setting that decides the size.
    """
    needed = search_memory(model, num_symbols, search, num_sources, engine=engine, guides=guides)
    if needed < LEAST_CHECKED:
        return
    smaller = {
        "batch_size": replace(search, batch_size=1),
        "nbest": replace(search, nbest=1),
        "beam_size": replace(search, beam_size=1),
    }
    sizes = {
        name: search_memory(model, num_symbols, changed, num_sources, engine=engine, guides=guides)
        for name, changed in smaller.items()
    }
    name = min(sizes, key=lambda name: sizes[name])
    check_memory(f"search.{name}={getattr(search, name)}", "this search", needed)


def search_memory(
    model: ModelConfig,
    num_symbols: int,
    search: SearchConfig,
    num_sources: int,
    *,
    engine: bool,
    guides: Sequence[ModelConfig] = (),
) -> int:
    """Return the bytes that the first steps of a search take: what is always needed; arguments as above."""
    hypotheses = search.beam_size if search.temperature is None else search.nbest
    at_once = min(search.batch_size, num_sources)
    if engine:
        threads = min(search.threads or usable_cores(), max(1, at_once))
        rows = min(at_once * hypotheses, threads * max(hypotheses, ENGINE_ROWS))
    else:
        rows = at_once * hypotheses
    # A layer's h and c before and after a step; the gates
    states = sum(4 * m.decoder_layers * m.hidden_size + 6 * m.hidden_size for m in (model, *guides))
    scores = num_symbols * (1 if engine else 4)
    if guides:  # log p of each, and the sum
        scores += num_symbols * (len(guides) + 1)
    if search.diverse_groups > 1 and not engine:
        scores += num_symbols * DIVERSE_NUMBERS
    return 4 * rows * (scores + states) + RESULT_BYTES * min(num_sources, 4 * search.batch_size) * search.nbest
