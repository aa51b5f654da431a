"""Train OpenNMT-py in turns with the other systems; started by train_speed.py in OpenNMT-py's environment.

The model, the loss, the optimiser and the training loop are OpenNMT-py's own: `build_model` and
`Trainer.train`. Only its file reading is left out: its loop receives finished batches, as in all systems here.
"""

import argparse
from pathlib import Path

import numpy
import onmt
import torch
from onmt.constants import DefaultTokens
from onmt.inputters.inputter import dict_to_vocabs
from onmt.model_builder import build_model
from onmt.opts import train_opts
from onmt.trainer import build_trainer
from onmt.utils.optimizers import Optimizer
from onmt.utils.parse import ArgumentParser
from rounds import Batches, count_target_symbols, read_batches, take_turns

OPTIONS = """
    --encoder_type brnn --decoder_type rnn --rnn_type LSTM --layers 1 --hidden_size 256 --word_vec_size 128
    --global_attention mlp --input_feed 1 --dropout 0.2 --optim adam --learning_rate 0.001 --max_grad_norm 5
    --normalization tokens --param_init 0.1 --model_dtype fp32 --seed 1
    --data unused --save_model unused --src_vocab unused
"""
NEVER = 10**9  # steps


def to_tensors(batches: Batches, vocabs: dict) -> list[tuple[dict[str, torch.Tensor], int]]:
    """Return the batches as OpenNMT-py's iterator yields them, each with the index of its bucket."""
    source_vocab, target_vocab = vocabs["src"], vocabs["tgt"]
    yielded = []
    for batch in batches["batches"]:
        sources = [torch.tensor(source_vocab(list(letters))) for letters, _ in batch]
        targets = [
            torch.tensor(target_vocab([DefaultTokens.BOS, *phones.split(), DefaultTokens.EOS])) for _, phones in batch
        ]
        tensors = {
            "src": pad(sources, source_vocab[DefaultTokens.PAD]),
            "srclen": torch.tensor([len(source) for source in sources]),
            "tgt": pad(targets, target_vocab[DefaultTokens.PAD]),
        }
        yielded.append((tensors, 0))
    return yielded


def pad(rows: list[torch.Tensor], padding: int) -> torch.Tensor:
    """Return the rows as one tensor (B, T, 1), padded with `padding`."""
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=padding)[:, :, None]


def make_model(batches: Batches) -> tuple[argparse.Namespace, dict, torch.nn.Module]:
    """Return OpenNMT-py's options, vocabularies and untrained model."""
    parser = ArgumentParser()
    train_opts(parser)
    options = parser.parse_args(OPTIONS.split())
    options.data = {}
    ArgumentParser.update_model_opts(options)
    ArgumentParser.validate_model_opts(options)
    specials = [DefaultTokens.UNK, DefaultTokens.PAD, DefaultTokens.BOS, DefaultTokens.EOS]
    vocabs = dict_to_vocabs(
        {
            "src": specials + batches["source_symbols"],
            "tgt": specials + batches["target_symbols"],
            "data_task": options.model_task,
            "decoder_start_token": DefaultTokens.BOS,
        }
    )
    return options, vocabs, build_model(options, options, vocabs, checkpoint=None, device_id=-1)


def main() -> None:
    """Build the model and the trainer, then train on request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("batches", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)

    batches = read_batches(arguments.batches)
    options, vocabs, model = make_model(batches)
    tensors = to_tensors(batches, vocabs)
    num_symbols = count_target_symbols(batches)
    trainer = build_trainer(options, -1, model, vocabs, Optimizer.from_opt(model, options))

    def train_pass() -> float:
        statistics = trainer.train(iter(tensors), train_steps=0, save_checkpoint_steps=NEVER, valid_steps=NEVER)
        assert statistics.n_words == num_symbols, (statistics.n_words, num_symbols)
        return statistics.loss / num_symbols

    facts = {
        "version": f"OpenNMT-py {onmt.__version__}, torch {torch.__version__}, numpy {numpy.__version__}",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
    take_turns(train_pass, num_symbols, facts)


if __name__ == "__main__":
    main()
