"""Pages: one HTML file that shows a prediction from the inside and needs nothing else."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peephole import __version__
from peephole.errors import PeepholeError, check_path, check_type, describe_value
from peephole.export.browser import embedded_script
from peephole.inspect.assemble import assemble_page
from peephole.inspect.views import describe_views, make_view
from peephole.model import Model, Notices
from peephole.model.reading import issue_warnings
from peephole.model.tracing import check_can_be_traced
from peephole.nn.schema import Architecture
from peephole.storage.model_file import encode_model
from peephole.storage.outputs import check_output
from peephole.storage.replace_file import replace_file


@dataclass(frozen=True, eq=False, repr=False)
class PredictionPage:
    """A page about one prediction, or two side by side; Jupyter shows it in a frame, without the models."""

    title: str
    views: Sequence[dict[str, Any]]
    """What is shown, as JSON values."""
    models: Sequence[Model]
    """The models that made it."""

    def __repr__(self) -> str:
        return f"<PredictionPage {self.title!r}, {len(self.views)} predictions>"

    def to_html(self, with_models: bool = True) -> str:
        """Return the page as HTML.

        Args:
            with_models: put the engine and the models into the page, which then decodes what a reader edits; a model
                takes 1.33 times the size of its file. Otherwise it shows what was recorded.
        """
        described = [
            {"name": _name(one), "network": Architecture.of(one.config.model).describe()} for one in self.models
        ]
        plain = "\n".join(
            f"<p>{html.escape(view['source'])} → {html.escape(view['trace']['target']['text'])} "
            f"({100 * math.exp(view['trace']['target']['log_prob']):.3g} %)</p>"
            for view in self.views
        )
        data = {"format": "peephole-page", "version": 1, "made_with": f"peephole {__version__}"}
        about = "; ".join(f"{one['name']}: {one['network']}" for one in described)
        engine = embedded_script([_content(one) for one in self.models]) if with_models else ""
        return assemble_page(self.title, about, plain, data | {"models": described, "views": list(self.views)}, engine)

    def save(self, path: str | Path, with_models: bool = True) -> None:
        """Write the page to a file; `with_models` as in `to_html`.

        Raises:
            ArgumentError: the path is not one.
            ConfigError: the file is a model's own, or exists and is no HTML page; see `peephole.storage.outputs`.
            RunError: it cannot be written; an older page is unchanged.
        """
        check_path("path", path)
        check_output(path, "page", [("the model's own", file) for model in self.models for file in model.files])
        content = self.to_html(with_models).encode(errors="backslashreplace")  # names of files may hold any bytes
        with replace_file(path) as file:
            file.write(content)

    def _repr_html_(self) -> str:
        """Return the page in a frame, for Jupyter."""
        content = html.escape(self.to_html(with_models=False), quote=True)
        return f'<iframe srcdoc="{content}" title="peephole" style="width:100%;height:42rem;border:0"></iframe>'


def make_page(
    model: Model,
    source: Any,
    *,
    reference: str | None = None,
    why_not: str | None = None,
    compare: Any = None,
    other: Model | None = None,
    top: int = 5,
    notices: Notices | None = None,
    **search: Any,
) -> PredictionPage:
    """Return a page that shows a prediction from the inside.

    Args:
        model: one model of texts with a source, not an ensemble.
        source: one source, as in `Model.predict`; not empty.
        reference: the expected target.
        why_not: another target, with which the prediction is contrasted; None: the reference if the prediction
            differs from it, else the second best target that the search found.
        compare: a second source, shown beside the first.
        other: a second model, whose prediction of the same source is shown beside the first.
        top: alternatives shown of each symbol.
        notices: collects unknown symbols and truncated sources; None: Python warnings are issued for them.
        search: settings of `peephole.config.SearchConfig`, as in `Model.trace`.

    Raises:
        ConfigError, PeepholeError: as in `Model.trace`; `reference` or `why_not` is empty, or both `compare` and
            `other` are given.
    """
    for name, one in (("model", model), *([] if other is None else [("other", other)])):
        check_type(name, one, Model, "a Model")
    for name, value in (("reference", reference), ("why_not", why_not)):
        check_type(name, value, (type(None), str), "a text")
        if value == "":
            raise PeepholeError(f"{name}: wanted a target, got an empty one")
    check_type("notices", notices, (type(None), Notices), "a Notices")
    if compare is not None and other is not None:
        raise PeepholeError(f"make_page: wanted a second source or a second model, got both: {describe_value(compare)}")
    models = [model] if other is None else [model, other]
    for one in models:
        check_can_be_traced(one, "make_page")
    collected = Notices() if notices is None else notices
    how: dict[str, Any] = {"top": top, "notices": collected, "search": search}
    views = [make_view(model, source, reference=reference, why_not=why_not, **how) | {"model": 0}]
    if compare is not None:
        views.append(make_view(model, compare, reference=None, why_not=None, **how) | {"model": 0})
    if other is not None:
        views.append(make_view(other, source, reference=reference, why_not=why_not, **how) | {"model": 1})
    if notices is None:
        issue_warnings(collected, len(views), stacklevel=2)
    return PredictionPage(describe_views(views), views, models)


def _name(model: Model) -> str:
    return Path(model.name).name if model.name else "model in memory"


def _content(model: Model) -> bytes:
    """Return the content of a model's file."""
    return model._weights.files[0].content if model.files else encode_model(model.model_file("make_page"))
