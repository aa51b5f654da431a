"""Train OpenNMT-py for a number of minutes; started by opennmt.py in OpenNMT-py's environment.

Model, loss, optimiser, reading of files and training loop are OpenNMT-py's own. Set from outside are the clock,
which starts with the first batch and ends the stream of batches, and the learning rate, which follows the clock.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from onmt.constants import CorpusTask, DefaultTokens
from onmt.inputters.dynamic_iterator import build_dynamic_dataset_iter
from onmt.inputters.inputter import dict_to_vocabs
from onmt.model_builder import build_model
from onmt.models import build_model_saver
from onmt.opts import train_opts
from onmt.trainer import build_trainer
from onmt.utils.logging import init_logger
from onmt.utils.misc import set_random_seed
from onmt.utils.optimizers import Optimizer, build_torch_optimizer
from onmt.utils.parse import ArgumentParser

NEVER = 10**9  # updates


class Clock:
    """Measure the time since the first batch, up to a number of minutes."""

    def __init__(self, minutes: float) -> None:
        self.limit = 60 * minutes
        self.start: float | None = None

    def seconds(self) -> float:
        """Return the time since the first batch."""
        return 0.0 if self.start is None else time.perf_counter() - self.start

    def spent(self) -> float:
        """Return the elapsed share of the minutes, from 0 to 1."""
        return min(1.0, self.seconds() / self.limit)

    def until_over(self, batches: Any) -> Iterator[Any]:
        """Yield batches until the minutes are over; waiting for the first one is not counted."""
        for batch in batches:
            if self.start is None:
                self.start = time.perf_counter()
            if self.spent() >= 1:
                return
            yield batch


def learning_rate_factor(spent: float, warmup: float) -> float:
    """Return the factor of the highest learning rate: linear up to `warmup`, then a cosine down to 0."""
    if spent < warmup:
        return spent / warmup
    return (1 + math.cos(math.pi * (spent - warmup) / (1 - warmup))) / 2


def read_options(task: dict[str, Any], folder: Path) -> argparse.Namespace:
    """Return OpenNMT-py's options for the training."""
    parser = ArgumentParser()
    train_opts(parser)
    options = parser.parse_args(
        f"""
        --encoder_type brnn --decoder_type rnn --rnn_type LSTM --layers 1
        --hidden_size {task["hidden_size"]} --word_vec_size {task["embedding_size"]}
        --global_attention mlp --input_feed 1 --dropout {task["dropout"]} --label_smoothing {task["label_smoothing"]}
        --batch_type tokens --batch_size {task["batch_symbols"]} --normalization tokens --bucket_size {task["pairs"]}
        --optim adam --learning_rate {task["learning_rate"]} --max_grad_norm 5 --param_init 0.1
        --average_decay {task["average_decay"]} --model_dtype fp32 --seed {task["seed"]} --num_workers 1
        --report_every 100 --data unused --save_model unused --src_vocab unused
        """.split()
    )
    # Set here, because a space in a path would split a command line
    options.save_model = str(folder / "model")
    options.data = {
        "corpus": {
            "path_src": str(folder / "train.src"),
            "path_tgt": str(folder / "train.tgt"),
            "path_align": None,
            "transforms": [],
            "weight": 1,
        }
    }
    ArgumentParser.update_model_opts(options)
    ArgumentParser.validate_model_opts(options)
    return options


def main() -> None:
    """Train, save the model and write size and speed of the training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="holds task.json and the segmented files; model.pt is written there")
    parser.add_argument("facts", type=Path, help="file to write at the end")
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    task = json.loads((arguments.folder / "task.json").read_text(encoding="utf-8"))
    options = read_options(task, arguments.folder)
    torch.set_num_threads(arguments.threads)
    init_logger()
    set_random_seed(options.seed, False)

    specials = [DefaultTokens.UNK, DefaultTokens.PAD, DefaultTokens.BOS, DefaultTokens.EOS]
    vocabs = dict_to_vocabs(
        {
            "src": specials + task["source_symbols"],
            "tgt": specials + task["target_symbols"],
            "data_task": options.model_task,
            "decoder_start_token": DefaultTokens.BOS,
        }
    )
    for left in arguments.folder.glob("model_step_*.pt"):  # left by a training that was killed while it saved
        left.unlink()
    clock = Clock(task["minutes"])
    model = build_model(options, options, vocabs, checkpoint=None, device_id=-1)
    optimizer = Optimizer(
        build_torch_optimizer(model, options),
        options.learning_rate,
        learning_rate_decay_fn=lambda step: learning_rate_factor(clock.spent(), task["warmup"]),
        max_grad_norm=options.max_grad_norm,
    )
    saver = build_model_saver(options, options, model, vocabs, optimizer, -1)
    trainer = build_trainer(options, -1, model, vocabs, optimizer, model_saver=saver)
    batches = build_dynamic_dataset_iter(options, {}, vocabs, task=CorpusTask.TRAIN)
    statistics = trainer.train(clock.until_over(batches), train_steps=0, save_checkpoint_steps=NEVER, valid_steps=NEVER)

    seconds = clock.seconds()
    [saved] = arguments.folder.glob("model_step_*.pt")  # exactly one: saved at the end
    os.replace(saved, arguments.folder / "model.pt")
    facts = {
        "weights": sum(parameter.numel() for parameter in model.parameters()),
        "minutes": seconds / 60,
        "updates": optimizer.training_step - 1,
        "passes": statistics.n_words / target_symbols(arguments.folder / "train.tgt"),
        "symbols_per_second": statistics.n_words / seconds,
        "loss": statistics.xent(),
    }
    part = arguments.facts.with_name(f"{arguments.facts.name}.part")
    part.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    os.replace(part, arguments.facts)


def target_symbols(path: Path) -> int:
    """Return the number of symbols in a pass over the training data, one </s> a sentence included."""
    return sum(len(line.split(" ")) + 1 for line in path.read_text(encoding="utf-8").splitlines())


if __name__ == "__main__":
    main()
