"""The publisher: every message at its moment, to each server, whatever it answers.

Owns: one connection to each server, and how late it was itself. Does not own: the moments (load.py).
Invariant: open loop. Message k is due at its moment and bears that number; nobody waits for a receipt, for a
publisher that waits with a stalled server would hide the stall.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Final, cast

import httptools

from tidings.lab import heads
from tidings.lab.listeners import ListenerFailed
from tidings.lab.servers import Server

_SPIN: Final = 0.002  # seconds
_HOLDER: Final = len('{"n":1000000,"pad":""}')


def message(number: int, size: int) -> bytes:
    """Return a message's data: its number, filled up to about `size` bytes."""
    pad = "x" * max(0, size - _HOLDER)
    return b'{"n":%d,"pad":"%b"}' % (1_000_000 + number, pad.encode())


class Publisher(asyncio.Protocol):
    """One connection that publishes to `channel`. Receipts are counted, and waited for at the end only."""

    def __init__(self, server: Server, channel: str) -> None:
        self._server = server
        self._channel = channel
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._failure: str | None = None
        self._answered = asyncio.Event()
        self.sent = 0
        self.receipts = 0

    async def connect(self) -> "Publisher":
        """Connect, and return itself."""
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, self._server.address, self._server.port)
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio's in all but name.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the server cut the publisher: {exc or 'it closed the connection'}")

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as why:
            self._fail(f"a receipt is no HTTP: {why}")

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status == 201:
            self.receipts += 1
        else:
            self._fail(f"a message was refused with {status}")
        self._answered.set()

    def publish(self, body: bytes) -> None:
        """Send one message, behind those whose receipts are still out."""
        assert self._transport is not None
        self._transport.write(heads.post(f"/channels/{self._channel}", self._server.host, body))
        self.sent += 1

    async def settled(self, within: float = 10.0) -> None:
        """Wait until every message has its receipt. Raises ListenerFailed."""
        try:
            async with asyncio.timeout(within):
                while self.receipts < self.sent and self._failure is None:
                    self._answered.clear()
                    await self._answered.wait()
        except TimeoutError:
            raise ListenerFailed(f"{self.sent - self.receipts} messages had no receipt in time") from None
        if self._failure is not None:
            raise ListenerFailed(self._failure)

    def close(self) -> None:
        """Close the connection."""
        self._failure = self._failure or "the publisher is closed"
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, reason: str) -> None:
        self._failure = self._failure or reason
        self._answered.set()


async def publish_all(dues: Mapping[Publisher, Sequence[float]], size: int) -> list[float]:
    """Publish message k by each publisher at its monotonic moment due[k]; return how late each was."""
    order = sorted((at, k, place) for place, due in enumerate(dues.values()) for k, at in enumerate(due))
    publishers = list(dues)
    late = []
    for at, k, place in order:
        # A timer is up to a millisecond late, and a delivery takes less: the last of it is spun away.
        if (left := at - time.monotonic() - _SPIN) > 0:
            await asyncio.sleep(left)
        while time.monotonic() < at:  # noqa: ASYNC110 - it is a moment that is waited for, not an event
            await asyncio.sleep(0)
        late.append(max(0.0, time.monotonic() - at))
        publishers[place].publish(message(k, size))
    return late
