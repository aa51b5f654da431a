"""Hold the weights of a model or of an ensemble: packed by the engine, or as PyTorch networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peephole.config import Config
from peephole.engine.packed import PackedModel
from peephole.errors import check_path, check_type
from peephole.nn.schema import Architecture
from peephole.symbols import Symbols

if TYPE_CHECKING:
    from peephole.nn import Seq2Seq
    from peephole.storage.model_file import ModelFile


class Weights:
    """One set of weights, or several whose probabilities are averaged.

    Args:
        networks: networks whose weights may change from call to call.
        files: model files, instead of networks.

    Raises:
        ArgumentError: one of them is something else.
    """

    def __init__(self, networks: Sequence[Seq2Seq], files: Sequence[str | Path]) -> None:
        _check_networks(networks)
        check_type("files", files, Sequence, "a list of names of files")
        for file in files:
            check_path("files", file)
        self.files = tuple(files)
        self._networks = tuple(networks)
        self._packed_files: list[PackedModel] = []

    def __len__(self) -> int:
        return len(self.files or self._networks)

    @property
    def networks(self) -> tuple[Seq2Seq, ...]:
        """The networks; those of files are built when they are first read."""
        if not self._networks:
            from peephole.search.torch import build_network
            from peephole.storage.model_file import load_model

            self._networks = tuple(build_network(load_model(path)) for path in self.files)
        return self._networks

    def packed(self, description: tuple[Config, Symbols, Symbols]) -> list[PackedModel]:
        """Return the weights packed for the engine; those of files are packed once, those of networks at each call.

        Args:
            description: config, source symbols and target symbols, for the model files made of networks.
        """
        if not self.files:
            from peephole.storage.model_file import ModelFile, encode_model

            return [PackedModel(encode_model(ModelFile(_tensors(n), *description))) for n in self._networks]
        if not self._packed_files:
            self._packed_files = [PackedModel(path) for path in self.files]
        return self._packed_files

    def fit_engine(self) -> bool:
        """Return whether the engine can pack the weights: those of files, or networks in float32 on the CPU."""
        return bool(self.files) or all(map(_is_float32_on_cpu, self._networks))

    def differing_kind(self, config: Config) -> str | None:
        """Return how the kinds of a network differ from those of a config; None if they do not, or for files."""
        wanted = Architecture.of(config.model).kinds()
        for network in self._networks if not self.files else ():
            for part, kind in network.kinds().items():
                if kind != wanted[part]:
                    return f"the network has {part} {kind!r} where its config has {wanted[part]!r}"
        return None

    def model_file(self, description: tuple[Config, Symbols, Symbols]) -> ModelFile:
        """Return the first set as a model file, with the number format and versions of its source file.

        Args:
            description: config, source symbols and target symbols.
        """
        from peephole.storage.model_file import ModelFile, load_model

        if not self.files:
            return ModelFile(_tensors(self._networks[0]), *description)
        file = load_model(self.files[0])
        return ModelFile(file.tensors, *description, file.stored, file.made)


def _check_networks(given: Sequence[Seq2Seq]) -> None:
    """Raise ArgumentError unless the argument `networks` is a sequence of networks."""
    check_type("networks", given, Sequence, "a list of Seq2Seq networks")
    if given:
        from peephole.nn import Seq2Seq  # here, because models of files need no PyTorch

        for network in given:
            check_type("networks", network, Seq2Seq, "a list of Seq2Seq networks")


def _is_float32_on_cpu(network: Seq2Seq) -> bool:
    weight = next(network.parameters())
    return weight.device.type == "cpu" and str(weight.dtype) == "torch.float32"


def _tensors(network: Seq2Seq) -> dict[str, Any]:
    return {name: tensor.detach().float().cpu().numpy() for name, tensor in network.state_dict().items()}
