"""Predict with yoyodyne in turns with the other systems; started by predict_speed.py in yoyodyne's environment.

yoyodyne's own `Trainer` trains the model for some minutes and stores it in a file. Greedy and beam search are those of
the model's own `predict_step`, which receives batches as tensors.
"""

from collections.abc import Iterator
from importlib.metadata import version

import torch
from prediction_rounds import parse_peer_arguments, take_turns, until_over
from rounds import read_batches
from yoyodyne import special
from yoyodyne.data.batches import Batch, PaddedTensor
from yoyodyne.models import SoftAttentionLSTMModel
from yoyodyne_worker import encode_source, make_model, make_symbols, make_trainer, quieten, to_batches

LONGEST = 60  # symbols of a prediction, as OpenNMT-py's


class Stream(torch.utils.data.IterableDataset):
    """Yield the batches repeatedly until some minutes are over."""

    def __init__(self, batches: list[Batch], minutes: float) -> None:
        self.batches, self.minutes = batches, minutes

    def __iter__(self) -> Iterator[Batch]:
        return until_over(self.batches, self.minutes)


def train(model: SoftAttentionLSTMModel, batches: list[Batch], minutes: float) -> None:
    """Train for some minutes: one epoch of as many batches."""
    loader = torch.utils.data.DataLoader(Stream(batches, minutes), batch_size=None)  # the items are already batches
    make_trainer(max_epochs=1).fit(model, train_dataloaders=loader)


def main() -> None:
    """Train or load the model, then predict on request."""
    arguments = parse_peer_arguments(__doc__)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    quieten()

    batches = read_batches(arguments.batches)
    model = make_model(batches)
    if not arguments.model.is_file():
        train(model, to_batches(batches), arguments.train_minutes)
        torch.save(model.state_dict(), arguments.model)
    model.load_state_dict(torch.load(arguments.model))
    model.eval()
    model.trainer = make_trainer(max_epochs=0)  # greedy search reads from it whether this is validation
    model.max_target_length = LONGEST
    ids = make_symbols(batches)
    names = dict(enumerate(batches["target_symbols"], len(special.SPECIAL)))

    @torch.inference_mode()
    def predict(words: list[str], beam_size: int) -> list[list[str]]:
        batch = Batch(PaddedTensor([encode_source(word, ids) for word in words]))
        model.beam_width = beam_size
        found = model.predict_step(batch, 0)
        # beams are (B, K, T), the best first and with <S>; greedy search is (B, T)
        best = found[0][:, 0, 1:] if beam_size > 1 else found
        return [[names[symbol] for symbol in until_end(row) if symbol in names] for row in best.tolist()]

    take_turns(predict, arguments.words, {"version": f"yoyodyne {version('yoyodyne')}, torch {torch.__version__}"})


def until_end(symbols: list[int]) -> list[int]:
    """Return the symbols before the end of a target."""
    return symbols[: symbols.index(special.END_IDX)] if special.END_IDX in symbols else symbols


if __name__ == "__main__":
    main()
