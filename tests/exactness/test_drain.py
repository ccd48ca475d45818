"""SIGTERM with many clients: see drain.py. EXACTNESS_CLIENTS says how many; 5,000 is what is promised."""

import os

import pytest

from exactness.drain import drain


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_a_drain_is_spread_ends_well_and_keeps_nothing_back() -> None:
    clients = int(os.environ.get("EXACTNESS_CLIENTS", "500"))
    report = await drain(clients, window=5.0, rate=40.0, seed=7)
    assert not report.faults, str(report)
    assert report.code == 0, str(report)
    # By the server's own clock, which a busy machine stretches but does not crowd.
    assert report.fullest <= 2 * clients / report.window, str(report)
