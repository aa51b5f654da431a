"""`peephole train`."""

from __future__ import annotations

from typing import Any

import click

from peephole.cli.options import build_config, setting_options, settings_text


@click.command(epilog=settings_text())
@click.argument("train_file", metavar="TRAIN", required=False)
@click.option("--dev", metavar="FILE", help="Pairs that select the best weights; default: held-out sources of TRAIN.")
@click.option("--out", metavar="MODEL", help="The model file to write, ending in .safetensors.")
@setting_options("train.minutes", "train.epochs", "train.steps")
@click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="Change a setting, listed below.")
@click.option("--config", "config_path", metavar="FILE", help="Read settings from a TOML file.")
@click.option("--resume", "resume_folder", metavar="RUN", help="Resume a run, given its folder.")
@click.option("--overwrite", is_flag=True, help="Replace the model and its run folder if they exist.")
def command(
    train_file: str | None,
    dev: str | None,
    out: str | None,
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

    Next to MODEL a folder MODEL.run stores what --resume needs after Ctrl-C, a kill or a power cut.
    """
    if resume_folder is not None:
        if train_file is not None or dev or out or assignments or config_path or overwrite or any(options.values()):
            raise click.UsageError("--resume uses the run's own files and settings; give nothing else")
        from peephole.training import resume

        resume(resume_folder)
        return
    if train_file is None or out is None:
        raise click.UsageError("wanted TRAIN and --out MODEL, or --resume RUN")
    config = build_config(config_path, assignments, options)
    from peephole.training import train

    train(train_file, dev, out, config=config, overwrite=overwrite)
