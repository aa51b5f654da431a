"""Measure training the encoder and decoder, forward and backward: the engine and the definition, in turns.

    python benchmarks/decoder_speed.py [--threads N] [--rounds N] [--parts CELL/ATTENTION ...]

One row for each cell and attention: 64 pairs with the lengths of CMUdict's words on both sides, one encoder layer of
two directions and one decoder layer, full peepholes in the LSTM, hidden size 256, embeddings of 128, 60 symbols,
dropout 0.2, float32. A step is forward and backward, without the output layer, the loss and the optimiser. The engine
and the definition take turns; a ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch
from layer_speed import CORPORA

from peephole import engine
from peephole.config import ModelConfig
from peephole.nn import Noise, build_seq2seq, use_engine

SIZES = {"hidden_size": 256, "encoder_size": 256, "embedding_size": 128, "dropout": 0.2}
ATTENTIONS = ("additive", "general", "location", "coverage", "multihead")
PARTS = tuple(f"{cell}/{kind}" for cell in ("lstm", "gru") for kind in ATTENTIONS)
BATCH, SYMBOLS, STEPS = 64, 60, 3


def make_batch(draw: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids (B, T) padded with 0, and their lengths, those of CMUdict's words."""
    words = torch.tensor(CORPORA["CMUdict's words"])
    lengths = words[torch.randint(len(words), (BATCH,), generator=draw)]
    ids = torch.randint(4, SYMBOLS, (BATCH, int(lengths.max())), generator=draw)
    return ids.masked_fill(torch.arange(ids.shape[1]) >= lengths[:, None], 0), lengths


def measure(part: str, rounds: int) -> tuple[float, float, float]:
    """Return milliseconds a step of the engine and of the definition, and the median of the rounds' ratios."""
    cell, attention = part.split("/")
    peephole = "full" if cell == "lstm" else "none"
    model = build_seq2seq(ModelConfig(cell=cell, peephole=peephole, attention=attention, **SIZES), SYMBOLS, SYMBOLS)
    draw = torch.Generator().manual_seed(1)
    (source, source_lengths), (target, lengths) = make_batch(draw), make_batch(draw)
    noise = Noise(seed=1, step=1, examples=torch.arange(BATCH), rate=0.2)

    def step() -> None:
        model.zero_grad()
        state = model.start(source, source_lengths, noise=noise)
        model.decoder.readouts(target, state, noise, lengths).readout.sum().backward()

    times: dict[str, list[float]] = {engine.instruction_sets()[0]: [], "off": []}
    for setting in times:
        with use_engine(setting):
            step()
    for _ in range(rounds):
        for setting, seconds in times.items():
            with use_engine(setting):
                start = time.perf_counter()
                for _ in range(STEPS):
                    step()
                seconds.append((time.perf_counter() - start) / STEPS)
    ours, theirs = times.values()
    ratio = median(b / a for a, b in zip(ours, theirs, strict=True))
    return 1000 * median(ours), 1000 * median(theirs), ratio


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{engine.instruction_sets()[0]}, {options.threads} threads, medians of {options.rounds} rounds")
    print("| cell/attention | engine ms | definition ms | definition / engine |\n|---|--:|--:|--:|")
    for part in options.parts:
        ours, theirs, ratio = measure(part, options.rounds)
        print(f"| {part} | {ours:.1f} | {theirs:.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
