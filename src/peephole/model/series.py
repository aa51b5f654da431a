"""A trained model of series: forecasts and their densities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peephole.config import SearchConfig
from peephole.data.series import LARGEST, Series, has_names
from peephole.data.window_units import WindowUnits, unchanged, units_of
from peephole.data.windows import history_of
from peephole.engine import available
from peephole.engine.forecast import draw
from peephole.engine.kinds import TRAINER_KINDS, missing_kind
from peephole.errors import ArgumentError, ConfigError, DataError, check_type, plural, shorten
from peephole.memory import check_memory
from peephole.model.file_trainer import batches_of, trainer_of
from peephole.model.forecast import Forecast
from peephole.model.handle import FORCED_SETTINGS, Model
from peephole.model.search_choice import slow_search_reason
from peephole.nn.architecture import Architecture
from peephole.search.vector_noise import random_numbers

ROWS_AT_A_TIME = 2048  # series drawn together

Numbers = NDArray[np.float32]
Floats = NDArray[np.float64]


class SeriesModel(Model):
    """A trained model whose targets are real vectors, or an ensemble of such models; arguments as in `Model`."""

    def predict(  # type: ignore[override]  # real vectors, not texts
        self,
        sources: Iterable[Any],
        *,
        progress: Callable[[int], None] | None = None,
        first_index: int = 0,
        **search: Any,
    ) -> list[Forecast]:
        """Forecast the next steps of some series.

        Args:
            sources: for each series the steps so far: an array (T, D), or (T,) of a model of one component, or a
                pandas table with the columns of training. Its last `data.history` steps are read. A number that is
                missing (NaN or infinite) is replaced by the one before.
            progress: called with the number of series done since the last call.
            first_index: number of the first series in the whole input, if the caller passes it in parts: the seed and
                the number of a series determine its random numbers.
            search: settings of `peephole.config.SearchConfig`: samples, steps_ahead, seed, batch_size, threads, engine.

        Returns:
            For each series its forecast, whose samples are (samples, steps, D). An ensemble draws each sample from
            one of its models in turn.

        Raises:
            ConfigError: an unknown or impossible setting.
            ArgumentError: a series is something else, or has no number.
            DataError: a table has other columns than that of training.
        """
        config = self._search_config("predict", search)
        check_type("first_index", first_index, int, "a whole number")
        horizon = config.steps_ahead or self.config.data.horizon
        if horizon is None:
            raise ConfigError("predict: wanted search.steps_ahead, the steps to forecast, got none")
        size = self._size()
        read = [self._read(source, index) for index, source in enumerate(sources)]
        found: list[Forecast] = []
        part = max(1, min(config.batch_size, ROWS_AT_A_TIME // config.samples))
        _check_memory(config.samples, horizon, numbers=size * (len(read) + 3 * min(part, len(read))))
        for first in range(0, len(read), part):
            windows = read[first : first + part]
            examples = range(first_index + first, first_index + first + len(windows))
            noise = random_numbers(self.config.model.output, config.seed, examples, (config.samples, horizon, size))
            given, units = self._normalized([window for window, _ in windows])
            drawn = [own.restore(z) for own, z in zip(units, self._draw(given, noise, config), strict=True)]
            found += [Forecast(own, missing) for own, (_, missing) in zip(drawn, windows, strict=True)]
            if progress is not None:
                progress(len(windows))
        return found

    def score(self, sources: Iterable[Any], targets: Iterable[Any], **search: Any) -> list[float]:
        """Return the logarithm of the density of each target, (11), given the steps before it.

        Args:
            sources: as in `predict`.
            targets: the steps that follow, (U, D) or (U,); missing numbers are left out.
            search: threads, batch_size or engine, as in `predict`.

        Raises:
            ConfigError: an unknown setting, or a model of quantiles, which have no density.
            ArgumentError: not as many targets as sources, or one of another shape.
        """
        config = self._search_config("score", search, FORCED_SETTINGS)
        windows = [self._read(source, index)[0] for index, source in enumerate(sources)]
        wanted = [self._array(target, index, "target") for index, target in enumerate(targets)]
        if len(windows) != len(wanted):
            raise ArgumentError(f"score: wanted as many targets as sources, got {len(wanted)} and {len(windows)}")
        if self.config.model.output != "gaussian":
            raise ConfigError(f"output: wanted gaussian, which has a density, got {self.config.model.output}")
        given, units = self._normalized(windows)
        targets_given = [own.normalize(target) for own, target in zip(units, wanted, strict=True)]
        found = self._densities(given, targets_given, config)
        # The density of y, not of z
        return [
            float(density - (np.isfinite(z) * np.log(own.deviation)).sum())
            for density, z, own in zip(found, targets_given, units, strict=True)
        ]

    def _densities(self, sources: Sequence[Numbers], targets: Sequence[Numbers], config: SearchConfig) -> list[float]:
        """Return log p of each target, in the units in which the models read."""
        if config.engine == "auto" and self._weights.fit_engine() and self._has_trainer():
            return self._densities_by_engine(sources, targets, config)
        from peephole.search.vectors import log_densities  # imports PyTorch

        networks, found = self._weights.search_networks(), []
        for first in range(0, len(sources), config.batch_size):
            part = slice(first, first + config.batch_size)
            found += log_densities(networks, sources[part], targets[part])
        return found

    def _has_trainer(self) -> bool:
        """Return whether the engine's trainer, which computes densities, has all kinds of the models."""
        kinds = [Architecture.of(member.config.model).kinds() for member in self.members]
        missing = [missing_kind(own, TRAINER_KINDS) for own in kinds]
        return available() and not any(missing) and self._weights.differing_kind(self.config) is None

    def _densities_by_engine(
        self, windows: Sequence[Numbers], targets: Sequence[Numbers], config: SearchConfig
    ) -> list[float]:
        """Return log p of each target; of an ensemble the density is the mean."""
        each = []
        for member in self.members:
            with trainer_of(member.model_file("score"), config.threads) as trainer:
                batches = batches_of(windows, targets, config.batch_size)
                found = [trainer.log_densities(b.source, b.source_lengths, b.target) for b in batches]
            each.append(np.concatenate([np.empty(0), *found]))
        total: list[float] = (np.logaddexp.reduce(each) - np.log(len(each))).tolist()
        return total

    def _draw(self, windows: Sequence[Numbers], noise: Numbers, config: SearchConfig) -> Numbers:
        """Return series drawn from the models in turn, (B, S, U, D)."""
        packs = config.engine == "auto" and self._weights.fit_engine()
        if packs and slow_search_reason(self._weights, self.config, config) is None:
            found, models = np.empty_like(noise), self._weights.packed(self._description())
            for number, packed in enumerate(models):
                own, size, threads = noise[:, number :: len(models)], config.batch_size, config.threads
                found[:, number :: len(models)] = draw(packed, windows, own, batch_size=size, threads=threads)
            return found
        from peephole.search.vectors import draw_by_definition  # imports PyTorch

        return draw_by_definition(self._weights.search_networks(), windows, noise)

    def check_columns(self, columns: Sequence[str], name: str) -> None:
        """Check that a table has the columns of training, in their order, if they are the components of one series.

        Raises:
            DataError: it has others; the message begins with `name`.
        """
        size, joint = self._size(), self.config.data.columns == "joint"
        if joint and len(columns) != size:
            got = f"{len(columns)}: {', '.join(columns)}"
            raise DataError(f"{name}: wanted {plural(size, 'column')} of numbers, as in training, got {got}")
        wanted = getattr(self.source_symbols, "columns", None)
        if joint and wanted is not None and has_names(columns) and tuple(columns) != wanted:
            raise DataError(f"{name}: wanted the columns of training, {', '.join(wanted)}; got {', '.join(columns)}")

    def _size(self) -> int:
        """Return D."""
        assert self.config.model.output_size is not None
        return self.config.model.output_size

    def _normalized(self, windows: Sequence[Floats]) -> tuple[list[Numbers], list[WindowUnits]]:
        """Return windows as the models read them, and the units of their targets.

        Models whose units are those of the source, (51), read each window in its units; others the numbers themselves.

        Raises:
            ArgumentError: one of these is too large for float32.
        """
        size = self._size()
        own = all(member.config.model.scaling == "source" for member in self.members)
        units = [units_of(window[:, :size]) if own else unchanged(size) for window in windows]
        given = [
            np.concatenate([unit.normalize(window[:, :size]), unchanged(1).normalize(window[:, size:])], 1)
            for unit, window in zip(units, windows, strict=True)
        ]
        for window, z in zip(windows, given, strict=True):
            if not np.isfinite(z).all():
                largest = np.abs(window).max()
                raise ArgumentError(
                    f"sources: wanted numbers that float32 holds, for model.scaling=constant, got {largest:g}"
                )
        return given, units

    def _read(self, source: Any, index: int) -> tuple[Floats, int]:
        """Return the window of a series that is read, (T, D), and how many of its numbers are missing."""
        values = self._array(source, index, "source")
        if self.config.data.horizon is not None:
            values = values[-history_of(self.config.data) :]
        known = np.isfinite(values)
        if not known.any(0).all():
            raise ArgumentError(f"sources: wanted a number in each component of series {index}, got none")
        series = Series(np.where(known, values, np.nan), ("",) * values.shape[1])
        return series.filled(), int((~known).sum())

    def _array(self, given: Any, index: int, name: str) -> Floats:
        """Return a series as an array (T, D)."""
        if name == "source" and (columns := getattr(given, "columns", None)) is not None:
            self.check_columns([str(column) for column in columns], f"sources, series {index}")
        try:
            if np.iscomplexobj(given):
                raise TypeError
            values = np.asarray(given, np.float64)
        except (TypeError, ValueError, OverflowError):
            raise ArgumentError(f"{name}s: wanted series of numbers, got {shorten(repr(given))} at {index}") from None
        values = values[:, None] if values.ndim == 1 else values
        size = self.config.model.input_size if name == "source" else self._size()
        if values.ndim != 2 or values.shape[1] != size or not len(values):
            raise ArgumentError(f"{name}s: wanted numbers of shape (T, {size}), got {np.shape(given)} at {index}")
        if (np.abs(values[np.isfinite(values)]) > LARGEST).any():
            raise ArgumentError(f"{name}s: wanted numbers from -1e300 to 1e300, got a larger one at {index}")
        return values


def _check_memory(samples: int, horizon: int, numbers: int) -> None:
    """Refuse forecasts that need more memory than this machine has.

    Args:
        samples: series drawn of each source.
        horizon: their steps.
        numbers: float64 of one step of one sample, of all sources and of those that are drawn together.

    Raises:
        MemoryLimitError: it names the larger of both settings.
    """
    name, value = ("steps_ahead", horizon) if horizon >= samples else ("samples", samples)
    check_memory(f"search.{name}={value}", "this forecast", 8 * samples * horizon * numbers)
