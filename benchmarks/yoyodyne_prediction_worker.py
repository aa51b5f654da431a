"""Predict with yoyodyne in turns with the other systems; started by predict_speed.py in yoyodyne's environment.

The model is trained by yoyodyne's own `Trainer` for some minutes and kept in a file; its searches are the model's own
`predict_step`, which gets its batches as tensors: reading and writing text is not in its time, as it is in ours.
"""

import argparse
import logging
import warnings
from importlib.metadata import version
from pathlib import Path

import torch
from prediction_rounds import take_turns
from rounds import read_batches
from yoyodyne import special
from yoyodyne.data.batches import Batch, PaddedTensor
from yoyodyne_worker import encode_word, make_model, quiet_trainer, symbol_ids, to_batches


def main() -> None:
    """Train, or load what was trained; take turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("batches", type=Path, help="to train on")
    parser.add_argument("model", type=Path, help="file of weights, written if it is missing")
    parser.add_argument("words", type=Path, help="to predict")
    parser.add_argument("--train-minutes", type=float, required=True)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")  # of how the batches are loaded

    batches = read_batches(arguments.batches)
    ids = symbol_ids(batches)
    names = {number: symbol.removeprefix("target ") for symbol, number in ids.items()}
    model = make_model(batches)
    if not arguments.model.is_file():
        loader = torch.utils.data.DataLoader(to_batches(batches), batch_size=None, shuffle=True)
        quiet_trainer(max_time={"seconds": 60 * arguments.train_minutes}).fit(model, train_dataloaders=loader)
        torch.save(model.state_dict(), arguments.model)
    model.load_state_dict(torch.load(arguments.model))
    model.eval()

    @torch.inference_mode()
    def predict(words: list[str], beam_size: int) -> list[list[str]]:
        model.beam_width = beam_size
        found = model.predict_step(Batch(PaddedTensor([encode_word(ids, word) for word in words])), 0)
        best = found[0][:, 0] if beam_size > 1 else found  # (B, beam, U): the best first
        phones = []
        for row in best.tolist():
            end = row.index(special.END_IDX) if special.END_IDX in row else len(row)
            phones.append([names.get(symbol, "") for symbol in row[:end] if symbol != special.START_IDX])
        return phones

    take_turns(predict, arguments.words, {"version": f"yoyodyne {version('yoyodyne')}, torch {torch.__version__}"})


if __name__ == "__main__":
    main()
