"""Files of pairs in, batches of ids out; no torch.

The names below are loaded when they are first used: who reads pairs to score or evaluate them needs no pyarrow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peephole.data.batch import Batch as Batch
    from peephole.data.batch import make_batch as make_batch
    from peephole.data.choose import choose_kind as choose_kind
    from peephole.data.corpus import Corpus as Corpus
    from peephole.data.order import batches as batches
    from peephole.data.order import permutation as permutation
    from peephole.data.prepared import DevPair as DevPair
    from peephole.data.prepared import Prepared as Prepared
    from peephole.data.prepared import prepare as prepare
    from peephole.data.prepared import prepare_again as prepare_again
    from peephole.data.prepared import reopen as reopen
    from peephole.data.read import Pair as Pair
    from peephole.data.read import Report as Report
    from peephole.data.read import data_files as data_files
    from peephole.data.read import read_pairs as read_pairs

_HOME = {
    "Batch": "batch",
    "Corpus": "corpus",
    "DevPair": "prepared",
    "Pair": "read",
    "Prepared": "prepared",
    "Report": "read",
    "batches": "order",
    "choose_kind": "choose",
    "data_files": "read",
    "make_batch": "batch",
    "permutation": "order",
    "prepare": "prepared",
    "read_pairs": "read",
    "prepare_again": "prepared",
    "reopen": "prepared",
}

__all__ = [
    "Batch",
    "Corpus",
    "DevPair",
    "Pair",
    "Prepared",
    "Report",
    "batches",
    "choose_kind",
    "data_files",
    "make_batch",
    "permutation",
    "prepare",
    "prepare_again",
    "read_pairs",
    "reopen",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'peephole.data' has no attribute {name!r}")
    return getattr(importlib.import_module(f"peephole.data.{_HOME[name]}"), name)
