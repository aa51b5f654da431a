"""Implements the frontends of frames as plain functions, and lists variants that are wrong in one place each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F


def right_normalized(frames, valid, mean, scale):
    """Return (f - mean) · scale, and 0 in the padding."""
    return torch.where(valid[:, :, None], (frames - mean) * scale, 0)


def right_joined(frames, count):
    """Return each `count` frames as one."""
    B, T, size = frames.shape
    filled = torch.cat([frames, frames.new_zeros(B, -T % count, size)], 1)
    return filled.reshape(B, -1, count * size)


def right_convolution(z, lengths, weight, bias):
    """Return one layer of z (B, C, T, F), 0 past each length."""
    z = F.conv2d(z, weight.reshape(len(weight), -1, 3, 3), bias, stride=2, padding=1).relu()
    valid = torch.arange(z.shape[2]) < lengths[:, None]
    return torch.where(valid[:, None, :, None], z, 0)


def right_planes(frames, planes):
    """Return frames as an image of several planes, (B, P, T, F)."""
    return frames.unflatten(2, (planes, -1)).transpose(1, 2)


def right_columns(z):
    """Return the vectors of the columns of z (B, C, T, F)."""
    return z.transpose(1, 2).flatten(2)


class RightFrontend:
    """Computes a frontend with the functions above, or replacements of them.

    Args:
        kind: frames or convolution.
        changed: replacements of the functions above, by name.
    """

    def __init__(self, kind, **changed):
        functions = (right_normalized, right_joined, right_planes, right_convolution, right_columns)
        self.functions = {function.__name__: function for function in functions} | changed
        self.kind = kind

    def put_into(self, model):
        """Let the frontend of a model compute with these functions and its own weights."""
        frontend = model.frontend
        frontend.forward = lambda inputs, lengths, noise=None: self(frontend, inputs, lengths)

    def __call__(self, frontend, inputs, lengths):
        valid = torch.arange(inputs.shape[1]) < lengths[:, None]
        frames = self.functions["right_normalized"](inputs, valid, frontend.mean, frontend.scale)
        if self.kind == "frames":
            columns = self.functions["right_joined"](frames, frontend.stack)
            return frontend.projection(columns), (lengths + frontend.stack - 1) // frontend.stack
        z = self.functions["right_planes"](frames, frontend.planes)
        for layer in frontend.layers:
            lengths = (lengths + 1) // 2
            z = self.functions["right_convolution"](z, lengths, layer.weight, layer.bias)
        return frontend.projection(self.functions["right_columns"](z)), lengths


@dataclass(frozen=True)
class Wrong:
    """Describes a replacement in the source of a function above."""

    name: str
    function: str
    input: str
    right: str
    wrong: str
    seen_in: str = r"log p\(Y \| X\)"  # the start of the first failure's message


JOINED, CONVOLUTION = "three frames joined", "two convolutions"
PLANES = "two convolutions of three planes"
WRONG = (
    Wrong(
        "planes interleaved",
        "right_planes",
        PLANES,
        "frames.unflatten(2, (planes, -1)).transpose(1, 2)",
        "frames.unflatten(2, (-1, planes)).permute(0, 3, 1, 2)",
    ),
    Wrong("planes in reverse", "right_planes", PLANES, ".transpose(1, 2)", ".transpose(1, 2).flip(1)"),
    Wrong("mean not taken off", "right_normalized", JOINED, "frames - mean", "frames"),
    Wrong("divides by the scale", "right_normalized", JOINED, "* scale", "/ scale"),
    Wrong("scales before the mean", "right_normalized", JOINED, "(frames - mean) * scale", "frames * scale - mean"),
    Wrong("padding is -mean · scale", "right_normalized", JOINED, ", 0)", ", -mean * scale)"),
    Wrong("padding is -mean · scale before convolutions", "right_normalized", CONVOLUTION, ", 0)", ", -mean * scale)"),
    Wrong(
        "half of the gradient to the frames",
        "right_normalized",
        JOINED,
        "frames - mean",
        "(frames + frames.detach()) / 2 - mean",
        "gradient of source",
    ),
    Wrong(
        "zeros before the first frame",
        "right_joined",
        JOINED,
        "[frames, frames.new_zeros(B, -T % count, size)]",
        "[frames.new_zeros(B, -T % count, size), frames]",
    ),
    Wrong(
        "joins frames far apart",
        "right_joined",
        JOINED,
        "reshape(B, -1, count * size)",
        "reshape(B, count, -1, size).transpose(1, 2).flatten(2)",
    ),
    Wrong(
        "joins them in reverse",
        "right_joined",
        JOINED,
        "reshape(B, -1, count * size)",
        "reshape(B, -1, count, size).flip(2).flatten(2)",
    ),
    Wrong(
        "interleaves the frames",
        "right_joined",
        JOINED,
        "reshape(B, -1, count * size)",
        "reshape(B, -1, count, size).transpose(2, 3).flatten(2)",
    ),
    Wrong(
        "only the first of joined frames",
        "right_joined",
        JOINED,
        "reshape(B, -1, count * size)",
        "reshape(B, -1, count, size).mul(torch.tensor([1, 0, 0])[:, None]).flatten(2)",
    ),
    Wrong(
        "kernels transposed",
        "right_convolution",
        CONVOLUTION,
        "reshape(len(weight), -1, 3, 3)",
        "reshape(len(weight), -1, 3, 3).transpose(2, 3)",
    ),
    Wrong(
        "kernels flipped",
        "right_convolution",
        CONVOLUTION,
        "reshape(len(weight), -1, 3, 3)",
        "reshape(len(weight), -1, 3, 3).flip(2, 3)",
    ),
    Wrong(
        "channels last in the weights",
        "right_convolution",
        CONVOLUTION,
        "reshape(len(weight), -1, 3, 3)",
        "reshape(len(weight), 3, 3, -1).permute(0, 3, 1, 2)",
    ),
    Wrong("no bias", "right_convolution", CONVOLUTION, "bias, stride", "None, stride"),
    Wrong("no ReLU", "right_convolution", CONVOLUTION, ".relu()", ""),
    Wrong("tanh for ReLU", "right_convolution", CONVOLUTION, ".relu()", ".tanh()"),
    Wrong("absolute value for ReLU", "right_convolution", CONVOLUTION, ".relu()", ".abs()"),
    Wrong("padding is ReLU(b)", "right_convolution", CONVOLUTION, "z, 0)", "z, bias.relu()[:, None, None])"),
    Wrong("kernels not centred", "right_convolution", CONVOLUTION, "F.conv2d(z,", "F.conv2d(z.roll(-1, 2),"),
    Wrong("features not centred", "right_convolution", CONVOLUTION, "F.conv2d(z,", "F.conv2d(z.roll(1, 3),"),
    Wrong("features before channels", "right_columns", CONVOLUTION, "z.transpose(1, 2)", "z.permute(0, 2, 3, 1)"),
    Wrong("steps reversed", "right_columns", CONVOLUTION, "z.transpose(1, 2)", "z.transpose(1, 2).flip(1)"),
)
