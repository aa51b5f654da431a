"""Export to other runtimes: ONNX graphs, written from a model file without PyTorch.

`OnnxStepper`, with which the searches run over the graphs, is in `peephole.export.stepper`; it imports PyTorch.
"""

from peephole.export.folder import export_onnx

__all__ = ["export_onnx"]
