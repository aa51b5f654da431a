"""Run one recurrent layer, forward and backward, in turns with the other systems; started by layer_speed.py.

Each line on stdin is a JSON object with `size` (I = H), `lengths` (the real steps of each sequence) and `seconds` (the
minimum duration of the turn); the answer is the median seconds of a step.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

SYSTEMS = ("engine-full", "engine-diagonal", "engine-none", "definition-full", "torch-padded", "torch-packed")
LEAST_STEPS = 3
SEED = 1
Step = Callable[[], None]


def our_step(kind: str, form: str, size: int, lengths: Any, x: Any, cotangent: Any) -> Step:
    """Return a function that runs one step of our layer, on the engine or by its definition."""
    from peephole.nn import LSTM, use_engine

    layer = LSTM(size, size, peephole=form)

    def step() -> None:
        with use_engine("auto" if kind == "engine" else "off"):
            layer(x, lengths)[0].backward(cotangent)

    return step


def torch_step(form: str, size: int, lengths: Any, x: Any, cotangent: Any) -> Step:
    """Return a function that runs one step of torch.nn.LSTM, on the padded batch or on a PackedSequence."""
    from torch import nn
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    layer = nn.LSTM(size, size, batch_first=True)

    def step() -> None:
        if form == "packed":
            sequence = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            out, _ = pad_packed_sequence(layer(sequence)[0], batch_first=True, total_length=x.shape[1])
        else:
            out, _ = layer(x)
        out.backward(cotangent)

    return step


def make_step(system: str, size: int, lengths: list[int], precision: str) -> Step:
    """Return a function that runs one step of a system on random numbers, the same for all systems."""
    import torch

    kind, form = system.split("-")
    generator = torch.Generator().manual_seed(SEED)
    shape = (len(lengths), max(lengths), size)
    x = torch.randn(shape, generator=generator, requires_grad=True)
    narrow = precision == "bf16-mixed"
    cotangent = torch.randn(shape, generator=generator)
    if narrow and kind == "torch":
        cotangent = cotangent.bfloat16()  # as its output; ours is float32
    given = (size, torch.tensor(lengths), x, cotangent)
    step = torch_step(form, *given) if kind == "torch" else our_step(kind, form, *given)

    def step_in_precision() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            step()

    return step_in_precision


def main() -> None:
    """Answer requests until stdin closes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("system", choices=SYSTEMS)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--precision", default="32-true", help="as train.precision")
    arguments = parser.parse_args()
    if not arguments.system.startswith("torch"):
        import peephole  # noqa: F401  (before PyTorch, as in `peephole train`: it sets how PyTorch's idle threads wait)
    import torch

    torch.set_num_threads(arguments.threads)
    print(json.dumps({"version": f"torch {torch.__version__}"}), flush=True)
    shape = None
    for line in sys.stdin:
        request = json.loads(line)
        if shape != (shape := (request["size"], request["lengths"])):
            step = make_step(arguments.system, *shape, arguments.precision)
            step()
        times: list[float] = []
        while len(times) < LEAST_STEPS or sum(times) < request["seconds"]:
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        print(json.dumps({"seconds": median(times)}), flush=True)


if __name__ == "__main__":
    main()
