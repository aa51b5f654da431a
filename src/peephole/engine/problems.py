"""The engine's training operators as plain calls: sizes in a dataclass, arrays by address.

The PyTorch operators over them are in `recurrence.py`, `decoder.py`, `output.py` and `dropout.py`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass

from peephole.engine import structures
from peephole.engine.abi import call, library
from peephole.engine.enums import Attention, Cell, Form, Operand, Status

OPERANDS = {operand.name.lower(): operand for operand in Operand}
CELLS = {cell.name.lower(): cell for cell in Cell}
FORMS = {form.name.lower(): form for form in Form}
ATTENTIONS = {attention.name.lower(): attention for attention in Attention}


@dataclass(frozen=True)
class LSTMProblem:
    """The sizes of one recurrent layer in one direction; see peephole.h."""

    scalar: int  # bytes of a number: 4 or 8
    operand: str  # what products multiply: as_is, bf16
    form: str  # full, diagonal, none
    reverse: bool
    threads: int
    batch: int
    steps: int
    input_size: int
    hidden_size: int
    cell: str = "lstm"  # lstm, gru

    def saved_bytes(self) -> int:
        """Return the size of the array `saved`."""
        return int(library().peephole_lstm_saved_bytes(ctypes.byref(self._with({}))))

    def scratch_bytes(self, *, backward: bool) -> int:
        """Return the size of the array `scratch`."""
        return int(library().peephole_lstm_scratch_bytes(ctypes.byref(self._with({})), backward))

    def forward(self, arrays: structures.Addresses, instruction_set: str) -> None:
        """Compute all steps; `arrays` holds the address of each array of `peephole_lstm`."""
        call("peephole_lstm_forward", instruction_set, self._with(arrays))

    def backward(self, arrays: Mapping[str, int | None], gradients: structures.Addresses, instruction_set: str) -> None:
        """Compute all gradients; `gradients` holds the address of each array of `peephole_lstm_gradients`."""
        call("peephole_lstm_backward", instruction_set, self._with(arrays), structures.LSTMGradients(**gradients))

    def _with(self, arrays: structures.Addresses) -> structures.LSTM:
        sizes = {name: getattr(self, name) for name in structures.LSTM._SIZES}
        settings = self.scalar, OPERANDS[self.operand], FORMS[self.form], self.reverse, self.threads, CELLS[self.cell]
        return structures.LSTM(*settings, **sizes, **arrays)


@dataclass(frozen=True)
class DecoderProblem:
    """The sizes of a decoder; see peephole.h. Arrays of its layers are given as one mapping a layer."""

    scalar: int  # bytes of a number: 4 or 8
    operand: str  # what products multiply: as_is, bf16
    form: str  # full, diagonal, none
    attention: str  # fixed_context, additive, product, location, coverage, multihead
    threads: int
    num_layers: int
    batch: int
    steps: int
    source_steps: int
    embedding_size: int
    memory_size: int
    key_size: int
    hidden_size: int
    channels: int = 0  # of location
    filter_width: int = 0  # likewise
    heads: int = 0  # of multihead
    cell: str = "lstm"  # lstm, gru
    residual: bool = False

    def saved_bytes(self) -> int:
        """Return the size of the array `saved`."""
        return int(library().peephole_decoder_saved_bytes(ctypes.byref(self._with({}, [{}] * self.num_layers))))

    def scratch_bytes(self, *, backward: bool) -> int:
        """Return the size of the array `scratch`."""
        problem = self._with({}, [{}] * self.num_layers)
        return int(library().peephole_decoder_scratch_bytes(ctypes.byref(problem), backward))

    def forward(self, arrays: structures.Addresses, layers: list[structures.Addresses], instruction_set: str) -> None:
        """Compute all target steps; `arrays` and `layers` hold the addresses that peephole.h names."""
        call("peephole_decoder_forward", instruction_set, self._with(arrays, layers))

    def backward(
        self,
        arrays: structures.Addresses,
        layers: list[structures.Addresses],
        gradients: structures.Addresses,
        layer_gradients: list[structures.Addresses],
        instruction_set: str,
    ) -> None:
        """Compute all gradients; `gradients` and `layer_gradients` hold the addresses that peephole.h names."""
        rows = (structures.DecoderLayerGradients * self.num_layers)(
            *(structures.DecoderLayerGradients(**row) for row in layer_gradients)
        )
        given = structures.DecoderGradients(**gradients, layers=ctypes.addressof(rows))
        call("peephole_decoder_backward", instruction_set, self._with(arrays, layers), given)

    def _with(self, arrays: structures.Addresses, layers: list[structures.Addresses]) -> structures.Decoder:
        rows = (structures.DecoderLayer * self.num_layers)(*(structures.DecoderLayer(**row) for row in layers))
        sizes = {name: getattr(self, name) for name in structures.Decoder._SIZES}
        problem = structures.Decoder(
            self.scalar,
            OPERANDS[self.operand],
            FORMS[self.form],
            ATTENTIONS[self.attention],
            self.threads,
            self.num_layers,
            CELLS[self.cell],
            self.residual,
            **sizes,
            **arrays,
            layers=ctypes.addressof(rows),
        )
        problem.rows = rows  # they live as long as the address to them
        return problem


@dataclass(frozen=True)
class LinearProblem:
    """The sizes of y = W x + b over rows; see peephole.h."""

    scalar: int  # bytes of a number: 4 or 8
    operand: str  # what products multiply: as_is, bf16
    threads: int
    rows: int
    inputs: int
    outputs: int

    def scratch_bytes(self, *, backward: bool) -> int:
        """Return the size of the array `scratch`."""
        return int(library().peephole_linear_scratch_bytes(ctypes.byref(self._with({})), backward))

    def forward(self, arrays: structures.Addresses, instruction_set: str) -> None:
        """Compute y; `arrays` holds the address of each array of `peephole_linear`."""
        call("peephole_linear_forward", instruction_set, self._with(arrays))

    def backward(self, arrays: structures.Addresses, gradients: structures.Addresses, instruction_set: str) -> None:
        """Compute all gradients; `gradients` holds the address of each array of `peephole_linear_gradients`."""
        given = self._with(arrays), structures.LinearGradients(**gradients)
        call("peephole_linear_backward", instruction_set, *given)

    def _with(self, arrays: structures.Addresses) -> structures.Linear:
        return structures.Linear(**vars(self) | {"operand": OPERANDS[self.operand]}, **arrays)


@dataclass(frozen=True)
class OutputLossProblem:
    """The sizes of an output layer with its loss, (10)-(12), that may copy, (27); see peephole.h."""

    scalar: int  # bytes of a number: 4 or 8
    operand: str  # what products multiply: as_is, bf16
    threads: int
    rows: int
    hidden_size: int
    symbols: int
    padding: int  # the target of rows that are not real
    label_smoothing: float
    consistency_loss: float = 0.0
    teacher_weight: float = 0.0
    num_taught: int = 0  # with a teacher_weight
    steps: int = 0  # of a model that copies, as the next
    source_steps: int = 0

    def scratch_bytes(self, *, gradients: bool) -> int:
        """Return the size of the array `scratch`."""
        return int(library().peephole_output_loss_scratch_bytes(ctypes.byref(self._with({})), gradients))

    def run(self, arrays: structures.Addresses, gradients: structures.Addresses | None, instruction_set: str) -> None:
        """Compute the loss and, where their addresses are given, all gradients.

        Raises:
            IndexError: a target, or what a teacher gives, is no symbol; of a model that copies, a target is negative;
                with a consistency loss, the second half of the targets is not the first.
        """
        given = None if gradients is None else structures.OutputLossGradients(**gradients)
        status = call("peephole_output_loss_run", instruction_set, self._with(arrays), given)
        if status == Status.BAD_TARGET:
            symbols = f"symbols from 0 to {self.symbols - 1}" if not self.steps else "no negative symbols"
            pairs = ", twice the same in two halves" * bool(self.consistency_loss)
            raise IndexError(f"target: wanted {symbols}{pairs}, got others too")

    def _with(self, arrays: structures.Addresses) -> structures.OutputLoss:
        return structures.OutputLoss(**vars(self) | {"operand": OPERANDS[self.operand]}, **arrays)


@dataclass(frozen=True)
class DropoutMaskProblem:
    """The sizes and settings of a dropout mask; see peephole.h."""

    threads: int
    threshold: int
    keep_rate: float
    batch: int
    steps: int
    units: int
    place: int

    def run(self, arrays: structures.Addresses, instruction_set: str) -> None:
        """Write the mask; `arrays` holds the address of each array of `peephole_dropout_mask`."""
        call("peephole_dropout_mask_run", instruction_set, structures.DropoutMask(**vars(self), **arrays))
