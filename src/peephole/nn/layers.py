"""Recurrent modules: they own the weights, stack layers and run both directions, (18)-(20)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from peephole.errors import ConfigError, ShapeError, check_type
from peephole.nn.backends import find_for, multiplies_bfloat16
from peephole.nn.cells import (
    GRUWeights,
    LSTMState,
    LSTMWeights,
    check_lengths,
    check_shape,
    gru,
    lstm,
    peephole_form,
)
from peephole.nn.directions import GRUDirection, LSTMDirection, Peephole
from peephole.nn.noise import Noise
from peephole.nn.normalization import CellNorm
from peephole.nn.schema import halved
from peephole.nn.zoneout import Zoneout, draw_zoneout, zoneout_kind, zoneout_rates


class _Stack(nn.Module):
    """What the stacks of all kinds of cells share: directions, pyramids, residual sums, dropout between the layers.

    Arguments as in `LSTM`; `make` returns the weights of a layer in one direction, given the size of its input.
    """

    kind: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bidirectional: bool,
        pyramid: int,
        make: Callable[[int], nn.Module],
        *,
        residual: bool,
        zoneout: tuple[float, float],
        layer_norm: bool,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.pyramid = input_size, hidden_size, pyramid
        self.residual, self.zoneout, self.layer_norm = residual, zoneout_rates(*zoneout), layer_norm
        self.num_directions = 2 if bidirectional else 1
        self.layers = nn.ModuleList(
            nn.ModuleList(make(size) for _ in range(self.num_directions))
            for size in layer_sizes(input_size, hidden_size, num_layers, self.num_directions, pyramid)
        )

    def kinds(self) -> dict[str, str]:
        """Return the kinds that the layers share with those of a decoder."""
        return {"cell": self.kind, "stack": stack_kind(self.residual), **regularization(self.zoneout, self.layer_norm)}

    @property
    def num_states(self) -> int:
        """The number of states of a sequence: one for each layer and direction."""
        return len(self.layers) * self.num_directions

    def _run_layers(
        self, x: Float[Tensor, "B T I"], lengths: Int[Tensor, "B"], noise: Noise | None, run: Callable[..., Tensor]
    ) -> Float[Tensor, "B S DH"]:
        """Return the top layer's outputs.

        `run(x, lengths, module, number, reverse=, kinds=, variant=)` returns those of one layer in one direction; its
        state has this number.
        """
        for index, layer in enumerate(self.layers):
            below = x
            if noise is not None and index:
                x = noise.dropout(x, f"between layers {index}")
            if 0 < index <= self.pyramid:
                x, lengths = join_pairs(x), halved(lengths)
            outputs = []
            for direction, module in enumerate(cast("nn.ModuleList", layer)):
                own = cast("LSTMDirection | GRUDirection", module)
                form = getattr(own, "peephole", "none")
                kinds = {"cell": self.kind, "peephole": form, **regularization(self.zoneout, self.layer_norm)}
                zoneout = draw_zoneout(self.zoneout, noise, f"{index} {direction}", x.shape[1], self.hidden_size)
                how = {"reverse": direction == 1, "kinds": kinds, "variant": Variant(zoneout, own.norm())}
                outputs.append(run(x, lengths, own, index * self.num_directions + direction, **how))
            x = torch.cat(outputs, 2)  # (20)
            if self.residual and index > self.pyramid:
                x = x + below  # (41)
        return x


class LSTM(_Stack):
    """A stack of peephole LSTM layers, (1)-(6), in one direction or both, (18)-(20).

    Parameters of layer l (from 0) and direction d (0 forward, 1 backward) are those of `layers[l][d]`:
    `weight_input` (4H, I) (I is D·H above the first layer, D the number of directions), `weight_hidden` (4H, H),
    `bias` (4H,), and `weight_peephole` (3H, H) for `peephole="full"`, (3, H) for `"diagonal"`. Gates stand in the order
    i, f, g, o, peepholes in the order i, f, o.

    Args:
        input_size: I, size of an input vector.
        hidden_size: H, size of h and c in each direction.
        num_layers: layers on top of each other; each reads the outputs of the one below.
        bidirectional: read the sequence in both directions; outputs are [→h_t ; ←h_t], (20).
        peephole: `"full"` matrices as the article has them, `"diagonal"`, or `"none"`.
        forget_bias: first value of b_f.
        pyramid: layers above the first that read the outputs of the one below in pairs, [x_{2t-1} ; x_{2t}], so that
            each halves the number of steps (Chan et al. 2016, "Listen, Attend and Spell"); a last step without a
            partner is joined with zeros.
        generator: draws the initial weights; None: PyTorch's global generator.
        residual: the output of each layer from the second on is the sum of its h_t and of the output of the layer
            below, (41); not in layers of a pyramid, where the sizes differ.
        zoneout: the probabilities that a unit of h and of c keeps the value of the step before, (43). Masks are drawn
            by the `noise` that `forward` is given; without it each state is the mean over all masks of this step.
        layer_norm: normalise the gates, and c before the output, (44), (45). Each layer and direction then also has
            `gain` (4H,), `cell_gain` (H,) and `cell_bias` (H,).

    Raises:
        ConfigError: there is no such form of peepholes, or a probability of zoneout is not from 0 to 1.
        ShapeError: a size, or the number of layers, is below 1.
        ArgumentError: one of them is not a whole number.
    """

    kind = "lstm"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = False,
        peephole: Peephole = "full",
        forget_bias: float = 1.0,
        pyramid: int = 0,
        generator: torch.Generator | None = None,
        *,
        residual: bool = False,
        zoneout: tuple[float, float] = (0.0, 0.0),
        layer_norm: bool = False,
    ) -> None:
        if peephole not in ("full", "diagonal", "none"):
            raise ConfigError(f"peephole: wanted 'full', 'diagonal' or 'none', got {peephole!r}")

        def make(size: int) -> LSTMDirection:
            return LSTMDirection(size, hidden_size, peephole, forget_bias, generator, layer_norm=layer_norm)

        variants: Any = {"residual": residual, "zoneout": zoneout, "layer_norm": layer_norm}
        super().__init__(input_size, hidden_size, num_layers, bidirectional, pyramid, make, **variants)

    def forward(
        self,
        x: Float[Tensor, "B T I"],
        lengths: Int[Tensor, "B"],
        state: LSTMState | None = None,
        *,
        noise: Noise | None = None,
    ) -> tuple[Float[Tensor, "B S DH"], LSTMState]:
        """Run all layers over a padded batch.

        Args:
            x: inputs, batch first.
            lengths: real steps of each sequence, 1 ≤ lengths ≤ T.
            state: first h and c of every layer and direction, each (B, num_layers·D, H), layer l and direction d at
                index l·D + d; None starts from zeros.
            noise: dropout between the layers, and the masks of zoneout; None applies none.

        Returns:
            The top layer's outputs, 0 past each length (of a pyramid fewer than T steps; `Encoder` returns their
            lengths), and the last states in the shape of `state`.

        Raises:
            ShapeError: a size disagrees; the message names the argument, the shape wanted and the one got.
        """
        check_input(x, lengths, self.input_size)
        if state is None:
            zeros = x.new_zeros(x.shape[0], self.num_states, self.hidden_size)
            state = LSTMState(zeros, zeros)
        check_shape("state.h", state.h, (x.shape[0], self.num_states, self.hidden_size))
        check_shape("state.c", state.c, (x.shape[0], self.num_states, self.hidden_size))
        last: list[LSTMState] = []

        def run(x: Tensor, lengths: Tensor, own: LSTMDirection, number: int, **how: Any) -> Tensor:
            first = LSTMState(state.h[:, number], state.c[:, number])
            out, end = run_lstm(x, lengths, first, own.weights(), **how)
            last.append(end)
            return out

        x = self._run_layers(x, lengths, noise, run)
        return x, LSTMState(torch.stack([end.h for end in last], 1), torch.stack([end.c for end in last], 1))


class GRU(_Stack):
    """A stack of GRU layers, in one direction or both.

    Parameters of layer l and direction d are those of `layers[l][d]`, named and ordered as in torch.nn.GRU:
    `weight_input` (3H, I), `weight_hidden` (3H, H), `bias_input` (3H,), `bias_hidden` (3H,). Arguments as in `LSTM`;
    `zoneout` is the probability of h alone.
    """

    kind = "gru"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = False,
        pyramid: int = 0,
        generator: torch.Generator | None = None,
        *,
        residual: bool = False,
        zoneout: float = 0.0,
        layer_norm: bool = False,
    ) -> None:
        def make(size: int) -> GRUDirection:
            return GRUDirection(size, hidden_size, generator, layer_norm=layer_norm)

        variants: Any = {"residual": residual, "zoneout": (zoneout, 0.0), "layer_norm": layer_norm}
        super().__init__(input_size, hidden_size, num_layers, bidirectional, pyramid, make, **variants)

    def forward(
        self,
        x: Float[Tensor, "B T I"],
        lengths: Int[Tensor, "B"],
        state: Float[Tensor, "B LD H"] | None = None,
        *,
        noise: Noise | None = None,
    ) -> tuple[Float[Tensor, "B S DH"], Float[Tensor, "B LD H"]]:
        """Run all layers over a padded batch; see `LSTM.forward`, the state being h alone."""
        check_input(x, lengths, self.input_size)
        if state is None:
            state = x.new_zeros(x.shape[0], self.num_states, self.hidden_size)
        check_shape("state", state, (x.shape[0], self.num_states, self.hidden_size))
        last: list[Tensor] = []

        def run(x: Tensor, lengths: Tensor, own: GRUDirection, number: int, **how: Any) -> Tensor:
            out, end = run_gru(x, lengths, state[:, number], own.weights(), **how)
            last.append(end)
            return out

        return self._run_layers(x, lengths, noise, run), torch.stack(last, 1)


class Variant(NamedTuple):
    """What a cell does beyond its equations; None: nothing."""

    zoneout: Zoneout | None = None
    norm: CellNorm | None = None

    def keywords(self) -> dict[str, Any]:
        """Return the arguments of `lstm` and `gru` for it; an implementation without it need not have them."""
        return {name: part for name, part in self._asdict().items() if part is not None}


def run_lstm(
    x: Float[Tensor, "B T I"],
    lengths: Int[Tensor, "B"],
    state: LSTMState,
    weights: LSTMWeights,
    *,
    reverse: bool = False,
    kinds: Mapping[str, str] | None = None,
    variant: Variant = Variant(),  # noqa: B008  # it is never changed
) -> tuple[Float[Tensor, "B T H"], LSTMState]:
    """Run `lstm`, its arguments, results and errors, on the first backend that can, else by its equations.

    Under autocast to bfloat16 on a CPU, products multiply bfloat16; states are float32. `kinds` are those of the parts
    of the layer, such as its peepholes; None: a plain LSTM with the form of peepholes that its weights have.
    """
    if multiplies_bfloat16():
        x, state = x.float(), LSTMState(state.h.float(), state.c.float())
    kinds = kinds or {"cell": LSTM.kind, "peephole": peephole_form(weights.weight_peephole)}
    given = [x, *state, *(weight for weight in weights if weight is not None)]
    run = find_for("recurrent_layer", kinds, given).run or lstm
    found: tuple[Tensor, LSTMState] = run(x, lengths, state, weights, reverse=reverse, **variant.keywords())
    return found


def run_gru(
    x: Float[Tensor, "B T I"],
    lengths: Int[Tensor, "B"],
    state: Float[Tensor, "B H"],
    weights: GRUWeights,
    *,
    reverse: bool = False,
    kinds: Mapping[str, str] | None = None,
    variant: Variant = Variant(),  # noqa: B008  # it is never changed
) -> tuple[Float[Tensor, "B T H"], Float[Tensor, "B H"]]:
    """Run `gru`, its arguments, results and errors, on the first backend that can, else by its equations.

    Under autocast to bfloat16 on a CPU, products multiply bfloat16; states are float32.
    """
    if multiplies_bfloat16():
        x, state = x.float(), state.float()
    kinds = kinds or {"cell": GRU.kind, "peephole": "none"}
    run = find_for("recurrent_layer", kinds, [x, state, *weights]).run or gru
    found: tuple[Tensor, Tensor] = run(x, lengths, state, weights, reverse=reverse, **variant.keywords())
    return found


def regularization(zoneout: Zoneout | None, layer_norm: bool) -> dict[str, str]:
    """Return the kinds of zoneout and normalisation of a stack of layers."""
    return {"zoneout": zoneout_kind(zoneout), "normalization": "layer" if layer_norm else "none"}


def stack_kind(residual: bool) -> str:
    """Return the kind of a stack of layers."""
    return "residual" if residual else "plain"


def join_pairs(x: Float[Tensor, "B T I"]) -> Float[Tensor, "B S J"]:
    """Return [x_1 ; x_2], [x_3 ; x_4], …, J = 2I; the last x of an odd number is joined with zeros."""
    joined: Tensor = F.pad(x, (0, 0, 0, x.shape[1] % 2)).unflatten(1, (-1, 2)).flatten(2)
    return joined


def layer_sizes(input_size: int, hidden_size: int, num_layers: int, num_directions: int, pyramid: int = 0) -> list[int]:
    """Return the input size of each layer of a stack; see `LSTM` for the arguments.

    Raises:
        ShapeError: a size, or the number of layers, is below 1, or a pyramid has no layers to stand on.
        ArgumentError: one of them is not a whole number.
    """
    sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
    for name, size in sizes.items():
        check_type(name, size, int, "a whole number")
        if size < 1:
            raise ShapeError(f"{name}: wanted at least 1, got {size}")
    if not 0 <= pyramid < num_layers:
        raise ShapeError(f"pyramid: wanted fewer than the {num_layers} layers, got {pyramid}")
    outputs = hidden_size * num_directions
    return [input_size] + [2 * outputs if layer <= pyramid else outputs for layer in range(1, num_layers)]


def check_input(x: Tensor, lengths: Tensor, input_size: int) -> None:
    """Raise ShapeError unless x is (B, T, input_size) and lengths fit it."""
    if x.dim() != 3 or x.shape[2] != input_size:
        raise ShapeError(f"x: wanted shape (B, T, {input_size}), got {tuple(x.shape)}")
    check_lengths(lengths, x)
