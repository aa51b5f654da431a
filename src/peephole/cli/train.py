"""`peephole train`."""

from __future__ import annotations

from typing import Any

import click

from peephole.cli.options import build_config, setting_options, settings_text


@click.command(epilog=settings_text())
@click.argument("train_file", metavar="TRAIN", required=False)
@click.option("--dev", metavar="FILE", help="Pairs that select the best weights; default: held-out sources of TRAIN.")
@click.option("--out", metavar="MODEL", help="The model file to write, ending in .safetensors.")
@click.option("--from", "from_model", metavar="MODEL", help="Go on with a trained model instead of initial weights.")
@setting_options("train.minutes", "train.epochs", "train.steps")
@click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="Change a setting, listed below.")
@click.option("--config", "config_path", metavar="FILE", help="Read settings from a TOML file.")
@click.option("--resume", "resume_folder", metavar="RUN", help="Resume a run, given its folder.")
@click.option("--overwrite", is_flag=True, help="Replace the model and its run folder if they exist.")
def command(
    train_file: str | None,
    dev: str | None,
    out: str | None,
    from_model: str | None,
    assignments: tuple[str, ...],
    config_path: str | None,
    resume_folder: str | None,
    overwrite: bool,
    **options: Any,
) -> None:
    """Train a model on TRAIN, a file of pairs: source and target.

    TRAIN is a TSV of two columns, JSONL or Parquet with columns source and target, or two parallel files written
    A,B; .tsv and .jsonl also as .gz or .zst. The kind of symbols (characters, words, subwords) is chosen by the data
    and printed. Without a budget training takes 20 epochs.

    With --from, the new model begins with the weights, symbols and settings of another one, except its budget. Without
    TRAIN it is trained on that model's own data, which its run folder names.

    Next to MODEL a folder MODEL.run stores what --resume needs after Ctrl-C, a kill or a power cut.
    """
    if resume_folder is not None:
        if (
            train_file is not None
            or from_model
            or dev
            or out
            or assignments
            or config_path
            or overwrite
            or any(options.values())
        ):
            raise click.UsageError("--resume uses the run's own files and settings; give nothing else")
        from peephole.training import resume

        resume(resume_folder)
        return
    if out is None or (train_file is None and from_model is None):
        raise click.UsageError("wanted TRAIN and --out MODEL, or --from MODEL and --out MODEL, or --resume RUN")
    if from_model is None:
        config = build_config(config_path, assignments, options)
    else:
        from peephole.training.from_model import config_of_model

        config = build_config(config_path, assignments, options, config_of_model(from_model))
    from peephole.training import train

    train(train_file, dev, out, from_model=from_model, config=config, overwrite=overwrite)
