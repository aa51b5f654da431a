"""The structures of engine/include/peephole.h for ctypes; a test compares them with the compiler's layout."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping


class LSTM(ctypes.Structure):
    """`peephole_lstm`."""

    _SETTINGS = ("scalar", "operand", "form", "reverse", "threads", "cell", "zoneout", "layer_norm")
    _SIZES = ("batch", "steps", "input_size", "hidden_size")
    _ARRAYS = (
        "lengths",
        "x",
        "h0",
        "c0",
        "weight_input",
        "weight_hidden",
        "bias",
        "bias_hidden",
        "weight_peephole",
        "taken_h",
        "taken_c",
        "gain",
        "cell_gain",
        "cell_bias",
        "out",
        "h_last",
        "c_last",
        "saved",
        "scratch",
    )
    _fields_ = (
        *((name, ctypes.c_int32) for name in _SETTINGS),
        *((name, ctypes.c_int64) for name in _SIZES),
        *((name, ctypes.c_void_p) for name in _ARRAYS),
    )


class LSTMGradients(ctypes.Structure):
    """`peephole_lstm_gradients`."""

    _ARRAYS = (
        "out",
        "h_last",
        "c_last",
        "x",
        "h0",
        "c0",
        "weight_input",
        "weight_hidden",
        "bias",
        "bias_hidden",
        "weight_peephole",
        "gain",
        "cell_gain",
        "cell_bias",
    )
    _fields_ = tuple((name, ctypes.c_void_p) for name in _ARRAYS)


class DecoderLayer(ctypes.Structure):
    """`peephole_decoder_layer`."""

    _ARRAYS = (
        *("h0", "c0", "weight_input", "weight_hidden", "bias", "bias_hidden", "weight_peephole", "mask"),
        *("taken_h", "taken_c", "gain", "cell_gain", "cell_bias", "hidden"),
    )
    _fields_ = tuple((name, ctypes.c_void_p) for name in _ARRAYS)


class Decoder(ctypes.Structure):
    """`peephole_decoder`."""

    _SIZES = (
        *("batch", "steps", "source_steps", "embedding_size", "memory_size", "key_size", "hidden_size"),
        *("channels", "filter_width", "heads"),
    )
    _ARRAYS = (
        "lengths",
        "source_lengths",
        "embedded",
        "memory",
        "keys",
        "asked",
        "weight_query",
        "vector",
        "attention_bias",
        "weight_location",
        "filters",
        "weight_output",
        "readout_weight",
        "readout_bias",
        "readout_mask",
        "readouts",
        "fed",
        "layers",
        "contexts",
        "sums",
        "weights",
        "saved",
        "scratch",
    )
    _SETTINGS = (
        *("scalar", "operand", "form", "attention", "threads", "num_layers", "cell", "residual", "input_feeding"),
        *("zoneout", "layer_norm"),
    )
    _fields_ = (
        *((name, ctypes.c_int32) for name in _SETTINGS),
        *((name, ctypes.c_int64) for name in _SIZES),
        *((name, ctypes.c_void_p) for name in _ARRAYS),
    )


class DecoderLayerGradients(ctypes.Structure):
    """`peephole_decoder_layer_gradients`."""

    _ARRAYS = (
        *("h0", "c0", "weight_input", "weight_hidden", "bias", "bias_hidden", "weight_peephole"),
        *("gain", "cell_gain", "cell_bias"),
    )
    _fields_ = tuple((name, ctypes.c_void_p) for name in _ARRAYS)


class DecoderGradients(ctypes.Structure):
    """`peephole_decoder_gradients`."""

    _ARRAYS = (
        *("states", "contexts", "weights", "embedded", "memory", "keys", "asked", "weight_query", "vector"),
        *("attention_bias", "weight_location", "filters", "weight_output", "readouts", "read_embedded", "layers"),
    )
    _fields_ = tuple((name, ctypes.c_void_p) for name in _ARRAYS)


Addresses = Mapping[str, int | None]
"""The address of each array, by its name in peephole.h."""


class Linear(ctypes.Structure):
    """`peephole_linear`."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("scalar", "operand", "threads")),
        *((name, ctypes.c_int64) for name in ("rows", "inputs", "outputs")),
        *((name, ctypes.c_void_p) for name in ("x", "weight", "bias", "y", "scratch")),
    )


class LinearGradients(ctypes.Structure):
    """`peephole_linear_gradients`."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("y", "x", "weight", "bias"))


class OutputLoss(ctypes.Structure):
    """`peephole_output_loss`."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("scalar", "operand", "threads")),
        *((name, ctypes.c_int64) for name in ("rows", "hidden_size", "symbols")),
        *((name, ctypes.c_int64) for name in ("steps", "source_steps", "padding")),
        *((name, ctypes.c_double) for name in ("label_smoothing", "consistency_loss", "teacher_weight")),
        ("num_taught", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("taught_symbols", "taught_shares")),
        *((name, ctypes.c_void_p) for name in ("targets", "readouts", "weight", "bias")),
        *((name, ctypes.c_void_p) for name in ("gates", "positions", "weights", "copied", "loss", "scratch")),
    )


class OutputLossGradients(ctypes.Structure):
    """`peephole_output_loss_gradients`."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("readouts", "weight", "bias", "gates", "weights"))


class DropoutMask(ctypes.Structure):
    """`peephole_dropout_mask`."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("threads", "threshold")),
        ("keep_rate", ctypes.c_float),
        *((name, ctypes.c_int64) for name in ("batch", "steps", "units", "place")),
        *((name, ctypes.c_void_p) for name in ("examples", "unit_keys", "mask")),
    )


class TrainerSettings(ctypes.Structure):
    """`peephole_trainer_settings`."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("scalar", "operand", "threads", "variational")),
        *((name, ctypes.c_int64) for name in ("num_source_symbols", "num_target_symbols")),
        *((name, ctypes.c_double) for name in ("dropout", "label_smoothing", "clip_norm", "weight_decay")),
        *((name, ctypes.c_double) for name in ("coverage_loss", "consistency_loss", "teacher_weight", "ctc_weight")),
        *((name, ctypes.c_int64) for name in ("time_masks", "time_mask_size", "feature_masks", "feature_mask_size")),
    )


class TrainerTensor(ctypes.Structure):
    """`peephole_trainer_tensor`."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("num_dimensions", ctypes.c_int64),
        ("shape", ctypes.c_int64 * 2),
        ("arrays", ctypes.c_void_p * 5),
    )


class TrainerStep(ctypes.Structure):
    """`peephole_trainer_step`."""

    _SIDES = ("sources", "frames", "source_lengths", "copied", "targets")
    _NUMBERS = ("learning_rate", "divisor", "average_decay", "sampling_probability", "loss", "gradient_norm")
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "source_steps", "target_steps")),
        *((name, ctypes.c_void_p) for name in _SIDES),
        ("num_taught", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("taught_symbols", "taught_shares", "vectors", "examples", "sites")),
        *((name, ctypes.c_int64) for name in ("time_mask_site", "feature_mask_site", "step")),
        *((name, ctypes.c_double) for name in _NUMBERS),
        ("log_densities", ctypes.c_void_p),
        ("updated", ctypes.c_int32),
    )


ShouldStop = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)
"""The type of `should_stop` in `peephole_request`."""


class Request(ctypes.Structure):
    """`peephole_request`."""

    _fields_ = (
        ("kind", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("with_attention", ctypes.c_int32),
        ("num_models", ctypes.c_int64),
        ("models", ctypes.c_void_p),
        ("num_guides", ctypes.c_int64),
        ("guides", ctypes.c_void_p),
        ("guide_weights", ctypes.c_void_p),
        ("num_sources", ctypes.c_int64),
        ("batch_size", ctypes.c_int64),
        ("ctc_weight", ctypes.c_double),
        ("source_offsets", ctypes.c_void_p),
        ("sources", ctypes.c_void_p),
        ("copies", ctypes.c_void_p),
        ("frames", ctypes.c_void_p),
        ("max_lengths", ctypes.c_void_p),
        ("target_offsets", ctypes.c_void_p),
        ("targets", ctypes.c_void_p),
        ("beam_size", ctypes.c_int64),
        ("nbest", ctypes.c_int64),
        ("length_penalty", ctypes.c_double),
        ("length_reward", ctypes.c_double),
        ("coverage_penalty", ctypes.c_double),
        ("diverse_groups", ctypes.c_int64),
        ("diversity", ctypes.c_double),
        ("phrase_offsets", ctypes.c_void_p),
        ("phrase_symbol_offsets", ctypes.c_void_p),
        ("phrases", ctypes.c_void_p),
        ("min_length", ctypes.c_int64),
        ("no_repeat_ngram", ctypes.c_int64),
        ("temperature", ctypes.c_double),
        ("top_p", ctypes.c_double),
        ("top_k", ctypes.c_int64),
        ("num_alternatives", ctypes.c_int64),
        ("generators", ctypes.c_void_p),
        ("should_stop", ShouldStop),
        ("should_stop_context", ctypes.c_void_p),
    )


class TraceRequest(ctypes.Structure):
    """`peephole_trace_request`."""

    _fields_ = (
        ("request", ctypes.c_void_p),
        ("top", ctypes.c_int64),
        ("bent_step", ctypes.c_int64),
        ("bent_weights", ctypes.c_void_p),
    )


class NamedArray(ctypes.Structure):
    """`peephole_array`."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("num_dimensions", ctypes.c_int64),
        ("shape", ctypes.c_int64 * 3),
        ("numbers", ctypes.c_void_p),
    )


class Trace(ctypes.Structure):
    """`peephole_trace`."""

    _PATH = ("symbols", "log_probs", "ranks")
    _ALTERNATIVES = ("top_symbols", "top_log_probs")
    _NODES = ("parents", "steps", "node_symbols", "node_log_probs", "scores", "groups", "fates")
    _fields_ = (
        ("num_symbols", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in _PATH),
        ("num_alternatives", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in _ALTERNATIVES),
        ("num_arrays", ctypes.c_int64),
        ("arrays", ctypes.POINTER(NamedArray)),
        ("num_nodes", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in _NODES),
    )


class Forecast(ctypes.Structure):
    """`peephole_forecast`."""

    _fields_ = (
        ("threads", ctypes.c_int32),
        *((name, ctypes.c_int64) for name in ("num_sources", "num_samples", "num_steps", "batch_size")),
        *((name, ctypes.c_void_p) for name in ("source_offsets", "frames", "noise", "samples")),
        ("should_stop", ShouldStop),
        ("should_stop_context", ctypes.c_void_p),
    )


class Result(ctypes.Structure):
    """`peephole_result`."""

    _TARGETS = ("source", "log_probs", "offsets", "symbols", "symbol_log_probs")
    _fields_ = (
        ("num_targets", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in _TARGETS),
        ("num_alternatives", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("top_symbols", "top_log_probs", "attention_offsets", "attention")),
    )


class Answers(ctypes.Structure):
    """`peephole_answers`."""

    _fields_ = (
        ("num_sources", ctypes.c_int64),
        ("tickets", ctypes.c_void_p),
        ("errors", ctypes.POINTER(ctypes.c_char_p)),
        ("result", ctypes.POINTER(Result)),
    )
