"""Calls every function of the engine's C ABI on many shapes, without torch; `test_sanitizers.py` runs it.

Each array is allocated separately with its exact size, so that AddressSanitizer reports any access outside it.
"""

from __future__ import annotations

import ctypes
import math
import random
from itertools import product
from typing import Any

import numpy as np

from peephole import engine
from peephole.data.batch import Taught
from peephole.engine.step_settings import NUMBERS, StepSettings, step_bytes
from peephole.engine.trainer import EngineTrainer
from peephole.nn.schema import Architecture, tensors

from .pairwise import covering

C = ctypes.CDLL(None)
C.malloc.restype, C.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
C.free.argtypes = [ctypes.c_void_p]


class Arrays:
    """Allocates named arrays of random or given numbers, until `free`."""

    def __init__(self, scalar: int, seed: int) -> None:
        self.kind = np.dtype(np.float32 if scalar == 4 else np.float64)
        self.draw = np.random.default_rng(seed)
        self.addresses: dict[str, int | None] = {}

    def add(self, name: str, count: int) -> None:
        numbers = self.draw.normal(scale=0.5, size=count).astype(self.kind)
        address = C.malloc(numbers.nbytes)
        ctypes.memmove(address, numbers.ctypes.data, numbers.nbytes)
        self.addresses[name] = address

    def add_bytes(self, name: str, count: int) -> None:
        self.addresses[name] = C.malloc(count)

    def add_integers(self, name: str, numbers: list[int], kind: Any = ctypes.c_int64) -> None:
        self.add_bytes(name, ctypes.sizeof(kind) * len(numbers))
        address = self.addresses[name]
        assert address is not None
        (kind * len(numbers)).from_address(address)[:] = numbers

    def free(self) -> None:
        for address in self.addresses.values():
            C.free(address)


def run_both_ways(
    problem: engine.LSTMProblem | engine.LinearProblem, arrays: Arrays, gradients: Arrays, instruction_set: str
) -> None:
    """Run forward and backward, each with a scratch array of exactly the required size, then free the arrays."""
    arrays.add_bytes("scratch", problem.scratch_bytes(backward=False))
    problem.forward(arrays.addresses, instruction_set)
    C.free(arrays.addresses["scratch"])
    arrays.add_bytes("scratch", problem.scratch_bytes(backward=True))
    problem.backward(arrays.addresses, gradients.addresses, instruction_set)
    arrays.free()
    gradients.free()


def cell_sizes(problem: engine.LSTMProblem | engine.DecoderProblem, inputs: int) -> dict[str, int]:
    """Return the sizes of a layer's weights, and of c0."""
    H = problem.hidden_size
    G = 3 * H if problem.cell == "gru" else 4 * H
    sizes = {"weight_input": G * inputs, "weight_hidden": G * H, "bias": G}
    if problem.cell == "gru":
        return sizes | {"bias_hidden": G}
    peephole = {"full": 3 * H * H, "diagonal": 3 * H, "none": 0}[problem.form]
    return sizes | {"c0": problem.batch * H, "weight_peephole": peephole}


def call_lstm(problem: engine.LSTMProblem, instruction_set: str, seed: int) -> None:
    """Run a recurrent layer forward and backward on random numbers."""
    B, T, I, H = problem.batch, problem.steps, problem.input_size, problem.hidden_size  # noqa: E741
    arrays, gradients = Arrays(problem.scalar, seed), Arrays(problem.scalar, seed + 1)
    sizes = {"x": B * T * I, "h0": B * H, **cell_sizes(problem, I)}
    results = {"out": B * T * H, "h_last": B * H} | ({"c_last": B * H} if problem.cell == "lstm" else {})
    for name, size in (sizes | results).items():
        arrays.add(name, size)
        gradients.add(name, size)
    draw = random.Random(seed)
    arrays.add_integers("lengths", [draw.randint(1, T) for _ in range(B)])
    arrays.add_bytes("saved", problem.saved_bytes())
    run_both_ways(problem, arrays, gradients, instruction_set)


def call_decoder(problem: engine.DecoderProblem, instruction_set: str, seed: int) -> None:
    """Run a decoder forward and backward on random numbers."""
    B, U, T = problem.batch, problem.steps, problem.source_steps
    E, M, A, H = problem.embedding_size, problem.memory_size, problem.key_size, problem.hidden_size
    arrays, gradients = Arrays(problem.scalar, seed), Arrays(problem.scalar, seed + 1)
    sizes = {"embedded": B * U * E, "memory": B * (M if problem.attention == "fixed_context" else T * M)}
    if problem.attention != "fixed_context":
        sizes["keys"] = B * T * A
    if problem.attention not in ("fixed_context", "product"):
        sizes |= {"weight_query": A * H, "vector": A} | ({"asked": B * U * A} if seed % 3 == 0 else {})
    if problem.attention in ("location", "coverage"):
        sizes |= {"attention_bias": A, "weight_location": A * (problem.channels or 1)}
    if problem.attention == "location":
        sizes["filters"] = problem.channels * problem.filter_width
    if problem.attention == "multihead":
        sizes["weight_output"] = M * M
    if problem.attention != "fixed_context" and seed % 2:
        sizes["weights"] = B * U * T
    for name, size in (sizes | {"contexts": B * U * M}).items():
        arrays.add(name, size)
        gradients.add(name, size)
    gradients.add("states", B * U * H)
    if problem.residual:
        arrays.add("sums", B * U * H)
    draw = random.Random(seed)
    arrays.add_integers("lengths", [draw.randint(1, U) for _ in range(B)])
    arrays.add_integers("source_lengths", [draw.randint(1, T) for _ in range(B)])
    arrays.add_bytes("saved", problem.saved_bytes())
    arrays.add_bytes("scratch", problem.scratch_bytes(backward=False))
    layers, layer_gradients = [], []
    for layer in range(problem.num_layers):
        own, its = Arrays(problem.scalar, seed + 2), Arrays(problem.scalar, seed + 3)
        for name, size in {"h0": B * H, **cell_sizes(problem, H if layer else E + M)}.items():
            own.add(name, size)
            its.add(name, size)
        if layer:
            own.add("mask", B * U * H)
        own.add("hidden", B * U * H)
        layers.append(own)
        layer_gradients.append(its)
    rows = [own.addresses for own in layers]
    problem.forward(arrays.addresses, rows, instruction_set)
    C.free(arrays.addresses["scratch"])
    arrays.add_bytes("scratch", problem.scratch_bytes(backward=True))
    its_rows = [its.addresses for its in layer_gradients]
    problem.backward(arrays.addresses, rows, gradients.addresses, its_rows, instruction_set)
    for one in (arrays, gradients, *layers, *layer_gradients):
        one.free()


def call_linear(problem: engine.LinearProblem, instruction_set: str, seed: int) -> None:
    """Run a linear product forward and backward, with and without a bias."""
    N, K, O = problem.rows, problem.inputs, problem.outputs  # noqa: E741
    for has_bias in (True, False):
        arrays, gradients = Arrays(problem.scalar, seed), Arrays(problem.scalar, seed + 1)
        for name, size in {"x": N * K, "weight": O * K, "bias": O * has_bias, "y": N * O}.items():
            if size:
                arrays.add(name, size)
                gradients.add(name, size)
        run_both_ways(problem, arrays, gradients, instruction_set)


def call_output_loss(problem: engine.OutputLossProblem, instruction_set: str, seed: int) -> None:
    """Run an output layer with its loss, with and without gradients, on targets that may contain padding."""
    N, H, V = problem.rows, problem.hidden_size, problem.symbols
    draw = random.Random(seed)
    for with_gradients in (True, False):
        arrays, gradients = Arrays(problem.scalar, seed), Arrays(problem.scalar, seed + 1)
        for name, size in {"readouts": N * H, "weight": V * H, "bias": V}.items():
            arrays.add(name, size)
            gradients.add(name, size)
        arrays.add("loss", 1)
        targets = [draw.randrange(V + 2 * bool(problem.steps)) for _ in range(N)]
        if problem.consistency_loss:
            targets[N // 2 :] = targets[: N // 2]
        arrays.add_integers("targets", targets)
        if problem.teacher_weight:
            count = N * problem.num_taught
            arrays.add_integers("taught_symbols", [draw.randrange(V) for _ in range(count)], ctypes.c_int32)
            arrays.add_bytes("taught_shares", 4 * count)
        if problem.steps:
            pairs = N // problem.steps
            for own in (arrays, gradients):
                own.add("gates", N)
                own.add("weights", N * problem.source_steps)
            arrays.add_integers("copied", [draw.randrange(V + 2) for _ in range(pairs * problem.source_steps)])
        arrays.add_bytes("scratch", problem.scratch_bytes(gradients=with_gradients))
        problem.run(arrays.addresses, gradients.addresses if with_gradients else None, instruction_set)
        arrays.free()
        gradients.free()


def call_dropout_mask(problem: engine.DropoutMaskProblem, instruction_set: str) -> None:
    """Compute a dropout mask for random unit keys."""
    arrays = Arrays(4, problem.batch)
    arrays.add_integers("examples", list(range(problem.batch)))
    arrays.add("unit_keys", problem.units)
    arrays.add("mask", problem.batch * problem.steps * problem.units)
    problem.run(arrays.addresses, instruction_set)
    arrays.free()


TRAINED = (
    {},
    {"encoder_layers": 3, "encoder_pyramid": 2, "decoder_layers": 2, "encoder_size": 18, "residual": True},
    {"bidirectional": False, "attention": "general", "peephole": "diagonal", "decoder_layers": 2},
    {"attention": "dot", "peephole": "none", "hidden_size": 18},
    {"attention": "location", "location_width": 5, "location_channels": 2},
    {"attention": "coverage"},
    {"output": "copy", "attention": "coverage", "encoder_layers": 2},
    {"attention": "multihead", "attention_heads": 2, "hidden_size": 18},
    {"cell": "gru", "peephole": "none", "decoder_layers": 2},
    {"context": "mean", "encoder_size": 6, "peephole": "none"},
    {"context": "last", "decoder_layers": 2},
    {"ctc": True, "encoder_layers": 2, "encoder_pyramid": 1},
    {"ctc": True, "context": "last", "peephole": "none"},
    {"input": "none", "decoder_layers": 2, "residual": True},
    {"zoneout_hidden": 0.3, "zoneout_cell": 0.3, "encoder_layers": 2, "encoder_pyramid": 1, "decoder_layers": 2},
    {"zoneout_hidden": 0.3, "zoneout_cell": 0.3, "peephole": "diagonal", "input": "none"},
    {"zoneout_hidden": 0.3, "cell": "gru", "peephole": "none"},
    {"layer_norm": True, "zoneout_cell": 0.3, "encoder_layers": 2, "decoder_layers": 2},
    {"layer_norm": True, "peephole": "diagonal", "input": "none"},
    {"layer_norm": True, "cell": "gru", "peephole": "none", "residual": True, "decoder_layers": 2},
    {"input": "frames", "input_size": 5, "frame_stack": 3, "encoder_layers": 2, "encoder_pyramid": 1},
    {"input": "convolution", "input_size": 14, "input_planes": 2, "convolution_layers": 3, "convolution_channels": 17},
    {"input": "frames", "input_size": 5, "output": "gaussian", "output_size": 3, "frame_stack": 2},
    {
        "input": "frames",
        "input_size": 5,
        "output": "quantile",
        "quantiles": 17,
        "output_size": 5,
        "scaling": "constant",
    },
    {
        "input": "convolution",
        "input_size": 6,
        "input_planes": 2,
        "output": "quantile",
        "output_size": 1,
        "feedback": False,
    },
)


def train(model: dict[str, Any], precision: str, threads: int, instruction_set: str, seed: int) -> None:
    """Run all tasks of a trainer on batches of growing and falling sizes."""
    architecture = Architecture.from_dict({"hidden_size": 17, "encoder_size": 18, "embedding_size": 5} | model)
    draw = np.random.default_rng(seed)
    shapes = {name: spec.shape for name, spec in tensors(architecture, 9, 7).items()}
    weights = {name: draw.normal(scale=0.5, size=shape) for name, shape in shapes.items()}
    coverage_loss = 0.5 * (architecture.attention == "coverage" and architecture.context == "attention")
    twice = architecture.output == "symbols" and seed % 2 == 0
    teacher_weight = 0.5 * (architecture.output == "symbols" and seed % 3 > 0)
    losses = coverage_loss, 2.0 * twice, teacher_weight
    settings = StepSettings(
        0.2 * (seed % 2), seed % 3 == 1, 0.1, 1.0, 0.01, 0.9, threads, precision, seed, *losses, 2, 3, 2, 4
    )
    trainer = EngineTrainer(architecture, 9, 7, weights, settings, instruction_set)
    for learns in (True, False):
        step_bytes(architecture, 9, 7, settings, [(1, 1, 1), (5, 9, 7)], learns=learns)
    copies = architecture.output == "copy"
    for step, (batch, source_steps, target_steps) in enumerate(((1, 1, 1), (9, 7, 8), (3, 2, 5))):
        source_lengths, lengths = draw.integers(1, source_steps + 1, batch), draw.integers(1, target_steps + 1, batch)
        target = draw.integers(1, 7, (batch, target_steps)) * (np.arange(target_steps) < lengths[:, None])
        source = draw.integers(0, 9, (batch, source_steps))
        if copies:
            source = np.stack([source, draw.integers(0, 12, source.shape)], -1)
            target[:, 0] = source[:, 0, 1] + (source[:, 0, 1] == 0)
        if architecture.input_size is not None:
            source_lengths = 5 * source_lengths - 4
            source = draw.normal(size=(batch, 5 * source_steps, architecture.input_size)).astype(np.float32)
        if architecture.output_size is not None:
            target = draw.normal(size=(batch, target_steps, architecture.output_size)).astype(np.float32)
            target[draw.random(target.shape) < 0.3] = np.nan
        examples = draw.integers(0, 1000, batch)
        if twice:
            source, source_lengths, target = (np.concatenate([a, a]) for a in (source, source_lengths, target))
            examples = np.concatenate([examples, examples + 1000])
        taught = None
        if teacher_weight:
            symbols = draw.integers(0, 7, (*target.shape, 3))
            taught = Taught(symbols, np.full(symbols.shape, 1 / 3, np.float32))
        given = source, source_lengths, target
        sampling = 0.5 * (architecture.output_size is None)
        trainer.step(*given, examples, taught, step=step, learning_rate=0.01, divisor=1, sampling_probability=sampling)
        trainer.gradients(*given, examples, taught, step=step, divisor=1)
        trainer.loss(*given, averaged=seed % 2 == 1)
        if architecture.output == "gaussian":
            trainer.log_densities(*given)
    trainer.close()


def main() -> None:
    """Call all functions on all shapes; a sanitizer ends the process at the first error.

    Each instruction set meets each shape in each number format, and each kind of cell or attention with both.
    """
    shapes = [(1, 1, 1, 1), (3, 4, 2, 3), (7, 5, 17, 16), (13, 3, 16, 33), (5, 60, 70, 65)]
    decoders = [(1, 1, 1, 1, 1, 1, 1), (3, 4, 2, 3, 5, 7, 6), (13, 3, 9, 16, 17, 33, 35), (5, 60, 4, 33, 40, 16, 65)]
    products = [(1, 1, 1), (5, 3, 2), (37, 70, 83), (300, 16, 48)]
    losses = [(1, 1, 2), (9, 5, 40), (90, 33, 83), (300, 16, 300), (300, 3, 9000)]
    sets = engine.instruction_sets()
    numbers = [(4, "as_is"), (4, "bf16"), (8, "as_is")]
    cells = [*((form, "lstm") for form in engine.FORMS), ("none", "gru")]
    calls = 0
    for instruction_set, precision, model in product(sets, NUMBERS, TRAINED):
        train(model, precision, 1 + calls % 3, instruction_set, calls)
        calls += 1
    for instruction_set, number, (form, cell), shape, threads in covering(
        sets, numbers, cells, shapes, (1, 3), strength=3
    ):
        problem = engine.LSTMProblem(*number, form, calls % 2 == 1, threads, *shape, cell)
        call_lstm(problem, instruction_set, calls)
        calls += 1
    for instruction_set, number, (form, cell), attention, shape in covering(
        sets, numbers, cells, list(engine.ATTENTIONS), decoders, strength=3
    ):
        if attention == "product":  # the query is the state itself: key_size = hidden_size
            shape = (*shape[:-2], shape[-1], shape[-1])
        sizes = (1 + calls % 3, 1 + calls % 2, *shape)  # threads, layers
        own = {}
        if attention == "location":
            own = {"channels": 1 + calls % 18, "filter_width": 1 + 2 * (calls % 4)}
        elif attention == "multihead":  # its heads divide A and M
            own = {"heads": math.gcd(*shape[4:6])}
        decoder = engine.DecoderProblem(*number, form, attention, *sizes, **own, cell=cell, residual=calls % 4 == 1)
        call_decoder(decoder, instruction_set, calls)
        calls += 1
    for instruction_set, number, threads, shape in covering(sets, numbers, (1, 3), products, strength=3):
        call_linear(engine.LinearProblem(*number, threads, *shape), instruction_set, calls)
        calls += 1
    for instruction_set, number, threads, loss, copied in covering(
        sets, numbers, (1, 3), losses, (False, True), strength=3
    ):
        rows, *sizes = loss
        more: dict[str, Any] = {}
        if copied:
            more = {"steps": rows // 3 or 1, "source_steps": 7}
        elif calls % 2:
            more, rows = {"consistency_loss": 2.0}, rows + rows % 2  # of two halves
        if not copied and calls % 3:
            more |= {"teacher_weight": 0.5, "num_taught": 1 + calls % 3}
        output_loss = engine.OutputLossProblem(*number, threads, rows, *sizes, padding=0, label_smoothing=0.1, **more)
        call_output_loss(output_loss, instruction_set, calls)
        calls += 1
    for instruction_set in sets:
        for threads, shape in ((1, (1, 1, 1)), (2, (3, 5, 17)), (3, (9, 30, 300))):
            call_dropout_mask(engine.DropoutMaskProblem(threads, -(2**30), 0.75, *shape, -5), instruction_set)
            calls += 1
        for scalar in (4, 8):
            source, result = C.malloc(7 * scalar), C.malloc(7 * scalar)
            ctypes.memset(source, 0, 7 * scalar)
            for function in engine.FUNCTIONS:
                engine.activation(function, scalar, 7, source, result, instruction_set)
            C.free(source)
            C.free(result)
            assert engine.peak(10, scalar, instruction_set) > 0
    print(f"{calls} calls without an error")


if __name__ == "__main__":
    main()
