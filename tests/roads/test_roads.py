"""Every road for a short while, for programs and pages: what is chosen, and that nothing is lost."""

import sys

import pytest

from browser.conftest import CHROMIUM
from roads.run import new_seed, travel

# What is left of the four where a road takes some away for good.
LEFT = {
    "nginx as it comes": "sse",
    "nginx": "websocket",
    "haproxy": "websocket",
    "caddy": "websocket",
    "WebSocket hangs": "sse",
    "no Upgrade": "sse",
    "answers kept back": "long-polling",
}

# Alone: that each shows a message within five seconds, and which transport is ready first, is measured.
pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.alone, pytest.mark.timeout(240)]


def tell(line: str) -> None:
    sys.stdout.write(line + "\n")


async def test_everybody_is_told_everything_once_and_in_order_whatever_stands_between() -> None:
    seed = new_seed()
    tell(f"seed {seed}")
    # The programs need no browser, so they go alone where there is none.
    who = ("python",) if CHROMIUM is None else ("python", "page")
    outcome = await travel(seed, 20, who, tell)
    tell(str(outcome))
    assert outcome.faults == []
    there = {verdict.heard.road for verdict in outcome.verdicts}
    expected = {road: {transport} for road, transport in LEFT.items() if road in there}
    assert {road: outcome.chosen(road) for road in expected} == expected
