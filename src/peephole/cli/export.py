"""`peephole export`."""

from __future__ import annotations

import click

from peephole.cli.lines import print_note
from peephole.storage.header import read_header


@click.command()
@click.argument("model", metavar="MODEL")
@click.option(
    "--to", type=click.Choice(["onnx"]), required=True, expose_value=False, help="onnx: two graphs, opset 14."
)
@click.option("--out", metavar="FOLDER", help="Where to write; default: MODEL's name, ending in .onnx.")
def command(model: str, out: str | None) -> None:
    """Write MODEL for other runtimes: encoder.onnx and decoder_step.onnx, in a folder that is created if missing.

    The encoder runs once for a batch of sources, the decoder step once for each symbol of the targets. Config and
    symbol tables are in the metadata of both. Existing graphs in the folder are replaced.
    """
    from peephole.export import export_onnx

    for note in read_header(model).notes:
        print_note(note)
    for path in export_onnx(model, out):
        print_note(f"wrote {path}, {path.stat().st_size / 1e6:.2f} MB")
