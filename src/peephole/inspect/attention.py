"""Draw attention weights: the weight of each source symbol for each target symbol."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from peephole.errors import ArgumentError, check_path, check_type, shorten
from peephole.model import Prediction

PICTURES = (".png", ".svg", ".pdf")


def draw_attention(predictions: Sequence[Prediction], path: str | Path, columns: int = 3) -> None:
    """Draw the attention weights α_ij, (16), of some predictions, one panel each, into a picture file.

    Rows of a panel are target symbols, columns source symbols; the darker a square, the larger the weight. Symbols
    are drawn with DejaVu Sans, or with an installed font for Korean, Chinese or Japanese, if there is one. Where a
    column stands for several symbols, or for frames, columns have no names.

    Args:
        predictions: predictions; those without attention (fixed context, empty source) are left out.
        path: .png, .svg or .pdf.
        columns: panels side by side.

    Raises:
        ArgumentError: an argument has another type, or the name another suffix.
    """
    check_type("predictions", predictions, Iterable, "a list of predictions")
    check_picture(path)
    check_type("columns", columns, int, "a whole number")
    import matplotlib.pyplot as plt

    shown = [p for p in predictions if p.attention is not None and p.attention.size]
    rows = max(1, -(-len(shown) // columns))
    with plt.rc_context({"font.family": symbol_fonts(), "text.parse_math": False}):
        figure, axes = plt.subplots(rows, columns, figsize=(3.6 * columns, 3.4 * rows), squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for axis, prediction in zip(axes.flat, shown, strict=False):
            axis.set_axis_on()
            axis.imshow(prediction.attention, cmap="Blues", vmin=0, vmax=1, aspect="auto")
            assert prediction.attention is not None
            source = prediction.source_tokens
            axis.set_xticks(*((range(len(source)), source) if len(source) == prediction.attention.shape[1] else ([],)))
            axis.set_yticks(range(len(prediction.tokens)), prediction.tokens)
            axis.tick_params(length=0)
            axis.xaxis.tick_top()
        figure.suptitle("attention: columns are source symbols, rows are target symbols")
        figure.tight_layout()
        figure.savefig(path, dpi=120)
        plt.close(figure)


def check_picture(path: str | Path) -> None:
    """Raise ArgumentError if a path is none, or not that of a picture."""
    check_path("path", path)
    if Path(path).suffix not in PICTURES:
        raise ArgumentError(f"path: wanted a name that ends in {', '.join(PICTURES)}, got {shorten(str(path))!r}")


def symbol_fonts() -> list[str]:
    """Return the fonts of symbols: DejaVu Sans, and one for Korean, Chinese or Japanese if there is one."""
    from matplotlib.font_manager import fontManager

    wide = [font.name for font in fontManager.ttflist if "CJK" in font.name or "Nanum" in font.name]
    return ["DejaVu Sans", *wide[:1]]
