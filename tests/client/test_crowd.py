"""Five hundred clients of a server that is drained or killed, and started again: they come back spread out.

What counts is the moment for which a client has planned the try that got through: that all of them share one
process, which may have to wait for a processor, is not what is tested.
"""

import asyncio
import time
from bisect import bisect_left

import pytest

import tidings
from kit import ServerProcess, serving
from tidings.client import State, backoff
from tidings.client.choice import Transport

CLIENTS = 500
WINDOW = 0.1
# Seconds between a kill and the next start.
GONE = 10.0
MOST = 0.1


def fullest(moments: list[float], window: float = WINDOW) -> int:
    """Return the most moments that any window of this many seconds holds."""
    moments = sorted(moments)
    return max(bisect_left(moments, at + window) - index for index, at in enumerate(moments))


def test_the_fullest_window_is_found() -> None:
    assert fullest([0.0, 0.05, 0.09, 0.2, 0.5]) == 3
    assert fullest([n * 0.5 for n in range(100)]) == 1


class Member:
    """One client, and for each time that it got through, for when that try was planned."""

    def __init__(self, url: str, transport: Transport) -> None:
        self.client = tidings.connect(url, transports=[transport])
        self.feed = self.client.subscribe("news", on_state=self.heard)
        self.came: list[float] = []
        self._planned = 0.0

    def heard(self, state: State) -> None:
        if state.name == "live":
            self.came.append(self._planned)
        elif state.reason:
            self._planned = time.monotonic() + state.wait


async def until_all_came(members: list[Member], times: int) -> None:
    async with asyncio.timeout(90):
        while any(len(member.came) < times for member in members):  # noqa: ASYNC110 - 500 conditions
            await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["drain", "kill"])
@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_a_crowd_whose_server_is_gone_for_a_while_comes_back_spread_out(
    transport: Transport, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "CAP", 5.0)  # what comes later is spread wider, and takes the test's time
    # With 3 s, chance alone brings 51 of 500 into one window, once in some hundred times.
    with serving("--drain", "5") as first:
        members = [Member(first.url, transport) for _ in range(CLIENTS)]
        for member in members:
            await member.feed.__aenter__()
        await until_all_came(members, 1)
        if end == "drain":
            await asyncio.to_thread(first.stop)
        else:
            first.kill()
            # All were cut in one moment, and nobody has told them anything.
            await asyncio.sleep(GONE)
        # Not in this thread: the clients' timers go on meanwhile.
        second = await asyncio.to_thread(ServerProcess, "--port", str(first.port))
        try:
            await until_all_came(members, 2)
            receipt = await members[0].client.publish("news", "again")
            async with asyncio.timeout(30):
                for member in members:
                    while not isinstance(item := await anext(member.feed), tidings.Message):
                        assert item.reason == "epoch"
                    assert item.id == receipt.id
            await asyncio.gather(*(member.client.aclose() for member in members))
        finally:
            second.kill()
    back = [member.came[1] for member in members]
    assert fullest(back) <= CLIENTS * MOST, f"over {max(back) - min(back):.1f} s"
