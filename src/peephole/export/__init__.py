"""Export to other runtimes, without PyTorch: ONNX graphs, and a folder that predicts in a browser.

`OnnxStepper`, with which the searches run over the graphs, is in `peephole.export.stepper`; it imports PyTorch.
"""

from peephole.export.browser import export_web
from peephole.export.folder import export_onnx

__all__ = ["export_onnx", "export_web"]
