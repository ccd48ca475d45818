"""Nodes of one engine restarted in turn, under load: rolling.py does it with 3,000 clients."""

import pytest

from exactness.rolling import roll


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("log", ["redis", "nats"])
async def test_a_rolling_restart_loses_and_repeats_nothing(log: str) -> None:
    report = await roll(log, 300, 20.0, 7, print)
    assert not report.faults, str(report)
    assert min(report.connections[transport] for transport in report.connections) > 0
