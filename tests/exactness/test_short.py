"""Half a minute of everything, on every log: all faults, all transports, and every promise kept."""

import sys

import pytest

from exactness.run import Scale, new_seed, prove
from exactness.worlds import NAMES


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("log", NAMES)
async def test_nothing_is_lost_repeated_or_invented_whatever_breaks(log: str) -> None:
    seed = new_seed()
    sys.stdout.write(f"seed {seed}\n")
    verdict = await prove(seed, 15, Scale(subscribers=24), log=log)
    assert not verdict.faults, str(verdict)
