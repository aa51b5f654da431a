"""Define two baselines: the same model with recurrences written in plain PyTorch, without this project.

Both have the architecture of peephole's model: a bidirectional encoder, additive attention with the query s_{t-1},
the context as input of the decoder's cell and the readout. All but the recurrences (`encode`, `step`)
is shared code, with the attention's keys and the readout computed outside the loop as in peephole.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

BOS = 1
State = tuple[Tensor, Tensor]  # h and c, each (B, H)


class Baseline(nn.Module, ABC):
    """Hold embeddings, attention, readout and the decoder's loop; a subclass defines the recurrences."""

    def __init__(self, num_source: int, num_target: int, embedding_size: int, hidden_size: int, dropout: float):
        super().__init__()
        self.source_embedding = nn.Embedding(num_source, embedding_size)
        self.target_embedding = nn.Embedding(num_target, embedding_size)
        self.keys = nn.Linear(hidden_size, hidden_size, bias=False)
        self.query = nn.Linear(hidden_size, hidden_size, bias=False)
        self.energy = nn.Linear(hidden_size, 1, bias=False)
        self.readout = nn.Linear(2 * hidden_size + embedding_size, hidden_size)
        self.output = nn.Linear(hidden_size, num_target)
        self.dropout = nn.Dropout(dropout)

    @abstractmethod
    def encode(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, State]:
        """Return the outputs (B, T, H) of both directions and the last state of both."""

    @abstractmethod
    def step(self, x: Tensor, state: State) -> State:
        """Do one step of the decoder's cell."""

    def forward(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """Return the logits (B, U, V) of every target symbol given the ones before it."""
        outputs, state = self.encode(self.dropout(self.source_embedding(source)), lengths)
        padding = torch.arange(source.shape[1]) >= lengths[:, None]
        keys = self.keys(outputs)
        previous = torch.cat([torch.full_like(target[:, :1], BOS), target[:, :-1]], 1)
        embedded = self.dropout(self.target_embedding(previous))
        features = []
        for x in embedded.unbind(1):
            energy = self.energy(torch.tanh(keys + self.query(state[0])[:, None]))[..., 0]
            weights = torch.softmax(energy.masked_fill(padding, -torch.inf), 1)
            context = torch.bmm(weights[:, None], outputs)[:, 0]
            state = self.step(torch.cat([x, context], 1), state)
            features.append(torch.cat([state[0], context, x], 1))
        return self.output(self.dropout(torch.tanh(self.readout(torch.stack(features, 1)))))


class TorchBaseline(Baseline):
    """Use torch.nn.LSTM over a PackedSequence as encoder and torch.nn.LSTMCell as decoder; no peepholes."""

    def __init__(self, num_source: int, num_target: int, embedding_size: int, hidden_size: int, dropout: float):
        super().__init__(num_source, num_target, embedding_size, hidden_size, dropout)
        self.encoder = nn.LSTM(embedding_size, hidden_size // 2, batch_first=True, bidirectional=True)
        self.decoder = nn.LSTMCell(embedding_size + hidden_size, hidden_size)

    def encode(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, State]:
        """See `Baseline.encode`."""
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        outputs, (h, c) = self.encoder(packed)
        return pad_packed_sequence(outputs, batch_first=True)[0], (torch.cat([*h], 1), torch.cat([*c], 1))

    def step(self, x: Tensor, state: State) -> State:
        """See `Baseline.step`."""
        h, c = self.decoder(x, state)
        return h, c


class LoopBaseline(Baseline):
    """Compute full-peephole LSTMs in a loop, every gate's products at every step, differentiated by autograd."""

    def __init__(self, num_source: int, num_target: int, embedding_size: int, hidden_size: int, dropout: float):
        super().__init__(num_source, num_target, embedding_size, hidden_size, dropout)
        self.forward_cell = LoopCell(embedding_size, hidden_size // 2)
        self.backward_cell = LoopCell(embedding_size, hidden_size // 2)
        self.decoder = LoopCell(embedding_size + hidden_size, hidden_size)

    def encode(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, State]:
        """See `Baseline.encode`."""
        steps = range(x.shape[1])
        ahead, last_ahead = self.run(self.forward_cell, x, lengths, steps)
        back, last_back = self.run(self.backward_cell, x, lengths, reversed(steps))
        h, c = (torch.cat(pair, 1) for pair in zip(last_ahead, last_back, strict=True))
        return torch.cat([ahead, back], 2), (h, c)

    def run(self, cell: "LoopCell", x: Tensor, lengths: Tensor, steps) -> tuple[Tensor, State]:
        """Run a cell over the steps in the given order; padding does not change the state."""
        h = c = x.new_zeros(x.shape[0], cell.hidden_size)
        outputs = [h] * x.shape[1]
        for t in steps:
            new_h, new_c = cell(x[:, t], (h, c))
            is_real = (t < lengths)[:, None]
            h, c = torch.where(is_real, new_h, h), torch.where(is_real, new_c, c)
            outputs[t] = torch.where(is_real, h, 0.0)
        return torch.stack(outputs, 1), (h, c)

    def step(self, x: Tensor, state: State) -> State:
        """See `Baseline.step`."""
        return self.decoder(x, state)


class LoopCell(nn.Module):
    """Compute one step of the full-peephole LSTM, (1)-(6), with one product for each matrix of the equations."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.x = nn.ModuleDict({gate: nn.Linear(input_size, hidden_size) for gate in "ifgo"})
        self.h = nn.ModuleDict({gate: nn.Linear(hidden_size, hidden_size, bias=False) for gate in "ifgo"})
        self.c = nn.ModuleDict({gate: nn.Linear(hidden_size, hidden_size, bias=False) for gate in "ifo"})

    def forward(self, x: Tensor, state: State) -> State:
        """Return h_t and c_t."""
        h, c = state
        f = torch.sigmoid(self.x["f"](x) + self.h["f"](h) + self.c["f"](c))  # (1)
        i = torch.sigmoid(self.x["i"](x) + self.h["i"](h) + self.c["i"](c))  # (2)
        g = torch.tanh(self.x["g"](x) + self.h["g"](h))  # (3)
        c = f * c + i * g  # (4)
        o = torch.sigmoid(self.x["o"](x) + self.h["o"](h) + self.c["o"](c))  # (5)
        return o * torch.tanh(c), c  # (6)
