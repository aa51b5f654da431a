"""Lists plausible residual stacks, (41), that are wrong in one place each; the suite must reject them all."""

from __future__ import annotations

from .network_checks import check_dropout
from .wrong_networks import Wrong

DEEP = {"encoder_layers": 3, "decoder_layers": 3, "residual": True}
ONE_DIRECTION = {"encoder_size": 3, "bidirectional": False}  # as large as an embedding
RESIDUAL = ({**DEEP}, {"cell": "gru", "peephole": "none", **DEEP})

WRONG_RESIDUAL_DECODERS = (
    Wrong("no residual connection", "if residual and layer:", "if False:", RESIDUAL),
    Wrong("only the top layer adds", "if residual and layer:", "if residual and layer == 2:", RESIDUAL),
    Wrong("adds the lowest layer's output", "x = x + below", "x = x + states[0][0]", RESIDUAL),
    Wrong("a mean in place of a sum", "x = x + below", "x = (x + below) / 2", RESIDUAL),
    Wrong(
        "the sum is passed to the next step",
        "x = x + below",
        "x = x + below; states[layer] = (x, *states[layer][1:])",
        RESIDUAL,
    ),
    Wrong("attends with the sum", "attend(states[-1][0], y)", "attend(sum(state[0] for state in states), y)", RESIDUAL),
    Wrong(
        "the readout reads the top layer's h",
        "torch.cat([x, context, y]",
        "torch.cat([states[-1][0], context, y]",
        RESIDUAL,
    ),
    Wrong("no gradient by the connection", "x = x + below", "x = x + below.detach()", RESIDUAL, seen_in="gradient of"),
    Wrong(
        "dropout on the connection",
        "x = x + below",
        'x = x + drop(f"between decoder layers {layer}", below, t)',
        RESIDUAL,
        seen_in="log p",
        check=check_dropout,
    ),
)

WRONG_RESIDUAL_ENCODERS = (
    Wrong("no residual connection", "if config.residual and layer:", "if False:", RESIDUAL),
    Wrong("the lowest layer adds, too", "config.residual and layer:", "config.residual:", ({**DEEP, **ONE_DIRECTION},)),
    Wrong("only the top layer adds", "config.residual and layer:", "config.residual and layer == 2:", RESIDUAL),
    Wrong("adds the connection twice", "out = out + below", "out = out + 2 * below", RESIDUAL),
    Wrong(
        "adds what the other direction reads",
        "out = out + below",
        "out = out + below.roll(below.shape[2] // 2, 2)",
        RESIDUAL,
    ),
    Wrong(
        "the bridge reads the sum",
        "last.append(tuple(torch.cat(parts, 1) for parts in zip(*states, strict=True)))",
        "last.append((out[torch.arange(len(out)), lengths - 1], *(part for part in states[0][1:])))",
        ({**DEEP, **ONE_DIRECTION},),
    ),
    Wrong(
        "no gradient by the connection",
        "out = out + below",
        "out = out + below.detach()",
        RESIDUAL,
        seen_in="gradient of",
    ),
    Wrong(
        "dropout on the connection",
        "out = out + below",
        'out = out + drop(f"between layers {layer}", below)',
        RESIDUAL,
        seen_in="log p",
        check=check_dropout,
    ),
)
