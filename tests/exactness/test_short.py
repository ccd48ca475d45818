"""Half a minute of everything: all faults, all transports, and every promise kept."""

import sys

import pytest

from exactness.run import new_seed, prove


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_nothing_is_lost_repeated_or_invented_whatever_breaks() -> None:
    seed = new_seed()
    sys.stdout.write(f"seed {seed}\n")
    verdict = await prove(seed, 20)
    assert not verdict.faults, str(verdict)
