"""Preparing: from files to training data, at once or not at all."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peephole.config import Config
from peephole.data import Prepared, corpus, prepare, reopen
from peephole.data import prepare as _function  # noqa: F401  the module of this name is reached through sys.modules
from peephole.errors import DataError
from peephole.symbols import UNK
