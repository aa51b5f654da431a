"""Tests every implementation of the recurrent layers against the oracle, PyTorch's layers and other batches."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from peephole.errors import ShapeError
from peephole.nn import GRUWeights, LSTMState, LSTMWeights, gru_cell, lstm_cell

from .checks import DTYPES, PEEPHOLES, Case, check_gru, check_layers, check_lstm, weights_of
from .implementations import IMPLEMENTATIONS

NAN = float("nan")
CELLS = [("lstm", form) for form in PEEPHOLES] + [("gru", "none")]
cells = pytest.mark.parametrize(("cell", "peephole"), CELLS)
implementations = pytest.mark.parametrize("implementation", IMPLEMENTATIONS, ids=lambda entry: entry.name)

SHAPES = {
    "padded beyond the longest": {},
    "NaN in the padding": {"padding": NAN},
    "longest fills the batch": {"lengths": (2, 4, 4), "steps": 4},
    "no padding": {"lengths": (3, 3), "steps": 3},
    "one sequence": {"lengths": (3,), "steps": 4},
    "one step": {"lengths": (1, 1), "steps": 1},
    "saturated gates": {"input_scale": 20.0},
    "one unit": {"hidden_size": 1, "input_size": 1},
    "more rows than a vector register": {"lengths": (1, 2) * 9, "steps": 2, "hidden_size": 2},
    "more units than a vector register": {"lengths": (3, 1), "steps": 3, "hidden_size": 17, "input_size": 1},
}


def random(*shape, seed=0):
    """Return random float64 numbers that require gradients."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def random_arguments(cell, peephole):
    """Return x (3, 5, 2), lengths, the parts of a state (3, 3) and the weights."""
    gates = 4 if cell == "lstm" else 3
    shapes = [(gates * 3, 2), (gates * 3, 3), (gates * 3,)]
    if cell == "gru":
        shapes.append((gates * 3,))
    elif peephole != "none":
        shapes.append((9, 3) if peephole == "full" else (3, 3))
    state = [random(3, 3, seed=seed) for seed in ((1, 2) if cell == "lstm" else (1,))]
    weights = [random(*shape, seed=3 + index) for index, shape in enumerate(shapes)]
    return random(3, 5, 2), torch.tensor([2, 4, 1]), state, weights


def make_layers(implementation, cell, peephole, num_layers=2, bidirectional=True, seed=0):
    """Return float64 layers with 4 inputs, 3 hidden units and random weights and biases."""
    form = {"peephole": peephole} if cell == "lstm" else {}
    module = implementation.LSTM if cell == "lstm" else implementation.GRU
    layers = module(4, 3, num_layers, bidirectional, **form).double()
    with torch.no_grad():
        for index, parameter in enumerate(layers.parameters()):
            parameter.copy_(random(*parameter.shape, seed=1000 * seed + index))
    return layers


def flat(tree):
    """Return the tensors of nested tuples in order."""
    return [tree] if isinstance(tree, torch.Tensor) else [leaf for part in tree for leaf in flat(part)]


def check(implementation, case):
    """Compare one direction of an implementation with the oracle."""
    if case.cell == "lstm":
        check_lstm(implementation.lstm, case)
    else:
        check_gru(implementation.gru, case)


@implementations
@cells
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("shape", SHAPES)
def test_one_direction_equals_the_oracle(implementation, cell, peephole, dtype, reverse, shape):
    check(implementation, Case(cell, peephole, dtype, reverse, **SHAPES[shape]))


@implementations
@cells
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_layers_equal_the_oracle(implementation, cell, peephole, dtype, bidirectional, num_layers):
    module = implementation.LSTM if cell == "lstm" else implementation.GRU
    sizes = {"num_layers": num_layers, "bidirectional": bidirectional, "hidden_size": 2, "padding": NAN}
    check_layers(module, Case(cell, peephole, dtype, lengths=(2, 3, 1), steps=4, **sizes))


@implementations
@cells
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_residual_layers_equal_the_oracle(implementation, cell, peephole, bidirectional, num_layers):
    """With as many inputs as outputs: the lowest layer adds nothing all the same."""
    module = implementation.LSTM if cell == "lstm" else implementation.GRU
    sizes = {
        "num_layers": num_layers,
        "bidirectional": bidirectional,
        "hidden_size": 2,
        "input_size": 4,
        "padding": NAN,
    }
    check_layers(module, Case(cell, peephole, lengths=(2, 3, 1), steps=4, residual=True, **sizes))


@implementations
@cells
def test_layers_without_a_state_start_from_zeros(implementation, cell, peephole):
    layers = make_layers(implementation, cell, peephole)
    x, lengths = random(3, 5, 4), torch.tensor([2, 5, 3])
    zeros = torch.zeros(3, 4, 3, dtype=torch.float64)
    state = LSTMState(zeros, zeros) if cell == "lstm" else zeros
    got, want = layers(x, lengths), layers(x, lengths, state)
    for own, other in zip(flat(got), flat(want), strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=0)
        assert own.abs().max() > 0.01


@implementations
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_layers_without_peepholes_equal_those_of_pytorch(implementation, cell, num_layers, bidirectional):
    ours = make_layers(implementation, cell, "none", num_layers, bidirectional)
    module = torch.nn.LSTM if cell == "lstm" else torch.nn.GRU
    theirs = module(4, 3, num_layers, bidirectional=bidirectional, batch_first=True).double()
    own = weights_of(ours)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            parameter.copy_(value_for_pytorch(own, name))
    lengths = torch.tensor([2, 5, 1])
    x = random(3, 5, 4)
    parts = [random(3, num_layers * (1 + bidirectional), 3, seed=seed) for seed in (1, 2)]
    out, state = ours(x, lengths, LSTMState(*parts) if cell == "lstm" else parts[0])

    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    first = [part.transpose(0, 1).contiguous() for part in parts]
    packed_out, final = theirs(packed, tuple(first) if cell == "lstm" else first[0])
    their_out, _ = pad_packed_sequence(packed_out, batch_first=True)
    torch.testing.assert_close(out, their_out, rtol=0, atol=1e-12)
    for part, their_part in zip(flat(state), flat(final), strict=True):
        torch.testing.assert_close(part, their_part.transpose(0, 1), rtol=0, atol=1e-12)


def value_for_pytorch(own, name):
    """Return the value of a parameter of torch.nn.LSTM or GRU, such as `weight_ih_l1_reverse`."""
    kind, _, suffix = name.rpartition("_l")
    prefix = f"{int(suffix.removesuffix('_reverse'))}.{int(suffix.endswith('_reverse'))}"
    lstm_names = {"weight_ih": "weight_input", "weight_hh": "weight_hidden", "bias_ih": "bias"}
    gru_names = lstm_names | {"bias_ih": "bias_input", "bias_hh": "bias_hidden"}
    if f"{prefix}.bias" not in own:
        return own[f"{prefix}.{gru_names[kind]}"]
    return own[f"{prefix}.{lstm_names[kind]}"] if kind in lstm_names else torch.zeros(12)


@implementations
@cells
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
def test_gradcheck_of_one_direction(implementation, cell, peephole, reverse):
    x, lengths, state, weights = random_arguments(cell, peephole)

    def run(x, *rest):
        if cell == "lstm":
            out, final = implementation.lstm(x, lengths, LSTMState(*rest[:2]), LSTMWeights(*rest[2:]), reverse=reverse)
            return out, *final
        return implementation.gru(x, lengths, rest[0], GRUWeights(*rest[1:]), reverse=reverse)

    torch.autograd.gradcheck(run, (x, *state, *weights))


@cells
def test_gradcheck_of_one_step(cell, peephole):
    x, _, state, weights = random_arguments(cell, peephole)

    def run(x, *rest):
        if cell == "lstm":
            return tuple(lstm_cell(x, LSTMState(*rest[:2]), LSTMWeights(*rest[2:])))
        return gru_cell(x, rest[0], GRUWeights(*rest[1:]))

    torch.autograd.gradcheck(run, (x[:, 0].detach().requires_grad_(), *state, *weights))


@implementations
@cells
def test_a_sequence_equals_repeated_single_steps(implementation, cell, peephole):
    x, lengths, state, weights = random_arguments(cell, peephole)
    if cell == "lstm":
        step, state, weights = lstm_cell, LSTMState(*state), LSTMWeights(*weights)
        out, final = implementation.lstm(x, lengths, state, weights)
    else:
        step, state, weights = gru_cell, state[0], GRUWeights(*weights)
        out, final = implementation.gru(x, lengths, state, weights)
    for b, length in enumerate(lengths):
        row = slice(b, b + 1)
        own = LSTMState(*(part[row] for part in state)) if cell == "lstm" else state[row]
        for t in range(length):
            own = step(x[row, t], own, weights)
            torch.testing.assert_close(out[row, t], flat(own)[0], rtol=0, atol=1e-12)
        for part, last in zip(flat(own), flat(final), strict=True):
            torch.testing.assert_close(part, last[row], rtol=0, atol=1e-12)


@implementations
# No deadline: the test must also pass on a busy machine.
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_results_of_a_sequence_do_not_depend_on_its_batch(implementation, data):
    """Compare its results alone, in a batch of 64 with longer sequences, and in another order."""
    cell, peephole = data.draw(st.sampled_from(CELLS))
    layers = make_layers(implementation, cell, peephole, seed=data.draw(st.integers(0, 99))).float()
    lengths = torch.tensor(data.draw(st.lists(st.integers(1, 12), min_size=64, max_size=64)))
    x = random(64, int(lengths.max()) + data.draw(st.integers(0, 3)), 4).float()
    with torch.no_grad():
        out, state = layers(x, lengths)
        order = torch.tensor(data.draw(st.permutations(range(64))))
        other_out, other_state = layers(x[order], lengths[order])
        pairs = [(out[order], other_out)]
        pairs += [(part[order], other) for part, other in zip(flat(state), flat(other_state), strict=True)]
        for b in data.draw(st.lists(st.integers(0, 63), min_size=4, max_size=4)):
            length = int(lengths[b])
            own_out, own_state = layers(x[b : b + 1, :length], lengths[b : b + 1])
            pairs += [(out[b, :length], own_out[0]), (out[b, length:], torch.zeros_like(out[b, length:]))]
            pairs += [(part[b], own[0]) for part, own in zip(flat(state), flat(own_state), strict=True)]
    for one, another in pairs:
        torch.testing.assert_close(one, another, rtol=0, atol=1e-5)


WRONG_SHAPES = {
    "h": (4, 2),
    "c": (3, 2),
    "weight_input": (8, 4),
    "weight_hidden": (12, 4),
    "bias": (13,),
    "weight_peephole": (6, 3),
}


@implementations
@pytest.mark.parametrize("name", WRONG_SHAPES)
def test_the_error_for_a_wrong_shape_names_the_argument(implementation, name):
    x, lengths, state, weights = random_arguments("lstm", "full")
    wrong = {name: torch.zeros(WRONG_SHAPES[name], dtype=torch.float64)}
    state, weights = LSTMState(*state), LSTMWeights(*weights)
    if name in LSTMState._fields:
        state = state._replace(**wrong)
    else:
        weights = weights._replace(**wrong)
    got = ", ".join(map(str, WRONG_SHAPES[name]))
    with pytest.raises(ShapeError, match=f"^{name}: wanted shape .*, got .{got}"):
        implementation.lstm(x, lengths, state, weights)


@implementations
@pytest.mark.usefixtures("annotations_unchecked")
@pytest.mark.parametrize("lengths", [[0, 2, 3], [1, 2, 6], [1, 2]], ids=["empty", "too long", "too few"])
def test_the_error_for_wrong_lengths_names_them(implementation, lengths):
    x, _, state, weights = random_arguments("lstm", "full")
    with pytest.raises(ShapeError, match="lengths"):
        implementation.lstm(x, torch.tensor(lengths), LSTMState(*state), LSTMWeights(*weights))
