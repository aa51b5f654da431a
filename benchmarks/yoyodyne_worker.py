"""Train yoyodyne in turns with the other systems; started by train_speed.py in yoyodyne's environment.

The model, the loss, the optimiser and the training loop are yoyodyne's own: `SoftAttentionLSTMModel` under its
`Trainer`; a pass is an epoch, which restarts Adam. Its file reading is left out, and its log and checkpoints are turned
off.
"""

import argparse
import logging
import warnings
from importlib.metadata import version
from pathlib import Path

import torch
from rounds import Batches, count_target_symbols, read_batches, take_turns
from yoyodyne import special
from yoyodyne.data.batches import Batch, PaddedTensor
from yoyodyne.models import SoftAttentionLSTMModel
from yoyodyne.models.modules import LSTMEncoder
from yoyodyne.trainers import Trainer


def make_symbols(batches: Batches) -> dict[str, int]:
    """Return the id of each symbol; both sides share a vocabulary, the targets' symbols first."""
    symbols = [f"target {s}" for s in batches["target_symbols"]] + [f"source {s}" for s in batches["source_symbols"]]
    return {symbol: number for number, symbol in enumerate(symbols, len(special.SPECIAL))}


def encode_source(letters: str, ids: dict[str, int]) -> torch.Tensor:
    """Return a word's ids between <S> and <E>."""
    return torch.tensor([special.START_IDX, *(ids[f"source {s}"] for s in letters), special.END_IDX])


def to_batches(batches: Batches) -> list[Batch]:
    """Return the batches as yoyodyne's collator makes them."""
    ids = make_symbols(batches)
    made = []
    for batch in batches["batches"]:
        sources = [encode_source(letters, ids) for letters, _ in batch]
        targets = [
            torch.tensor([*(ids[f"target {s}"] for s in phones.split()), special.END_IDX]) for _, phones in batch
        ]
        made.append(Batch(PaddedTensor(sources), target=PaddedTensor(targets)))
    return made


class Losses:
    """Sum the losses of a pass; yoyodyne's own are means over symbols."""

    def __init__(self, model: SoftAttentionLSTMModel) -> None:
        self.total = 0.0
        model.loss_func.register_forward_hook(self.add)

    def add(self, module: torch.nn.Module, inputs: tuple[torch.Tensor, torch.Tensor], loss: torch.Tensor) -> None:
        """Add the loss of a batch."""
        self.total += float(loss.detach()) * int((inputs[1] != special.PAD_IDX).sum())


def make_model(batches: Batches) -> SoftAttentionLSTMModel:
    """Return yoyodyne's untrained model."""
    target_size = len(special.SPECIAL) + len(batches["target_symbols"])
    return SoftAttentionLSTMModel(
        source_encoder=LSTMEncoder(embedding_size=128, hidden_size=128, layers=1, dropout=0.2, bidirectional=True),
        embedding_size=128,
        decoder_hidden_size=256,
        decoder_layers=1,
        decoder_dropout=0.2,
        compute_accuracy=False,
        target_vocab_size=target_size,
        vocab_size=target_size + len(batches["source_symbols"]),
    )


def make_trainer(max_epochs: int) -> Trainer:
    """Return yoyodyne's trainer, without log and checkpoints."""
    return Trainer(
        accelerator="cpu",
        devices=1,
        gradient_clip_val=5.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_epochs=max_epochs,
    )


def quieten() -> None:
    """Turn off the trainer's output, and warnings about the way batches are loaded."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")


def main() -> None:
    """Build the model and the trainer, then train on request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("batches", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    quieten()

    batches = read_batches(arguments.batches)
    made = to_batches(batches)
    num_symbols = count_target_symbols(batches)
    model = make_model(batches)
    loader = torch.utils.data.DataLoader(made, batch_size=None)  # the items are already batches
    losses = Losses(model)
    trainer = make_trainer(max_epochs=0)

    def train_pass() -> float:
        losses.total = 0.0
        trainer.fit_loop.max_epochs += 1  # it counts the epochs of all calls together
        trainer.fit(model, train_dataloaders=loader)
        return losses.total / num_symbols

    facts = {
        "version": f"yoyodyne {version('yoyodyne')}, torch {torch.__version__}",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
    take_turns(train_pass, num_symbols, facts)


if __name__ == "__main__":
    main()
