"""Report a training run: its curves, data, metrics and errors, as one HTML file."""

from peephole.inspect.report.run_report import RunReport, report

__all__ = ["RunReport", "report"]
