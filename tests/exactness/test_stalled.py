"""Some of many readers stop reading: nobody else misses anything, and the server's memory stays bounded.

How long the others wait is measured by stalled.py, not here: a busy machine decides that.
"""

import pytest

from exactness.stalled import MIB, Tally, stall


def test_messages_are_counted_right_however_they_are_cut() -> None:
    data = b"".join(b'data: {"due":%d,"n":%d,"pad":"x"}\n\n' % (900 + n, n) for n in range(120))
    for cut in range(len(data) + 1):
        tally = Tally(sampled=False)
        tally.take(data[:cut])
        tally.take(data[cut:])
        assert (tally.count, tally.last, tally.missed, tally.out_of_order) == (120, 119, 0, 0), cut


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_stalled_readers_cost_the_others_nothing_and_the_server_little() -> None:
    report = await stall(200, 20, rate=60.0, seconds=5.0, size=4_000, turns=1, sample=50)
    assert not report.faults, str(report)
    # Both phases keep 300 messages of 4 kB in the history. Kept once more for each stalled reader they
    # would be 24 MiB; what the write buffers may hold is a twentieth of that.
    plain, with_stalled = report.phases
    more = with_stalled.memory - plain.memory - (plain.memory - report.memory_before)
    assert more < 8 * MIB, str(report)
