"""The recurrences of the article, as its equations define them: one step, and many steps.

`lstm_cell` and `gru_cell` are one step; `lstm` and `gru` run one layer in one direction over a padded batch. The
modules that own weights, stack layers and run both directions are in `layers.py`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from peephole.errors import ShapeError
from peephole.nn.normalization import CellNorm, normalize
from peephole.nn.zoneout import Zoneout

GATES = ("i", "f", "g", "o")
"""Order of the four blocks in every LSTM weight: input gate, forget gate, candidate, output gate."""

PEEPHOLES = ("i", "f", "o")
"""Order of the three blocks in every peephole weight."""


class LSTMState(NamedTuple):
    """What an LSTM carries from step to step."""

    h: Tensor  # hidden state
    c: Tensor  # cell state


class LSTMWeights(NamedTuple):
    """The weights of one LSTM layer in one direction, blocks in the orders `GATES` and `PEEPHOLES`."""

    weight_input: Tensor  # (4H, I)  W_xi, W_xf, W_xc, W_xo
    weight_hidden: Tensor  # (4H, H)  W_hi, W_hf, W_hc, W_ho
    bias: Tensor  # (4H,)    b_i, b_f, b_c, b_o
    weight_peephole: Tensor | None = None  # (3H, H) full, (3, H) diagonal: W_ci, W_cf, W_co


class GRUWeights(NamedTuple):
    """The weights of one GRU layer in one direction, blocks reset, update, candidate as in torch.nn.GRU."""

    weight_input: Tensor  # (3H, I)
    weight_hidden: Tensor  # (3H, H)
    bias_input: Tensor  # (3H,)
    bias_hidden: Tensor  # (3H,)


def peephole_form(weight: Tensor | None) -> str:
    """Return the form of a layer's peephole weights: full, diagonal or none."""
    return "none" if weight is None else "diagonal" if weight.shape[0] == 3 else "full"  # alike where H = 1


def valid_steps(lengths: Int[Tensor, "B"], num_steps: int) -> Bool[Tensor, "B T"]:
    """Return which steps of a padded batch are real: True before each sequence's length.

    >>> valid_steps(torch.tensor([1, 3]), 3).int().tolist()
    [[1, 0, 0], [1, 1, 1]]
    """
    return torch.arange(num_steps, device=lengths.device) < lengths[:, None]


def lstm_cell(
    x: Float[Tensor, "B I"], state: LSTMState, weights: LSTMWeights, norm: CellNorm | None = None
) -> LSTMState:
    """Run one step of a peephole LSTM.

    Args:
        x: the inputs of the step.
        state: h_{t-1} and c_{t-1}, each (B, H).
        weights: the layer's weights; the form of `weight_peephole` decides the form of W_c*.
        norm: layer normalisation, (44), (45); None: none.

    Returns:
        h_t and c_t, each (B, H), by equations (1)-(6); see `lstm`.

    Raises:
        ShapeError: see `lstm`.
    """
    check_lstm_shapes(x, state, weights)
    step = LSTMStep.of(weights, norm)
    return step(F.linear(x, weights.weight_input, step.bias_before), state)


def lstm(
    x: Float[Tensor, "B T I"],
    lengths: Int[Tensor, "B"],
    state: LSTMState,
    weights: LSTMWeights,
    *,
    reverse: bool = False,
    zoneout: Zoneout | None = None,
    norm: CellNorm | None = None,
) -> tuple[Float[Tensor, "B T H"], LSTMState]:
    """Run a peephole LSTM over a padded batch, in one direction.

    With σ the logistic function and ⊙ the elementwise product, for each real step t:

        f_t = σ(W_xf x_t + W_hf h_{t-1} + W_cf c_{t-1} + b_f)      (1)
        i_t = σ(W_xi x_t + W_hi h_{t-1} + W_ci c_{t-1} + b_i)      (2)
        g_t = tanh(W_xc x_t + W_hc h_{t-1} + b_c)                  (3)
        c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t                            (4)
        o_t = σ(W_xo x_t + W_ho h_{t-1} + W_co c_t + b_o)          (5)
        h_t = o_t ⊙ tanh(c_t)                                      (6)

    Past a sequence's length the output is 0 and the state stays as it was at its last real step; the padding of `x`
    has no influence.

    Args:
        x: inputs, batch first.
        lengths: real steps of each sequence, 1 ≤ lengths ≤ T.
        state: h and c before the first step read, each (B, H).
        weights: weights of the layer. A `weight_peephole` of shape (3H, H) holds full matrices W_c*, one of shape
            (3, H) their diagonals; None leaves them out.
        reverse: read each sequence from its last real step to its first, (19) instead of (18).
        zoneout: the shares of h_{t-1} and c_{t-1} that step t keeps, (43): numbers, or masks (B, T, H); None: none.
        norm: layer normalisation, (44), (45); None: none.

    Returns:
        The outputs h_t, and the state after each sequence's last step read.

    Raises:
        ShapeError: a size disagrees; the message names the argument, the shape wanted and the one got.

    Source: docs/equations.md (1)-(6), (18), (19); Gers and Schmidhuber 2000; Graves 2013, arXiv:1308.0850.
    Differs: Graves' peepholes are diagonal; here W_c* may be a full matrix. The candidate is `g`, as in PyTorch;
        the article calls it c̃, ONNX c, Greff et al. z.
    """
    check_lstm_shapes(x, state, weights, lengths)
    valid = valid_steps(lengths, x.shape[1])
    shortest = int(lengths.min())
    step = LSTMStep.of(weights, norm)
    # W_x x_t + b of all steps in one product: it needs nothing from the recurrence.
    projected = F.linear(_zero_padding(x, valid), weights.weight_input, step.bias_before).unbind(1)
    outputs: list[Tensor] = [projected[0]] * len(projected)
    for t in _order(len(projected), reverse):
        new = step(projected[t], state)
        if zoneout is not None:
            new = LSTMState(*zoneout.at(t).keep(new, state))
        if t >= shortest:  # some sequence has ended: its state stays
            real = valid[:, t, None]
            new = LSTMState(torch.where(real, new.h, state.h), torch.where(real, new.c, state.c))
        state = new
        outputs[t] = state.h
    return _zero_padding(torch.stack(outputs, 1), valid), state


class LSTMStep(NamedTuple):
    """Equations (1)-(6) for one step, given W_x x_t + b; the recurrent weights are cut once for all steps.

    With layer normalisation the bias is added after it, so `W_x x_t` is given.
    """

    hidden: Tensor  # (4H, H)
    cell_to_if: Tensor | None  # (2H, H) full, (2, H) diagonal: W_ci, W_cf
    cell_to_o: Tensor | None  # (H, H) full, (1, H) diagonal: W_co
    bias: Tensor  # (4H,)
    norm: CellNorm | None

    @classmethod
    def of(cls, weights: LSTMWeights, norm: CellNorm | None = None) -> LSTMStep:
        """Cut the weights of a layer."""
        peephole = weights.weight_peephole
        if peephole is None:
            return cls(weights.weight_hidden, None, None, weights.bias, norm)
        block = peephole.shape[0] // 3
        to_if, to_o = peephole.split([2 * block, block])
        return cls(weights.weight_hidden, to_if, to_o, weights.bias, norm)

    @property
    def bias_before(self) -> Tensor | None:
        """Return the bias that is added to W_x x_t."""
        return self.bias if self.norm is None else None

    def __call__(self, projected: Float[Tensor, "B G"], state: LSTMState) -> LSTMState:
        """Return h_t and c_t; `projected` is W_x x_t + b, `state` h_{t-1} and c_{t-1}."""
        hidden_size = state.h.shape[1]
        z = torch.addmm(projected, state.h, self.hidden.t())
        z_if, z_g, z_o = z.split([2 * hidden_size, hidden_size, hidden_size], 1)
        if self.cell_to_if is not None:  # input and forget gates read c_{t-1}
            z_if = _add_peephole(z_if, state.c, self.cell_to_if)
        if self.norm is not None:
            z_if, z_g = self._normalize(z_if, 0, 2), self._normalize(z_g, 2, 1)
        i, f = torch.sigmoid(z_if).chunk(2, 1)  # (2), (1)
        c = torch.addcmul(f * state.c, i, torch.tanh(z_g))  # (3), (4)
        if self.cell_to_o is not None:  # the output gate reads c_t, the new cell
            z_o = _add_peephole(z_o, c, self.cell_to_o)
        read = c
        if self.norm is not None:
            assert self.norm.cell_gain is not None
            assert self.norm.cell_bias is not None
            z_o = self._normalize(z_o, 3, 1)
            read = normalize(c, self.norm.cell_gain, self.norm.cell_bias)  # (45)
        return LSTMState(torch.sigmoid(z_o) * torch.tanh(read), c)  # (5), (6)

    def _normalize(self, z: Tensor, first: int, count: int) -> Tensor:
        """Normalise the pre-activations of `count` gates from gate `first` on, (44)."""
        assert self.norm is not None
        own = slice(first * self.hidden.shape[1], (first + count) * self.hidden.shape[1])
        return normalize(z, self.norm.gain[own], self.bias[own], count)


def _add_peephole(z: Tensor, c: Tensor, weight: Tensor) -> Tensor:
    """Add W_c c to the pre-activations z (B, G·H): W_c is (G·H, H) full or (G, H) diagonal (alike where H = 1)."""
    if weight.shape[0] == z.shape[1]:
        return torch.addmm(z, c, weight.t())
    return z + (c[:, None] * weight).flatten(1)


def gru_cell(
    x: Float[Tensor, "B I"], h: Float[Tensor, "B H"], weights: GRUWeights, norm: CellNorm | None = None
) -> Float[Tensor, "B H"]:
    """Run one step of a GRU and return h_t; see `gru`."""
    check_gru_shapes(x, h, weights)
    step = GRUStep.of(weights, norm)
    return step(F.linear(x, weights.weight_input, step.bias_before), h)


def gru(
    x: Float[Tensor, "B T I"],
    lengths: Int[Tensor, "B"],
    state: Float[Tensor, "B H"],
    weights: GRUWeights,
    *,
    reverse: bool = False,
    zoneout: Zoneout | None = None,
    norm: CellNorm | None = None,
) -> tuple[Float[Tensor, "B T H"], Float[Tensor, "B H"]]:
    """Run a GRU over a padded batch, in one direction.

        r_t = σ(W_xr x_t + b_xr + W_hr h_{t-1} + b_hr)
        z_t = σ(W_xz x_t + b_xz + W_hz h_{t-1} + b_hz)
        n_t = tanh(W_xn x_t + b_xn + r_t ⊙ (W_hn h_{t-1} + b_hn))
        h_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_{t-1}

    Arguments, padding and errors are those of `lstm`, the state being h alone.

    Source: Cho et al. 2014, arXiv:1406.1078; f of docs/equations.md (18), (19).
    Differs: as in torch.nn.GRU, r_t acts after the product with W_hn, which lets one product serve all gates.
    """
    check_gru_shapes(x, state, weights, lengths)
    valid = valid_steps(lengths, x.shape[1])
    shortest = int(lengths.min())
    step = GRUStep.of(weights, norm)
    projected = F.linear(_zero_padding(x, valid), weights.weight_input, step.bias_before).unbind(1)
    outputs: list[Tensor] = [projected[0]] * len(projected)
    for t in _order(len(projected), reverse):
        new = step(projected[t], state)
        if zoneout is not None:
            [new] = zoneout.at(t).keep([new], [state])
        state = torch.where(valid[:, t, None], new, state) if t >= shortest else new
        outputs[t] = state
    return _zero_padding(torch.stack(outputs, 1), valid), state


class GRUStep(NamedTuple):
    """The equations of `gru` for one step, given W_x x_t + b_x, or W_x x_t with layer normalisation."""

    hidden: Tensor  # (3H, H)
    bias: Tensor  # (3H,)
    bias_input: Tensor  # (3H,)
    norm: CellNorm | None

    @classmethod
    def of(cls, weights: GRUWeights, norm: CellNorm | None = None) -> GRUStep:
        """Take the recurrent weights of a layer."""
        return cls(weights.weight_hidden, weights.bias_hidden, weights.bias_input, norm)

    @property
    def bias_before(self) -> Tensor | None:
        """Return the bias that is added to W_x x_t."""
        return self.bias_input if self.norm is None else None

    def __call__(self, projected: Float[Tensor, "B G"], h: Float[Tensor, "B H"]) -> Float[Tensor, "B H"]:
        """Return h_t; `projected` is W_x x_t + b_x, `h` is h_{t-1}."""
        if self.norm is not None:
            return self._normalized(self.norm, projected, h)
        hidden_size = h.shape[1]
        x_rz, x_n = projected.split([2 * hidden_size, hidden_size], 1)
        h_rz, h_n = F.linear(h, self.hidden, self.bias).split([2 * hidden_size, hidden_size], 1)
        r, z = torch.sigmoid(x_rz + h_rz).chunk(2, 1)
        n = torch.tanh(torch.addcmul(x_n, r, h_n))
        return n + z * (h - n)  # not torch.lerp: under autocast it wants one number format for all three

    def _normalized(self, norm: CellNorm, projected: Tensor, h: Tensor) -> Tensor:
        """Return h_t with layer normalisation, (44), (46)."""
        sizes = [2 * h.shape[1], h.shape[1]]
        (x_rz, x_n), (h_rz, h_n) = projected.split(sizes, 1), F.linear(h, self.hidden).split(sizes, 1)
        (gain_rz, gain_n), (bias_rz, bias_n), (_, bias_hn) = (
            vector.split(sizes) for vector in (norm.gain, self.bias_input, self.bias)
        )
        bias_rz = bias_rz + self.bias[: sizes[0]]
        r, z = torch.sigmoid(normalize(x_rz + h_rz, gain_rz, bias_rz, 2)).chunk(2, 1)
        n = torch.tanh(normalize(x_n + r * (h_n + bias_hn), gain_n, bias_n))
        return n + z * (h - n)


def _order(num_steps: int, reverse: bool) -> range:
    return range(num_steps - 1, -1, -1) if reverse else range(num_steps)


def _zero_padding(x: Tensor, valid: Tensor) -> Tensor:
    """Return x (B, T, F) with zeros past each length; a NaN in the padding would else reach the weights' gradients."""
    return x.masked_fill(~valid[:, :, None], 0)


def check_lstm_shapes(x: Tensor, state: LSTMState, weights: LSTMWeights, lengths: Tensor | None = None) -> None:
    """Raise ShapeError unless inputs, state and weights fit each other."""
    hidden_size = weights.weight_hidden.shape[1]
    check_shape("weight_hidden", weights.weight_hidden, (4 * hidden_size, hidden_size))
    check_shape("weight_input", weights.weight_input, (4 * hidden_size, x.shape[-1]))
    check_shape("bias", weights.bias, (4 * hidden_size,))
    for name, tensor in state._asdict().items():
        check_shape(name, tensor, (x.shape[0], hidden_size))
    peephole = weights.weight_peephole
    if peephole is not None and tuple(peephole.shape) not in (
        (3 * hidden_size, hidden_size),
        (3, hidden_size),
    ):
        raise ShapeError(
            f"weight_peephole: wanted shape {(3 * hidden_size, hidden_size)} (full) or {(3, hidden_size)} (diagonal), "
            f"got {tuple(peephole.shape)}"
        )
    if lengths is not None:
        check_lengths(lengths, x)


def check_gru_shapes(x: Tensor, h: Tensor, weights: GRUWeights, lengths: Tensor | None = None) -> None:
    """Raise ShapeError unless inputs, state and weights fit each other."""
    hidden_size = weights.weight_hidden.shape[1]
    check_shape("weight_hidden", weights.weight_hidden, (3 * hidden_size, hidden_size))
    check_shape("weight_input", weights.weight_input, (3 * hidden_size, x.shape[-1]))
    check_shape("bias_input", weights.bias_input, (3 * hidden_size,))
    check_shape("bias_hidden", weights.bias_hidden, (3 * hidden_size,))
    check_shape("h", h, (x.shape[0], hidden_size))
    if lengths is not None:
        check_lengths(lengths, x)


def check_shape(name: str, tensor: Tensor, wanted: tuple[int, ...]) -> None:
    """Raise ShapeError unless the tensor has the wanted shape."""
    if tuple(tensor.shape) != wanted:
        raise ShapeError(f"{name}: wanted shape {wanted}, got {tuple(tensor.shape)}")


def check_lengths(lengths: Tensor, x: Tensor) -> None:
    """Raise ShapeError unless lengths (B,) fit the padded batch x (B, T, …): 1 ≤ lengths ≤ T."""
    check_shape("lengths", lengths, (x.shape[0],))
    if lengths.numel() and not 1 <= int(lengths.min()) <= int(lengths.max()) <= x.shape[1]:
        raise ShapeError(f"lengths: wanted 1 to {x.shape[1]}, got {int(lengths.min())} to {int(lengths.max())}")
