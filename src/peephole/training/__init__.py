"""Training: one visible loop, and a folder for each run from which a killed training resumes."""

from peephole.training.run import Interrupted, resume, train

__all__ = ["Interrupted", "resume", "train"]
