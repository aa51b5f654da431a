"""Training: one visible loop, a folder for each run, and nothing lost when it is killed."""

from peephole.training.run import Interrupted, resume, train

__all__ = ["Interrupted", "resume", "train"]
