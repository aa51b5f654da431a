"""The decoder's step, with the weights of its layers cut once for all steps of a search or of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from peephole.nn.cells import GRUStep, LSTMState, LSTMStep, LSTMWeights
from peephole.nn.decoder_state import DecoderState, Memory, top
from peephole.nn.encoder import LayerState
from peephole.nn.zoneout import Zoneout

if TYPE_CHECKING:
    from peephole.nn.decoder import Decoder
    from peephole.nn.directions import GRUDirection, LSTMDirection


class DecoderRecurrence:
    """The decoder's step with the weights of its layers cut once for all steps.

    Args:
        decoder: its weights are those of now; a recurrence made before they change computes with the old ones.
    """

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.attention = decoder.attention
        modules = [cast("LSTMDirection | GRUDirection", layer) for layer in decoder.layers]
        layers, norms = [module.weights() for module in modules], [module.norm() for module in modules]
        self.steps = [
            LSTMStep.of(weights, norm) if isinstance(weights, LSTMWeights) else GRUStep.of(weights, norm)
            for weights, norm in zip(layers, norms, strict=True)
        ]
        embedding_size = decoder.embedding.embedding_dim
        lowest = layers[0].weight_input
        # The context is followed by r_{t-1} in a decoder with input feeding
        self.from_embedding, self.from_context = lowest.split([embedding_size, lowest.shape[1] - embedding_size], 1)
        self.biases = [step.bias_before for step in self.steps]
        self.from_below = [weights.weight_input for weights in layers[1:]]

    def project(self, embedded: Float[Tensor, "... E"]) -> Float[Tensor, "... G"]:
        """Return the part of the lowest layer's W_x x + b that does not depend on the context."""
        return F.linear(embedded, self.from_embedding, self.biases[0])

    def step(
        self, previous: Int[Tensor, "N"], state: DecoderState
    ) -> tuple[Float[Tensor, "N V"], DecoderState, Float[Tensor, "N T"] | None]:
        """Do one step of a search; see `Decoder.step`."""
        embedded = self.decoder.embedding(self.decoder.known(previous))
        state, context, weights = self(
            embedded, self.project(embedded), state, [], [self.decoder.zoneout] * len(self.steps)
        )
        state, read = self.decoder.read(state, context, embedded, weights)
        return self.decoder.output.scores(read), state, read.weights

    def __call__(
        self,
        embedded: Tensor,
        projected: Tensor,
        state: DecoderState,
        masks: list[Tensor],
        zoneouts: Sequence[Zoneout | None],
    ) -> tuple[DecoderState, Tensor, Tensor | None]:
        """Return the next state, still with r_{t-1}, the context c_t and the attention weights.

        Args:
            embedded: E(y_{t-1}), (N, E), with its dropout.
            projected: what `project` returned for it.
            state: the state before the step.
            masks: for each layer above the lowest, the dropout mask of its input; [] for no dropout.
            zoneouts: for each layer, the shares of its state that this step keeps.
        """
        if isinstance(state.source, Memory):
            assert self.attention is not None
            outputs, keys, valid, _ = state.source
            query = torch.cat([top(state), embedded], 1) if self.decoder.attention_symbol else top(state)  # (67)
            context, weights, attention = self.attention(query, keys, outputs, valid, state.attention)
        else:
            context, weights, attention = state.source, None, ()
        given = context if state.readout is None else torch.cat([context, state.readout], 1)  # (62)
        x = torch.addmm(projected, given, self.from_context.t())
        layers: list[LayerState] = []
        for index, (step, old, zoneout) in enumerate(zip(self.steps, state.layers, zoneouts, strict=True)):
            if index:
                below = self.decoder.stack_output(layers)
                below = below * masks[index - 1] if masks else below
                x = F.linear(below, self.from_below[index - 1], self.biases[index])
            new = step(x, old)  # type: ignore[arg-type]  # a layer's state is of its own cell's kind
            layers.append(new if zoneout is None else zone(zoneout, new, old))
        return state._replace(layers=tuple(layers), attention=attention), context, weights


def zone(zoneout: Zoneout, new: LayerState, old: LayerState) -> LayerState:
    """Return a layer's state after a step with zoneout, (43)."""
    if isinstance(new, LSTMState):
        return LSTMState(*zoneout.keep(new, old))
    [h] = zoneout.keep([new], [cast("Tensor", old)])
    return h
