"""Networks and settings of whole training steps on the engine."""

from __future__ import annotations

from contracts.training_checks import Case

ZONEOUT = {"zoneout_hidden": 0.4, "zoneout_cell": 0.3}
TEACHER = {"teacher": "a", "teacher_weight": 0.4}

# Every pair of values of two settings occurs in some case
CASES = {
    "default": Case({}),
    "stacked": Case({"encoder_layers": 2, "decoder_layers": 3, "encoder_size": 6, "residual": True}),
    "one direction": Case(
        {"bidirectional": False, "peephole": "diagonal", "attention": "general", "decoder_layers": 2}
    ),
    "dot": Case({"attention": "dot", "peephole": "none", "encoder_layers": 3, "residual": True}),
    "last": Case({"context": "last", "decoder_layers": 2, "encoder_layers": 2}),
    "last, bridge": Case({"context": "last", "encoder_size": 8, "peephole": "none", "decoder_layers": 2}),
    "mean": Case({"context": "mean", "encoder_size": 7, "bidirectional": False, "peephole": "diagonal"}),
    "pyramid": Case({"encoder_layers": 3, "encoder_pyramid": 2, "residual": True, "encoder_size": 6}),
    "pyramid, mean": Case({"encoder_layers": 2, "encoder_pyramid": 1, "context": "mean", "peephole": "none"}),
    "general, bridge": Case({"attention": "general", "encoder_size": 4, "encoder_layers": 3, "decoder_layers": 2}),
    "location": Case({"attention": "location", "location_channels": 3, "location_width": 5, "decoder_layers": 2}),
    "coverage": Case({"attention": "coverage", "encoder_size": 6, "peephole": "diagonal"}, sampling_probability=0.3),
    "multihead": Case({"attention": "multihead", "attention_heads": 2, "encoder_size": 6, "encoder_layers": 2}),
    "symbol read": Case({"attention_symbol": True, "decoder_layers": 2}),
    "symbol read, no dropout": Case(
        {"attention_symbol": True, "attention": "location", "location_width": 3, "cell": "gru"}, dropout=0
    ),
    "symbol read, sampling": Case(
        {"attention_symbol": True, "attention": "coverage", "encoder_size": 6}, sampling_probability=0.6
    ),
    "symbol read, copying, sampling": Case(
        {"attention_symbol": True, "output": "copy", "peephole": "none"}, sampling_probability=1
    ),
    "symbol read, multihead": Case(
        {"attention_symbol": True, "attention": "multihead", "attention_heads": 2, "ctc": True, "residual": True}
    ),
    "vector read": Case(
        {"attention_symbol": True, "input": "frames", "output": "gaussian", "scaling": "source", "decoder_layers": 2}
    ),
    "feeding": Case({"input_feeding": True, "decoder_layers": 2, "residual": True}),
    "feeding, no dropout": Case(
        {"input_feeding": True, "attention": "location", "location_width": 3, "cell": "gru", "encoder_size": 6},
        dropout=0,
    ),
    "feeding, variational": Case(
        {"input_feeding": True, "context": "mean", "encoder_size": 7, "bidirectional": False, "peephole": "diagonal"},
        {"variational_dropout": True},
    ),
    "feeding, copying, sampling": Case(
        {"input_feeding": True, "output": "copy", "attention": "coverage", "decoder_layers": 2},
        {"coverage_loss": 0.7},
        sampling_probability=0.6,
    ),
    "feeding, symbol read, ctc": Case(
        {"input_feeding": True, "attention_symbol": True, "attention": "multihead", "attention_heads": 2, "ctc": True}
    ),
    "feeding, trigrams, one layer": Case(
        {"input_feeding": True, "ngram_rows": 7, "attention": "dot", "peephole": "none"}
    ),
    "feeding language model": Case({"input": "none", "input_feeding": True, "decoder_layers": 2, "residual": True}),
    "feeding gru language model, sampling": Case(
        {"input": "none", "input_feeding": True, "cell": "gru"}, dropout=0, sampling_probability=1
    ),
    "feeding, vectors": Case(
        {"input": "frames", "input_feeding": True, "output": "gaussian", "scaling": "source", "decoder_layers": 2}
    ),
    "feeding, quantiles": Case(
        {"input": "frames", "input_feeding": True, "output": "quantile", "context": "last", "peephole": "none"},
        {"variational_dropout": True},
    ),
    "trigrams": Case({"ngram_rows": 11, "encoder_layers": 2}),
    "trigrams, variational": Case({"ngram_rows": 3, "cell": "gru"}, {"variational_dropout": True}),
    "trigrams, copying": Case({"ngram_rows": 500, "output": "copy", "attention": "coverage"}),
    "copying": Case({"output": "copy", "encoder_layers": 2, "peephole": "diagonal"}),
    "copying, coverage": Case(
        {"output": "copy", "attention": "coverage", "decoder_layers": 2, "encoder_size": 6}, {"coverage_loss": 0.7}
    ),
    "coverage loss": Case({"attention": "coverage", "encoder_layers": 2, "encoder_pyramid": 1}, {"coverage_loss": 1.5}),
    "copying, multihead": Case({"output": "copy", "attention": "multihead", "attention_heads": 2, "cell": "gru"}),
    "copying, sampling": Case(
        {"output": "copy", "attention": "location", "decoder_layers": 2}, {"coverage_loss": 0}, sampling_probability=0.7
    ),
    "copying, sampling, always": Case(
        {"output": "copy", "attention": "general", "cell": "gru"}, {"label_smoothing": 0}, sampling_probability=1
    ),
    "copying, dot": Case({"output": "copy", "attention": "dot", "peephole": "none"}, {"label_smoothing": 0}),
    "gru": Case({"cell": "gru", "encoder_layers": 2, "decoder_layers": 2, "residual": True}),
    "gru, bridge": Case({"cell": "gru", "encoder_size": 6, "attention": "coverage"}, sampling_probability=0.5),
    "gru language model": Case({"input": "none", "cell": "gru", "decoder_layers": 2}),
    "variational": Case({"encoder_layers": 2, "decoder_layers": 2}, {"variational_dropout": True}),
    "no dropout": Case({"encoder_layers": 2, "decoder_layers": 2, "residual": True}, {"label_smoothing": 0}, dropout=0),
    "sampling": Case({"decoder_layers": 2, "residual": True}, sampling_probability=0.6),
    "sampling, always": Case(
        {"context": "mean", "peephole": "none"}, {"variational_dropout": True}, sampling_probability=1
    ),
    "frames": Case(
        {"input": "frames", "peephole": "none"}, {"time_masks": 3, "feature_masks": 1, "feature_mask_size": 2}
    ),
    "frames joined, pyramid": Case(
        {"input": "frames", "frame_stack": 3, "encoder_layers": 2, "encoder_pyramid": 1, "decoder_layers": 2},
        {"time_masks": 2, "time_mask_size": 3, "variational_dropout": True},
    ),
    "convolution": Case(
        {"input": "convolution", "convolution_layers": 1, "convolution_channels": 4, "context": "mean"}
    ),
    "convolutions of planes": Case(
        {"input": "convolution", "convolution_channels": 3, "input_planes": 2, "cell": "gru", "encoder_layers": 2},
        {"time_masks": 1, "feature_masks": 2, "feature_mask_size": 4},
        sampling_probability=0.4,
    ),
    "three convolutions": Case(
        {"input": "convolution", "convolution_layers": 3, "convolution_channels": 5, "attention": "location"}
    ),
    "ctc": Case({"ctc": True, "encoder_layers": 2, "decoder_layers": 2, "encoder_size": 6}, {"ctc_weight": 0.4}),
    "ctc, pyramid": Case(
        {"ctc": True, "encoder_layers": 2, "encoder_pyramid": 1, "bidirectional": False, "peephole": "diagonal"},
        {"variational_dropout": True},
    ),
    "ctc, coverage loss": Case(
        {"ctc": True, "attention": "coverage", "cell": "gru"}, {"coverage_loss": 0.7}, sampling_probability=0.3
    ),
    "ctc, frames": Case(
        {"ctc": True, "input": "frames", "frame_stack": 3, "peephole": "none"}, {"time_masks": 1, "feature_masks": 1}
    ),
    "ctc, last": Case({"ctc": True, "context": "last", "peephole": "none"}, {"ctc_weight": 0.9}),
    "ctc alone": Case({"ctc": True, "attention": "multihead", "attention_heads": 2}, {"ctc_weight": 1.0}),
    "consistency": Case({"encoder_layers": 2, "decoder_layers": 2, "peephole": "diagonal"}, {"consistency_loss": 3.0}),
    "consistency, ctc": Case(
        {"ctc": True, "attention": "dot", "encoder_layers": 2, "peephole": "none"},
        {"consistency_loss": 1.5, "label_smoothing": 0, "variational_dropout": True},
    ),
    "consistency, sampling": Case(
        {"input_feeding": True, "cell": "gru", "context": "mean"}, {"consistency_loss": 0.5}, sampling_probability=0.6
    ),
    "consistency of a language model": Case({"input": "none", "peephole": "none"}, {"consistency_loss": 2.0}),
    "consistency, frames": Case({"input": "frames", "attention": "dot"}, {"consistency_loss": 1.0, "time_masks": 2}),
    "teacher": Case({"encoder_layers": 2, "decoder_layers": 2, "peephole": "diagonal"}, TEACHER),
    "teacher alone": Case({"attention_symbol": True, "peephole": "none"}, {"teacher": "a", "teacher_weight": 1}),
    "teacher, ctc": Case({"ctc": True, "encoder_layers": 2}, {**TEACHER, "label_smoothing": 0}, dropout=0),
    "teacher, sampling, frames": Case(
        {"input": "frames", "input_feeding": True, "cell": "gru"},
        {**TEACHER, "time_masks": 2},
        sampling_probability=0.6,
    ),
    "teacher, consistency": Case({"context": "mean", "decoder_layers": 2}, {**TEACHER, "consistency_loss": 2.0}),
    "teacher of a language model": Case({"input": "none"}, {**TEACHER, "consistency_loss": 0.5}),
    "vectors": Case(
        {"input": "frames", "output": "gaussian", "scaling": "source", "encoder_layers": 2, "decoder_layers": 2},
        {"time_masks": 2, "feature_masks": 1, "feature_mask_size": 2},
    ),
    "vectors in constant units": Case(
        {"input": "frames", "output": "gaussian", "scaling": "constant", "frame_stack": 3, "peephole": "diagonal"}
    ),
    "vectors, not continued": Case(
        {"input": "frames", "output": "quantile", "scaling": "constant", "continues": False, "attention": "coverage"},
        {"variational_dropout": True},
    ),
    "vectors, no feedback": Case(
        {"input": "frames", "output": "quantile", "quantiles": 4, "feedback": False, "context": "last", "cell": "gru"}
    ),
    "many quantiles": Case(
        {
            "input": "frames",
            "output": "quantile",
            "quantiles": 21,
            "output_size": 6,
            "encoder_size": 6,
            "residual": True,
        }
    ),
    "vectors of convolutions": Case(
        {"input": "convolution", "input_planes": 2, "convolution_channels": 3, "output": "quantile", "output_size": 5}
    ),
    "vectors, multihead": Case(
        {"input": "frames", "output": "gaussian", "attention": "multihead", "attention_heads": 2, "peephole": "none"}
    ),
    "language model": Case({"input": "none", "decoder_layers": 3, "residual": True}),
    "language model, one layer": Case({"input": "none", "peephole": "diagonal"}, {"variational_dropout": True}),
    "language model, sampling": Case(
        {"input": "none", "decoder_layers": 2, "residual": True}, sampling_probability=0.6
    ),
    "language model, sampling, always": Case(
        {"input": "none", "peephole": "diagonal"},
        {"variational_dropout": True, "label_smoothing": 0},
        sampling_probability=1,
    ),
    "gru language model, sampling": Case(
        {"input": "none", "cell": "gru", "decoder_layers": 3}, sampling_probability=0.4
    ),
    "zoneout": Case({**ZONEOUT, "encoder_layers": 2, "decoder_layers": 2, "encoder_size": 6}),
    "zoneout, diagonal": Case({**ZONEOUT, "peephole": "diagonal", "decoder_layers": 2, "residual": True}),
    "zoneout, none": Case(
        {**ZONEOUT, "peephole": "none", "encoder_layers": 3, "encoder_pyramid": 1, "bidirectional": False}, dropout=0
    ),
    "zoneout of h": Case(
        {"zoneout_hidden": 0.5, "context": "last", "decoder_layers": 2}, {"variational_dropout": True}
    ),
    "zoneout of c": Case({"zoneout_cell": 0.5, "context": "mean", "encoder_layers": 2, "residual": True}),
    "zoneout of c, diagonal": Case({"zoneout_cell": 0.3, "peephole": "diagonal", "attention": "location"}),
    "zoneout, gru": Case({"zoneout_hidden": 0.4, "cell": "gru", "encoder_layers": 2, "decoder_layers": 2}),
    "zoneout, gru, sampling": Case({"zoneout_hidden": 0.4, "cell": "gru", "residual": True}, sampling_probability=0.6),
    "zoneout, sampling": Case({**ZONEOUT, "attention": "coverage"}, sampling_probability=0.6),
    "zoneout, copying, feeding": Case({**ZONEOUT, "output": "copy", "input_feeding": True, "decoder_layers": 2}),
    "zoneout, ctc": Case({**ZONEOUT, "ctc": True, "attention": "multihead", "attention_heads": 2}),
    "zoneout, consistency": Case({**ZONEOUT, "attention_symbol": True}, {"consistency_loss": 2.0}),
    "zoneout, convolution": Case({**ZONEOUT, "input": "convolution", "convolution_channels": 3}, {"time_masks": 1}),
    "zoneout, vectors": Case(
        {**ZONEOUT, "input": "frames", "output": "gaussian", "scaling": "source", "decoder_layers": 2, "residual": True}
    ),
    "zoneout, language model": Case({**ZONEOUT, "input": "none", "decoder_layers": 3, "residual": True}),
    "zoneout, language model, sampling": Case(
        {**ZONEOUT, "input": "none", "decoder_layers": 2, "peephole": "diagonal"}, sampling_probability=0.6
    ),
    "norm": Case({"layer_norm": True, "encoder_layers": 2, "decoder_layers": 2, "encoder_size": 6}),
    "norm, diagonal": Case({"layer_norm": True, "peephole": "diagonal", "decoder_layers": 2, "residual": True}),
    "norm, none": Case(
        {"layer_norm": True, "peephole": "none", "encoder_layers": 3, "encoder_pyramid": 1, "bidirectional": False},
        dropout=0,
    ),
    "norm of one unit": Case({"layer_norm": True, "hidden_size": 1, "bidirectional": False, "context": "last"}),
    "norm of whole vectors": Case({"layer_norm": True, "hidden_size": 16, "context": "mean", "residual": True}),
    "norm, gru": Case({"layer_norm": True, "cell": "gru", "encoder_layers": 2, "decoder_layers": 2}),
    "norm, gru, sampling": Case({"layer_norm": True, "cell": "gru", "attention": "coverage"}, sampling_probability=0.6),
    "norm, sampling": Case({"layer_norm": True, "attention_symbol": True}, sampling_probability=0.6),
    "norm, zoneout": Case({**ZONEOUT, "layer_norm": True, "encoder_layers": 2, "decoder_layers": 2}),
    "norm, zoneout, diagonal": Case({"zoneout_cell": 0.4, "layer_norm": True, "peephole": "diagonal"}),
    "norm, zoneout, gru": Case({"zoneout_hidden": 0.4, "layer_norm": True, "cell": "gru", "residual": True}),
    "norm, copying, feeding": Case({"layer_norm": True, "output": "copy", "input_feeding": True, "decoder_layers": 2}),
    "norm, ctc": Case({"layer_norm": True, "ctc": True, "attention": "multihead", "attention_heads": 2}),
    "norm, convolution": Case({"layer_norm": True, "input": "convolution", "convolution_channels": 3}),
    "norm, vectors": Case({"layer_norm": True, "input": "frames", "output": "gaussian", "scaling": "source"}),
    "norm, language model": Case({"layer_norm": True, "input": "none", "decoder_layers": 3, "residual": True}),
    "norm, language model, sampling": Case(
        {"layer_norm": True, "input": "none", "peephole": "diagonal"}, sampling_probability=0.6
    ),
}
