"""The log in NATS JetStream, as the others know it: the port.

Owns: who does what, and reading by channel. Invariant: what is told under one epoch was told by the stream
while it was in the life of that name.
"""

import asyncio
import time
from asyncio import Future, Task, get_running_loop
from collections.abc import AsyncIterator, Sequence

from tidings.core import limits
from tidings.core.errors import Refusal, SettingsError
from tidings.core.history import Retention
from tidings.core.message import Draft, Durability, Message, Receipt
from tidings.logs.base import Batch, Log
from tidings.logs.nats.append import Appending
from tidings.logs.nats.follow import Follower
from tidings.logs.nats.link import ApiError, Link, LinkLost
from tidings.logs.nats.node import Node
from tidings.logs.nats.record import Reading
from tidings.logs.nats.url import parse


class NatsLog(Log):
    """The log that the stream at `url` keeps. `partition` takes one stream of several at the same place."""

    def __init__(self, url: str, retention: Retention | None = None, *, partition: int | None = None) -> None:
        place = parse(url, partition)
        self._retention = retention or Retention()
        self._node = Node(place, self._retention)
        durability = Durability.STORED if place.storage == "file" else Durability.MEMORY
        self._appending = Appending(self._node, durability)
        self._refreshing: Task[None] | None = None

    @property
    def epoch(self) -> str:
        """See Log."""
        return self._node.life

    @property
    def head(self) -> int:
        """See Log."""
        return self._node.head

    @property
    def away_since(self) -> float | None:
        """See Log."""
        return self._node.away_since

    async def open(self) -> None:
        """See Log."""
        await self._node.open()

    def append(self, drafts: Sequence[Draft]) -> "Future[list[Receipt]]":
        """See Log."""
        return self._appending.append(drafts)

    def refresh(self) -> "Future[None] | None":
        """See Log."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = get_running_loop().create_task(self._refresh(self._node.link))
        # Each has a future of its own: who gives up must not take the others' answer with it.
        return asyncio.shield(self._refreshing)

    async def _refresh(self, link: Link | None) -> None:
        try:
            if link is None:
                raise LinkLost
            async with asyncio.timeout(limits.LOG_TIMEOUT):
                await self._node.check(link)
        except (LinkLost, ApiError, SettingsError, TimeoutError):
            raise _away() from None

    async def read(self, channels: Sequence[str], after: int, limit: int) -> list[Message]:
        """See Log; a Refusal `log_unavailable` while it is away."""
        link = self._node.link
        if link is None:
            raise _away()
        turns = asyncio.Semaphore(limits.NATS_READERS)
        try:
            # All of them up to the same position, for what comes later on one would hide what another missed.
            last = (await self._node.stream.look(link)).last
            parts = await asyncio.gather(
                *(self._read(link, turns, channel, after, last, limit) for channel in dict.fromkeys(channels))
            )
        except (LinkLost, ApiError, SettingsError):
            raise _away() from None
        return sorted((m for part in parts for m in part), key=lambda message: message.position)[:limit]

    async def _read(
        self, link: Link, turns: asyncio.Semaphore, channel: str, after: int, last: int, limit: int
    ) -> list[Message]:
        oldest_ms = int((time.time() - self._retention.age) * 1000)
        messages: list[Message] = []
        reading = Reading(self._node.stream.name, self._node.life)
        async with turns:
            while len(messages) < limit:
                arrival = await self._node.stream.next_of(link, channel, after)
                if arrival is None or arrival.position > last:
                    break
                after = arrival.position
                message = reading.message(arrival)
                if message is not None and message.time_ms >= oldest_ms:
                    messages.append(message)
        return messages

    def follow(self, after: int = 0) -> AsyncIterator[Batch]:
        """See Log."""
        return Follower(self._node, after).batches()

    async def close(self) -> None:
        """See Log."""
        if self._node.stopped:
            return
        self._node.stop()
        await self._appending.settled()
        await self._node.close()
        if self._refreshing is not None:
            await asyncio.wait([self._refreshing])


def _away() -> Refusal:
    return Refusal("log_unavailable", "The log cannot be reached now. Try again in a moment.")
