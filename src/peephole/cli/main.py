"""`peephole`: dispatch to the verb, and turn a user's error into one line and exit code 1."""

from __future__ import annotations

import atexit
import errno
import importlib
import io
import os
import signal
import sys

import click

from peephole import __version__
from peephole.cli.lines import print_note
from peephole.cli.output import OutputError, discard_output, set_up_stdout
from peephole.errors import PeepholeError, install_hint, printable

VERBS = {
    "quickstart": "Train, test and inspect a small model of English pronunciation, in five minutes.",
    "check": "Check a file of pairs before training on it.",
    "train": "Train a model on a file of pairs.",
    "predict": "Read sources from files or stdin, write their predicted targets to stdout.",
    "score": "Print log p(target | source) of pairs.",
    "evaluate": "Measure a model on pairs it was not trained on.",
    "report": "Write a page about a training: curves, quality, errors, calibration.",
    "inspect": "Show a prediction from the inside, on one HTML page.",
    "serve": "Answer requests over HTTP: JSON, Open Inference Protocol, LibreTranslate.",
    "info": "Describe a model: network, symbols, settings, and which programs and data made it.",
    "quantize": "Make a model file smaller: weights as bfloat16, or as int8.",
    "export": "Write a model for other runtimes (ONNX) or for browsers.",
}


UNWRITABLE = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO)
"""Errors of writing to a file, which then may have no name."""
OUTPUT_CLOSED = 141  # the exit code that shells report for a program ended by SIGPIPE


class Verbs(click.Group):
    """Import a verb's module only when that verb is called, so that `peephole --help` is fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order in which they are used."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return the verb's command, which its module calls `command`."""
        if name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"peephole.cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def invoke(self, ctx: click.Context) -> None:
        """Run the verb and flush its output; exit quietly if the reader of a pipe has closed it."""
        try:
            super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            discard_output()
            ctx.exit(OUTPUT_CLOSED)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="peephole")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def group(debug: bool) -> None:
    """Sequence-to-sequence learning that you can inspect."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 the user's error (one line on stderr), 2 wrong usage.

    A training that was stopped by a signal exits with 128 + the signal's number, as shells report it, and so does a
    command whose output pipe was closed.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # open until the process ends
    if sys.stdout is None:
        print_note("stdout is closed")
        sys.exit(1)
    try:
        set_up_stdout()
        sys.exit(group.main(arguments, prog_name="peephole", standalone_mode=False) or 0)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        sys.stderr.writelines(printable(line) + "\n" for line in shown.getvalue().removesuffix("\n").split("\n"))
        sys.exit(error.exit_code)
    except PeepholeError as error:
        if "--debug" in arguments:
            raise
        signal_number = getattr(error, "signal_number", None)
        print_note(str(error))
        sys.exit(1 if signal_number is None else 128 + signal_number)
    except ModuleNotFoundError as error:
        if "--debug" in arguments or (error.name or "peephole").startswith("peephole"):
            raise
        package = (error.name or "").partition(".")[0]
        print_note(f"this needs {package}: {install_hint(package)}")
        sys.exit(1)
    except OSError as error:
        if isinstance(error, OutputError):
            discard_output()
        if "--debug" in arguments or (error.filename is None and error.errno not in UNWRITABLE):
            raise
        print_note(f"{error.filename or 'a file'}: {error.strerror}")
        sys.exit(1)
    finally:
        try:
            sys.stdout.flush()  # after an error; otherwise Python does it at exit, with a traceback
        except OSError:
            discard_output()
        # Otherwise a second Ctrl-C while Python exits prints tracebacks of its clean-up.
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
