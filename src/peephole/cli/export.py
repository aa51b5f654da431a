"""`peephole export`."""

from __future__ import annotations

import click

from peephole.cli.lines import print_note
from peephole.cli.options import file_names
from peephole.storage.header import read_header


@click.command()
@click.argument("model", metavar="MODEL")
@click.option(
    "--to",
    type=click.Choice(["onnx", "web"]),
    required=True,
    help="onnx: two graphs, opset 14. web: a folder that predicts in a browser, without a server.",
)
@click.option("-o", "--out", metavar="FOLDER", help="Where to write; default: MODEL's name, ending in .onnx or .web.")
def command(model: str, to: str, out: str | None) -> None:
    """Write MODEL for other runtimes, in a folder that is created if missing; existing files in it are replaced.

    onnx: encoder.onnx and decoder_step.onnx. The encoder runs once for a batch of sources, the decoder step once for
    each symbol of the targets. Config and symbol tables are in the metadata of both.

    web: index.html, a page that predicts as one types, from any static server or from the disk; peephole.js, a module
    for pages of one's own, with types; the engine as WebAssembly; the model; package.json, so that `npm pack` makes a
    package. MODEL may be several files, separated by commas, an ensemble.
    """
    from peephole.export import export_onnx, export_web

    names = file_names(model) if to == "web" else [model]
    for name in names:
        header = read_header(name)
        for note in header.notes:
            print_note(note)
        if to == "web" and header.config.search.calibration != 1:
            print_note(f"{name}: the browser shows probabilities without search.calibration")
    for path in export_web(names, out) if to == "web" else export_onnx(model, out):
        print_note(f"wrote {path}, {path.stat().st_size / 1e6:.2f} MB")
