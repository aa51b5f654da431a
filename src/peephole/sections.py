"""The settings of a run by section: typed, frozen, with one default and one line of help each.

The dataclasses below alone define the name, type, default and description of each setting. `--set`, TOML files,
keyword arguments of `peephole.train`, the help text and the table in the documentation are generated from them. Layers
take plain arguments: a builder reads the config.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from peephole.values import option

SymbolKind = Literal["auto", "characters", "whitespace", "bpe", "unigram"]

# Far above any useful size: a file with larger ones is refused before a network of that size is built.
LARGEST_SIZE = 2**16
MOST_NGRAM_ROWS = 2**20
MOST_LAYERS = 64
MOST_CONVOLUTIONS = 8  # each halves the number of steps
MOST_JOINED = 64
MOST_SYMBOLS = 10**6  # learning subwords reserves memory for that many
LONGEST_TARGET = 10**6  # symbols of a prediction
MOST_AT_A_TIME = 10**6  # hypotheses, or sources in a batch
HIGHEST_COUNT = 10**9  # of settings that no data can exceed, so that it means "all"
MOST_MINUTES = 10**7  # 19 years
MOST_CHANNELS, LARGEST_WIDTH, MOST_HEADS, MOST_QUANTILES = 256, 2001, 256, 999
DEFAULT_EPOCHS = 20  # the default budget of a training
LARGEST_SEED = 2**63 - 1  # the largest that PyTorch accepts
MOST_THREADS = 1024


@dataclass(frozen=True)
class DataConfig:
    """Settings for reading pairs from files and for batches."""

    source: str = option("source", "TSV and CSV with a header, JSONL, Parquet: the column that holds the source")
    target: str = option("target", "TSV and CSV with a header, JSONL, Parquet: the column that holds the target")
    targets_only: bool = option(
        False, "each line is a target alone, for a language model; model.input=none sets it in training"
    )
    bad_lines: Literal["error", "skip"] = option(
        "error",
        "a line of wrong columns, an empty side, invalid UTF-8, a source that cannot be read: stop, or skip and count",
    )
    max_length: int = option(
        1000,
        "most symbols a side: longer training pairs are left out and counted, sources to predict are cut",
        low=1,
        high=HIGHEST_COUNT,
    )
    dev_fraction: float = option(
        0.02,
        "share of the sources held out as dev set when none is given; more, up to a tenth, where it is under 100 pairs",
        low=0.0001,
        high=0.5,
    )
    dev_limit: int = option(
        2000, "at most this many pairs are held out when no dev set is given", low=1, high=HIGHEST_COUNT
    )
    batch_symbols: int = option(1000, "target symbols in a batch, summed over all processes", low=1, high=HIGHEST_COUNT)
    horizon: int | None = option(
        None,
        "forecasting: steps that follow a window; with it, the training file is a table of series",
        low=1,
        high=HIGHEST_COUNT,
    )
    history: int | None = option(
        None, "forecasting: steps of a window, the source (default: four horizons)", low=1, high=HIGHEST_COUNT
    )
    columns: Literal["separate", "joint"] = option(
        "separate", "forecasting: each column is a series of its own, or all are one series of vectors"
    )
    time: str | None = option(
        None, "forecasting: the column of times, which is not read (default: the first whose cells are no numbers)"
    )


@dataclass(frozen=True)
class FramesConfig:
    """Settings for sources that are files of sound, images or numbers, named in the source column of a manifest."""

    kind: Literal["auto", "text", "sound", "image", "numbers"] = option(
        "auto", "what the sources are; auto decides by the suffixes of the files that the first lines name"
    )
    sample_rate: int = option(16000, "sound: samples a second; other files are resampled", low=1000, high=192000)
    mel_bins: int = option(80, "sound: log-mel filters, the numbers in a frame of 10 ms", low=4, high=256)
    height: int = option(48, "images: points to which the height is scaled; a frame is a column", low=1, high=1024)
    colours: bool = option(False, "images: red, green and blue, instead of grey")
    max_frames: int = option(
        4000,
        "most frames of a source: longer ones in training are left out and counted, in prediction cut",
        low=1,
        high=10**6,
    )
    batch_frames: int = option(
        20000, "frames in a batch, padding included, whatever data.batch_symbols allows", low=1, high=HIGHEST_COUNT
    )
    speeds: Literal["one", "three"] = option(
        "one", "three adds every training sound at 0.9 and 1.1 times its speed, every image as many times narrower"
    )


@dataclass(frozen=True)
class SymbolsConfig:
    """Settings for splitting the texts of each side into symbols."""

    source: SymbolKind = option("auto", "source symbols; auto chooses by the data and prints its choice")
    target: SymbolKind = option("auto", "target symbols; auto chooses by the data and prints its choice")
    shared: bool = option(
        False, "one table of symbols for both sides, learned from both; source and target then have one kind"
    )
    of: str | None = option(None, "model.input=none: take the target symbols over from this model file")
    vocabulary_size: int = option(
        8000, "most symbols that a vocabulary may hold, of a side or of both", low=8, high=MOST_SYMBOLS
    )
    min_count: int = option(1, "symbols seen fewer times in training become <unk>", low=1, high=HIGHEST_COUNT)
    normalize: Literal["NFC", "NFKC", "none"] = option("NFC", "Unicode normalisation of both sides")


@dataclass(frozen=True)
class ModelConfig:
    """The shape of the model; equation numbers are those of docs/equations.md."""

    input: Literal["symbols", "frames", "convolution", "none"] = option(
        "symbols", "what the model reads: symbols, frames, or none: a language model, trained on targets alone"
    )
    output: Literal["symbols", "copy", "gaussian", "quantile"] = option(
        "symbols",
        "what a target is made of: symbols; copy: also symbols of its source, (27); or real vectors whose distribution "
        "is normal or has quantiles",
    )
    output_size: int | None = option(None, "numbers in a vector of the target", low=1, high=LARGEST_SIZE)
    quantiles: int = option(9, "output=quantile: quantiles Q of (54)", low=2, high=MOST_QUANTILES)
    scaling: Literal["source", "constant"] = option(
        "source", "real outputs: mean and deviation of (51) are those of each source, or of all training data"
    )
    continues: bool = option(True, "real outputs: the target continues the first numbers of the source's frames")
    feedback: bool = option(
        True, "real outputs: each step is fed the vector before; false: it is fed y_0, and forecasts by itself"
    )
    input_size: int | None = option(None, "numbers in a frame of the source", low=1, high=LARGEST_SIZE)
    input_planes: int = option(
        1,
        "input=convolution: a frame holds this many columns of points, one after the other, such as colours",
        low=1,
        high=16,
    )
    frame_stack: int = option(1, "input=frames: this many frames are joined to one", low=1, high=MOST_JOINED)
    convolution_layers: int = option(
        2, "input=convolution: layers; each halves the number of steps and of features", low=1, high=MOST_CONVOLUTIONS
    )
    convolution_channels: int = option(32, "input=convolution: channels of each layer", low=1, high=LARGEST_SIZE)
    cell: Literal["lstm", "gru"] = option("lstm", "recurrent cell, (1)-(6), of encoder and decoder")
    peephole: Literal["full", "diagonal", "none"] = option(
        "full", "W_c* of (1), (2) and (5): full matrices, diagonals, or left out; cell=gru alone sets none"
    )
    hidden_size: int = option(256, "size of the decoder's state", low=1, high=LARGEST_SIZE)
    encoder_size: int | None = option(
        None,
        "encoder output, both directions together (default: hidden_size); another size needs a learned bridge, (9)",
        low=1,
        high=LARGEST_SIZE,
    )
    embedding_size: int = option(128, "size of a symbol's embedding", low=1, high=LARGEST_SIZE)
    ngram_rows: int = option(
        0,
        "input=symbols: rows of a table of trigrams of source symbols, (66), found by a hash; 0: none",
        low=0,
        high=MOST_NGRAM_ROWS,
    )
    encoder_layers: int = option(1, "stacked encoder layers", low=1, high=MOST_LAYERS)
    encoder_pyramid: int = option(
        0, "encoder layers above the first that join two steps to one", low=0, high=MOST_CONVOLUTIONS
    )
    decoder_layers: int = option(1, "stacked decoder layers", low=1, high=MOST_LAYERS)
    residual: bool = option(
        False, "each layer from the second on adds what the layer below gives to its output, (41), if the sizes agree"
    )
    input_feeding: bool = option(
        False, "the decoder's first layer also reads the vector from which the step before was predicted, (62)"
    )
    bidirectional: bool = option(True, "read the source in both directions, (18)-(20)")
    context: Literal["attention", "last", "mean"] = option("attention", "context vector: (17), or one of (8)")
    attention: Literal["additive", "dot", "general", "location", "coverage", "multihead"] = option(
        "additive", "alignment model a: (15), (21) location, (22) coverage, or (24) multihead"
    )
    location_channels: int = option(10, "attention=location: filters F of (21)", low=1, high=MOST_CHANNELS)
    location_width: int = option(
        31, "attention=location: source positions that a filter spans, an odd number", low=1, high=LARGEST_WIDTH
    )
    attention_heads: int = option(
        4, "attention=multihead: heads K of (24), a divisor of hidden_size and encoder_size", low=1, high=MOST_HEADS
    )
    attention_symbol: bool = option(
        False, "attention also reads the symbol fed in this step, (67); not for attention=dot and general"
    )
    layer_norm: bool = option(
        False, "layer normalisation inside the cells: of the gates, and of c before the output, (44)-(46)"
    )
    zoneout_hidden: float = option(
        0.0, "zoneout of h, (43): the probability that a unit keeps the value of the step before", low=0, high=0.95
    )
    zoneout_cell: float = option(0.0, "zoneout of c, (43), likewise; cell=lstm only", low=0, high=0.95)
    ctc: bool = option(
        False, "a CTC output (31) over the encoder beside the decoder, for speech, print, and letters in the same order"
    )
    dropout: float = option(0.2, "dropout on embeddings, between layers and before the output", low=0, high=0.95)
    forget_bias: float = option(1.0, "first value of b_f", low=-100, high=100)
    embedding_std: float = option(
        1.0,
        "standard deviation of the first embeddings; smaller learns slower at first, and may end better",
        low=0,
        high=100,
    )

    initial_range: float = option(
        0.0,
        "first weights uniform within ± this number, often 0.1, as OpenNMT's param_init; 0: by the kind of each weight",
        low=0,
        high=100,
    )

    @property
    def predicts_vectors(self) -> bool:
        """Return whether targets are real vectors, not symbols."""
        return self.output in ("gaussian", "quantile")


@dataclass(frozen=True)
class TrainConfig:
    """Settings for fitting the model, (12)-(14)."""

    minutes: float | None = option(
        None, "train for this long: the learning rate reaches 0 at the end", low=0, high=MOST_MINUTES
    )
    epochs: float | None = option(
        None,
        f"train for this many passes over the data (default {DEFAULT_EPOCHS}; more, if they are under 3,000 updates)",
        low=0,
        high=HIGHEST_COUNT,
    )
    steps: int | None = option(None, "train for this many updates", low=1, high=HIGHEST_COUNT)
    learning_rate: float = option(0.002, "highest learning rate", low=0, high=10)
    weight_decay: float = option(0.01, "AdamW's decoupled weight decay", low=0, high=100)
    warmup: float = option(
        0.05, "share of the training in which the learning rate climbs from a hundredth of the highest", low=0, high=1
    )
    schedule: Literal["cosine", "linear", "constant"] = option("cosine", "learning rate after the warm-up")
    variational_dropout: bool = option(
        False, "model.dropout drops a unit at all steps of a sequence or at none, (42), not at each step anew"
    )
    clip_norm: float = option(
        1.0, "gradients with a larger norm are scaled down to it; 0: never", low=0, high=HIGHEST_COUNT
    )
    label_smoothing: float = option(0.1, "share of the probability spread over all symbols", low=0, high=0.9)
    time_masks: int = option(
        0, "frames: spans of steps of a source that are masked at random, as in SpecAugment", low=0, high=100
    )
    time_mask_size: int = option(20, "most steps of a mask, and at most a fifth of the source", low=1, high=10000)
    feature_masks: int = option(0, "frames: bands of features that are masked at random", low=0, high=100)
    feature_mask_size: int = option(15, "most features of a mask", low=1, high=10000)
    coverage_loss: float = option(
        0.0, "attention=coverage: weight of the coverage loss (23), which penalises attending twice", low=0, high=100
    )
    consistency_loss: float = option(
        0.0,
        "read each pair twice, with different dropout; weight of the loss (68) of differences between the two",
        low=0,
        high=100,
    )
    teacher: str | None = option(
        None, "model file, or several as A,B, whose mean probabilities are learned beside the gold symbols, (69)"
    )
    teacher_weight: float = option(
        0.5, "train.teacher: its share of the gold distribution (69); 1 learns from it alone", low=0, high=1
    )
    ctc_weight: float = option(0.3, "model.ctc: share w of the CTC loss in the loss (33)", low=0, high=1)
    loss_mean: Literal["symbol", "pair"] = option(
        "symbol", "the mean of (12): over symbols, so that long pairs do not set the step size, or over pairs"
    )
    scheduled_sampling: Literal["none", "linear", "exponential", "inverse_sigmoid"] = option(
        "none", "how the share of gold symbols fed, (13), falls while that of predicted ones, (14), grows"
    )
    sampling_end: float = option(0.25, "share of predicted symbols fed at the end of training", low=0, high=1)
    ema_decay: float = option(0.999, "decay of the moving average of the weights; 0 turns it off", low=0, high=0.99999)
    average_last: int = option(
        1, "average the weights of the last N evaluations if this is better on dev, or keep=last", low=1, high=1000
    )
    patience: int | None = option(
        None, "stop after this many evaluations without a better dev metric", low=1, high=HIGHEST_COUNT
    )
    dev_metric: Literal["symbol_error_rate", "exact_match", "loss", "chrf"] = option(
        "symbol_error_rate", "dev metric that selects the weights to keep"
    )
    keep: Literal["best", "last"] = option(
        "best", "the weights that become the model: the best on dev, or the last ones"
    )
    dev_pairs: int = option(1000, "dev sources decoded by greedy search at each evaluation", low=1, high=HIGHEST_COUNT)
    evaluations: int = option(
        20,
        "evaluations in a training, evenly spread; some are left out where they take over a fifth of train.minutes",
        low=1,
        high=10**6,
    )
    checkpoint_seconds: float = option(60.0, "seconds between checkpoints", low=0, high=HIGHEST_COUNT)
    seed: int = option(1, "seed of initial weights, data order and noise", low=0, high=LARGEST_SEED)
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed", "64-true"] = option(
        "auto",
        "as Fabric names it; auto is bf16-mixed where the engine trains all and is faster in it, else 32-true",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = option("auto", "device to train on; auto takes the fastest")
    threads: int | None = option(
        None, "CPU threads of each process (default: all that it may use)", low=1, high=MOST_THREADS
    )
    engine: Literal["auto", "off"] = option("auto", "off trains by the definition in PyTorch only")


@dataclass(frozen=True)
class SearchConfig:
    """Settings for searching the target of a source."""

    beam_size: int = option(5, "hypotheses kept; 1 is greedy search", low=1, high=MOST_AT_A_TIME)
    nbest: int = option(1, "predictions returned for each source", low=1, high=MOST_AT_A_TIME)
    length_penalty: float = option(
        0.0, "hypotheses are ranked by log p / length**length_penalty; 0 ranks by (11) alone", low=0, high=10
    )
    ctc_weight: float | None = option(
        None,
        "model.ctc: share λ of CTC in the score (36) that ranks hypotheses (default: train.ctc_weight)",
        low=0,
        high=1,
    )
    length_reward: float = option(0.0, "added to the score that ranks a hypothesis for each symbol", low=0, high=1000)
    coverage_penalty: float = option(
        0.0, "weight of Σ_j log min(Σ_t α_tj, 1) in that score: source places left out cost", low=0, high=1000
    )
    min_length: int = option(0, "least symbols of a prediction, </s> not counted", low=0, high=LONGEST_TARGET)
    no_repeat_ngram: int = option(
        0, "no sequence of this many symbols occurs twice in a prediction; 0: any may", low=0, high=HIGHEST_COUNT
    )
    diverse_groups: int = option(
        1, "groups that the beam is split into, each kept from repeating the others", low=1, high=MOST_AT_A_TIME
    )
    diversity: float = option(
        0.5,
        "diverse groups: a symbol costs this for each hypothesis of an earlier group that took it in the same step",
        low=0,
        high=HIGHEST_COUNT,
    )
    language_model: str | None = option(
        None, "file of a language model whose weighted log p ranks and chooses beside the model's"
    )
    language_model_weight: float = option(0.3, "weight of the language model's log p", low=0, high=1000)
    max_length_factor: float = option(
        3.0, "longest prediction: factor × source length + extra, at least min_length + 1", low=0, high=1000
    )
    max_length_extra: int = option(
        20, "longest prediction: factor × source length + extra, at least min_length + 1", low=1, high=LONGEST_TARGET
    )
    steps_ahead: int | None = option(
        None, "forecasting: steps to forecast (default: data.horizon)", low=1, high=HIGHEST_COUNT
    )
    samples: int = option(
        100, "forecasting: series drawn, whose quantiles are the forecast", low=1, high=MOST_AT_A_TIME
    )
    temperature: float | None = option(None, "sample at this temperature instead of searching", low=0.0001, high=10**6)
    top_k: int | None = option(None, "sampling: only the k most probable symbols", low=1, high=HIGHEST_COUNT)
    top_p: float | None = option(None, "sampling: only the smallest set that holds probability p", low=0.0001, high=1)
    calibration: float = option(
        1.0,
        "temperature of the reported probabilities, (63); the search does not use it; `evaluate --calibrate` fits it",
        low=0.01,
        high=100,
    )
    seed: int = option(1, "sampling: seed of the generator", low=0, high=LARGEST_SEED)
    batch_size: int = option(64, "sources searched at a time", low=1, high=MOST_AT_A_TIME)
    threads: int | None = option(
        None, "CPU threads of the engine (default: all that this process may use)", low=1, high=MOST_THREADS
    )
    engine: Literal["auto", "off"] = option("auto", "off searches by the definition in PyTorch")
