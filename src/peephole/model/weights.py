"""Hold the weights of a model or an ensemble: the content of its files, packed by the engine, or PyTorch networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peephole import __version__
from peephole.config import Config
from peephole.engine.packed import PackedModel
from peephole.errors import check_path, check_type
from peephole.nn.schema import Architecture
from peephole.storage.header import Header, header_of, read_content
from peephole.symbols import Symbols

if TYPE_CHECKING:
    from peephole.nn import Seq2Seq
    from peephole.storage.model_file import ModelFile


class LoadedFile:
    """The content of a model file as it was read; what becomes of the file has no effect.

    Its bytes are never changed, so all copies of a model in one process share them; other processes get a copy.

    Args:
        name: the file's name as given, for messages.
        content: all of its bytes.
    """

    def __init__(self, name: str | Path, content: bytes) -> None:
        self.name = name
        self.content = content
        self._packed: PackedModel | None = None

    @classmethod
    def read(cls, path: str | Path) -> LoadedFile:
        """Read a file; errors as in `peephole.storage.header.read_content`."""
        return cls(path, read_content(path))

    def header(self) -> Header:
        """Return the description of the model; errors as in `peephole.storage.header.read_header`."""
        return header_of(self.name, self.content)

    def decode(self) -> ModelFile:
        """Return the model with its tensors; errors as in `peephole.storage.model_file.load_model`."""
        from peephole.storage.model_file import decode_model

        return decode_model(self.name, self.content)

    def packed(self) -> PackedModel:
        """Return the weights packed for the engine, which is done once."""
        if self._packed is None:
            self._packed = PackedModel(self.content, name=self.name)
        return self._packed

    def __copy__(self) -> LoadedFile:
        return self

    def __deepcopy__(self, memo: object) -> LoadedFile:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return LoadedFile, (self.name, self.content)


class Weights:
    """One set of weights, or several whose probabilities are averaged.

    Args:
        networks: networks whose weights may change from call to call.
        files: model files, instead of networks: their names, or what was read.

    Raises:
        ArgumentError: one of them is something else.
        ModelFileError: a file cannot be read.
    """

    def __init__(self, networks: Sequence[Seq2Seq], files: Sequence[str | Path | LoadedFile]) -> None:
        _check_networks(networks)
        check_type("files", files, Sequence, "a list of names of files")
        for file in files:
            if not isinstance(file, LoadedFile):
                check_path("files", file)
        self.files = tuple(file if isinstance(file, LoadedFile) else LoadedFile.read(file) for file in files)
        self._networks = tuple(networks)
        self._own_networks: tuple[Seq2Seq, ...] = ()

    def __len__(self) -> int:
        return len(self.files or self._networks)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out networks built from files, so that the other process needs no PyTorch."""
        return vars(self) | ({"_networks": (), "_own_networks": ()} if self.files else {})

    @property
    def networks(self) -> tuple[Seq2Seq, ...]:
        """The networks; for files a copy, built when it is first read, which its user may change."""
        if not self._networks:
            self._networks = self._build_networks()
        return self._networks

    def search_networks(self) -> tuple[Seq2Seq, ...]:
        """Return the networks to search with; those of files are built once and not given to others."""
        if not self.files:
            return self._networks
        if not self._own_networks:
            self._own_networks = self._build_networks()
        return self._own_networks

    def _build_networks(self) -> tuple[Seq2Seq, ...]:
        from peephole.search.torch import build_network

        return tuple(build_network(file.decode()) for file in self.files)

    def packed(self, description: tuple[Config, Symbols, Symbols]) -> list[PackedModel]:
        """Return the weights packed for the engine; those of files are packed once, those of networks at each call.

        Args:
            description: config, source symbols and target symbols, for the model files made of networks.
        """
        if self.files:
            return [file.packed() for file in self.files]
        from peephole.storage.model_file import ModelFile, encode_model

        return [PackedModel(encode_model(ModelFile(_tensors(n), *description))) for n in self._networks]

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

    def made(self) -> Mapping[str, Any]:
        """Return how the first set was made: what its file says, or this version for networks."""
        return self.files[0].header().made if self.files else {"peephole": __version__}

    def model_file(self, description: tuple[Config, Symbols, Symbols], made: Mapping[str, Any]) -> ModelFile:
        """Return the first set as a model file, with the number format of its source file.

        Args:
            description: config, source symbols and target symbols.
            made: how it was made.
        """
        from peephole.storage.model_file import ModelFile

        if not self.files:
            return ModelFile(_tensors(self._networks[0]), *description, made=made)
        file = self.files[0].decode()
        return ModelFile(file.tensors, *description, file.stored, made, format_version=file.format_version)


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
