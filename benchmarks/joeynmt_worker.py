"""Train JoeyNMT in turns with the other systems; started by train_speed.py in JoeyNMT's environment.

The model, the loss, the optimiser, the clipping and the step are JoeyNMT's own: `build_model` and
`TrainManager._train_step`, with the lines around it in `train_and_validate`. Its file reading, log and validation are
left out.
"""

import argparse
import tempfile
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import torch
from joeynmt.batch import Batch
from joeynmt.config import parse_train_args
from joeynmt.model import build_model
from joeynmt.training import TrainManager
from joeynmt.vocabulary import Vocabulary
from rounds import Batches, count_target_symbols, read_batches, take_turns

UNK, PAD, BOS, EOS = range(4)
SPECIALS = SimpleNamespace(
    unk_token="<unk>",
    pad_token="<pad>",
    bos_token="<s>",
    eos_token="</s>",
    sep_token=None,
    unk_id=UNK,
    pad_id=PAD,
    bos_id=BOS,
    eos_id=EOS,
    lang_tags=[],
)
MODEL = {
    "initializer": "xavier_uniform",
    "embed_initializer": "normal",
    "embed_init_weight": 0.1,
    "bias_initializer": "zeros",
    "encoder": {
        "type": "recurrent",
        "rnn_type": "lstm",
        "embeddings": {"embedding_dim": 128},
        "hidden_size": 128,  # in each direction
        "bidirectional": True,
        "num_layers": 1,
        "dropout": 0.2,
    },
    "decoder": {
        "type": "recurrent",
        "rnn_type": "lstm",
        "embeddings": {"embedding_dim": 128},
        "hidden_size": 256,
        "num_layers": 1,
        "dropout": 0.2,
        "hidden_dropout": 0.2,
        "input_feeding": True,
        "attention": "bahdanau",
        "init_hidden": "bridge",
    },
}
TRAINING = {
    "optimizer": "adam",
    "learning_rate": 0.001,
    "clip_grad_norm": 5.0,
    "normalization": "tokens",
    "batch_size": 64,
    "epochs": 1,
    "scheduling": "exponential",  # changes only after an epoch, and no epoch ends here
    "early_stopping_metric": "loss",
}


def to_batches(batches: Batches, source_vocab: Vocabulary, target_vocab: Vocabulary) -> list[Batch]:
    """Return the batches as JoeyNMT's iterator yields them; sources end with </s>, too."""
    made = []
    for number, batch in enumerate(batches["batches"]):
        sources = [torch.tensor([*map(source_vocab.lookup, letters), EOS]) for letters, _ in batch]
        targets = [torch.tensor([BOS, *map(target_vocab.lookup, phones.split()), EOS]) for _, phones in batch]
        made.append(
            Batch(
                src=pad(sources),
                src_length=torch.tensor([len(source) for source in sources]),
                src_prompt_mask=None,
                trg=pad(targets),
                trg_prompt_mask=None,
                indices=torch.arange(len(batch)) + number * len(batch),
                device=torch.device("cpu"),
                pad_index=PAD,
                eos_index=EOS,
            )
        )
    return made


def pad(rows: list[torch.Tensor]) -> torch.Tensor:
    """Return the rows as one tensor, padded with <pad>."""
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)


def main() -> None:
    """Build the model and the trainer, then train on request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("batches", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)

    batches = read_batches(arguments.batches)
    source_vocab = Vocabulary(batches["source_symbols"], SPECIALS)
    target_vocab = Vocabulary(batches["target_symbols"], SPECIALS)
    made = to_batches(batches, source_vocab, target_vocab)
    num_symbols = count_target_symbols(batches)
    model = build_model(MODEL, source_vocab, target_vocab)
    model.loss_function = ("crossentropy", 0.0)
    folder = tempfile.TemporaryDirectory()
    manager = TrainManager(
        rank=0,
        model=model,
        model_dir=Path(folder.name),
        device=torch.device("cpu"),
        autocast={"device_type": "cpu", "enabled": False},
        train_args=parse_train_args(TRAINING | {"model_dir": folder.name}),
    )

    def train_pass() -> float:
        total = 0.0
        for batch in made:
            loss, _ = manager._train_step(batch)
            manager.clip_grad_fun(parameters=model.parameters())
            manager.optimizer.step()
            model.zero_grad()
            total += loss * batch.ntokens
        assert sum(batch.ntokens for batch in made) == num_symbols
        return total / num_symbols

    facts = {
        "version": f"JoeyNMT {version('joeynmt')}, torch {torch.__version__}",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
    take_turns(train_pass, num_symbols, facts)
    folder.cleanup()


if __name__ == "__main__":
    main()
