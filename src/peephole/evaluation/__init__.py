"""Metrics of predictions, their intervals, significance of differences, and error analysis, from lists of texts.

The metrics are in `peephole.evaluation.metrics`; `peephole.evaluate` runs a model and calls this package.
"""

from peephole.evaluation.alignment import Mistake
from peephole.evaluation.calibration import Reliability, reliability
from peephole.evaluation.evaluate import DEFAULT_METRICS, Evaluation, Score, evaluate_predictions
from peephole.evaluation.exposure import ExposureGap, PositionAccuracy, exposure_gap
from peephole.evaluation.render import render, render_comparison
from peephole.evaluation.significance import Comparison, Difference, compare

__all__ = [
    "DEFAULT_METRICS",
    "Comparison",
    "Difference",
    "Evaluation",
    "ExposureGap",
    "Mistake",
    "PositionAccuracy",
    "Reliability",
    "Score",
    "compare",
    "evaluate_predictions",
    "exposure_gap",
    "reliability",
    "render",
    "render_comparison",
]
