"""Models for runtimes that are not ours: ONNX graphs, written from a model file without PyTorch.

`OnnxStepper`, which lets the searches run over the graphs, is in `peephole.export.stepper`: search needs PyTorch.
"""

from peephole.export.folder import export_onnx

__all__ = ["export_onnx"]
