"""Tests that the engine's dropout masks equal those of the definition bit for bit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from peephole import engine
from peephole.engine import dropout  # noqa: F401  # registers the operator
from peephole.nn import Noise, use_engine

needs_engine = pytest.mark.skipif(not engine.available(), reason="without a compiler there is no engine")
int64s = st.integers(-(2**63), 2**63 - 1)


def mask(setting, noise, *arguments):
    """Return the mask computed under an engine setting."""
    with use_engine(setting):
        return noise.mask(*arguments)


@pytest.mark.parametrize("instruction_set", engine.instruction_sets())
@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**40),
    st.integers(0, 2**40),
    st.lists(int64s, max_size=5),
    st.one_of(st.sampled_from([0.0, 0.1, 0.2, 0.5, 1 - 2**-20]), st.floats(0, 1 - 2**-20)),
    st.text(max_size=8),
    st.integers(0, 5),
    st.integers(0, 70),
)
def test_masks_equal_those_of_the_definition(instruction_set, seed, step, examples, rate, site, num_steps, num_units):
    noise = Noise(seed, step, torch.tensor(examples, dtype=torch.int64), rate)
    wanted = mask("off", noise, site, num_steps, num_units)
    found = mask(instruction_set, noise, site, num_steps, num_units)
    assert found.dtype == torch.float32
    assert torch.equal(found.view(torch.int32), wanted.view(torch.int32))


@pytest.mark.parametrize("instruction_set", engine.instruction_sets())
@pytest.mark.parametrize(("batch", "steps", "units"), [(300, 3, 256), (3, 400, 130), (2, 1, 70_000)])
def test_large_masks_equal_those_of_the_definition_on_any_threads(instruction_set, batch, steps, units, threads):
    noise = Noise(1, 2, torch.arange(batch) * 77, 0.3)
    wanted = mask("off", noise, "readout", steps, units)
    for count in (1, 2, 5):
        threads(count)
        assert torch.equal(mask(instruction_set, noise, "readout", steps, units), wanted)


@needs_engine
def test_example_numbers_may_be_a_strided_view():
    noise = Noise(1, 2, torch.arange(12)[::3], 0.3)
    assert torch.equal(mask("auto", noise, "readout", 4, 9), mask("off", noise, "readout", 4, 9))


@needs_engine
def test_the_engine_computes_the_masks_unless_it_is_off():
    noise = Noise(1, 2, torch.arange(3), 0.3)
    assert "peephole::dropout_mask" in operators("auto", noise)
    assert "peephole::dropout_mask" not in operators("off", noise)


def operators(setting, noise):
    """Return the names of the PyTorch operators that computing a mask calls."""
    with torch.profiler.profile() as profile:
        mask(setting, noise, "readout", 4, 9)
    return {event.key for event in profile.key_averages()}


@needs_engine
def test_opcheck_of_the_operator():
    keys = torch.arange(9, dtype=torch.int32)
    torch.library.opcheck(
        torch.ops.peephole.dropout_mask.default, (torch.arange(3), keys, 4, -5, 0, 0.5, engine.instruction_sets()[0])
    )


@needs_engine
def test_an_unknown_instruction_set_is_refused():
    with pytest.raises(ValueError, match=r"instruction set: wanted one of .*generic.*got 'mmx'"):
        torch.ops.peephole.dropout_mask(torch.arange(3), torch.arange(9, dtype=torch.int32), 4, -5, 0, 0.5, "mmx")
