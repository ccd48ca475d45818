"""Some of many readers stop reading: nobody else misses anything, and the server's memory stays bounded.

How long the others wait is measured by stalled.py, not here: a busy machine decides that.
"""

import pytest

from exactness.stalled import MIB, stall


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_stalled_readers_cost_the_others_nothing_and_the_server_little() -> None:
    report = await stall(200, 20, rate=60.0, seconds=5.0, size=4_000, turns=1, sample=50)
    assert not report.faults, str(report)
    # 300 messages of 4 kB are 1.2 MiB, once. Kept for each stalled reader they would be 24 MiB.
    grown = max(phase.memory for phase in report.phases) - report.memory_before
    assert grown < 12 * MIB, str(report)
