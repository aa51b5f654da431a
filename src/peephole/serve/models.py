"""The models of a server by name, each with its scheduler; a changed file is loaded while the old model answers."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peephole.errors import ConfigError, ModelFileError, PeepholeError, describe_value
from peephole.model import Model, load
from peephole.serve.continuous import open_session
from peephole.serve.limits import Limits
from peephole.serve.refusal import RefusalError
from peephole.serve.scheduler import PLACES, RESERVE, Scheduler

SECONDS_BETWEEN_LOOKS = 1.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
log = logging.getLogger("peephole.serve")


@dataclass(frozen=True)
class ModelSource:
    """Where a model of a server comes from.

    Attributes:
        name: in requests.
        files: the model file, or several of an ensemble.
    """

    name: str
    files: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> ModelSource:
        """Read `NAME=FILE`, or `FILE`, named without its ending; an ensemble has commas between its files.

        Raises:
            ConfigError: the name has characters that a URL would not keep.

        >>> ModelSource.parse("models/g2p.safetensors")
        ModelSource(name='g2p', files=('models/g2p.safetensors',))
        >>> ModelSource.parse("en-it=one.safetensors,two.safetensors").files
        ('one.safetensors', 'two.safetensors')
        """
        name, equals, names = text.partition("=")
        if not equals or os.path.exists(text):
            name, names = "", text
        files = (names,) if os.path.exists(names) else tuple(names.split(","))
        name = name or Path(files[0]).name.removesuffix(".safetensors")
        if not _NAME.fullmatch(name):
            wanted = "wanted letters, digits, '.', '_' and '-', as in NAME=FILE"
            raise ConfigError(f"name of a model: {wanted}, got {describe_value(name)}")
        return cls(name, files)


class ServedModel:
    """A loaded model and its scheduler.

    Args:
        name: in requests.
        model: the model.
        limits: of the server.
        threads: of the engine; None: all cores.
    """

    def __init__(self, name: str, model: Model, limits: Limits, threads: int | None) -> None:
        self.name, self.model = name, model
        digest = hashlib.sha256()
        for file in model._weights.files:
            digest.update(file.content)
        self.version = digest.hexdigest()[:12]
        """The beginning of the SHA-256 of its files: which weights answered."""
        places, reserve = max(PLACES, limits.max_hypotheses), max(RESERVE, limits.max_hypotheses)
        session = open_session(model, places + reserve, threads)
        self.scheduler = Scheduler(session, limits, name, places, reserve)


class Models:
    """The models of a server.

    Args:
        sources: where they come from.
        limits: of the server.
        threads: of the engine; None: all cores.
        loaded: models that are loaded already, by name.
    """

    def __init__(
        self,
        sources: Sequence[ModelSource],
        limits: Limits,
        threads: int | None = None,
        loaded: Mapping[str, Model] | None = None,
    ) -> None:
        check_names(sources)
        self.sources, self.limits, self._threads = tuple(sources), limits, threads
        self._loaded = dict(loaded or {})
        self._served: dict[str, ServedModel] = {}
        self._stamps: dict[str, Any] = {}
        self._retired: set[asyncio.Task[None]] = set()

    @property
    def names(self) -> list[str]:
        """Return the names of all models, the first one being that of requests without a name."""
        return [source.name for source in self.sources]

    @property
    def ready(self) -> bool:
        """Return whether every model can answer."""
        return len(self._served) == len(self.sources) and all(s.scheduler.is_alive for s in self._served.values())

    def all(self) -> list[ServedModel]:
        """Return the models that can answer, in the order of their names."""
        return [self._served[name] for name in self.names if name in self._served]

    def get(self, name: str | None) -> ServedModel:
        """Return a model by its name; None: the first one.

        Raises:
            RefusalError: 404, there is no such model; 503, it is not loaded yet.
        """
        wanted = self.names[0] if name is None else name
        if wanted not in self.names:
            raise RefusalError(404, f"model: wanted one of {', '.join(self.names)}, got {describe_value(wanted)}")
        if wanted not in self._served:
            raise RefusalError(503, f"model {wanted} is not loaded yet", 1)
        return self._served[wanted]

    async def start(self) -> None:
        """Load what is not loaded yet."""
        for source in self.sources:
            self._stamps[source.name] = _stamp(source)
            model = self._loaded.pop(source.name, None)
            model = await asyncio.to_thread(load_served, source) if model is None else model
            self._served[source.name] = ServedModel(source.name, model, self.limits, self._threads)

    async def watch(self) -> None:
        """Load files that change, for ever; a file that cannot be loaded leaves the model that was there."""
        seen = dict(self._stamps)
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
            for source in self.sources:
                stamp = _stamp(source)
                # Equal to what the last look saw: the file is not being written at the moment
                if stamp is not None and stamp != self._stamps[source.name] and stamp == seen[source.name]:
                    self._stamps[source.name] = stamp
                    await self._replace(source)
                seen[source.name] = stamp

    async def _replace(self, source: ModelSource) -> None:
        try:
            model = await asyncio.to_thread(load_served, source)
        except PeepholeError as error:
            log.error("the changed file is not loaded", extra={"model": source.name, "reason": str(error)})
            return
        old, new = self._served[source.name], ServedModel(source.name, model, self.limits, self._threads)
        self._served[source.name] = new
        log.info("loaded the changed file", extra={"model": source.name, "version": new.version})
        task = asyncio.create_task(old.scheduler.close())  # after the requests that it has
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)

    async def close(self) -> None:
        """End all schedulers after their last job."""
        await asyncio.gather(*(served.scheduler.close() for served in self._served.values()), *self._retired)


def check_names(sources: Sequence[ModelSource]) -> None:
    """Check that no two models have the same name.

    Raises:
        ConfigError: two do.
    """
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"name of a model: wanted each name once, got {twice!r} twice; write NAME=FILE")


def load_served(source: ModelSource) -> Model:
    """Load a model.

    Raises:
        ModelFileError: a file is missing or damaged, or the model is one of series, which has no sources.
    """
    model = load(*source.files)
    if model.config.model.predicts_vectors:
        raise ModelFileError(f"{source.files[0]}: wanted a model that predicts symbols, got one of series")
    return model


def _stamp(source: ModelSource) -> Any:
    """Return what changes with the files; None while one is missing."""
    try:
        found = [os.stat(file) for file in source.files]
    except OSError:
        return None
    return [(stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in found]
