"""Train a baseline in turns with the other systems; started by train_speed.py."""

import argparse
from pathlib import Path

import torch
from baselines import LoopBaseline, TorchBaseline
from rounds import Batches, count_target_symbols, read_batches, take_turns
from torch import Tensor, nn

from peephole.symbols import EOS, PAD, SPECIALS

EMBEDDING_SIZE, HIDDEN_SIZE, DROPOUT = 128, 256, 0.2
LEARNING_RATE, CLIP_NORM = 0.001, 5.0
SEED = 1

BASELINES = {"torch": TorchBaseline, "loop": LoopBaseline}


def to_tensors(batches: Batches) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return source (B, T), source lengths (B,) and target (B, U) of each batch; targets end with </s>."""
    source_ids = {s: i for i, s in enumerate(batches["source_symbols"], len(SPECIALS))}
    target_ids = {s: i for i, s in enumerate(batches["target_symbols"], len(SPECIALS))}
    tensors = []
    for batch in batches["batches"]:
        sources = [torch.tensor([source_ids[s] for s in letters]) for letters, _ in batch]
        targets = [torch.tensor([*(target_ids[s] for s in phones.split()), EOS]) for _, phones in batch]
        lengths = torch.tensor([len(source) for source in sources])
        tensors.append((pad(sources), lengths, pad(targets)))
    return tensors


def pad(rows: list[Tensor]) -> Tensor:
    """Return the rows as one tensor, padded with PAD."""
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)


def main() -> None:
    """Build the system, then train on request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system", choices=list(BASELINES))
    parser.add_argument("batches", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(SEED)

    batches = read_batches(arguments.batches)
    tensors = to_tensors(batches)
    num_symbols = count_target_symbols(batches)
    model = BASELINES[arguments.system](
        len(SPECIALS) + len(batches["source_symbols"]),
        len(SPECIALS) + len(batches["target_symbols"]),
        EMBEDDING_SIZE,
        HIDDEN_SIZE,
        DROPOUT,
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    model.train()

    def train_pass() -> float:
        total = 0.0
        for source, lengths, target in tensors:
            logits = model(source, lengths, target)
            loss = nn.functional.cross_entropy(
                logits.flatten(0, 1), target.flatten(), ignore_index=PAD, reduction="sum"
            )
            optimizer.zero_grad()
            (loss / int((target != PAD).sum())).backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimizer.step()
            total += loss.item()
        return total / num_symbols

    facts = {
        "version": f"torch {torch.__version__}",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
    take_turns(train_pass, num_symbols, facts)


if __name__ == "__main__":
    main()
