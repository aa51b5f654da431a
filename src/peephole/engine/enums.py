"""The enumerations of engine/include/peephole.h, with the same names and values; a test compares them."""

from __future__ import annotations

from enum import IntEnum

from peephole.search.recorded import Fate as Fate


class Status(IntEnum):
    """`peephole_status`: what a function of the library returns."""

    OK = 0
    NO_INSTRUCTION_SET = 1
    BAD_TARGET = 2
    REFUSED = 3
    STOPPED = 4


class Form(IntEnum):
    """`peephole_form`: the peephole connections of a cell."""

    NONE = 0
    DIAGONAL = 1
    FULL = 2


class Cell(IntEnum):
    """`peephole_cell`: the cell of a recurrent layer."""

    LSTM = 0
    GRU = 1


class Zoneout(IntEnum):
    """`peephole_zoneout`: the states of a recurrent layer with zoneout, added up."""

    ZONEOUT_OF_H = 1
    ZONEOUT_OF_C = 2


class Operand(IntEnum):
    """`peephole_operand`: the operands of matrix products."""

    AS_IS = 0
    BF16 = 1


class Function(IntEnum):
    """`peephole_function`: an activation function."""

    SIGMOID = 0
    TANH = 1


class Attention(IntEnum):
    """`peephole_attention`: the context of a decoder."""

    FIXED_CONTEXT = 0
    ADDITIVE = 1
    PRODUCT = 2
    LOCATION = 3
    COVERAGE = 4
    MULTIHEAD = 5


class TrainerArray(IntEnum):
    """`peephole_trainer_array`: the arrays of a tensor in training."""

    WEIGHTS = 0
    GRADIENTS = 1
    FIRST_MOMENTS = 2
    SECOND_MOMENTS = 3
    AVERAGE = 4


class TrainerTask(IntEnum):
    """`peephole_trainer_task`: what a training step computes."""

    UPDATE = 0
    COMPUTE_GRADIENTS = 1
    COMPUTE_LOSS = 2
    COMPUTE_AVERAGE_LOSS = 3


class Side(IntEnum):
    """`peephole_side`: the side of a symbol table."""

    SOURCE = 0
    TARGET = 1


class Symbol(IntEnum):
    """`peephole_symbol`: the first symbols of every vocabulary."""

    PAD = 0
    BOS = 1
    EOS = 2
    UNK = 3


class SearchKind(IntEnum):
    """`peephole_search_kind`: the search of a request."""

    BEAM = 0
    SAMPLE = 1
    FORCE = 2
