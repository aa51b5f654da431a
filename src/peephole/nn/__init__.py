"""The definition of the model: the equations of docs/equations.md in PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peephole.lazy import lazy_names

if TYPE_CHECKING:
    from peephole.nn.attention import AdditiveAttention as AdditiveAttention
    from peephole.nn.attention import CoverageAttention as CoverageAttention
    from peephole.nn.attention import DotAttention as DotAttention
    from peephole.nn.attention import GeneralAttention as GeneralAttention
    from peephole.nn.attention import LocationAttention as LocationAttention
    from peephole.nn.attention import MultiheadAttention as MultiheadAttention
    from peephole.nn.backends import use_engine as use_engine
    from peephole.nn.cells import GATES as GATES
    from peephole.nn.cells import PEEPHOLES as PEEPHOLES
    from peephole.nn.cells import GRUWeights as GRUWeights
    from peephole.nn.cells import LSTMState as LSTMState
    from peephole.nn.cells import LSTMWeights as LSTMWeights
    from peephole.nn.cells import gru as gru
    from peephole.nn.cells import gru_cell as gru_cell
    from peephole.nn.cells import lstm as lstm
    from peephole.nn.cells import lstm_cell as lstm_cell
    from peephole.nn.cells import valid_steps as valid_steps
    from peephole.nn.decoder import Decoder as Decoder
    from peephole.nn.decoder_state import DecoderState as DecoderState
    from peephole.nn.decoder_state import Memory as Memory
    from peephole.nn.encoder import Bridge as Bridge
    from peephole.nn.encoder import Encoder as Encoder
    from peephole.nn.encoder import fixed_context as fixed_context
    from peephole.nn.frontends import Frontend as Frontend
    from peephole.nn.frontends import SymbolFrontend as SymbolFrontend
    from peephole.nn.layers import GRU as GRU
    from peephole.nn.layers import LSTM as LSTM
    from peephole.nn.noise import Noise as Noise
    from peephole.nn.seq2seq import Seq2Seq as Seq2Seq
    from peephole.nn.seq2seq import build_seq2seq as build_seq2seq
    from peephole.nn.stepper import Seq2SeqStepper as Seq2SeqStepper

_MODULES = {
    "AdditiveAttention": "peephole.nn.attention",
    "Bridge": "peephole.nn.encoder",
    "CoverageAttention": "peephole.nn.attention",
    "Decoder": "peephole.nn.decoder",
    "DecoderState": "peephole.nn.decoder_state",
    "DotAttention": "peephole.nn.attention",
    "Encoder": "peephole.nn.encoder",
    "Frontend": "peephole.nn.frontends",
    "GATES": "peephole.nn.cells",
    "GRU": "peephole.nn.layers",
    "GRUWeights": "peephole.nn.cells",
    "GeneralAttention": "peephole.nn.attention",
    "LSTM": "peephole.nn.layers",
    "LSTMState": "peephole.nn.cells",
    "LSTMWeights": "peephole.nn.cells",
    "LocationAttention": "peephole.nn.attention",
    "Memory": "peephole.nn.decoder_state",
    "MultiheadAttention": "peephole.nn.attention",
    "Noise": "peephole.nn.noise",
    "PEEPHOLES": "peephole.nn.cells",
    "Seq2Seq": "peephole.nn.seq2seq",
    "Seq2SeqStepper": "peephole.nn.stepper",
    "SymbolFrontend": "peephole.nn.frontends",
    "build_seq2seq": "peephole.nn.seq2seq",
    "fixed_context": "peephole.nn.encoder",
    "gru": "peephole.nn.cells",
    "gru_cell": "peephole.nn.cells",
    "lstm": "peephole.nn.cells",
    "lstm_cell": "peephole.nn.cells",
    "use_engine": "peephole.nn.backends",
    "valid_steps": "peephole.nn.cells",
}

__all__ = [
    "GATES",
    "GRU",
    "LSTM",
    "PEEPHOLES",
    "AdditiveAttention",
    "Bridge",
    "CoverageAttention",
    "Decoder",
    "DecoderState",
    "DotAttention",
    "Encoder",
    "Frontend",
    "GRUWeights",
    "GeneralAttention",
    "LSTMState",
    "LSTMWeights",
    "LocationAttention",
    "Memory",
    "MultiheadAttention",
    "Noise",
    "Seq2Seq",
    "Seq2SeqStepper",
    "SymbolFrontend",
    "build_seq2seq",
    "fixed_context",
    "gru",
    "gru_cell",
    "lstm",
    "lstm_cell",
    "use_engine",
    "valid_steps",
]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
