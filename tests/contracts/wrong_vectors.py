"""Lists models of real vectors that are wrong in one place each, as replacements in the source of their methods."""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from peephole.nn import vectors
from peephole.nn.vector_outputs import GaussianOutput, QuantileOutput
from peephole.nn.vectors import Units, VectorSeq2Seq

LOSS, DENSITY, GRADIENT = "loss", r"log p\(Y \| X\)", "gradient of"
DISTRIBUTIONS, DRAWS = "distributions", "draws"


@dataclass(frozen=True)
class Wrong:
    """Describes a replacement in the source of a function."""

    name: str
    owner: Any  # class or module
    function: str
    right: str
    wrong: str
    seen_in: str = DENSITY  # the start of the first failure's message
    output: str = "gaussian"
    units: str = "the source's"

    def replacement(self) -> Callable[..., Any]:
        """Return the function with `wrong` in place of `right`, which must occur exactly once in its source."""
        function = getattr(self.owner, self.function)
        text = textwrap.dedent(inspect.getsource(function))
        assert text.count(self.right) == 1, f"{self.right!r} occurs {text.count(self.right)} times in {self.function}"
        names = dict(vars(sys.modules[function.__module__]))
        exec("from __future__ import annotations\n" + text.replace(self.right, self.wrong), names)
        return names[function.__name__]


QUANTILES = {"output": "five quantiles", "seen_in": LOSS}
CONSTANTS = {"units": "constants"}
CONTINUED = {"units": "constants, continued"}

WRONG = (
    Wrong("variance for deviation", GaussianOutput, "loss", "deviation) ** 2 / 2", "deviation**0.5) ** 2 / 2"),
    Wrong("exponent not halved", GaussianOutput, "loss", "** 2 / 2 +", "** 2 +"),
    Wrong("no normalising constant", GaussianOutput, "loss", " + math.log(2 * math.pi) / 2", ""),
    Wrong("no logarithm of the deviation", GaussianOutput, "loss", " + deviation.log()", ""),
    Wrong("exponential for softplus", GaussianOutput, "described", "F.softplus(deviation)", "deviation.exp()"),
    Wrong("no smallest deviation", GaussianOutput, "described", " + SMALLEST_DEVIATION", ""),
    Wrong("mean and deviation exchanged", GaussianOutput, "described", "mean, deviation =", "deviation, mean ="),
    Wrong("draws without the mean", GaussianOutput, "draw", "mean + deviation", "deviation", DRAWS),
    Wrong("draws with the variance", GaussianOutput, "draw", "deviation * noise", "deviation**2 * noise", DRAWS),
    Wrong("mean not shifted back", GaussianOutput, "rescaled", "mean * factor + shift", "mean * factor", DISTRIBUTIONS),
    Wrong(
        "deviation is shifted",
        GaussianOutput,
        "rescaled",
        "deviation * factor]",
        "deviation * factor + shift]",
        DISTRIBUTIONS,
    ),
    Wrong(
        "quantiles downwards from the lowest",
        QuantileOutput,
        "described",
        ".flip(-2).cumsum(-2).flip(-2)",
        ".cumsum(-2)",
        **QUANTILES,
    ),
    Wrong(
        "quantiles around the mean of both halves",
        QuantileOutput,
        "described",
        "// 2 + 1], -2)",
        "// 2 + 1], -2)[::-1]",
        **QUANTILES,
    ),
    Wrong(
        "steps not summed",
        QuantileOutput,
        "described",
        "F.softplus(above).cumsum(-2)",
        "F.softplus(above)",
        **QUANTILES,
    ),
    Wrong("steps may be negative", QuantileOutput, "described", "F.softplus(above)", "above", **QUANTILES),
    Wrong(
        "pinball mirrored",
        QuantileOutput,
        "loss",
        "target[..., None, :] - found",
        "found - target[..., None, :]",
        **QUANTILES,
    ),
    Wrong(
        "absolute error",
        QuantileOutput,
        "loss",
        "torch.maximum(self.levels() * error, (self.levels() - 1) * error)",
        "error.abs()",
        **QUANTILES,
    ),
    Wrong("summed over the quantiles", QuantileOutput, "loss", ".mean(-2)", ".sum(-2)", **QUANTILES),
    Wrong("not doubled", QuantileOutput, "loss", "return 2 *", "return", **QUANTILES),
    Wrong("levels k / Q", QuantileOutput, "levels", "(self.numbers + 1)", "self.numbers", **QUANTILES),
    Wrong(
        "levels from 0",
        QuantileOutput,
        "levels",
        "torch.arange(1, self.numbers + 1,",
        "torch.arange(self.numbers,",
        **QUANTILES,
    ),
    Wrong(
        "draws the quantile below",
        QuantileOutput,
        "draw",
        "low + (position - left) * (high - low)",
        "low",
        DRAWS,
        "five quantiles",
    ),
    Wrong(
        "tails cut off",
        QuantileOutput,
        "draw",
        "noise * (self.numbers + 1) - 1",
        "(noise * (self.numbers + 1) - 1).clamp(0, self.numbers - 1)",
        DRAWS,
        "five quantiles",
    ),
    Wrong(
        "draws one quantile too high",
        QuantileOutput,
        "draw",
        "(self.numbers + 1) - 1  #",
        "(self.numbers + 1)  #",
        DRAWS,
        "five quantiles",
    ),
    Wrong(
        "quantiles not shifted back",
        QuantileOutput,
        "rescaled",
        " + shift[..., None, :]",
        "",
        DISTRIBUTIONS,
        "five quantiles",
    ),
    Wrong("mean not taken off", Units, "normalize", "(y - self._like(self.mean, y))", "y"),
    Wrong("multiplies by the deviation", Units, "normalize", "/ self._like", "* self._like"),
    Wrong("draws in other units", Units, "restore", " + self._like(self.mean, z)", "", DRAWS),
    Wrong(
        "deviation with one step less",
        vectors,
        "source_units",
        ".sum(1) / counts\n    deviation",
        ".sum(1) / (counts - 1).clamp(min=1)\n    deviation",
    ),
    Wrong("padding in the mean", vectors, "source_units", "values.sum(1) / counts", "values.mean(1)"),
    Wrong(
        "not all components",
        vectors,
        "source_units",
        "torch.where(square > 0, square, 1).sqrt()",
        "torch.where(square > 0, square, 1).sqrt().roll(1, 1)",
    ),
    Wrong("variance of the source", vectors, "source_units", "square, 1).sqrt()", "square, 1)"),
    Wrong(
        "no gradient through the units",
        vectors,
        "source_units",
        "Units(mean.to(source.dtype),",
        "Units(mean.detach().to(source.dtype),",
        GRADIENT,
    ),
    Wrong("source read as given", VectorSeq2Seq, "read", 'if self.scaling == "source":', "if False:"),
    Wrong("other numbers of a frame lost", VectorSeq2Seq, "read", ", source[..., size:]]", ", 0 * source[..., size:]]"),
    Wrong("padding read as the last frame", VectorSeq2Seq, "read", "source_lengths - 1", "source.shape[1] - 1"),
    Wrong("begins with the first frame", VectorSeq2Seq, "read", "source_lengths - 1", "0 * source_lengths"),
    Wrong("begins with 0", VectorSeq2Seq, "read", "if self.continues:", "if False:"),
    Wrong(
        "begins with the last frame of another series",
        VectorSeq2Seq,
        "read",
        "if self.continues:",
        "if True:",
        **CONSTANTS,
    ),
    Wrong("z_0 in other units", VectorSeq2Seq, "read", "units.normalize(last)", "last", **CONTINUED),
    Wrong(
        "fed the vector itself", VectorSeq2Seq, "_distributions", "[first[:, None], z[:, :-1]]", "[z[:, 1:], z[:, :1]]"
    ),
    Wrong(
        "a step late",
        VectorSeq2Seq,
        "_distributions",
        "[first[:, None], z[:, :-1]]",
        "[first[:, None], first[:, None], z[:, :-2]]",
    ),
    Wrong(
        "a missing component fed as 0",
        VectorSeq2Seq,
        "_distributions",
        "units.mean[:, None]))",
        "torch.zeros_like(units.mean[:, None])))",
    ),
    Wrong(
        "fed without feedback",
        VectorSeq2Seq,
        "_distributions",
        "if self.feedback",
        "if True",
        units="the source's, no feedback",
    ),
    Wrong(
        "feeds nothing without feedback",
        VectorSeq2Seq,
        "_distributions",
        "first[:, None].expand(z.shape)",
        "torch.zeros_like(z)",
        units="the source's, no feedback",
    ),
    Wrong("density of z", VectorSeq2Seq, "log_prob", " + units.deviation.log()[:, None]", ""),
    Wrong("missing components counted", VectorSeq2Seq, "log_prob", "torch.where(known, loss, 0)", "loss"),
    Wrong(
        "missing components in the loss",
        VectorSeq2Seq,
        "loss_sum",
        "torch.where(known, self.decoder.output.loss(found, wanted), 0)",
        "self.decoder.output.loss(found, wanted)",
        LOSS,
    ),
    Wrong("mean over the components", VectorSeq2Seq, "loss_sum", "0).sum()", "0).mean(2).sum()", LOSS),
)
