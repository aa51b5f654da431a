"""Describe how a model is made, for its file.

Equal trainings write equal files, so neither the time of day nor the duration is part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peephole import __version__
from peephole.data import Prepared
from peephole.storage.header import TRAINING
from peephole.training.run_file import Run
from peephole.training.state import Position


def describe_making(
    prepared: Prepared, position: Position, dev_sources: int, run: Run, versions: Mapping[str, str | None]
) -> dict[str, Any]:
    """Return versions, data and position of a training, as the entry `made` of a model file stores them.

    Args:
        prepared: the data.
        position: the present position of the training.
        dev_sources: the most dev sources that are measured.
        run: names the model with which it goes on and those of its teacher, if there are any.
        versions: of the programs that train, by name; those that are None are left out.
    """
    corpus = prepared.train
    training = {
        **({} if run.start is None else {"from": Path(run.start.model).name}),
        **({} if run.teacher is None else {"teacher": [Path(model.model).name for model in run.teacher.models]}),
        "steps": position.step,
        "epochs": round(position.epoch + position.symbols / corpus.num_target_symbols, 2),
        "best_step": position.best_step,
        "dev_scores": position.best_scores,
        "train": {
            "files": prepared.files["train"],
            "pairs": len(corpus),
            "source_symbols": corpus.num_source_symbols,
            "target_symbols": corpus.num_target_symbols,
        },
        "dev": {
            "files": prepared.files["dev"],
            "pairs": sum(len(references) for _, references in prepared.dev_pairs),
            "sources": len(prepared.dev_pairs),
            "sources_measured": min(len(prepared.dev_pairs), dev_sources),
        },
    }
    programs = {"peephole": __version__, **versions}
    return {name: version for name, version in programs.items() if version is not None} | {TRAINING: training}
