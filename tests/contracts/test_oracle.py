"""Tests the oracle against PyTorch's layers, which have no peepholes, and against central differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from . import oracle

B, T, INPUT, H = 3, 5, 2, 3
LENGTHS = (3, 5, 1)


def random_layers(rng, kind, num_layers, num_directions, peephole=None):
    """Return random weights as layers[layer][direction]; `peephole` is the shape of the peephole weights."""
    layers = []
    for layer in range(num_layers):
        width = INPUT if layer == 0 else num_directions * H
        layers.append([])
        for _ in range(num_directions):
            if kind is oracle.LSTMWeights:
                shapes = [(4 * H, width), (4 * H, H), (4 * H,)]
            else:
                shapes = [(3 * H, width), (3 * H, H), (3 * H,), (3 * H,)]
            arrays = [rng.normal(size=shape) for shape in shapes]
            if kind is oracle.LSTMWeights:
                arrays.append(None if peephole is None else rng.normal(size=peephole))
            layers[-1].append(kind(*arrays))
    return layers


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("num_directions", [1, 2])
@pytest.mark.parametrize("kind", [oracle.LSTMWeights, oracle.GRUWeights])
def test_oracle_without_peepholes_equals_the_layer_of_pytorch(kind, num_directions, num_layers):
    rng = np.random.default_rng(0)
    layers = random_layers(rng, kind, num_layers, num_directions)
    x = rng.normal(size=(B, T, INPUT))
    parts = 2 if kind is oracle.LSTMWeights else 1
    state = tuple(rng.normal(size=(B, num_layers * num_directions, H)) for _ in range(parts))
    out, final = oracle.stack(x, LENGTHS, state, layers)

    module = torch.nn.LSTM if kind is oracle.LSTMWeights else torch.nn.GRU
    theirs = module(INPUT, H, num_layers, bidirectional=num_directions == 2, batch_first=True).double()
    with torch.no_grad():
        for layer, directions in enumerate(layers):
            for weights, suffix in zip(directions, ("", "_reverse"), strict=False):
                values = [*weights[:3], np.zeros(4 * H)] if parts == 2 else weights[:4]
                names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                for name, value in zip(names, values, strict=True):
                    getattr(theirs, f"{name}_l{layer}{suffix}").copy_(torch.from_numpy(value))
        packed = pack_padded_sequence(torch.from_numpy(x), LENGTHS, batch_first=True, enforce_sorted=False)
        their_state = tuple(torch.from_numpy(part).transpose(0, 1).contiguous() for part in state)
        packed_out, their_final = theirs(packed, their_state if parts == 2 else their_state[0])
        their_out, _ = pad_packed_sequence(packed_out, batch_first=True, total_length=T)
    np.testing.assert_allclose(out, their_out, rtol=0, atol=1e-14)
    for part, theirs_part in zip(final, their_final if parts == 2 else [their_final], strict=True):
        np.testing.assert_allclose(part, theirs_part.transpose(0, 1), rtol=0, atol=1e-14)


@pytest.mark.parametrize("peephole", [None, (3, H), (3 * H, H)])
def test_complex_step_agrees_with_central_differences(peephole):
    rng = np.random.default_rng(1)
    ((weights,),) = random_layers(rng, oracle.LSTMWeights, 1, 1, peephole)
    arrays = {"x": rng.normal(size=(B, T, INPUT)), "h": rng.normal(size=(B, H)), "c": rng.normal(size=(B, H))}
    arrays |= {name: value for name, value in weights._asdict().items() if value is not None}
    directions = {name: rng.normal(size=array.shape) for name, array in arrays.items()}
    d_out, d_h, d_c = (rng.normal(size=shape) for shape in [(B, T, H), (B, H), (B, H)])

    def functional(values):
        w = oracle.LSTMWeights(*(values.get(name) for name in oracle.LSTMWeights._fields))
        out, (h, c) = oracle.recurrent(values["x"], LENGTHS, (values["h"], values["c"]), w, reverse=True)
        return (out * d_out).sum() + (h * d_h).sum() + (c * d_c).sum()

    gradients = oracle.gradients(functional, arrays)
    slopes = oracle.slopes(functional, arrays, directions)
    for name, array in arrays.items():
        step = 1e-5
        moved = [functional({**arrays, name: array + sign * step * directions[name]}) for sign in (1, -1)]
        assert slopes[name] == pytest.approx((moved[0] - moved[1]) / (2 * step), rel=1e-7)
        assert (gradients[name] * directions[name]).sum() == pytest.approx(slopes[name], rel=1e-12)


def test_full_peepholes_with_diagonal_matrices_equal_diagonal_peepholes():
    rng = np.random.default_rng(2)
    ((diagonal,),) = random_layers(rng, oracle.LSTMWeights, 1, 1, (3, H))
    matrices = [np.diag(row) for row in diagonal.weight_peephole]
    full = diagonal._replace(weight_peephole=np.concatenate(matrices))
    x, h, c = rng.normal(size=INPUT), rng.normal(size=H), rng.normal(size=H)
    np.testing.assert_array_equal(oracle.lstm_cell(x, h, c, full), oracle.lstm_cell(x, h, c, diagonal))


def test_one_step_equals_a_calculation_by_hand():
    # H = I = 1, and every product is a multiple of ln 3, so σ(ln 3) = 3/4 and σ(0) = 1/2.
    ln3 = np.log(3)
    weights = oracle.LSTMWeights(
        weight_input=np.array([[ln3], [0], [0], [0]]),
        weight_hidden=np.array([[0], [ln3 / 2], [0], [0]]),
        bias=np.array([0, 0, 100.0, 0]),
        weight_peephole=np.array([[0], [0], [ln3 / 1.75]]),
    )
    h_t, c_t = oracle.lstm_cell(np.array([1.0]), np.array([2.0]), np.array([1 + 1 / 3]), weights)
    # i = f = 3/4 and g = 1, so c_t = 1 + 3/4 = 1.75 and o = σ(ln 3) = 3/4: the output gate reads c_t.
    np.testing.assert_allclose(c_t, [1.75], rtol=1e-15)
    np.testing.assert_allclose(h_t, [0.75 * np.tanh(1.75)], rtol=1e-15)
