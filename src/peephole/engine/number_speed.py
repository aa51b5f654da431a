"""Which number format the engine's products are faster in on this processor."""

from __future__ import annotations

import time
from functools import cache

import numpy as np

from peephole.engine.abi import instruction_sets
from peephole.engine.problems import LinearProblem

NARROW = "avx512_amx", "avx512_bf16"  # instruction sets that multiply bfloat16
ROWS, INPUTS, OUTPUTS = 192, 256, 256
TRIALS = 20  # of less than a millisecond each; the fastest counts, so that another busy process changes nothing


@cache
def bfloat16_is_faster() -> bool:
    """Return whether products take less time in bfloat16 than in float32.

    Processors without bfloat16 instructions convert the numbers. Among those with them, AMD's (Zen 4) multiply twice as
    many numbers in a cycle as in float32 and Intel's (Sapphire and Emerald Rapids) half as many, or about 16 times as
    many where tile registers may be used. So this is measured, in about 10 ms, once in a process.
    """
    best = next(iter(instruction_sets()), None)
    if best not in NARROW:
        return False
    numbers = np.ones((OUTPUTS + 2 * ROWS) * max(INPUTS, OUTPUTS), np.float32)
    arrays = {
        "weight": numbers.ctypes.data,
        "x": numbers[OUTPUTS * INPUTS :].ctypes.data,
        "y": numbers[(OUTPUTS + ROWS) * INPUTS :].ctypes.data,
    }
    seconds = {operand: float("inf") for operand in ("as_is", "bf16")}
    for _ in range(TRIALS):
        for operand in seconds:
            problem = LinearProblem(4, operand, 1, ROWS, INPUTS, OUTPUTS)
            scratch = np.empty(problem.scratch_bytes(backward=False), np.uint8)
            started = time.perf_counter()
            problem.forward({**arrays, "scratch": scratch.ctypes.data}, best)
            seconds[operand] = min(seconds[operand], time.perf_counter() - started)
    return seconds["bf16"] < seconds["as_is"]
