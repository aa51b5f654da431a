"""Read files of pairs and make batches of ids, without PyTorch.

The names below are imported at first use: reading pairs to score or evaluate them needs no pyarrow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from peephole.lazy import lazy_names

if TYPE_CHECKING:
    from peephole.data.batch import Batch as Batch
    from peephole.data.batch import make_batch as make_batch
    from peephole.data.choose import choose_kind as choose_kind
    from peephole.data.corpus import Corpus as Corpus
    from peephole.data.files import data_files as data_files
    from peephole.data.items import Items as Items
    from peephole.data.items import check_items as check_items
    from peephole.data.items import pairs_of as pairs_of
    from peephole.data.known import KnownSymbols as KnownSymbols
    from peephole.data.order import batch_shapes as batch_shapes
    from peephole.data.order import batches as batches
    from peephole.data.order import permutation as permutation
    from peephole.data.prepared import DevPair as DevPair
    from peephole.data.prepared import Prepared as Prepared
    from peephole.data.prepared import prepare as prepare
    from peephole.data.read import Pair as Pair
    from peephole.data.read import Report as Report
    from peephole.data.read import read_pairs as read_pairs
    from peephole.data.restored import open_prepared as open_prepared
    from peephole.data.restored import prepare_again as prepare_again
    from peephole.data.restored import reopen as reopen

_MODULES = {
    "Batch": "peephole.data.batch",
    "Corpus": "peephole.data.corpus",
    "Items": "peephole.data.items",
    "DevPair": "peephole.data.prepared",
    "KnownSymbols": "peephole.data.known",
    "Pair": "peephole.data.read",
    "Prepared": "peephole.data.prepared",
    "Report": "peephole.data.read",
    "batch_shapes": "peephole.data.order",
    "batches": "peephole.data.order",
    "check_items": "peephole.data.items",
    "choose_kind": "peephole.data.choose",
    "data_files": "peephole.data.files",
    "make_batch": "peephole.data.batch",
    "open_prepared": "peephole.data.restored",
    "pairs_of": "peephole.data.items",
    "permutation": "peephole.data.order",
    "prepare": "peephole.data.prepared",
    "prepare_again": "peephole.data.restored",
    "read_pairs": "peephole.data.read",
    "reopen": "peephole.data.restored",
}

__all__ = [
    "Batch",
    "Corpus",
    "DevPair",
    "Items",
    "KnownSymbols",
    "Pair",
    "Prepared",
    "Report",
    "batch_shapes",
    "batches",
    "check_items",
    "choose_kind",
    "data_files",
    "make_batch",
    "open_prepared",
    "pairs_of",
    "permutation",
    "prepare",
    "prepare_again",
    "read_pairs",
    "reopen",
]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
