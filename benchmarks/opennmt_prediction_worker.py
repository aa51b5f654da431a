"""Predict with OpenNMT-py in turns with the other systems; started by predict_speed.py in OpenNMT-py's environment.

OpenNMT-py's own `Trainer` trains the model for some minutes and stores it in a file. Beam and greedy search are those
of its own `Translator`, which receives batches as tensors: its time excludes reading and writing text, unlike ours.
"""

import onmt
import torch
from onmt.constants import DefaultTokens
from onmt.opts import translate_opts
from onmt.trainer import build_trainer
from onmt.translate import GNMTGlobalScorer, Translator
from onmt.utils.optimizers import Optimizer
from onmt.utils.parse import ArgumentParser
from opennmt_worker import NEVER, make_model, pad, to_tensors
from prediction_rounds import parse_peer_arguments, take_turns, until_over
from rounds import read_batches


def main() -> None:
    """Train or load the model, then predict on request."""
    arguments = parse_peer_arguments(__doc__)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)

    batches = read_batches(arguments.batches)
    options, vocabs, model = make_model(batches)
    if not arguments.model.is_file():
        trainer = build_trainer(options, -1, model, vocabs, Optimizer.from_opt(model, options))
        stream = until_over(to_tensors(batches, vocabs), arguments.train_minutes)
        trainer.train(stream, train_steps=0, save_checkpoint_steps=NEVER, valid_steps=NEVER)
        torch.save(model.state_dict(), arguments.model)
    torch.nn.Module.load_state_dict(model, torch.load(arguments.model))  # OpenNMT-py's method takes a checkpoint
    model.eval()

    translators = {}
    for beam_size in (1, 5):
        parser = ArgumentParser()
        translate_opts(parser)
        text = f"-model none -src none -beam_size {beam_size} -max_length 60 -max_length_ratio 0"
        search = parser.parse_args(text.split())
        scorer = GNMTGlobalScorer.from_opt(search)
        translators[beam_size] = Translator.from_opt(model, vocabs, search, options, global_scorer=scorer)

    def predict(words: list[str], beam_size: int) -> list[list[str]]:
        sources = [torch.tensor(vocabs["src"](list(word))) for word in words]
        lengths = torch.tensor([len(source) for source in sources])
        # its encoder needs the longest sequence first
        order = lengths.argsort(descending=True, stable=True)
        batch = {
            "src": pad([sources[i] for i in order.tolist()], vocabs["src"][DefaultTokens.PAD]),
            "srclen": lengths[order],
            "ind_in_bucket": list(range(len(words))),
        }
        found = translators[beam_size].translate_batch(batch, False)["predictions"]
        phones: list[list[str]] = [[] for _ in words]
        for place, predictions in zip(order.tolist(), found, strict=True):
            names = [vocabs["tgt"].lookup_index(symbol) for symbol in predictions[0].tolist()]
            phones[place] = [name for name in names if name != DefaultTokens.EOS]
        return phones

    version = f"OpenNMT-py {onmt.__version__}, torch {torch.__version__}"
    take_turns(predict, arguments.words, {"version": version})


if __name__ == "__main__":
    main()
