"""Configures beartype as the run-time type checker of the tests; like mypy, it accepts an int as a float."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
