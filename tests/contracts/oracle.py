"""Implements the model's equations in NumPy, as the reference for every implementation in this repository.

The code follows docs/equations.md (1)-(8) and (15)-(27); each line cites its equation. It is written to be
obviously correct: one sequence, one step and one vector at a time, without masks or batched products. Steps past a
sequence's length are never read.

Derivatives are complex-step derivatives of these same functions: for a real-analytic f,

    df/dx = Im f(x + iε) / ε + O(ε²)

which has no subtraction, so with ε = 1e-30 it is exact up to rounding. There is no hand-written backward pass, which
could repeat an error of the one under test. All functions here therefore accept complex arrays.

Source: Squire and Trapp, Using Complex Variables to Estimate Derivatives of Real Functions, SIAM Review 40
(1998).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
STEP = 1e-30


class LSTMWeights(NamedTuple):
    """Weights of one LSTM layer and direction; gate order i, f, g, o; peephole order i, f, o."""

    weight_input: Array  # (4H, I)
    weight_hidden: Array  # (4H, H)
    bias: Array  # (4H,)
    weight_peephole: Array | None  # (3H, H) full, (3, H) diagonal, None
    gain: Array | None = None  # (4H,) with layer normalisation
    cell_gain: Array | None = None  # (H,)
    cell_bias: Array | None = None  # (H,)


class GRUWeights(NamedTuple):
    """Weights of one GRU layer and direction; gate order r, z, n."""

    weight_input: Array  # (3H, I)
    weight_hidden: Array  # (3H, H)
    bias_input: Array  # (3H,)
    bias_hidden: Array  # (3H,)
    gain: Array | None = None  # (3H,) with layer normalisation


def sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def softmax(scores: Array) -> Array:
    powers = np.exp(scores - scores.real.max())
    return powers / powers.sum()


def log_softmax(scores: Array) -> Array:
    shifted = scores - scores.real.max()
    return shifted - np.log(np.exp(shifted).sum())


def peephole_matrices(weight: Array | None, hidden_size: int) -> tuple[Array, Array, Array]:
    """Return W_ci, W_cf and W_co as (H, H) matrices for every form of the peepholes."""
    if weight is None:
        zero = np.zeros((hidden_size, hidden_size))
        return zero, zero, zero
    if weight.shape == (3, hidden_size):
        return np.diag(weight[0]), np.diag(weight[1]), np.diag(weight[2])
    W_ci, W_cf, W_co = weight.reshape(3, hidden_size, hidden_size)
    return W_ci, W_cf, W_co


def normalized_units(z: Array, gain: Array, bias: Array) -> Array:
    """Return (z - μ) / √(σ² + ε) ⊙ gain + bias of the H units of one gate."""
    mean = sum(z) / len(z)
    variance = sum((one - mean) ** 2 for one in z) / len(z)
    return (z - mean) / np.sqrt(variance + 1e-5) * gain + bias


def normalized_lstm_cell(x: Array, h: Array, c: Array, weights: LSTMWeights) -> tuple[Array, Array]:
    """Compute one step of a peephole LSTM with layer normalisation on one sequence."""
    H = len(h)
    W_xi, W_xf, W_xc, W_xo = weights.weight_input.reshape(4, H, -1)
    W_hi, W_hf, W_hc, W_ho = weights.weight_hidden.reshape(4, H, H)
    b_i, b_f, b_c, b_o = weights.bias.reshape(4, H)
    gain_i, gain_f, gain_c, gain_o = weights.gain.reshape(4, H)
    W_ci, W_cf, W_co = peephole_matrices(weights.weight_peephole, H)
    f_t = sigmoid(normalized_units(W_xf @ x + W_hf @ h + W_cf @ c, gain_f, b_f))  # (1), (44)
    i_t = sigmoid(normalized_units(W_xi @ x + W_hi @ h + W_ci @ c, gain_i, b_i))  # (2)
    g_t = np.tanh(normalized_units(W_xc @ x + W_hc @ h, gain_c, b_c))  # (3)
    c_t = f_t * c + i_t * g_t  # (4)
    o_t = sigmoid(normalized_units(W_xo @ x + W_ho @ h + W_co @ c_t, gain_o, b_o))  # (5)
    h_t = o_t * np.tanh(normalized_units(c_t, weights.cell_gain, weights.cell_bias))  # (6), (45)
    return h_t, c_t


def lstm_cell(x: Array, h: Array, c: Array, weights: LSTMWeights) -> tuple[Array, Array]:
    """Compute one step of a peephole LSTM on one sequence: x (I,), h (H,), c (H,) -> h_t, c_t."""
    if weights.gain is not None:
        return normalized_lstm_cell(x, h, c, weights)
    H = len(h)
    W_xi, W_xf, W_xc, W_xo = weights.weight_input.reshape(4, H, -1)
    W_hi, W_hf, W_hc, W_ho = weights.weight_hidden.reshape(4, H, H)
    b_i, b_f, b_c, b_o = weights.bias.reshape(4, H)
    W_ci, W_cf, W_co = peephole_matrices(weights.weight_peephole, H)
    f_t = sigmoid(W_xf @ x + W_hf @ h + W_cf @ c + b_f)  # (1)
    i_t = sigmoid(W_xi @ x + W_hi @ h + W_ci @ c + b_i)  # (2)
    g_t = np.tanh(W_xc @ x + W_hc @ h + b_c)  # (3)
    c_t = f_t * c + i_t * g_t  # (4)
    o_t = sigmoid(W_xo @ x + W_ho @ h + W_co @ c_t + b_o)  # (5)
    h_t = o_t * np.tanh(c_t)  # (6)
    return h_t, c_t


def gru_cell(x: Array, h: Array, weights: GRUWeights) -> Array:
    """Compute one step of a GRU on one sequence: x (I,), h (H,) -> h_t.

    Source: Cho et al. 2014, arXiv:1406.1078.
    Differs: the reset gate comes after the recurrent product and its bias, as in torch.nn.GRU.
    """
    H = len(h)
    W_xr, W_xz, W_xn = weights.weight_input.reshape(3, H, -1)
    W_hr, W_hz, W_hn = weights.weight_hidden.reshape(3, H, H)
    b_xr, b_xz, b_xn = weights.bias_input.reshape(3, H)
    b_hr, b_hz, b_hn = weights.bias_hidden.reshape(3, H)
    if weights.gain is not None:
        gain_r, gain_z, gain_n = weights.gain.reshape(3, H)
        r_t = sigmoid(normalized_units(W_xr @ x + W_hr @ h, gain_r, b_xr + b_hr))  # (44)
        z_t = sigmoid(normalized_units(W_xz @ x + W_hz @ h, gain_z, b_xz + b_hz))
        n_t = np.tanh(normalized_units(W_xn @ x + r_t * (W_hn @ h + b_hn), gain_n, b_xn))  # (46)
        return (1 - z_t) * n_t + z_t * h
    r_t = sigmoid(W_xr @ x + b_xr + W_hr @ h + b_hr)
    z_t = sigmoid(W_xz @ x + b_xz + W_hz @ h + b_hz)
    n_t = np.tanh(W_xn @ x + b_xn + r_t * (W_hn @ h + b_hn))
    return (1 - z_t) * n_t + z_t * h


def recurrent_step(
    x: Array, state: tuple[Array, ...], weights: LSTMWeights | GRUWeights, shares: Sequence[Any] = (0, 0)
) -> tuple[Array, ...]:
    """Compute one step of an LSTM or GRU, by the type of the weights; a state begins with h.

    `shares` are those of h and c that zoneout keeps: numbers, or one for each unit (H,).
    """
    if isinstance(weights, LSTMWeights):
        h, c = state
        new_h, new_c = lstm_cell(x, h, c, weights)
        return shares[0] * h + (1 - shares[0]) * new_h, shares[1] * c + (1 - shares[1]) * new_c  # (43)
    [h] = state
    return (shares[0] * h + (1 - shares[0]) * gru_cell(x, h, weights),)  # (43)


def recurrent(
    x: Array,
    lengths: Sequence[int],
    state: tuple[Array, ...],
    weights: LSTMWeights | GRUWeights,
    *,
    reverse: bool = False,
    shares: Sequence[Any] = (0, 0),
) -> tuple[Array, tuple[Array, ...]]:
    """Run one layer in one direction, (7): x (B, T, I), parts of the state (B, H) -> out (B, T, H), final state.

    `shares` are those of h and c that zoneout keeps: numbers, or one for each unit at each step, (B, T, H).
    """
    B, T, _ = x.shape
    H = state[0].shape[1]
    out, final = [], []
    for b in range(B):
        steps = range(lengths[b])  # (18)
        if reverse:
            steps = reversed(steps)  # (19): from the last real step to the first
        own = tuple(part[b] for part in state)
        outputs = [np.zeros(H) for _ in range(T)]  # outputs past the length are 0
        for t in steps:
            kept = [share if np.ndim(share) == 0 else share[b, t] for share in shares]
            own = recurrent_step(x[b, t], own, weights, kept)
            outputs[t] = own[0]
        out.append(outputs)
        final.append(own)  # the final state is the one after the last real step
    return np.array(out), tuple(np.array(part) for part in zip(*final, strict=True))


def stack(
    x: Array,
    lengths: Sequence[int],
    state: tuple[Array, ...],
    layers: Sequence[Sequence[LSTMWeights | GRUWeights]],
    *,
    residual: bool = False,
    shares: Sequence[Sequence[Any]] = (),
) -> tuple[Array, tuple[Array, ...]]:
    """Run layers[layer][direction] over a batch; states, and shares for zoneout, are indexed by layer·D + direction.

    A state is (B, L·D, H); the shares are those of `recurrent`, none if they are left out.
    """
    finals = []
    for layer, directions in enumerate(layers):
        outs = []
        for d, weights in enumerate(directions):
            own = tuple(part[:, layer * len(directions) + d] for part in state)
            kept = shares[layer * len(directions) + d] if shares else (0, 0)
            out, final = recurrent(x, lengths, own, weights, reverse=d == 1, shares=kept)
            outs.append(out)
            finals.append(final)
        above = np.concatenate(outs, axis=2)  # (20)
        x = above + x if residual and layer > 0 else above  # (41)
    return x, tuple(np.stack(parts, axis=1) for parts in zip(*finals, strict=True))


def normalized(frames: Array, mean: Array, scale: Array) -> Array:
    """Return the frames (T, F) of one source less a mean, times a scale."""
    return np.array([(frame - mean) * scale for frame in frames])


def joined(frames: Array, count: int) -> Array:
    """Return each `count` frames (T, F) as one; the last is filled up with zeros."""
    zeros = np.zeros_like(frames[0])
    return np.array(
        [
            np.concatenate([frames[t + k] if t + k < len(frames) else zeros for k in range(count)])
            for t in range(0, len(frames), count)
        ]
    )


def convolution(z: Array, weight: Array, bias: Array) -> Array:
    """Apply one layer of 3 x 3 kernels with stride 2 and ReLU to one source: z (C, T, F) -> (D, ⌈T/2⌉, ⌈F/2⌉).

    `weight` is (D, 9C): for each output, the points of each input channel's kernel, row by row.
    """
    C, T, F = z.shape
    kernels = weight.reshape(len(weight), C, 3, 3)
    out = np.zeros((len(weight), (T + 1) // 2, (F + 1) // 2), np.result_type(z, weight, bias))
    for d, t, f in np.ndindex(out.shape):
        total = bias[d]
        for c, i, j in np.ndindex(C, 3, 3):
            row, column = 2 * t + i - 1, 2 * f + j - 1  # kernels are centred on every second point
            if 0 <= row < T and 0 <= column < F:
                total = total + kernels[d, c, i, j] * z[c, row, column]
        out[d, t, f] = total if total.real > 0 else 0
    return out


def additive_scores(query: Array, memory: Array, weight_query: Array, weight_keys: Array, vector: Array) -> Array:
    """Return e_j = vᵀ tanh(W_s s + W_h h_j) of one sentence: query (Q,), memory (T, M) -> (T,)."""
    return np.array([vector @ np.tanh(weight_query @ query + weight_keys @ h_j) for h_j in memory])  # (15)


def dot_scores(query: Array, memory: Array) -> Array:
    """Return e_j = sᵀ h_j of one sentence."""
    return np.array([query @ h_j for h_j in memory])  # (15)


def general_scores(query: Array, memory: Array, weight: Array) -> Array:
    """Return e_j = sᵀ W h_j of one sentence, weight (Q, M)."""
    return np.array([query @ weight @ h_j for h_j in memory])  # (15)


SCORES: Mapping[str, Callable[..., Array]] = {
    "additive": additive_scores,
    "dot": dot_scores,
    "general": general_scores,
}


def weighted_sum(alpha: Array, vectors: Array) -> Array:
    """Return c_i = Σ_j α_ij h_j."""
    return sum(a_j * h_j for a_j, h_j in zip(alpha, vectors, strict=True))  # (17)


def location_features(before: Array, filters: Array) -> Array:
    """Return f_i = F * α_{i-1}: before (T,), filters (C, R) -> (T, C)."""
    reach = (filters.shape[1] - 1) // 2
    features = np.zeros((len(before), len(filters)), dtype=np.result_type(before, filters))
    for j in range(len(before)):
        for r in range(-reach, reach + 1):
            if 0 <= j + r < len(before):  # α is 0 outside the source
                features[j] += filters[:, reach + r] * before[j + r]
    return features


def located_scores(
    query: Array, memory: Array, features: Array, W_s: Array, W_h: Array, v: Array, b: Array, U: Array
) -> Array:
    """Return e_j = vᵀ tanh(W_s s + W_h h_j + U f_j + b) of one sentence: features (T, C) -> (T,)."""
    energies = [v @ np.tanh(W_s @ query + W_h @ h_j + U @ f_j + b) for h_j, f_j in zip(memory, features, strict=True)]
    return np.array(energies)  # (21)


def attend_by_location(
    query: Array, memory: Array, before: Array, W_s: Array, W_h: Array, v: Array, b: Array, F: Array, U: Array
) -> tuple[Array, Array, Array]:
    """Return context, weights and the next step's α_{i-1}."""
    alpha = softmax(located_scores(query, memory, location_features(before, F), W_s, W_h, v, b, U))
    return weighted_sum(alpha, memory), alpha, alpha


def attend_with_coverage(
    query: Array, memory: Array, coverage: Array, W_s: Array, W_h: Array, v: Array, b: Array, w_c: Array
) -> tuple[Array, Array, Array]:
    """Return context, weights and the next step's coverage."""
    alpha = softmax(located_scores(query, memory, coverage[:, None], W_s, W_h, v, b, w_c[:, None]))  # (22)
    return weighted_sum(alpha, memory), alpha, coverage + alpha


def coverage_loss(alphas: Sequence[Array]) -> Array:
    """Return Σ_i Σ_j min(α_ij, κ_ij) of one sentence, from its α_i (T,); by the real part for complex numbers."""
    total, coverage = 0, np.zeros(len(alphas[0]))
    for alpha in alphas:
        total = total + sum(a if a.real < k.real else k for a, k in zip(alpha, coverage, strict=True))  # (23)
        coverage = coverage + alpha
    return total


def attend_by_heads(
    query: Array, memory: Array, W_s: Array, W_h: Array, v: Array, W_v: Array, W_o: Array, num_heads: int
) -> tuple[Array, Array]:
    """Return the context and the mean of the heads' weights."""
    contexts, alphas = [], []
    for k in range(num_heads):
        own = slice(k * len(v) // num_heads, (k + 1) * len(v) // num_heads)
        values = slice(k * len(W_v) // num_heads, (k + 1) * len(W_v) // num_heads)
        alphas.append(softmax(additive_scores(query, memory, W_s[own], W_h[own], v[own])))  # (24)
        contexts.append(weighted_sum(alphas[-1], np.array([W_v[values] @ h_j for h_j in memory])))
    return W_o @ np.concatenate(contexts), sum(alphas) / num_heads  # (25)


def attend(
    kind: str, query: Array, memory: Array, state: Array | None, *parameters: Array, num_heads: int = 1
) -> tuple[Array, Array, Array | None]:
    """Attend to the real steps of one sentence: query (Q,), memory (T, M) -> context (M,), weights (T,), next state."""
    if kind == "location":
        return attend_by_location(query, memory, state, *parameters)
    if kind == "coverage":
        return attend_with_coverage(query, memory, state, *parameters)
    if kind == "multihead":
        return *attend_by_heads(query, memory, *parameters, num_heads), None
    alpha = softmax(SCORES[kind](query, memory, *parameters))  # (16)
    return weighted_sum(alpha, memory), alpha, None


def first_attention_state(kind: str, length: int) -> Array | None:
    """Return the state (T,) before the first step of a sentence."""
    return {"location": np.full(length, 1 / length), "coverage": np.zeros(length)}.get(kind)


def fixed_context(kind: str, outputs: Array, last: Array) -> Array:
    """Return q(h_1, …, h_T), (8), of one sentence: outputs (T, M) of real steps, last hidden state (M,)."""
    return last if kind == "last" else sum(outputs) / len(outputs)


def copying(logits: Array, gate: Array, alpha: Array, copied: Sequence[int]) -> dict[int, Array]:
    """Return log p of every symbol, by its id: those of the vocabulary, and those of the source above it.

    Args:
        logits: W_p r + b_p, (V,).
        gate: w_gᵀ [s ; c ; E(y)] + b_g.
        alpha: weights of the source positions, (T,).
        copied: the id that a copy of each source symbol has.
    """
    g = sigmoid(gate)  # (26)
    p = {y: g * p_y for y, p_y in enumerate(softmax(logits))}
    for alpha_j, y in zip(alpha, copied, strict=True):
        p[y] = p.get(y, 0) + (1 - g) * alpha_j  # (27)
    return {y: np.log(p_y) for y, p_y in p.items()}


def gradients(function: Callable[[dict[str, Array]], Array], arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return the derivative of a scalar function with respect to every number of its named arrays."""
    found = {}
    for name, array in arrays.items():
        found[name] = np.zeros(array.shape)
        for index in np.ndindex(array.shape):
            moved = array.astype(complex)
            moved[index] += 1j * STEP
            found[name][index] = function({**arrays, name: moved}).imag / STEP
    return found


def slopes(
    function: Callable[[dict[str, Array]], Array],
    arrays: Mapping[str, Array],
    directions: Mapping[str, Array],
) -> dict[str, Array]:
    """Return the directional derivative of a scalar function along one direction in each of its named arrays.

    A random direction reveals an error in any coordinate of a gradient with a single evaluation.
    """
    return {
        name: function({**arrays, name: array + 1j * STEP * directions[name]}).imag / STEP
        for name, array in arrays.items()
    }
