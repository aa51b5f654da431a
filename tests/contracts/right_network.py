"""Implements the whole network in plain PyTorch, as functions from whose source `wrong_networks` makes wrong ones."""

from __future__ import annotations

import torch

from peephole.nn import GRUWeights, LSTMState, LSTMWeights

from .wrong_attentions import right_attention
from .wrong_cells import right_gru, right_lstm

PAD, BOS, EOS = 0, 1, 2
P = 2**31 - 1  # of the hash of a trigram


def right_bridge(last, weights, num_layers):
    """Return the decoder's initial states, (9), from the final state of each encoder layer."""
    first = []
    for layer in range(num_layers):
        state = last[max(0, len(last) - num_layers + layer)]
        if "bridge.hidden.0.weight" in weights:
            h, *c = state
            h = torch.tanh(linear(weights, f"bridge.hidden.{layer}", h))
            c = [linear(weights, f"bridge.cell.{layer}", part) for part in c]
            state = (h, *c)
        first.append(state)
    return first


def right_context(kind, outputs, valid, last):
    """Return the fixed context, (8), from the encoder's outputs and the final states of its layers."""
    if kind == "last":
        return last[-1][0]
    return (outputs * valid[:, :, None]).sum(1) / valid.sum(1, keepdim=True)


def right_query(state, y, weights):
    """Return the query of attention and the weights of its kind: of (67) s and E(y), with [W_s  W_y]."""
    weights = dict(weights)
    symbol = weights.pop("weight_symbol", None)
    if symbol is None:
        return state, weights
    weights["weight_query"] = torch.cat([weights["weight_query"], symbol], 1)
    return torch.cat([state, y], 1), weights


def right_decoder(target, states, attend, context, weights, drop, residual, feeding):
    """Return the logits of all steps, (10); `attend` maps s_{t-1} and E(y_{t-1}) to c_t, or else `context` is fixed."""
    previous = torch.cat([torch.full_like(target[:, :1], BOS), target[:, :-1]], 1)
    embedded = drop("target embedding", weights["decoder.embedding.weight"][previous])
    logits, r = [], embedded.new_zeros(len(target), len(weights["decoder.readout.bias"]))
    for t in range(target.shape[1]):
        y = embedded[:, t]
        if attend is not None:
            context = attend(states[-1][0], y)
        x = torch.cat([y, context], 1)
        if feeding:
            x = torch.cat([x, r], 1)
        for layer, state in enumerate(states):
            below = x
            if layer:
                x = drop(f"between decoder layers {layer}", x, t)
            states[layer] = step(x, state, cell_weights(weights, f"decoder.layers.{layer}"))
            x = states[layer][0]
            if residual and layer:
                x = x + below
        r = torch.tanh(linear(weights, "decoder.readout", torch.cat([x, context, y], 1)))
        r = drop("readout", r, t)
        logits.append(linear(weights, "decoder.output", r))
    return torch.stack(logits, 1)


def right_encoder(source, lengths, weights, config, drop, symbols):
    """Return the outputs h_1 … h_T and the final state of each layer, both directions concatenated, (7), (20)."""
    out = drop("source embedding", symbols(source, lengths, weights))
    last = []
    for layer in range(config.encoder_layers):
        below = out
        if layer:
            out = drop(f"between layers {layer}", out)
        outs, states = [], []
        for direction in range(2 if config.bidirectional else 1):
            own = cell_weights(weights, f"encoder.recurrent.layers.{layer}.{direction}")
            zero = out.new_zeros(len(out), own.weight_hidden.shape[1])
            one_out, state = run(out, lengths, (zero, zero), own, reverse=direction == 1)
            outs.append(one_out)
            states.append(state)
        out = torch.cat(outs, 2)
        if config.residual and layer:
            out = out + below
        last.append(tuple(torch.cat(parts, 1) for parts in zip(*states, strict=True)))
    return out, last


def right_symbols(source, lengths, weights):
    """Return the vectors of the symbols, with those of their trigrams, (66)."""
    x = weights["frontend.embedding.weight"][source]
    table = weights.get("frontend.ngrams.weight")
    if table is None:
        return x
    found = torch.zeros_like(x)
    for b, length in enumerate(lengths):
        around = [BOS, *source[b, :length].tolist(), EOS]
        for t in range(length):
            code = 0
            for symbol in around[t : t + 3]:
                code = (code + symbol) * (code + symbol + 668265263) % P
            found[b, t] = table[code * len(table) // P]
    return x + found


def linear(weights, name, x):
    """Return W x + b."""
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def cell_weights(weights, name):
    """Return the weights of one layer and direction."""
    kind = GRUWeights if f"{name}.bias_input" in weights else LSTMWeights
    return kind(*(weights.get(f"{name}.{field}") for field in kind._fields))


def run(x, lengths, state, weights, *, reverse=False):
    """Run a layer over a batch from a state (h, c) or (h,); return the outputs and the final state."""
    if isinstance(weights, GRUWeights):
        out, h = right_gru(x, lengths, state[0], weights, reverse=reverse)
        return out, (h,)
    return right_lstm(x, lengths, LSTMState(*state), weights, reverse=reverse)


def step(x, state, weights):
    """Return the state after one step."""
    return tuple(run(x[:, None], torch.ones(len(x), dtype=torch.long), state, weights)[1])


class RightNetwork:
    """Computes with the functions above, or replacements of them, and a copy of the weights of a `Seq2Seq`.

    Args:
        model: the network whose weights are copied.
        config: the settings of that network.
        changed: replacements of the functions above, by name.
    """

    def __init__(self, model, config, **changed):
        self.weights = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
        self.config = config
        parts = (right_symbols, right_encoder, right_bridge, right_context, right_query, right_decoder)
        self.functions = {function.__name__: function for function in parts}
        self.functions |= changed

    def named_parameters(self):
        return self.weights.items()

    def state_dict(self):
        return self.weights

    def __call__(self, source, source_lengths, target, noise=None):
        def drop(site, x, t=None):
            if noise is None:
                return x
            mask = noise.mask(site, target.shape[1] if t is not None else x.shape[1], x.shape[-1])
            return x * (mask if t is None else mask[:, t])

        functions, weights = self.functions, self.weights
        symbols = functions["right_symbols"]
        outputs, last = functions["right_encoder"](source, source_lengths, weights, self.config, drop, symbols)
        valid = torch.arange(source.shape[1]) < source_lengths[:, None]
        first = functions["right_bridge"](last, weights, self.config.decoder_layers)
        attend = context = None
        if self.config.context == "attention":
            own = {name.rpartition(".")[2]: value for name, value in weights.items() if ".attention." in name}
            query = functions["right_query"]

            def attend(state, y):
                asked, parameters = query(state, y, own)
                return right_attention(asked[:, None], outputs, valid, *parameters.values())[0][:, 0]
        else:
            context = functions["right_context"](self.config.context, outputs, valid, last)
        how = self.config.residual, self.config.input_feeding
        return functions["right_decoder"](target, first, attend, context, weights, drop, *how)

    def log_prob(self, source, source_lengths, target, target_lengths):
        """Return log p(Y | X), (11)."""
        log_probs = self(source, source_lengths, target).log_softmax(-1).gather(2, target[:, :, None])[..., 0]
        return log_probs.where(torch.arange(target.shape[1]) < target_lengths[:, None], 0).sum(1)
