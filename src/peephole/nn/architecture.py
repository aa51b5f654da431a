"""The architecture of a network: all that decides its tensors and how it computes with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any

from peephole.config import Config, ModelConfig, read_section
from peephole.errors import ConfigError, nearest
from peephole.values import WANTED


@dataclass(frozen=True)
class Architecture:
    """All that decides which tensors a network has and how it computes with them.

    How the network was initialised and trained is not part of it.
    """

    cell: str  # lstm, gru
    peephole: str  # full, diagonal, none
    hidden_size: int  # H, size of the decoder's state
    encoder_size: int  # M, size of an encoder output, both directions together
    embedding_size: int  # E
    ngram_rows: int  # N of (66), input symbols; 0: trigrams of symbols have no vectors
    encoder_layers: int
    decoder_layers: int
    bidirectional: bool
    context: str  # attention, last, mean
    attention: str  # additive, dot, general, location, coverage, multihead
    location_channels: int  # C
    location_width: int  # R
    attention_heads: int  # K
    attention_symbol: bool  # the query of attention also reads E(y_{t-1}), (67)
    input: str  # symbols, frames, convolution
    output: str  # symbols, copy, gaussian, quantile
    output_size: int | None  # D, numbers in a vector of the target; None for symbols
    quantiles: int  # output quantile: Q
    scaling: str  # output gaussian, quantile: source, constant
    continues: bool  # likewise: the target continues the source's first D numbers
    feedback: bool  # likewise: the decoder is fed the vector before, not y_0
    input_size: int | None  # F, numbers in a frame; None for symbols
    input_planes: int  # input convolution: columns of points in a frame
    frame_stack: int  # input frames: frames joined to one
    convolution_layers: int
    convolution_channels: int
    encoder_pyramid: int  # encoder layers above the first that read pairs of steps
    residual: bool  # the outputs of the layers from the second on are sums, (41)
    layer_norm: bool  # normalised gates and cells, (44)-(46)
    zoneout_hidden: float  # the share of h_{t-1} that a step keeps, (43)
    zoneout_cell: float  # the share of c_{t-1}
    ctc: bool  # a second output over the encoder
    input_feeding: bool  # the decoder's lowest layer reads r_{t-1}, (62)

    @classmethod
    @lru_cache
    def of(cls, config: ModelConfig) -> Architecture:
        """Return the architecture that the settings of section `model` describe."""
        shape = {name: getattr(config, name) for name in _SETTINGS}
        return cls(**shape | {"encoder_size": config.encoder_size or config.hidden_size})

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any], where: str = "architecture") -> Architecture:
        """Read an architecture from a JSON object; keys left out have the defaults of section `model`.

        Args:
            tree: what `to_dict` returned.
            where: begins each error message.

        Raises:
            ConfigError: an unknown key or kind, a value of the wrong type or out of range, or values that do not fit
                together.

        >>> Architecture.from_dict({"hidden_size": 64}).encoder_size
        64
        """
        known = {f.name: str(f.type) for f in fields(cls)}
        for key, value in tree.items():
            if key not in known:
                raise ConfigError(f"{where}: unknown key {key!r}{nearest(key, known)}")
            if isinstance(value, str) and known[key] != "str":  # settings may be given as text, numbers in JSON not
                wanted = next(words for kind, words in WANTED.items() if kind.__name__ == known[key].split(" | ")[0])
                raise ConfigError(f"{where}.{key}: wanted {wanted}, got {value!r}")
        model = read_section(ModelConfig, cls.of(ModelConfig()).model_settings() | dict(tree), where)
        try:
            Config(model=model)  # checks the values against each other
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error
        return cls.of(model)

    def to_dict(self) -> dict[str, Any]:
        """Return the architecture as a dictionary of JSON values.

        Keys that format 3 of the model file did not have at first are left out at their defaults: older builds read it.
        """
        first = Architecture.of(ModelConfig())
        return {key: value for key, value in asdict(self).items() if key not in _ADDED or value != getattr(first, key)}

    def model_settings(self) -> dict[str, Any]:
        """Return the settings of section `model` that describe this architecture."""
        settings: dict[str, Any] = {name: getattr(self, name) for name in _SETTINGS}
        return settings | {"encoder_size": None if self.encoder_size == self.hidden_size else self.encoder_size}

    def kinds(self) -> dict[str, str]:
        """Return the kind of each part; without attention its kind is "fixed", without a source it has none."""
        kinds = {name: getattr(self, name) for name in ("cell", "peephole", "attention", "context", "input", "output")}
        kinds |= {"stack": "residual" if self.residual else "plain"}
        kinds |= {"normalization": "layer" if self.layer_norm else "none"}
        kinds |= {"zoneout": "states" if self.zoneout_hidden or self.zoneout_cell else "none"}
        kinds |= {"input_feeding": "readout" if self.input_feeding else "none"}
        kinds |= {"query": "symbol" if self.attention_symbol else "state"}
        kinds |= {"ctc": "linear"} if self.ctc else {}
        if self.input == "none":
            return kinds | {"attention": "none", "context": "none"}
        return kinds if self.context == "attention" else kinds | {"attention": "fixed"}

    def describe(self) -> str:
        """Return the architecture in words.

        >>> Architecture.from_dict({"hidden_size": 64, "peephole": "none", "context": "mean"}).describe()
        'LSTM, mean context, hidden size 64, encoder 1 x 64 bidirectional, decoder 1 x 64'
        """
        peepholes = f" with {self.peephole} peepholes" if self.peephole != "none" else ""
        peepholes += ", layer normalisation" * self.layer_norm + ", residual layers" * self.residual
        zoneout = f", zoneout {self.zoneout_hidden:g} and {self.zoneout_cell:g}"
        peepholes += zoneout * (self.kinds()["zoneout"] == "states")
        peepholes += ", input feeding" * self.input_feeding
        if self.input == "none":
            return f"language model, {self.cell.upper()}{peepholes}, {self.decoder_layers} x {self.hidden_size}"
        context = f"{self.attention} attention" if self.context == "attention" else f"{self.context} context"
        context += " that reads the symbol fed" * self.attention_symbol
        context += ", copying" * (self.output == "copy") + f", {self.ngram_rows:,} rows of trigrams" * (
            self.ngram_rows > 0
        )
        directions = "bidirectional" if self.bidirectional else "one-directional"
        return (
            f"{self.cell.upper()}{peepholes}, {context}, hidden size {self.hidden_size}, "
            f"encoder {self.encoder_layers} x {self.encoder_size} {directions}, "
            f"decoder {self.decoder_layers} x {self.hidden_size}{', CTC' if self.ctc else ''}"
        )

    @property
    def memory_size(self) -> int:
        """Return M of the context that the decoder reads: 0 without a source."""
        return 0 if self.input == "none" else self.encoder_size

    @property
    def decoder_input_size(self) -> int:
        """Return the size of what the decoder's lowest layer reads: E(y_{t-1}), c_t and, if it is fed, r_{t-1}."""
        return self.embedding_size + self.memory_size + self.hidden_size * self.input_feeding

    @property
    def num_directions(self) -> int:
        """Return the number of directions in which the encoder reads the source."""
        return 2 if self.bidirectional else 1


_SETTINGS = [f.name for f in fields(Architecture)]
_ADDED = (
    *("location_channels", "location_width", "attention_heads"),
    *("input_size", "input_planes", "frame_stack", "convolution_layers", "convolution_channels", "encoder_pyramid"),
    *("ctc", "residual", "layer_norm", "zoneout_hidden", "zoneout_cell"),
    *("output_size", "quantiles", "scaling", "continues", "feedback"),
    *("input_feeding", "ngram_rows", "attention_symbol"),
)


def making_of_settings() -> list[str]:
    """Return the names of the settings in section `model` that are not part of the architecture.

    >>> making_of_settings()
    ['dropout', 'forget_bias', 'embedding_std', 'initial_range']
    """
    return [f.name for f in fields(ModelConfig) if f.name not in _SETTINGS]
