"""The command line: each verb loads a model or settings, calls the library and prints."""

from peephole.cli.main import main

__all__ = ["main"]
