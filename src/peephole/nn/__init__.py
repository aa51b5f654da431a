"""The definition: the equations of the article in PyTorch. Where it can, the engine computes its recurrences."""

from peephole.nn.attention import AdditiveAttention, DotAttention, GeneralAttention
from peephole.nn.cells import (
    GATES,
    PEEPHOLES,
    GRUWeights,
    LSTMState,
    LSTMWeights,
    gru,
    gru_cell,
    lstm,
    lstm_cell,
    valid_steps,
)
from peephole.nn.decoder import Decoder, DecoderState, Memory
from peephole.nn.encoder import Bridge, Encoder, fixed_context
from peephole.nn.engine_ops import engine_in_use, use_engine
from peephole.nn.layers import GRU, LSTM
from peephole.nn.noise import Noise
from peephole.nn.seq2seq import Seq2Seq, build_seq2seq
from peephole.nn.stepper import Seq2SeqStepper

__all__ = [
    "GATES",
    "GRU",
    "LSTM",
    "PEEPHOLES",
    "AdditiveAttention",
    "Bridge",
    "Decoder",
    "DecoderState",
    "DotAttention",
    "Encoder",
    "GRUWeights",
    "GeneralAttention",
    "LSTMState",
    "LSTMWeights",
    "Memory",
    "Noise",
    "Seq2Seq",
    "Seq2SeqStepper",
    "build_seq2seq",
    "engine_in_use",
    "fixed_context",
    "gru",
    "gru_cell",
    "lstm",
    "lstm_cell",
    "use_engine",
    "valid_steps",
]
