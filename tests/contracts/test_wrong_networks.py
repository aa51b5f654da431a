"""Tests that the suite rejects every wrong bridge, context and decoder of a list and accepts the correct network."""

from __future__ import annotations

import pytest

from rejection import rejected_by_comparison

from . import right_network
from .changes import change_text
from .network_checks import check, check_dropout, make
from .right_network import RightNetwork
from .wrong_networks import WRONG_BRIDGES, WRONG_CONTEXTS, WRONG_DECODERS

WRONG = [
    *(("right_bridge", change) for change in WRONG_BRIDGES),
    *(("right_context", change) for change in WRONG_CONTEXTS),
    *(("right_decoder", change) for change in WRONG_DECODERS),
]
SETTINGS = [setting for _, change in WRONG for setting in change.settings]
DISTINCT_SETTINGS = [setting for index, setting in enumerate(SETTINGS) if setting not in SETTINGS[:index]]


@pytest.mark.parametrize("settings", DISTINCT_SETTINGS, ids=str)
def test_right_network_is_accepted(settings):
    model, config = make(**settings)
    check(RightNetwork(model, config), config)
    check_dropout(RightNetwork(model, config), config)


@pytest.mark.parametrize(("function", "change"), WRONG, ids=lambda part: getattr(part, "name", part))
def test_wrong_network_is_rejected(function, change):
    changed = change_text(getattr(right_network, function), change.right, change.wrong)
    for settings in change.settings:
        model, config = make(**settings)
        with rejected_by_comparison(rf"^{change.seen_in}"):
            change.check(RightNetwork(model, config, **{function: changed}), config)
