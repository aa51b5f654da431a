"""Files of pairs in, batches of ids out; no torch."""

from peephole.data.batch import Batch, make_batch
from peephole.data.choose import choose_kind
from peephole.data.corpus import Corpus
from peephole.data.order import batches, permutation
from peephole.data.prepare import DevPair, Prepared, prepare, reopen
from peephole.data.read import Pair, Report, data_files, read_pairs

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
    "read_pairs",
    "reopen",
]
