"""Tests which number format is measured as the faster one: `peephole.engine.number_speed`."""

from __future__ import annotations

import time

import pytest

from peephole import engine
from peephole.engine import number_speed


class Clock:
    """A clock on which products of one operand take more time."""

    def __init__(self, monkeypatch, slow):
        self.now, self.slow = 0.0, slow
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(number_speed, "LinearProblem", self.problem)

    def problem(self, scalar, operand, threads, rows, inputs, outputs):
        clock, made = self, engine.LinearProblem(scalar, operand, threads, rows, inputs, outputs)

        class Timed:
            def scratch_bytes(self, *, backward):
                return made.scratch_bytes(backward=backward)

            def forward(self, arrays, instruction_set):
                made.forward(arrays, engine.instruction_sets()[-1])
                clock.now += 2e-3 if operand == clock.slow else 1e-3

        return Timed()


@pytest.fixture(autouse=True)
def measures_again():
    number_speed.bfloat16_is_faster.cache_clear()
    yield
    number_speed.bfloat16_is_faster.cache_clear()


@pytest.mark.skipif(not engine.available(), reason="without a compiler there is no engine")
@pytest.mark.parametrize(("slow", "faster"), [("bf16", False), ("as_is", True)])
@pytest.mark.parametrize("best", ["avx512_amx", "avx512_bf16"])
def test_the_measured_format_is_chosen(monkeypatch, best, slow, faster):
    monkeypatch.setattr(number_speed, "instruction_sets", lambda: (best, "generic"))
    Clock(monkeypatch, slow)
    assert number_speed.bfloat16_is_faster() == faster


@pytest.mark.parametrize("instruction_sets", [("avx512", "avx2", "generic"), ("avx2", "generic"), ()])
def test_without_instructions_nothing_is_measured(monkeypatch, instruction_sets):
    monkeypatch.setattr(number_speed, "instruction_sets", lambda: instruction_sets)
    monkeypatch.setattr(number_speed, "LinearProblem", None)
    assert not number_speed.bfloat16_is_faster()
