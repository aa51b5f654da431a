"""The command line: each verb loads, builds, calls and prints; the work is done elsewhere."""

from peephole.cli.main import main

__all__ = ["main"]
