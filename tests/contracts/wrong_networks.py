"""Lists plausible bridges, contexts and decoders that are wrong in one place each; the suite rejects them all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .network_checks import check, check_dropout


@dataclass(frozen=True)
class Wrong:
    """Describes a replacement in the source of a `right_network` function and the networks that it affects."""

    name: str
    right: str
    wrong: str
    settings: tuple[dict[str, Any], ...] = field(default_factory=lambda: (LSTM, GRU))
    seen_in: str = r"log p\(Y \| X\)"  # the start of the first failure's message
    check: Any = check


DEEP = {"encoder_layers": 2, "decoder_layers": 2}
LSTM = {"cell": "lstm", **DEEP}
GRU = {"cell": "gru", "peephole": "none", **DEEP}
COPY = {"encoder_size": 4}  # the states are copied
FIXED = tuple({**DEEP, "context": context, "attention": "-"} for context in ("last", "mean"))
LAST, MEAN = ((setting,) for setting in FIXED)
ATTENTIONS = tuple({**DEEP, "attention": kind} for kind in ("additive", "dot", "general"))

WRONG_BRIDGES = (
    Wrong(
        "takes the lowest encoder layers",
        "last[max(0, len(last) - num_layers + layer)]",
        "last[layer]",
        ({"encoder_layers": 3, "decoder_layers": 2}, {"encoder_layers": 3, "decoder_layers": 2, **COPY}),
    ),
    Wrong("takes the top encoder layer for all", "last[max(0, len(last) - num_layers + layer)]", "last[-1]"),
    Wrong("takes the encoder layers from the top down", "len(last) - num_layers + layer", "len(last) - 1 - layer"),
    Wrong(
        "counts from the top where the encoder has no layer",
        "max(0, len(last) - num_layers + layer)",
        "len(last) - num_layers + layer",
        ({"encoder_layers": 2, "decoder_layers": 3},),
    ),
    Wrong("tanh missing", "torch.tanh(", "("),
    Wrong("tanh of c, too", "part) for part in c]", "torch.tanh(part)) for part in c]", (LSTM,)),
    Wrong("sigmoid in place of tanh", "torch.tanh(", "torch.sigmoid("),
    Wrong("swaps h and c after the products", "state = (h, *c)", "state = (*c, h)", (LSTM,)),
    Wrong("swaps h and c before the products", "h, *c = state", "*c, h = state", (LSTM,)),
    Wrong("makes c from h", "for part in c]", "for part in [state[0]] * len(c)]", (LSTM,)),
    Wrong("makes c with the weights of h", "bridge.cell.{layer}", "bridge.hidden.{layer}", (LSTM,)),
    Wrong("one bridge of h for all layers", "bridge.hidden.{layer}", "bridge.hidden.0"),
    Wrong("one bridge of c for all layers", "bridge.cell.{layer}", "bridge.cell.0", (LSTM,)),
    Wrong(
        "takes only the forward direction",
        "h, *c = state",
        "h, *c = (part * (torch.arange(part.shape[1]) < part.shape[1] / 2) for part in state)",
    ),
    Wrong("swaps the directions", "h, *c = state", "h, *c = (part.roll(part.shape[1] // 2, 1) for part in state)"),
    Wrong("c starts at 0", "state = (h, *c)", "state = (h, *(0 * part for part in c))", (LSTM,)),
    Wrong(
        "c starts at 0 where states are copied",
        "first.append(state)",
        "first.append((state[0], 0 * state[1]))",
        ({**LSTM, **COPY},),
    ),
    Wrong(
        "swaps h and c where states are copied", "first.append(state)", "first.append(state[::-1])", ({**LSTM, **COPY},)
    ),
    Wrong(
        "tanh where states are copied",
        "first.append(state)",
        "first.append((torch.tanh(state[0]), *state[1:]))",
        ({**LSTM, **COPY}, {**GRU, **COPY}),
    ),
    Wrong(
        "no bias of h",
        '(weights, f"bridge.hidden.{layer}", h)',
        '(weights, f"bridge.hidden.{layer}", h) - weights[f"bridge.hidden.{layer}.bias"]',
    ),
    Wrong(
        "no gradient to the encoder by h",
        "h, *c = state",
        "h, *c = state; h = h.detach()",
        seen_in="gradient of frontend",
    ),
    Wrong(
        "no gradient to the encoder by c",
        "h, *c = state",
        "h, *c = state; c = [part.detach() for part in c]",
        (LSTM,),
        seen_in="gradient of frontend",
    ),
    Wrong(
        "no gradient to the encoder where states are copied",
        "first.append(state)",
        "first.append(tuple(part.detach() for part in state))",
        ({**LSTM, **COPY}, {**GRU, **COPY}),
        seen_in="gradient of frontend",
    ),
)

WRONG_CONTEXTS = (
    Wrong("the last column, padding or not", "return last[-1][0]", "return outputs[:, -1]", LAST),
    Wrong(
        "the last output of a bidirectional encoder",
        "return last[-1][0]",
        "return outputs[torch.arange(len(outputs)), valid.sum(1) - 1]",
        LAST,
    ),
    Wrong("the last state of the lowest layer", "return last[-1][0]", "return last[0][0]", LAST),
    Wrong("the last c", "return last[-1][0]", "return last[-1][1]", LAST),
    Wrong("a mean over padding, too", "/ valid.sum(1, keepdim=True)", "/ valid.shape[1]", MEAN),
    Wrong("a sum", " / valid.sum(1, keepdim=True)", "", MEAN),
    Wrong(
        "no gradient to the encoder",
        "return (outputs *",
        "return (outputs.detach() *",
        MEAN,
        seen_in="gradient of frontend",
    ),
)

WRONG_DECODERS = (
    # -- inputs
    Wrong(
        "the input is the symbol to predict",
        "previous = torch.cat([torch.full_like(target[:, :1], BOS), target[:, :-1]], 1)",
        "previous = target",
    ),
    Wrong(
        "the input is delayed by one more step",
        "target[:, :-1]], 1)",
        "torch.full_like(target[:, :1], BOS), target[:, :-2]], 1)",
    ),
    Wrong("begins with PAD", "target[:, :1], BOS)", "target[:, :1], PAD)"),
    Wrong("begins with EOS", "target[:, :1], BOS)", "target[:, :1], 2)"),
    Wrong(
        "scales embeddings by the root of their size",
        "y = embedded[:, t]",
        "y = embedded[:, t] * embedded.shape[2] ** 0.5",
    ),
    Wrong("the input is the first embedding in every step", "y = embedded[:, t]", "y = embedded[:, 0]"),
    # -- the context
    Wrong(
        "context of the first step serves all", "if attend is not None:", "if attend is not None and not t:", ATTENTIONS
    ),
    Wrong(
        "context of the step before",
        "context = attend(states[-1][0], y)",
        "new = attend(states[-1][0], y); context, following = following if t else new, new",
        ATTENTIONS,
    ),
    Wrong(
        "attends with s_t for the readout",
        "torch.cat([x, context, y], 1)",
        "torch.cat([x, attend(x, y), y], 1)",
        ATTENTIONS,
    ),
    Wrong("attends with the lowest layer's state", "attend(states[-1][0], y)", "attend(states[0][0], y)", ATTENTIONS),
    Wrong("attends with c", "attend(states[-1][0], y)", "attend(states[-1][1], y)", ATTENTIONS),
    Wrong(
        "attends with the decoder's first state in every step",
        "attend(states[-1][0], y)",
        "attend((first := states[-1][0] if not t else first), y)",
        ATTENTIONS,
    ),
    Wrong(
        "the cell has no context",
        "x = torch.cat([y, context], 1)",
        "x = torch.cat([y, 0 * context], 1)",
        ATTENTIONS + FIXED,
    ),
    Wrong(
        "the cell reads the context before the embedding",
        "torch.cat([y, context], 1)",
        "torch.cat([context, y], 1)",
        ATTENTIONS + FIXED,
    ),
    Wrong(
        "a fixed context only in the first step",
        "x = torch.cat([y, context], 1)",
        "x = torch.cat([y, context if not t else 0 * context], 1)",
        FIXED,
    ),
    # -- layers
    Wrong(
        "each layer continues from the state of the lowest",
        "step(x, state, cell_weights",
        "step(x, states[0], cell_weights",
    ),
    Wrong("a residual connection between the layers", "if residual and layer", "if layer"),
    Wrong(
        "all states are reset to 0 at each step",
        "step(x, state, cell_weights",
        "step(x, [0 * part for part in state], cell_weights",
    ),
    Wrong(
        "c is reset to 0 at each step",
        "step(x, state, cell_weights",
        "step(x, (state[0], 0 * state[1]), cell_weights",
        (LSTM,),
    ),
    # -- the readout
    Wrong(
        "readout without the context",
        "torch.cat([x, context, y], 1)",
        "torch.cat([x, 0 * context, y], 1)",
        ATTENTIONS + FIXED,
    ),
    Wrong("readout without the embedding", "torch.cat([x, context, y], 1)", "torch.cat([x, context, 0 * y], 1)"),
    Wrong("readout without the state", "torch.cat([x, context, y], 1)", "torch.cat([0 * x, context, y], 1)"),
    Wrong("readout of the lowest layer", "torch.cat([x, context, y], 1)", "torch.cat([states[0][0], context, y], 1)"),
    Wrong("readout of c", "torch.cat([x, context, y], 1)", "torch.cat([states[-1][1], context, y], 1)", (LSTM,)),
    Wrong("readout of the context before the state", "torch.cat([x, context, y], 1)", "torch.cat([context, x, y], 1)"),
    Wrong("readout without tanh", "r = torch.tanh(linear", "r = (linear"),
    Wrong("no output bias", '"decoder.output", r)', '"decoder.output", r) - weights["decoder.output.bias"]'),
    # -- gradients
    Wrong(
        "no gradient by the context",
        "context = attend(states[-1][0], y)",
        "context = attend(states[-1][0], y).detach()",
        ATTENTIONS,
        seen_in="gradient of",
    ),
    Wrong(
        "no gradient by the query",
        "attend(states[-1][0], y)",
        "attend(states[-1][0].detach(), y)",
        ATTENTIONS,
        seen_in="gradient of",
    ),
    Wrong(
        "no gradient through time",
        "step(x, state, cell_weights",
        "step(x, [part.detach() for part in state], cell_weights",
        seen_in="gradient of",
    ),
    Wrong(
        "no gradient by the embedding in the readout",
        "torch.cat([x, context, y], 1)",
        "torch.cat([x, context, y.detach()], 1)",
        seen_in="gradient of decoder.embedding",
    ),
    # -- dropout
    Wrong(
        "dropout mask reused in every step",
        'r = drop("readout", r, t)',
        'r = drop("readout", r, 0)',
        seen_in="log p",
        check=check_dropout,
    ),
    Wrong(
        "dropout mask reused between the layers in every step",
        'layers {layer}", x, t)',
        'layers {layer}", x, 0)',
        seen_in="log p",
        check=check_dropout,
    ),
    Wrong(
        "dropout mask of another site",
        'r = drop("readout", r, t)',
        'r = drop("between decoder layers 1", r, t)',
        seen_in="log p",
        check=check_dropout,
    ),
    Wrong("no dropout on the readout", 'r = drop("readout", r, t)', "", seen_in="log p", check=check_dropout),
    Wrong(
        "no dropout between the layers",
        'x = drop(f"between decoder layers {layer}", x, t)',
        "pass",
        seen_in="log p",
        check=check_dropout,
    ),
    Wrong(
        "no dropout on embeddings",
        'drop("target embedding", weights["decoder.embedding.weight"][previous])',
        'weights["decoder.embedding.weight"][previous]',
        seen_in="log p",
        check=check_dropout,
    ),
    Wrong(
        "the readout reads embeddings without dropout",
        "torch.cat([x, context, y], 1)",
        'torch.cat([x, context, weights["decoder.embedding.weight"][previous[:, t]]], 1)',
        seen_in="log p",
        check=check_dropout,
    ),
    Wrong(
        "dropout on the state passed to the next step",
        "step(x, state, cell_weights",
        'step(x, (drop("readout", state[0], t), *state[1:]), cell_weights',
        seen_in="log p",
        check=check_dropout,
    ),
    Wrong(
        "dropout twice on the readout",
        'r = drop("readout", r, t)',
        'r = drop("readout", drop("readout", r, t), t)',
        seen_in="log p",
        check=check_dropout,
    ),
)
