"""Export to other runtimes, without PyTorch: ONNX graphs, and a folder that predicts in a browser.

Names are imported on first use: only `export_onnx` needs the package `onnx`. `OnnxStepper`, with which the searches run
over the graphs, is in `peephole.export.stepper`; it imports PyTorch.
"""

from typing import TYPE_CHECKING

from peephole.lazy import lazy_names

if TYPE_CHECKING:
    from peephole.export.browser import export_web as export_web
    from peephole.export.folder import export_onnx as export_onnx

_MODULES = {"export_onnx": "peephole.export.folder", "export_web": "peephole.export.browser"}
__all__ = ["export_onnx", "export_web"]
__getattr__, __dir__ = lazy_names(__name__, _MODULES)
